"""From a waveform to the log-Mel spectrogram that the Dusha network reads.

PyTorch alone: no librosa, no torchaudio. All of it is in single precision, as librosa's is for the
float32 samples that it reads. Rounding shows only in bands far below the loudest of their frame: by
2e-3 dB in speech (864 RAVDESS clips, whose logits change by 1e-5), by 7e-3 dB beside
a pure tone.
"""

import functools
import io
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, BatchFeature, SequenceFeatureExtractor
from transformers.audio_utils import mel_filter_bank
from transformers.utils import PaddingStrategy, TensorType, logging

try:
    from .configuration_dusha import DushaConfig  # type: ignore[import-not-found]
except ImportError:  # In a flat checkout or installation the module has no package.
    from configuration_dusha import DushaConfig

logger = logging.get_logger(__name__)

# Frames whose spectra are held at a time: an hour of audio must not need gigabytes.
FRAMES_AT_ONCE = 4096
# Groups of neighbouring bands that one product computes: each band has few bins, and four products
# of these take less than one of all.
BAND_GROUPS = 4
# Full scale of integer samples, by type.
FULL_SCALE = {torch.int16: 2.0**15, torch.int32: 2.0**31}
# Times full scale; the power of louder samples would be infinite in single precision.
LOUDEST = 1e15
# Quiet frames that trimming leaves at each end.
KEPT_SILENCE = 5
# What converters record, in Hz: the rate in a damaged header may need minutes a clip.
RATES = (1_000, 768_000)
# An array of (samples, channels) has at most so many columns, and no clip so few samples.
MOST_CHANNELS = 8
# Weights of the resampling filter that are held at a time, and of old samples under them.
WEIGHTS_AT_ONCE = 2**20
_process = os.getpid()


