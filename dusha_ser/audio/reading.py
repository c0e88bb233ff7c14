"""Audio of any format, sampling rate and source, as mono samples at one rate, and back to a wav."""

import io
import itertools
import wave
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr

from dusha_ser.errors import WrongUseError

# Of the corpus and its model, in Hz.
SAMPLING_RATE = 16000
# Rates of anything that is recorded, in Hz; a damaged header may state one at which a file of a
# minute would last for weeks.
RATES = (1_000, 1_000_000)

# A path; a file's content; a file object; (samples,) or (samples, channels) with their rate in Hz;
# the audio column of a row, which has bytes or, where they are None, a path.
AudioSource = str | Path | bytes | BinaryIO | tuple[np.ndarray, int] | Mapping[str, Any]


class UnreadableAudioError(WrongUseError):
    """There is no audio that can be read; the message says why."""


class AudioInfo(NamedTuple):
    """What the header of an audio file states."""

    sampling_rate: int  # in Hz
    channels: int
    frames: int  # samples of each channel
    subtype: str  # how samples are coded, such as "PCM_16"

    @property
    def duration(self) -> float:
        """The length in seconds."""
        return self.frames / self.sampling_rate


def read_info(source: AudioSource) -> AudioInfo:
    """Read the header of an audio file that libsndfile knows.

    Args:
        source: a path, a file's content, a file object or a row's audio.

    Raises:
        UnreadableAudioError: if libsndfile cannot read it.
    """
    try:
        info = soundfile.info(_open(source))
    except (OSError, RuntimeError, TypeError) as error:  # TypeError: a .raw file has no header
        raise UnreadableAudioError(getattr(error, "error_string", None) or str(error)) from error
    return AudioInfo(info.samplerate, info.channels, info.frames, info.subtype)


def count_frames(content: bytes) -> int | None:
    """Count the sample frames of a plain PCM wav that are really there; None of anything else.

    All published recordings are such files, and libsndfile takes as long to count as to read.

    Examples:
        >>> count_frames(b"<html>") is None
        True
    """
    if content[:4] != b"RIFF":
        return None
    # The whole's size in the header is not believed: recorders that are stopped leave it wrong.
    file = io.BytesIO(b"RIFF\xff\xff\xff\xff" + content[8:])
    try:
        with wave.open(file) as audio:
            frame_size = audio.getnchannels() * audio.getsampwidth()
            return len(audio.readframes(audio.getnframes())) // frame_size
    except (wave.Error, EOFError):
        return None


def read_audio(source: AudioSource, sampling_rate: int) -> np.ndarray:
    """Read a recording, mixed to one channel and resampled.

    Args:
        source: any `AudioSource`.
        sampling_rate: of the samples to return, in Hz.

    Returns:
        (samples,) float32, about [-1, 1], at least one sample.

    Raises:
        UnreadableAudioError: if there is no audio to read; for a row's audio, it names the file.

    Examples:
        >>> read_audio((np.ones((32000, 2), np.float32), 32000), 16000).shape
        (16000,)
    """
    try:
        blocks = list(read_blocks(source, sampling_rate))
    except UnreadableAudioError as error:
        if not isinstance(source, Mapping):
            raise
        raise UnreadableAudioError(
            f"cannot read the recording {source['path']} ({error}); leave it out"
        ) from error
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def read_blocks(
    source: AudioSource, sampling_rate: int, seconds: float = 20.0
) -> Iterator[np.ndarray]:
    """Read a recording piece by piece, mixed to one channel and resampled.

    Args:
        source: any `AudioSource`; a file is what libsndfile reads, or FFmpeg if PyAV is installed.
        sampling_rate: of the samples to yield, in Hz.
        seconds: length of a piece; memory grows with it, not with the file.

    Yields:
        (samples,) float32, about [-1, 1], at least one sample in all.

    Raises:
        UnreadableAudioError: if there is no such file, or no audio in it.
    """
    empty = True
    try:
        for block in _any_blocks(source, sampling_rate, seconds):
            if not np.isfinite(block).all():
                raise UnreadableAudioError("holds samples that are NaN or infinite")
            if len(block):
                empty = False
                yield block
    except UnreadableAudioError:
        raise
    except FileNotFoundError as error:
        raise UnreadableAudioError("there is no such file") from error
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or error
        raise UnreadableAudioError(f"cannot be read: {reason}") from error
    if empty:
        raise UnreadableAudioError("holds no samples")


