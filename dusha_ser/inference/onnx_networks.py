"""What is exported to ONNX: Dusha's network from features or from waveforms to probabilities."""

from typing import Any

import numpy as np
import torch
from torch import nn

from feature_extraction_dusha import DushaFeatureExtractor, window_and_filters
from modeling_dusha import (
    DushaForAudioClassification,
    as_positions,
    class_probabilities,
    position_mask,
)


class PooledAttention(nn.Module):
    """Attention whose output is right in its mean over the positions, which is all the head reads.

    The mean of the rows of weights times values is the mean row times the inputs, turned into a
    value once: no product of all positions with all, but for the weights themselves.
    """

    def __init__(self, attention: nn.Module):
        super().__init__()
        self.attention: Any = attention

    def forward(
        self,
        hidden_states: torch.Tensor,
        lengths: torch.Tensor | None = None,
        return_weights: bool = False,
    ) -> tuple[torch.Tensor, None]:
        """Add to (batch, channels, mels, frames) what attention adds to a position on average."""
        _, weights = self.attention(hidden_states, lengths, return_weights=True)
        rows = weights.squeeze(1)
        real = torch.ones_like(rows[:, :1])
        if lengths is not None:
            real = position_mask(hidden_states, lengths)[:, 0]
        share = real / real.sum(2, keepdim=True) @ rows  # by a product: ONNX Runtime is faster so
        mean = share @ as_positions(hidden_states)
        added = self.attention.gamma * self.attention.value(mean)
        return hidden_states + added.transpose(1, 2).unsqueeze(3), None


class FeaturesToProbabilities(nn.Module):
    """The network from features to logits and probabilities.

    Without a mask it is for batches of one length, and about a quarter of the time is saved: masks
    stand between a convolution and what could be computed along with it.
    """

    def __init__(self, model: DushaForAudioClassification):
        super().__init__()
        self.model = model

    def forward(self, input_features: torch.Tensor, attention_mask: torch.Tensor | None = None):
        """Classify (batch, frames, mels) in dB, masked by (batch, frames)."""
        logits = self.model(input_features, attention_mask).logits
        return logits, class_probabilities(logits, self.model.config.problem_type)


class WaveformToProbabilities(nn.Module):
    """The feature recipe and the network, from waveforms to logits and probabilities.

    The recipe is DushaFeatureExtractor's, written with what ONNX has for all lengths at once: the
    Fourier transform is a product with its matrix, mirrored ends are computed indices. It is in
    double precision, because long sums round more than a fast transform does. Without lengths it is
    for batches of one length.
    """

    real: torch.Tensor
    imaginary: torch.Tensor
    filters: torch.Tensor

    def __init__(self, model: DushaForAudioClassification, extractor: DushaFeatureExtractor):
        super().__init__()
        self.model = model
        self.n_fft = extractor.n_fft
        self.hop_length = extractor.hop_length
        self.power_floor = extractor.power_floor
        self.dynamic_range = extractor.dynamic_range
        window, filters = window_and_filters(
            extractor.n_fft,
            extractor.feature_size,
            extractor.min_frequency,
            extractor.max_frequency,
            extractor.sampling_rate,
        )
        # (n_fft, bins) each: rfft of the unit samples, under the window.
        transform = torch.fft.rfft(torch.eye(self.n_fft, dtype=torch.float64) * window)
        self.register_buffer("real", transform.real.contiguous())
        self.register_buffer("imaginary", transform.imag.contiguous())
        self.register_buffer("filters", filters)

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor | None = None):
        """Classify (batch, samples), of which the first `lengths` (batch,) are each clip's own."""
        batch, samples = waveform.shape
        all_own = torch.ones(batch, dtype=torch.int64) * samples
        features, mask = self.features(waveform, all_own if lengths is None else lengths)
        logits = self.model(features, None if lengths is None else mask.to(torch.int64)).logits
        return logits, class_probabilities(logits, self.model.config.problem_type)

    def features(self, waveform: torch.Tensor, lengths: torch.Tensor):
        """Compute features (batch, frames, mels) in dB, and the mask (batch, frames) of them."""
        batch, samples = waveform.shape
        frames = 1 + samples // self.hop_length
        starts = torch.arange(frames) * self.hop_length - self.n_fft // 2
        index = starts.unsqueeze(1) + torch.arange(self.n_fft)  # (frames, n_fft)
        own = lengths.view(-1, 1, 1)
        period = (2 * (own - 1)).clamp(min=1)
        around = torch.remainder(index.unsqueeze(0), period)
        around = torch.where(around < own, around, period - around)
        pieces = waveform.gather(1, around.flatten(1)).view(batch, frames, self.n_fft)

        pieces = pieces.to(torch.float64)
        power = (pieces @ self.real).square() + (pieces @ self.imaginary).square()
        decibel = 10 * (power @ self.filters).clamp(min=self.power_floor).log10()
        mask = torch.arange(frames) < 1 + lengths.unsqueeze(1) // self.hop_length
        # No frame of padding may be the loudest: all of them count as the floor.
        floor = 10 * float(np.log10(self.power_floor))
        loudest = decibel.masked_fill(~mask.unsqueeze(2), floor).amax((1, 2), keepdim=True)
        return (decibel - loudest).clamp(min=-self.dynamic_range).to(torch.float32), mask
