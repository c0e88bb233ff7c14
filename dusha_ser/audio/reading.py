"""Audio of any format, rate and source, as mono samples piece by piece."""

import io
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from dusha_ser.errors import WrongUseError

SAMPLING_RATE = 16000
# The code of plain samples in the header of a wav.
PCM = 1


def count_frames(content: bytes) -> int | None:
    """Count the sample frames of a plain PCM wav from its header.

    All published recordings are such, and libsndfile takes as long to tell as reading the file.

    Args:
        content: a sound file, or anything else.

    Returns:
        How many frames are really there; None where it is no plain PCM wav.

    Example:
        >>> count_frames(b"<html>") is None
        True
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return None
    place, frame_size = 12, 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from("<4sI", content, place)
        place += 8
        if kind == b"fmt " and place + 16 <= len(content):
            coding, channels, _, _, frame_size, bits = struct.unpack_from("<HHIIHH", content, place)
            if coding != PCM or not channels or frame_size != channels * ((bits + 7) // 8):
                return None
        if kind == b"data" and frame_size:
            return min(size, len(content) - place) // frame_size
        place += size + size % 2
    return None


def decode_audio(audio: dict, sampling_rate: int) -> np.ndarray:
    """Read the sound of a row's audio column, mixed to one channel and resampled.

    Args:
        audio: bytes of a sound file, or None and the path of one.
        sampling_rate: of the samples to give, in Hz.

    Returns:
        (samples,) float32, about [-1, 1].

    Raises:
        WrongUseError: if the sound cannot be read.
    """
    source = audio["path"] if audio["bytes"] is None else io.BytesIO(audio["bytes"])
    try:
        blocks = list(read_blocks(source, sampling_rate)) or [np.empty(0, np.float32)]
        samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise WrongUseError(
            f"the recording {audio['path']} cannot be read ({error}); leave it out"
        ) from error
    if not len(samples) or not np.isfinite(samples).all():
        fault = "samples that are no numbers (NaN or infinite)" if len(samples) else "no sound"
        raise WrongUseError(f"the recording {audio['path']} holds {fault}; leave it out")
    return samples


class UnreadableSoundError(ValueError):
    """A file holds no sound that can be read; the message says why."""


def read_sound(path: str | Path, sampling_rate: int) -> Iterator[np.ndarray]:
    """Read any sound file piece by piece, mixed to one channel and resampled.

    Args:
        path: what libsndfile reads, or FFmpeg where PyAV is installed.
        sampling_rate: of the samples to give, in Hz.

    Yields:
        (samples,) float32, about [-1, 1], at least one sample in all.

    Raises:
        UnreadableSoundError: if there is no such file, or no sound in it.
    """
    path, empty = Path(path), True
    try:
        for block in open_blocks(path, sampling_rate):
            if not np.isfinite(block).all():
                raise UnreadableSoundError("holds samples that are no numbers (NaN or infinite)")
            if len(block):
                empty = False
                yield block
    except UnreadableSoundError:
        raise
    except FileNotFoundError as error:
        raise UnreadableSoundError("there is no such file") from error
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or error
        raise UnreadableSoundError(f"cannot be read: {reason}") from error
    if empty:
        raise UnreadableSoundError("holds no samples")


def open_blocks(path: Path, sampling_rate: int) -> Iterator[np.ndarray]:
    """Read blocks (samples,) with libsndfile or, where that does not know the file, with PyAV."""
    if not path.stat().st_size:
        raise UnreadableSoundError("is empty (0 bytes)")
    blocks = read_blocks(path, sampling_rate)
    try:
        first = next(blocks, None)
    except soundfile.LibsndfileError as error:
        yield from read_with_av(path, sampling_rate, error.error_string)
        return
    if first is not None:
        yield first
        yield from blocks


def read_with_av(path: Path, sampling_rate: int, reason: str) -> Iterator[np.ndarray]:
    """Read blocks (samples,) with FFmpeg; `reason` is why libsndfile does not."""
    try:
        import av
    except ImportError as error:
        raise UnreadableSoundError(
            f"libsndfile cannot read it ({reason.rstrip('.')}); if it is sound of another format, "
            'such as m4a or webm: pip install "dusha-ser[formats]"'
        ) from error
    try:
        # Given a file and no name, FFmpeg cannot be led by a playlist to other files and addresses.
        with (
            path.open("rb") as file,
            av.open(file, options={"protocol_whitelist": "none"}) as container,
        ):
            if not container.streams.audio:
                raise UnreadableSoundError("has no audio track")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise UnreadableSoundError("is coded in a way that FFmpeg does not know")
            rate = stream.codec_context.sample_rate
            yield from resample_blocks(av_blocks(av, container, stream), rate, sampling_rate)
    except av.FFmpegError as error:
        raise UnreadableSoundError(
            f"neither libsndfile ({reason.rstrip('.')}) nor FFmpeg ({error.strerror}) can read it"
        ) from error


def av_blocks(av, container, stream) -> Iterator[np.ndarray]:
    """Decode a track to (samples,) float32, the mean of its channels."""
    planes = av.AudioResampler(format="fltp")
    for frame in container.decode(stream):
        for part in planes.resample(frame):
            yield part.to_ndarray().mean(axis=0)  # (channels, samples)


# Rates of anything that is recorded, in Hz; a damaged header may state one at which a file of a
# minute would last for weeks.
RATES = (1_000, 1_000_000)


def read_blocks(
    path: str | Path, sampling_rate: int, seconds: float = 20.0
) -> Iterator[np.ndarray]:
    """Read a sound file piece by piece, mixed to one channel and resampled.

    Args:
        path: any format and rate that libsndfile reads.
        sampling_rate: of the samples to give, in Hz.
        seconds: length of a piece; memory grows with it, not with the file.

    Yields:
        (samples,) float32 in [-1, 1].

    Raises:
        soundfile.LibsndfileError: if the file cannot be read.
    """
    import soundfile

    with soundfile.SoundFile(path) as file:
        yield from resample_blocks(_file_blocks(file, seconds), file.samplerate, sampling_rate)


def _file_blocks(file, seconds: float) -> Iterator[np.ndarray]:
    block_size = max(1, int(seconds * file.samplerate))
    # The frame count of a header may be wrong, so reading goes on until nothing comes.
    # libsndfile takes twice as long to turn such samples into the same floats.
    whole_numbers = file.subtype == "PCM_16"
    dtype = "int16" if whole_numbers else "float32"
    while len(block := file.read(block_size, dtype=dtype, always_2d=True)):
        if whole_numbers:
            block = block * np.float32(2**-15)
        yield block[:, 0] if file.channels == 1 else block.mean(axis=1)


def resample_blocks(
    blocks: Iterable[np.ndarray], old_rate: int, new_rate: int
) -> Iterator[np.ndarray]:
    """Change the sampling rate of a recording that comes piece by piece.

    Args:
        blocks: each (samples,), of any length.
        old_rate: their rate, in Hz.
        new_rate: the wanted rate, in Hz.

    Yields:
        (samples,) float32.

    Raises:
        ValueError: if old_rate is none of anything that is recorded.
    """
    if not RATES[0] <= old_rate <= RATES[1]:
        raise ValueError(
            f"its sampling rate is {old_rate} Hz; sounds of {RATES[0]} to {RATES[1]} Hz are read"
        )
    if old_rate == new_rate:
        yield from blocks
        return
    import soxr

    resampler = soxr.ResampleStream(old_rate, new_rate, 1)
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)
