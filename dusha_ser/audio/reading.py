"""Audio of any format, sampling rate and source, as mono samples at one rate, and back to a wav."""

import contextlib
import io
import itertools
import logging
import os
import wave
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile

from dusha_ser.audio.samples import UnreadableAudioError, check_header, resample_blocks, to_mono
from dusha_ser.audio.wav_parts import Part, find_parts, open_part
from dusha_ser.files import foreign_content, named_file

logger = logging.getLogger(__name__)

# Of the corpus and its model, in Hz.
SAMPLING_RATE = 16000
# Samples of all channels that are read at once, at most.
SAMPLES_AT_ONCE = 2**22
# Bytes of files that are read at once, which is faster than piece by piece.
AT_ONCE = 2**22
# Files that are named in warnings of wrong headers, at most.
MOST_WARNINGS = 5
_warned: set[str] = set()

# A path; a file's content; a file object; what `to_mono` takes, with its rate in Hz; the audio
# column of a row, which has bytes or, where they are None, a path.
AudioSource = str | Path | bytes | BinaryIO | tuple[np.ndarray, int] | Mapping[str, Any]


class _NotToItsEndError(Exception):
    """libsndfile reads the file, but loses its end; the message says why."""


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
    """Read what the header of an audio file states, corrected where it is not true.

    Args:
        source: a path, a file's content, a file object or a row's audio.

    Raises:
        UnreadableAudioError: if it is not audio.
    """
    with _opened(source) as file, _explained_errors():
        try:
            stated = [soundfile.info(one) for one in _files(file, _find_parts(file, source))]
            _check_subtype(stated[0].subtype)
        except (soundfile.LibsndfileError, _NotToItsEndError) as error:
            return _av_info(file, _reason(error))
    first = stated[0]
    check_header(first.samplerate, first.channels)
    # Parts may be of other rates.
    frames = sum(round(one.frames * first.samplerate / one.samplerate) for one in stated)
    return AudioInfo(first.samplerate, first.channels, frames, first.subtype)


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
        source: any `AudioSource`; a file is what libsndfile or FFmpeg reads.
        sampling_rate: of the samples to yield, in Hz.
        seconds: length of a piece; memory grows with it, not with the file.

    Yields:
        (samples,) float32, about [-1, 1], at least one sample in all.

    Raises:
        UnreadableAudioError: if there is no such file, or no audio in it.
    """
    empty = True
    with _explained_errors():
        for block in _any_blocks(source, sampling_rate, seconds):
            if not np.isfinite(block).all():
                raise UnreadableAudioError("holds samples that are NaN or infinite")
            if len(block):
                empty = False
                yield block
    if empty:
        raise UnreadableAudioError("holds no samples")


def complete_wav(content: bytes, name: str) -> bytes:
    """Return a wav whose header is true of it: the same bytes where it is already.

    Args:
        content: of any file.
        name: for the warning.
    """
    with io.BytesIO(content) as file:
        parts = _find_parts(file, name)
    if len(parts) != 1:
        return content
    return parts[0].header + content[parts[0].start : parts[0].stop]


@contextlib.contextmanager
def _explained_errors() -> Iterator[None]:
    """Turn what libraries raise into an UnreadableAudioError with the reason."""
    try:
        yield
    except UnreadableAudioError:
        raise
    except FileNotFoundError as error:
        raise UnreadableAudioError("there is no such file") from error
    # TypeError: a .raw file has no header, a row no audio.
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise UnreadableAudioError(f"cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    reason = getattr(error, "error_string", None) or getattr(error, "strerror", None)
    return str(reason or error).rstrip(".")


@contextlib.contextmanager
def _opened(source: AudioSource, at_once: int = 0) -> Iterator[BinaryIO]:
    """Open a source that is a file and not empty; of up to `at_once` bytes, it is read at once."""
    if isinstance(source, tuple):
        raise UnreadableAudioError("samples are not a file")
    file: Any = source
    if isinstance(source, Mapping):
        file = source["path"] if source["bytes"] is None else source["bytes"]
    if isinstance(file, bytes):
        file = io.BytesIO(file)
    with _explained_errors(), contextlib.ExitStack() as stack:
        if not hasattr(file, "read"):
            path = named_file(file) if isinstance(file, str) else Path(file)
            file = stack.enter_context(path.open("rb", buffering=0))
        size = file.seek(0, io.SEEK_END)
        if not size:
            raise UnreadableAudioError("is empty (0 bytes)")
        if size <= at_once:
            file.seek(0)
            file = io.BytesIO(file.read())
        yield file


def _find_parts(file: BinaryIO, source: AudioSource) -> list[Part]:
    """Find the parts of a wav whose header is not true of it, and warn of that."""
    parts, wrong = find_parts(file)
    if wrong:
        name = source["path"] if isinstance(source, Mapping) else source
        shown = str(name) if isinstance(name, (str, Path)) else "a recording"
        if shown not in _warned and len(_warned) < MOST_WARNINGS:
            _warned.add(shown)
            more = "" if len(_warned) < MOST_WARNINGS else "; more such files are not named"
            logger.warning("%s is read to its end: %s%s", shown, wrong, more)
    return parts


def _files(file: BinaryIO, parts: Iterable[Part]) -> Iterator[BinaryIO | bytes]:
    """Yield what libsndfile decodes one after the other: the parts, or the file itself."""
    if parts:
        yield from (open_part(file, part) for part in parts)
    elif isinstance(file, io.FileIO):
        # libsndfile is faster without Python between it and the file. Names need not be UTF-8.
        yield os.fsencode(file.name)
    else:
        file.seek(0)
        yield file


def _check_subtype(name: str) -> None:
    """Leave MP3s to FFmpeg: libsndfile reads no more than the first header states.

    Podcasts that advertisements were inserted into are several MP3s, one after the other.
    """
    if name.startswith("MPEG_LAYER"):
        raise _NotToItsEndError("it reads joined MP3s in part")


def _any_blocks(source: AudioSource, sampling_rate: int, seconds: float) -> Iterator[np.ndarray]:
    """Read blocks (samples,) with libsndfile or, where it does not read all of it, with FFmpeg."""
    if isinstance(source, tuple):
        yield from resample_blocks([to_mono(source[0])], source[1], sampling_rate)
        return
    with _opened(source, AT_ONCE) as file:
        begun = False
        try:
            for part in _files(file, _find_parts(file, source)):
                for block in _libsndfile_blocks(part, sampling_rate, seconds):
                    begun = True
                    yield block
        except (soundfile.LibsndfileError, _NotToItsEndError) as error:
            if begun:
                raise
            yield from _av_blocks(file, sampling_rate, _reason(error))


def _libsndfile_blocks(
    file: BinaryIO | bytes, sampling_rate: int, seconds: float
) -> Iterator[np.ndarray]:
    """Read blocks (samples,) with libsndfile."""
    with soundfile.SoundFile(file) as audio:
        subtype = audio.subtype
        _check_subtype(subtype)
        check_header(audio.samplerate, audio.channels)
        # libsndfile takes twice as long to turn integers of 16 bits into the same floats.
        dtype = "int16" if subtype == "PCM_16" else "float32"
        size = min(int(seconds * audio.samplerate), SAMPLES_AT_ONCE // audio.channels)
        # The frame count of a header may be wrong, so this reads until nothing is left.
        blocks = itertools.takewhile(
            len, (audio.read(max(1, size), dtype) for _ in itertools.count())
        )
        yield from resample_blocks(map(to_mono, blocks), audio.samplerate, sampling_rate)


@contextlib.contextmanager
def _av_stream(file: BinaryIO, reason: str) -> Iterator[tuple[Any, Any]]:
    """Open a file with FFmpeg, as container and stream; `reason` is why libsndfile does not."""
    # Only here: importing it takes 0.2 s.
    import av

    file.seek(0)
    if foreign := foreign_content(file.read(512)):
        raise UnreadableAudioError(foreign)
    file.seek(0)
    try:
        # Given a file and no name, FFmpeg cannot be led by a playlist to other files and addresses.
        with av.open(file, "r", options={"protocol_whitelist": "none"}) as container:
            if not container.streams.audio:
                raise UnreadableAudioError("has no audio track")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise UnreadableAudioError("is coded in a way that FFmpeg does not know")
            check_header(stream.codec_context.sample_rate, stream.codec_context.channels)
            yield container, stream
    except av.FFmpegError as error:
        raise UnreadableAudioError(
            f"neither libsndfile ({reason}) nor FFmpeg ({error.strerror}) can read it"
        ) from error


def _av_blocks(file: BinaryIO, sampling_rate: int, reason: str) -> Iterator[np.ndarray]:
    """Read blocks (samples,) with FFmpeg; its frames may change their rate and channels."""
    import av

    with _av_stream(file, reason) as (container, stream):
        runs = itertools.groupby(
            _decode(container, stream), lambda frame: (frame.sample_rate, frame.layout.name)
        )
        for (rate, _), frames in runs:
            planes = av.AudioResampler(format="fltp")
            decoded = (
                part.to_ndarray().mean(axis=0)  # (channels, samples)
                for frame in frames
                for part in planes.resample(frame)
            )
            yield from resample_blocks(decoded, rate, sampling_rate)


def _decode(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the frames of a stream; tags between the parts of a joined MP3 are passed over."""
    import av

    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            if container.format.name != "mp3":
                raise


def _av_info(file: BinaryIO, reason: str) -> AudioInfo:
    """Count the samples of a file with FFmpeg."""
    with _av_stream(file, reason) as (container, stream):
        context = stream.codec_context
        # Both are those of the last frame in the end.
        rate, channels = context.sample_rate, context.channels
        seconds = sum(frame.samples / frame.sample_rate for frame in _decode(container, stream))
        frames = round(seconds * rate)
        return AudioInfo(rate, channels, frames, context.name)


def encode_wav(samples: np.ndarray) -> bytes:
    """Encode samples as the corpus has them: the bytes of a wav of 16 kHz and 16 bits.

    Args:
        samples: (samples,) at 16 kHz, int16, or floating point of about [-1, 1]; what lies outside
            is cut off.
    """
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
