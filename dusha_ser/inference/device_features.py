"""Features of a batch of clips at once where the model is: on an accelerator, by torchaudio.

On a CPU the extractor itself is faster, clip by clip.
"""

from typing import Any

import numpy as np
import torch
import torchaudio
from transformers import BatchFeature

from feature_extraction_dusha import DushaFeatureExtractor, reflect_into
from modeling_dusha import DushaForAudioClassification


class DeviceFeatures:
    """DushaFeatureExtractor's features, in single precision: 0.01 dB from its own at most.

    Args:
        extractor: whose settings count; clips are padded on the right, and masked.
        device: of the features.
    """

    def __init__(self, extractor: DushaFeatureExtractor, device: torch.device):
        self.extractor = extractor
        self.device = device
        # The Mel filters are those of `window_and_filters` but for rounding.
        self.mel_spectrogram = torchaudio.transforms.MelSpectrogram(
            extractor.sampling_rate,
            extractor.n_fft,
            hop_length=extractor.hop_length,
            f_min=extractor.min_frequency,
            f_max=extractor.max_frequency,
            n_mels=extractor.feature_size,
            # Clips are mirrored at their own ends, not at the batch's.
            center=False,
            norm="slaney",
            mel_scale="slaney",
        ).to(device)

    def __call__(self, clips: list[np.ndarray]) -> BatchFeature:
        """Compute the features of clips, each (samples,) at the extractor's sampling_rate.

        Returns:
            input_features (clips, frames, feature_size) float32 and attention_mask (clips, frames)
            int32, as the extractor pads them.

        Raises:
            ValueError: as the extractor does.
        """
        return self.compute(*self.send(clips))

    def send(self, clips: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Check clips and copy them to the device without waiting for it.

        Returns:
            Mirrored clips with 0 behind them, (clips, samples) float32, and how many frames each
            has, (clips,).
        """
        waveforms = self.extractor.read_waveforms(clips, self.extractor.sampling_rate)
        n_fft, hop = self.extractor.n_fft, self.extractor.hop_length
        lengths = [len(waveform) + 2 * (n_fft // 2) for waveform in waveforms]
        # Only from pinned memory a copy need not be waited for.
        pinned = self.device.type == "cuda"
        samples = torch.zeros(len(lengths), max(lengths), pin_memory=pinned)
        for row, length, waveform in zip(samples, lengths, waveforms, strict=True):
            reflect_into(row[:length], waveform)
        counts = [1 + (length - n_fft) // hop for length in lengths]
        frames = torch.tensor(counts, pin_memory=pinned)
        return (
            samples.to(self.device, non_blocking=pinned),
            frames.to(self.device, non_blocking=pinned),
        )

    def compute(self, samples: torch.Tensor, frames: torch.Tensor) -> BatchFeature:
        """Turn what `send` gives into features and their mask, without waiting for the device."""
        power = self.mel_spectrogram(samples).mT
        real = torch.arange(power.shape[1], device=power.device) < frames.unsqueeze(1)
        padding = ~real.unsqueeze(2)
        decibel = power.clamp_min_(self.extractor.power_floor).log10_().mul_(10)
        loudest = decibel.masked_fill_(padding, -torch.inf).amax((1, 2), keepdim=True)
        features = decibel.sub_(loudest).clamp_min_(-self.extractor.dynamic_range)
        features.masked_fill_(padding, self.extractor.padding_value)
        name, mask_name = self.extractor.model_input_names
        return BatchFeature({name: features, mask_name: real.int()})


def device_features(model: Any, feature_extractor: Any) -> DeviceFeatures | None:
    """Return what computes a model's features on its device, in place of its extractor.

    None on a CPU, for models other than Dusha's, and for extractors that cut off silence, pad on
    the left or give no mask.
    """
    replaces = (
        isinstance(model, DushaForAudioClassification)
        and model.device.type != "cpu"
        and isinstance(feature_extractor, DushaFeatureExtractor)
        and feature_extractor.trim_silence is None
        and feature_extractor.padding_side == "right"
        and feature_extractor.return_attention_mask
    )
    return DeviceFeatures(feature_extractor, model.device) if replaces else None
