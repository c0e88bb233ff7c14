"""Samples as one channel at one rate, whatever they come as."""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from dusha_ser.errors import WrongUseError

# What converters record, in Hz, and in channels. Only damaged headers state more, and a file of a
# minute would then last for weeks, or take all memory.
RATES = (1_000, 768_000)
MOST_CHANNELS = 64
# Types of integers that audio has, all of full scale.
INTEGERS = ("int8", "int16", "int32")


class UnreadableAudioError(WrongUseError):
    """There is no audio that can be read; the message says why."""


def check_header(sampling_rate: float, channels: int) -> None:
    """Refuse what only a damaged header states.

    Raises:
        UnreadableAudioError: if nothing is recorded at that rate, or with so many channels.
    """
    if not RATES[0] <= sampling_rate <= RATES[1]:
        raise UnreadableAudioError(
            f"its sampling rate is {sampling_rate} Hz; audio of {RATES[0]} to {RATES[1]} Hz is read"
        )
    if channels > MOST_CHANNELS:
        raise UnreadableAudioError(
            f"it has {channels} channels; audio of up to {MOST_CHANNELS} is read"
        )


def to_mono(samples: np.ndarray) -> np.ndarray:
    """Mix samples to one channel, the mean of all.

    Args:
        samples: (samples,), (samples, channels), or (channels, samples) with more samples than
            audio has channels; floating point of about [-1, 1], or int8, int16 or int32.

    Returns:
        (samples,) float32, about [-1, 1].

    Raises:
        UnreadableAudioError: if they have another shape or type.

    Examples:
        >>> to_mono(np.array([[16384, 0], [-32768, -32768]], np.int16)).tolist()
        [0.25, -1.0]
        >>> to_mono(np.ones((2, 16000))).shape
        (16000,)
    """
    is_integer = samples.dtype.name in INTEGERS
    if not is_integer and samples.dtype.kind != "f":
        raise UnreadableAudioError(
            f"its samples are {samples.dtype}; give floating-point numbers of full scale 1, or "
            f"{', '.join(INTEGERS)}"
        )
    if samples.ndim == 2 and samples.shape[0] <= MOST_CHANNELS < samples.shape[1]:
        samples = samples.T
    if samples.ndim not in (1, 2) or 0 in samples.shape[1:]:
        raise UnreadableAudioError(
            f"its samples have shape {samples.shape}; give (samples,) or (samples, channels)"
        )
    if samples.ndim == 2:
        check_header(RATES[0], samples.shape[1])
    if is_integer:
        samples = samples * np.float32(-1 / np.iinfo(samples.dtype).min)
    samples = samples if samples.ndim == 1 else samples.mean(axis=1)
    return samples.astype(np.float32, copy=False)


class Resampler:
    """Changes the rate of a recording that comes in pieces.

    Args:
        old_rate: of the pieces, in Hz.
        new_rate: of what it returns, in Hz; it may be the same.

    Raises:
        UnreadableAudioError: if nothing is recorded at old_rate.

    Examples:
        >>> resampler = Resampler(32000, 16000)
        >>> len(resampler.push(np.ones(32000, np.float32))) + len(resampler.finish())
        16000
    """

    def __init__(self, old_rate: float, new_rate: float):
        check_header(old_rate, 1)
        self._stream = None if old_rate == new_rate else soxr.ResampleStream(old_rate, new_rate, 1)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take the next piece (samples,) float32; return what is known by now at the new rate."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def finish(self) -> np.ndarray:
        """End the recording; return the rest of it, (samples,)."""
        rest = np.empty(0, dtype=np.float32)
        return rest if self._stream is None else self._stream.resample_chunk(rest, last=True)


def resample_blocks(
    blocks: Iterable[np.ndarray], old_rate: float, new_rate: float
) -> Iterator[np.ndarray]:
    """Change the rate, in Hz, of a recording that comes in pieces (samples,); it may be the same.

    Raises:
        UnreadableAudioError: if nothing is recorded at old_rate.
    """
    resampler = Resampler(old_rate, new_rate)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.finish()
