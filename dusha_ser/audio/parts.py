"""Audio files whose headers are not true of them, as the parts that decoders read to their end."""

import io
import mmap
from typing import BinaryIO, NamedTuple

from dusha_ser.audio.mp3_parts import SYNC, find_mp3_parts, skip_tags
from dusha_ser.audio.wav_parts import FORMS, find_wav_parts


class Part(NamedTuple):
    """A stretch of a file, and what decoders read in front of it."""

    header: bytes
    start: int  # its first byte in the file
    stop: int  # the byte behind its last one


def find_parts(file: BinaryIO, size: int) -> tuple[list[Part], str]:
    """Find what an audio file holds beyond, or short of, what its header states.

    Args:
        file: of `size` bytes.
        size: of the file.

    Returns:
        The parts to decode one after the other, empty where decoders read the file right; and what
        is to be warned of, empty if nothing is.
    """
    file.seek(0)
    begin = file.read(44)
    if begin[36:40] == b"data" and int.from_bytes(begin[40:], "little") == size - 44:
        return [], ""  # the plain wavs that most recordings are
    if begin.startswith(FORMS):
        found, wrong = find_wav_parts(file, size)
        return [Part(*one) for one in found], wrong
    if begin.startswith(b"ID3"):
        # libsndfile loses as many bytes at the end of what is in memory as the tags take.
        inner = Part(b"", skip_tags(_content(file), 0), size)
        parts, wrong = find_parts(open_part(file, inner), size - inner.start)
        moved = [Part(one.header, *(inner.start + at for at in one[1:])) for one in parts]
        return moved or [inner], wrong
    if SYNC.match(begin):
        return [Part(*one) for one in find_mp3_parts(_content(file))], ""
    return [], ""


def _content(file: BinaryIO) -> bytes | mmap.mmap:
    """The bytes of a file, without reading what is not looked at where the system can do that."""
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        file.seek(0)
        return file.read()


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