class DushaFeatureExtractor(SequenceFeatureExtractor):
    """Log-Mel features in dB relative to the clip's loudest point, as published.

    The recipe is librosa's `power_to_db(melspectrogram(..., pad_mode="reflect"), ref=np.max)`.
    A silent clip is as loud as its loudest point everywhere, so it is 0 dB everywhere.

    Args:
        feature_size: Mel bands.
        sampling_rate: of the waveforms, in Hz.
        n_fft: length of a window, in samples.
        hop_length: distance between two windows, in samples.
        min_frequency: lower edge of the lowest band, in Hz.
        max_frequency: upper edge of the highest band, in Hz.
        power_floor: power that counts as silence.
        dynamic_range: how far below the loudest point values are cut off, in dB.
        padding_value: value of padding, in dB; the default is silence, and the published training
            code had 0.
        trim_silence: cut off what is at least this many dB below the clip's loudest point at both
            of its ends, but for 50 ms; None: nothing is cut off, as published.
        **kwargs: return_attention_mask (True), padding_side ("right") and what else
            SequenceFeatureExtractor takes.

    Examples:
        >>> extractor = DushaFeatureExtractor()
        >>> batch = extractor([np.ones(16000), np.ones(800)], 16000, return_tensors="pt")
        >>> batch["input_features"].shape, batch["attention_mask"].sum(1).tolist()
        (torch.Size([2, 101, 64]), [101, 6])
    """

    model_input_names = ["input_features", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 64,
        sampling_rate: int = 16000,
        n_fft: int = 320,
        hop_length: int = 160,
        min_frequency: float = 0.0,
        max_frequency: float = 8000.0,
        power_floor: float = 1e-10,
        dynamic_range: float = 80.0,
        padding_value: float = -80.0,
        trim_silence: float | None = None,
        **kwargs,
    ):
        if trim_silence is not None and not trim_silence > 0:
            raise ValueError(f"trim_silence is {trim_silence} dB, need more than 0, or None")
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.min_frequency = min_frequency
        self.max_frequency = max_frequency
        self.power_floor = power_floor
        self.dynamic_range = dynamic_range
        self.trim_silence = trim_silence

    def __call__(
        self,
        raw_speech,
        sampling_rate: int | None = None,
        *,
        resample: bool = False,
        padding: bool | str | PaddingStrategy | None = None,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
    ) -> BatchFeature:
        """Compute the features of one mono waveform or of several.

        Args:
            raw_speech: a waveform (a one-dimensional array, tensor or list of numbers), a list of
                waveforms, or a (batch, samples) array or tensor; also an audio column's value or
                a list of such: a dictionary of array and sampling_rate, or of bytes and path,
                which soundfile reads, or an AudioDecoder. Floating-point samples are taken as they
                are, int16 and int32 ones as parts of full scale.
            sampling_rate: of raw_speech, in Hz; None: the one that comes with an audio column's
                value, else the extractor's own.
            resample: whether to convert other sampling rates, which are an error otherwise.
            padding: as for SequenceFeatureExtractor.pad; by default to the longest clip where
                tensors are asked for, else none.
            max_length: length to pad or cut to, in frames.
            truncation: whether to cut clips longer than max_length.
            pad_to_multiple_of: frames that the padded length is a multiple of.
            return_attention_mask: whether to mark real frames; None: as the extractor.
            return_tensors: "pt", "np" or None for lists of arrays, one per clip.

        Returns:
            input_features (batch, frames, feature_size) float32, within -dynamic_range to 0 dB,
            of 1 + samples // hop_length frames each where nothing is trimmed, and attention_mask
            (batch, frames) int32, 1 for a real frame.

        Raises:
            ValueError: if a waveform is empty, not mono, not finite or not of a known type, or
                the sampling rate differs.
        """
        waveforms = self.read_waveforms(raw_speech, sampling_rate, resample)
        # Clip by clip, because that much fits a processor's cache.
        features = [self._log_mel(waveform).numpy() for waveform in waveforms]
        name, mask_name = self.model_input_names
        batch = {name: features}
        if padding is None:
            padding = return_tensors is not None
        is_plain = isinstance(padding, bool) and not truncation
        if len(features) == 1 and is_plain and max_length is None and pad_to_multiple_of is None:
            # Nothing is to be padded, and `pad` takes a while to find that out.
            if return_attention_mask is None:
                return_attention_mask = self.return_attention_mask
            mask = [np.ones(len(features[0]), dtype=np.int32)]
            batch |= {mask_name: mask} if return_attention_mask else {}
            return BatchFeature(batch, tensor_type=return_tensors)
        padded = self.pad(
            BatchFeature(batch),
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=return_attention_mask,
            return_tensors=return_tensors,
        )
        if return_tensors is None:
            return BatchFeature({name: list(values) for name, values in padded.items()})
        return padded

    def read_waveforms(
        self, raw_speech, sampling_rate: int | None = None, resample: bool = False
    ) -> list[torch.Tensor]:
        """Check clips and bring them to the extractor's rate; features are computed of these.

        The arguments and errors are those of a call. Each clip is (samples,), at least one, in
        float32 or float64, finite.
        """
        use_one_thread_if_forked()
        waveforms = []
        for number, clip in enumerate(split_clips(raw_speech)):
            samples, own_rate = read_samples(clip, number)
            waveform = self._as_waveform(samples, number)
            if own_rate is not None and sampling_rate not in (None, own_rate):
                raise ValueError(
                    f"clip {number} has {own_rate} Hz, and sampling_rate is {sampling_rate}; leave "
                    "it out, or correct it"
                )
            rate = self._check_sampling_rate(own_rate or sampling_rate, resample)
            if rate != self.sampling_rate:
                waveform = resample_waveform(waveform.to(torch.float64), rate, self.sampling_rate)
            waveforms.append(waveform)
        return waveforms

    def _check_sampling_rate(self, sampling_rate: int | None, resample: bool) -> int:
        if sampling_rate is None:
            logger.warning_once(
                f"sampling_rate was not given, {self.sampling_rate} Hz is assumed; pass it, "
                "because a wrong one goes unnoticed"
            )
            return self.sampling_rate
        if sampling_rate == self.sampling_rate:
            return sampling_rate
        if not resample:
            raise ValueError(
                f"the waveform has {sampling_rate} Hz, the model was trained on "
                f"{self.sampling_rate} Hz; convert it, or pass resample=True"
            )
        return sampling_rate

    def _as_waveform(self, waveform, number: int) -> torch.Tensor:
        """Check one waveform and turn it into floats or doubles of full scale 1."""
        if not isinstance(waveform, torch.Tensor):
            is_list = isinstance(waveform, (list, tuple))
            try:
                array = np.asarray(waveform, dtype=np.float64 if is_list else None, order="C")
                # Tensors take neither reversed nor read-only arrays.
                waveform = torch.from_numpy(array if array.flags.writeable else array.copy())
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"clip {number} is not a waveform: got {type(waveform).__name__}, need a "
                    f"one-dimensional array, tensor or list of numbers ({error})"
                ) from error
        if waveform.ndim == 2 and waveform.shape[0] == 1:
            waveform = waveform[0]
        if waveform.ndim != 1:
            raise ValueError(
                f"clip {number} has shape {tuple(waveform.shape)}, need one channel (samples,): "
                "average the channels of stereo audio, and give several clips as a list"
            )
        if not len(waveform):
            raise ValueError(f"clip {number} is empty, need at least one sample")
        if not (waveform.is_floating_point() or waveform.dtype in FULL_SCALE):
            raise ValueError(
                f"clip {number} has samples of {waveform.dtype}, whose full scale is not known; "
                "allowed are floating-point numbers of full scale 1, int16 and int32"
            )
        full_scale = FULL_SCALE.get(waveform.dtype)
        waveform = waveform.detach().to("cpu")
        if full_scale is not None or waveform.dtype not in (torch.float32, torch.float64):
            waveform = waveform.to(torch.float64) / (full_scale or 1)
        # One look at the samples for all: a single NaN makes both ends NaN.
        loudest = max(abs(end.item()) for end in waveform.aminmax())
        if not math.isfinite(loudest):
            raise ValueError(f"clip {number} holds NaN or infinity, need finite samples")
        if loudest > LOUDEST:
            raise ValueError(
                f"clip {number} holds a sample of {loudest:.1e} times full scale, need at most "
                f"{LOUDEST:.0e}: the file is damaged, or its samples have another form"
            )
        return waveform

    def _log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
        """Turn (samples,) into (frames, feature_size) in dB, float32."""
        padded = torch.empty(len(waveform) + 2 * (self.n_fft // 2))
        frames = reflect_into(padded, waveform).unfold(0, self.n_fft, self.hop_length)
        power = torch.cat([self._mel_power(piece) for piece in frames.split(FRAMES_AT_ONCE)])
        decibel = power.clamp_min_(self.power_floor).log10_().mul_(10)
        decibel = decibel.sub_(decibel.max()).clamp_min_(-self.dynamic_range)
        return decibel if self.trim_silence is None else trim_frames(decibel, self.trim_silence)

    def _mel_power(self, frames: torch.Tensor) -> torch.Tensor:
        """Turn (frames, n_fft) into the power of each band, (frames, feature_size)."""
        window, groups = window_and_band_groups(
            self.n_fft,
            self.feature_size,
            self.min_frequency,
            self.max_frequency,
            self.sampling_rate,
        )
        spectrum = torch.view_as_real(torch.fft.rfft(frames * window)).square_()
        power = spectrum[..., 0] + spectrum[..., 1]
        return torch.cat([power[:, bins] @ filters for bins, filters in groups], 1)


def use_one_thread_if_forked() -> None:
    """Have PyTorch work with one thread in a process that was forked from one that imported this.

    `datasets.Dataset.map` with num_proc forks. PyTorch's threads are not forked, and where the
    parent has used them its child would wait for them for ever.
    """
    global _process
    if os.getpid() != _process:
        _process = os.getpid()
        torch.set_num_threads(1)


def split_clips(raw_speech) -> list:
    """List the clips of what DushaFeatureExtractor takes: one waveform, or several in any form.

    Raises:
        ValueError: if there is none, or an array is (samples, channels).

    Examples:
        >>> len(split_clips(np.ones((3, 800)))), len(split_clips([0.1, 0.2]))
        (3, 1)
    """
    if isinstance(raw_speech, (list, tuple)):
        if not len(raw_speech):
            raise ValueError("got an empty list, need a waveform or a list of waveforms")
        first = raw_speech[0]
        several = isinstance(first, Mapping) or is_decoder(first) or np.ndim(first) > 0
        return list(raw_speech) if several else [raw_speech]
    if not isinstance(raw_speech, (np.ndarray, torch.Tensor)) or raw_speech.ndim != 2:
        return [raw_speech]
    count, samples = raw_speech.shape
    if samples <= MOST_CHANNELS < count:
        raise ValueError(
            f"got shape {tuple(raw_speech.shape)}, which seems to be one channel beside another, "
            "need (batch, samples): average the channels of stereo audio"
        )
    return list(raw_speech)


def is_decoder(clip) -> bool:
    """Return whether a clip is an AudioDecoder, as torchcodec and `datasets` give them."""
    return hasattr(clip, "get_all_samples")


def read_samples(clip, number: int) -> tuple[Any, int | None]:
    """Return the samples of a clip and, of an audio column's value, their rate in Hz.

    Args:
        clip: a waveform, which stays as it is, or the value of an audio column.
        number: of the clip, for messages.

    Raises:
        ValueError: if it holds no audio that can be read here.
    """
    if is_decoder(clip):
        samples = clip.get_all_samples()
        return samples.data.mean(0), samples.sample_rate
    if not isinstance(clip, Mapping):
        return clip, None
    if "array" in clip and "sampling_rate" in clip:
        return clip["array"], clip["sampling_rate"]
    source = clip.get("path") if clip.get("bytes") is None else io.BytesIO(clip["bytes"])
    if source is None:
        raise ValueError(
            f"clip {number} has {', '.join(map(str, clip)) or 'nothing'}, need array and "
            "sampling_rate, or bytes or path of a file"
        )
    try:
        import soundfile
    except ImportError as error:
        raise ValueError(
            f"clip {number} is a file, which needs soundfile to be read: pip install soundfile, or "
            "give its samples"
        ) from error
    try:
        samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    except (OSError, RuntimeError, TypeError) as error:
        raise ValueError(f"clip {number} is a file that cannot be read ({error})") from error
    return samples.mean(1), rate


def trim_frames(features: torch.Tensor, trim_silence: float) -> torch.Tensor:
    """Cut off what is quiet at both ends of a clip; doing it again changes nothing.

    Args:
        features: (frames, bands), in dB relative to the clip's loudest point.
        trim_silence: frames are quiet whose loudest band is at least this many dB below that,
            more than 0.

    Returns:
        (frames, bands) without the quiet frames at both ends, but for five on each side.

    Examples:
        >>> level = torch.tensor([-70.0] * 20 + [0.0, -70.0, -30.0] + [-70.0] * 2)
        >>> trim_frames(level.unsqueeze(1), 40).shape
        torch.Size([10, 1])
    """
    loud = (features.amax(1) > -trim_silence).nonzero()
    return features[max(0, int(loud[0]) - KEPT_SILENCE) : int(loud[-1]) + 1 + KEPT_SILENCE]


def resample_waveform(waveform: torch.Tensor, old_rate: int, new_rate: int) -> torch.Tensor:
    """Change the sampling rate by a sinc filter under a Kaiser window.

    Each new sample is a weighted sum of the old ones around it; the weights depend only on its
    place between two old samples, and few such places exist (J. O. Smith, "Digital Audio
    Resampling Home Page"). Of (samples,) in floating point it makes, in the same type,
    (ceil(samples * new_rate / old_rate),). Memory grows with the samples, not with the rates.

    Raises:
        ValueError: if nothing is recorded at old_rate, in Hz.

    Examples:
        >>> resample_waveform(torch.ones(441, dtype=torch.float64), 44100, 16000).shape
        torch.Size([160])
    """
    if not RATES[0] <= old_rate <= RATES[1]:
        raise ValueError(
            f"the waveform has {old_rate} Hz; audio of {RATES[0]} to {RATES[1]} Hz is converted"
        )
    divisor = math.gcd(old_rate, new_rate)
    old_rate, new_rate = old_rate // divisor, new_rate // divisor
    # 64 zero crossings under this window leave errors 130 dB down, and a slope from 88 % of the
    # lower Nyquist frequency, over 95 % (half of the amplitude), to that frequency (-94 dB).
    crossings, beta, rolloff = 64, 14.77, 0.95
    cutoff = rolloff * min(1.0, new_rate / old_rate)
    reach = math.ceil(crossings / cutoff)

    count = -(-len(waveform) * new_rate // old_rate)
    windows = torch.nn.functional.pad(waveform, (reach, reach)).unfold(0, 2 * reach + 1, 1)
    taps = torch.arange(-reach, reach + 1, dtype=waveform.dtype)
    resampled = torch.empty(-(-count // new_rate), new_rate, dtype=waveform.dtype)
    # Rates without a common divisor have as many places as new samples a second.
    for places in torch.arange(min(new_rate, count)).split(max(1, WEIGHTS_AT_ONCE // len(taps))):
        first, offset = places * old_rate // new_rate, places * old_rate % new_rate
        distance = taps - offset.to(waveform.dtype).unsqueeze(1) / new_rate
        inside = (1 - (distance / (reach + 1)).square()).clamp_min(0)
        weights = cutoff * torch.sinc(cutoff * distance)
        weights = weights * torch.i0(beta * inside.sqrt()) / torch.i0(torch.tensor(beta).double())
        rounds = torch.arange(len(resampled)).split(max(1, WEIGHTS_AT_ONCE // weights.numel()))
        for some in rounds:
            rows = (some.unsqueeze(1) * old_rate + first).clamp_max(len(windows) - 1)
            resampled[some[0] : some[-1] + 1, places[0] : places[-1] + 1] = (
                windows[rows] * weights
            ).sum(-1)
    return resampled.flatten()[:count]


def reflect_into(padded: torch.Tensor, waveform: torch.Tensor) -> torch.Tensor:
    """Write (samples,) into the middle of `padded`, mirrored at both ends as often as it takes.

    Examples:
        >>> reflect_into(torch.empty(9), torch.tensor([1.0, 2.0, 3.0])).tolist()
        [2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]
    """
    count = len(waveform)
    reach = (len(padded) - count) // 2
    period = max(2 * (count - 1), 1)
    around = torch.cat([torch.arange(-reach, 0), torch.arange(count, count + reach)]) % period
    mirrored = waveform[torch.where(around < count, around, period - around)]
    padded[:reach], padded[reach + count :] = mirrored[:reach], mirrored[reach:]
    padded[reach : reach + count] = waveform
    return padded


@functools.lru_cache(maxsize=8)
def window_and_filters(
    n_fft: int, bands: int, min_frequency: float, max_frequency: float, sampling_rate: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the periodic Hann window (n_fft,) and the Mel filters (n_fft // 2 + 1, bands)."""
    bins = n_fft // 2 + 1
    filters = mel_filter_bank(
        bins, bands, min_frequency, max_frequency, sampling_rate, norm="slaney", mel_scale="slaney"
    )
    return torch.hann_window(n_fft, dtype=torch.float64), torch.from_numpy(filters)


@functools.lru_cache(maxsize=8)
def window_and_band_groups(
    n_fft: int, bands: int, *frequencies: float
) -> tuple[torch.Tensor, list[tuple[slice, torch.Tensor]]]:
    """Return `window_and_filters` in float32, the filters in groups of neighbouring bands.

    Each group is the bins that its bands hear, and the filters (bins, bands) of these.
    """
    window, all_filters = window_and_filters(n_fft, bands, *frequencies)
    groups = []
    for filters in all_filters.to(torch.float32).chunk(BAND_GROUPS, 1):
        heard = filters.any(1).nonzero()
        # Filters so narrow that they fall between two bins hear nothing.
        bins = slice(int(heard[0]), int(heard[-1]) + 1) if len(heard) else slice(0, 1)
        groups.append((bins, filters[bins].contiguous()))
    return window.to(torch.float32), groups


# As in configuration_dusha: for extractors that are saved, and for those that import this module.
DushaFeatureExtractor.register_for_auto_class()
if "." not in __name__:
    AutoFeatureExtractor.register(DushaConfig, DushaFeatureExtractor)

__all__ = ["DushaFeatureExtractor"]
