"""WAV files whose header is not true of them: unfinished, cut, or several joined to one.

A recorder that is killed, or that writes into a pipe, never learns the size that belongs into the
header. What is behind the samples is read as chunks (titles, cue points) where it can be one.
"""

import io
import struct
from typing import BinaryIO, NamedTuple

# A size that says "not known", and, in RF64, "in the chunk ds64".
UNKNOWN = 0xFFFFFFFF
FORMS = (b"RIFF", b"RF64", b"BW64")
# Chunks that follow the samples, one of which may be cut.
KNOWN = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"cue ", b"smpl", b"fact", b"_PMX", b"JUNK")
# What players append that is not a chunk.
TAGS = (b"TAG", b"ID3", b"APETAGEX")
# Files are filled up with zeros to the size of a disk's sectors.
SECTOR = 4096


class Part(NamedTuple):
    """A stretch of a file, and what decoders read in front of it."""

    header: bytes
    start: int  # its first byte in the file
    stop: int  # the byte behind its last one


class Wav(NamedTuple):
    """Where a wav and its samples lie in a file, in bytes."""

    start: int
    fmt: bytes  # the content of its chunk "fmt "
    samples: int
    stated: int  # the size of the samples by the header
    is_regular: bool  # whether libsndfile finds its chunks


def find_parts(file: BinaryIO) -> tuple[list[Part], str]:
    """Find what libsndfile reads of a file, where it would not read it right as it is.

    Args:
        file: of any format.

    Returns:
        The parts to decode one after the other, empty where decoders read the file right; and what
        the header states wrongly, empty if it is true.
    """
    size = file.seek(0, io.SEEK_END)
    begin = _peek(file, 0, 44)
    if begin[36:40] == b"data" and int.from_bytes(begin[40:], "little") == size - 44:
        return [], ""  # the plain wavs that most recordings are
    if begin.startswith(FORMS):
        return _find_wav_parts(file, size)
    if not begin.startswith(b"ID3"):
        return [], ""
    # libsndfile would lose as many bytes at the end of what is in memory as the tags take. Their
    # size is in bytes of seven bits.
    tags = 10 + sum((byte & 127) << 7 * place for place, byte in enumerate(begin[9:5:-1]))
    inner = Part(b"", tags, size)
    parts, wrong = find_parts(open_part(file, inner)) if tags < size else ([], "")
    return [Part(one.header, tags + one.start, tags + one.stop) for one in parts] or [inner], wrong


def _find_wav_parts(file: BinaryIO, size: int) -> tuple[list[Part], str]:
    wavs: list[tuple[Wav, int]] = []
    start = 0
    while (wav := _read_header(file, start, size)) is not None:
        stop = wav.samples + wav.stated
        joined = _peek(file, stop + stop % 2, 12)
        if joined[:4] == b"RIFF" and joined[8:] == b"WAVE":
            start = stop + stop % 2
            wavs.append((wav, stop))
            continue
        if stop >= size or not _is_end(file, stop, size):
            stop = size
        wavs.append((wav, stop))
        break
    if not wavs:
        return [], ""
    wav, stop = wavs[-1]
    there, wrong = stop - wav.samples, ""
    # One byte is what pads an odd number of them.
    if there and abs(there - wav.stated) > 1:
        stated = "no size" if wav.stated == UNKNOWN else f"{wav.stated:,} bytes"
        wrong = f"its header states {stated} of samples and {there:,} bytes are there"
    elif len(wavs) == 1 and wav.is_regular:
        return [], ""
    return [Part(_make_header(one, stop), one.samples, stop) for one, stop in wavs], wrong


def _read_header(file: BinaryIO, start: int, size: int) -> Wav | None:
    """Read the chunks up to the samples; None where this is not a wav that has any."""
    form = _peek(file, start, 12)
    if form[:4] not in FORMS or form[8:] != b"WAVE":
        return None
    place, fmt, large, is_regular = start + 12, b"", None, True
    while len(chunk := _peek(file, place, 8)) == 8:
        if not _is_name(chunk[:4]) and _is_name(before := _peek(file, place - 1, 4)):
            # The chunk before is of an odd size, and not padded.
            place, chunk, is_regular = place - 1, before + _peek(file, place + 3, 4), False
        name, length = chunk[:4], int.from_bytes(chunk[4:], "little")
        if name == b"data":
            stated = large if large and length == UNKNOWN else length
            return Wav(start, fmt, place + 8, stated, is_regular) if fmt else None
        if not _is_name(name):
            return None
        if name == b"fmt ":
            fmt = _peek(file, place + 8, min(length, SECTOR))
        elif name == b"ds64":
            large = int.from_bytes(_peek(file, place + 16, 8), "little")
        place += 8 + length + length % 2
    return None


def _is_end(file: BinaryIO, place: int, size: int) -> bool:
    """Tell whether what follows the samples is something else: chunks, tags, padding."""
    place += place % 2
    first = _peek(file, place, SECTOR)
    if size - place <= len(first) and not any(first) or first.startswith(TAGS):
        return True
    while place + 8 <= size:
        chunk = _peek(file, place, 8)
        if chunk.startswith((*TAGS, *KNOWN)):
            return True
        if not _is_name(chunk[:4]):
            return False
        length = int.from_bytes(chunk[4:], "little")
        place += 8 + length + length % 2
    # The last chunk may be unpadded.
    return place <= size + 1


def _make_header(wav: Wav, stop: int) -> bytes:
    """A header without anything that is not needed, true of samples that end at `stop`."""
    size = min(stop - wav.samples, UNKNOWN)
    fmt = b"fmt " + struct.pack("<I", len(wav.fmt)) + wav.fmt + bytes(len(wav.fmt) % 2)
    whole = min(4 + len(fmt) + 8 + size + size % 2, UNKNOWN)
    return b"RIFF" + struct.pack("<I", whole) + b"WAVE" + fmt + b"data" + struct.pack("<I", size)


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _peek(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def open_part(file: BinaryIO, part: Part) -> BinaryIO:
    """Open a part of an open file as a file of its own, to be read."""
    return io.BufferedReader(_PartFile(file, part), 2**16)


class _PartFile(io.RawIOBase):
    def __init__(self, file: BinaryIO, part: Part):
        self._file, self._part = file, part
        self._size = len(part.header) + part.stop - part.start
        self._place = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of any file."""
        self._place = max(0, offset + (0, self._place, self._size)[whence])
        return self._place

    def readinto(self, buffer) -> int:
        """As of any file; fewer bytes than asked for where the header ends."""
        header, start, _ = self._part
        wanted = min(len(buffer), max(0, self._size - self._place))
        if self._place < len(header):
            content = header[self._place : self._place + wanted]
        else:
            self._file.seek(start + self._place - len(header))
            content = self._file.read(wanted)
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)