def _open(source: AudioSource) -> Path | BinaryIO:
    """Return the path or the file object of a source that is a file."""
    if isinstance(source, tuple):
        raise TypeError("samples are not a file")
    file: Any = source
    if isinstance(source, Mapping):
        file = source["path"] if source["bytes"] is None else source["bytes"]
    if isinstance(file, bytes):
        return io.BytesIO(file)
    # Path(None), of a row without audio, is a TypeError.
    return file if hasattr(file, "read") else Path(file)


def _any_blocks(source: AudioSource, sampling_rate: int, seconds: float) -> Iterator[np.ndarray]:
    """Read blocks (samples,) with libsndfile or, where it does not know the file, with PyAV."""
    if isinstance(source, tuple):
        yield from resample_blocks([_mix(source[0])], source[1], sampling_rate)
        return
    file = _open(source)
    if not (file.stat().st_size if isinstance(file, Path) else file.seek(0, io.SEEK_END)):
        raise UnreadableAudioError("is empty (0 bytes)")
    blocks = _libsndfile_blocks(file, sampling_rate, seconds)
    try:
        first = next(blocks, None)
    except soundfile.LibsndfileError as error:
        yield from _av_blocks(file, sampling_rate, error.error_string.rstrip("."))
        return
    if first is not None:
        yield first
        yield from blocks


def _libsndfile_blocks(
    file: Path | BinaryIO, sampling_rate: int, seconds: float
) -> Iterator[np.ndarray]:
    """Read blocks (samples,) with libsndfile."""
    if not isinstance(file, Path):
        file.seek(0)
    with soundfile.SoundFile(file) as audio:
        # libsndfile takes twice as long to turn integers of 16 bits into the same floats.
        dtype = "int16" if audio.subtype == "PCM_16" else "float32"
        size = max(1, int(seconds * audio.samplerate))
        # The frame count of a header may be wrong, so this reads until nothing is left.
        blocks = itertools.takewhile(len, (audio.read(size, dtype) for _ in itertools.count()))
        yield from resample_blocks(map(_mix, blocks), audio.samplerate, sampling_rate)


def _mix(samples: np.ndarray) -> np.ndarray:
    """Turn (samples,) or (samples, channels) into (samples,) float32, the mean of the channels."""
    if samples.dtype.kind == "i":
        samples = samples * np.float32(-1 / np.iinfo(samples.dtype).min)
    samples = samples if samples.ndim == 1 else samples.mean(axis=1)
    return samples.astype(np.float32, copy=False)


def _av_blocks(file: Path | BinaryIO, sampling_rate: int, reason: str) -> Iterator[np.ndarray]:
    """Read blocks (samples,) with FFmpeg; `reason` is why libsndfile does not."""
    try:
        import av
    except ImportError as error:
        raise UnreadableAudioError(
            f"libsndfile cannot read it ({reason}); if it is audio of another format, such as "
            'm4a or webm: pip install "dusha-ser[formats]"'
        ) from error
    if isinstance(file, Path):
        # Given a file and no name, FFmpeg cannot be led by a playlist to other files and addresses.
        with file.open("rb") as opened:
            yield from _av_blocks(opened, sampling_rate, reason)
        return
    file.seek(0)
    try:
        with av.open(file, "r", options={"protocol_whitelist": "none"}) as container:
            if not container.streams.audio:
                raise UnreadableAudioError("has no audio track")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise UnreadableAudioError("is coded in a way that FFmpeg does not know")
            planes = av.AudioResampler(format="fltp")
            decoded = (
                part.to_ndarray().mean(axis=0)  # (channels, samples)
                for frame in container.decode(stream)
                for part in planes.resample(frame)
            )
            yield from resample_blocks(decoded, stream.codec_context.sample_rate, sampling_rate)
    except av.FFmpegError as error:
        raise UnreadableAudioError(
            f"neither libsndfile ({reason}) nor FFmpeg ({error.strerror}) can read it"
        ) from error


def resample_blocks(
    blocks: Iterable[np.ndarray], old_rate: int, new_rate: int
) -> Iterator[np.ndarray]:
    """Change the rate, in Hz, of a recording that comes in pieces (samples,); it may be the same.

    Raises:
        ValueError: if nothing is recorded at old_rate.
    """
    if not RATES[0] <= old_rate <= RATES[1]:
        raise ValueError(
            f"its sampling rate is {old_rate} Hz; audio of {RATES[0]} to {RATES[1]} Hz is read"
        )
    if old_rate == new_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(old_rate, new_rate, 1)
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)


def encode_wav(samples: np.ndarray) -> bytes:
    """Encode samples as the corpus has them: the bytes of a wav of 16 kHz and 16 bits.

    Args:
        samples: (samples,) at 16 kHz, int16, or floating point of about [-1, 1]; what lies outside
            is cut off.
    """
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
