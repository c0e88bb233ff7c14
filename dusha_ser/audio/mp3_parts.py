"""MP3 files joined from parts: where each part lies, and a header that is true of it.

The header of an MP3 states its length, and libsndfile reads no further; where there is none, it
guesses the length from the first frame. A podcast with inserted advertisements is several files one
after the other: libsndfile would miss all but the first.

Frames are those of ISO/IEC 11172-3 and 13818-3, layer III. The header is a first frame without
audio that holds "Xing" or "Info", flags, the number of frames and the number of bytes.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import NamedTuple

# kbit/s by four bits of a frame's header: of MPEG 1, and of MPEG 2 and 2.5.
BIT_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)
SAMPLING_RATES = (44100, 48000, 32000, 0)  # Hz, of MPEG 1; halved in MPEG 2, and again in 2.5
VERSIONS = {3: 0, 2: 1, 0: 2}
# Side information in bytes: of one channel and of two.
SIDE = ((17, 32), (9, 17))
SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
MARKS = (b"Xing", b"Info")
HAS_FRAMES, HAS_BYTES = 1, 2
# Decoders find the next frame behind up to this many bytes of something else.
GAP = 1024
# The first frame begins within this many bytes.
FAR = 2**16
# What is shorter, 0.1 s, is what a cut left of a part.
FEWEST_FRAMES = 4
# By how many bytes a file that is one part may be longer than stated: tags at its end.
SLACK = 2048


class FrameKind(NamedTuple):
    """What the first four bytes of a frame state."""

    size: int  # bytes of the frame
    sampling_rate: int  # Hz
    channels: int
    mark: int  # bytes before "Xing" or "Info" where the frame is a header


@dataclass
class Frames:
    """Frames of one rate and number of channels, one after the other, behind one header or none."""

    kind: FrameKind
    first: bytes  # four bytes of the first frame
    header: int  # where their header begins in the file, in bytes
    start: int  # where the first frame begins
    stop: int  # the place behind the last frame
    count: int = 0
    stated: int | None = None  # the number of frames by their header

    def part(self) -> tuple[bytes, int, int]:
        """A header that states the number of frames, and where the frames begin and end."""
        if self.stated == self.count:
            return b"", self.header, self.stop
        # Bit rate 9 of 15, without a checksum: any one that gives room enough would do.
        head = bytes((255, self.first[1] | 1, 0x90 | self.first[2] & 0x0C, self.first[3]))
        size = (frame_kind(head) or self.kind).size
        info = b"Info" + HAS_FRAMES.to_bytes(4) + self.count.to_bytes(4)
        return (head.ljust(self.kind.mark, b"\0") + info).ljust(size, b"\0"), self.start, self.stop


@functools.lru_cache(maxsize=4096)
def frame_kind(header: bytes) -> FrameKind | None:
    """Read the first four bytes of a frame of layer III; None if they are something else.

    Examples:
        >>> frame_kind(bytes.fromhex("fffb90c4"))
        FrameKind(size=417, sampling_rate=44100, channels=1, mark=21)
        >>> frame_kind(b"RIFF") is None
        True
    """
    if len(header) < 4 or not SYNC.match(header):
        return None
    version = VERSIONS[header[1] >> 3 & 3]
    later = int(version > 0)
    kilobits = BIT_RATES[later][header[2] >> 4]
    rate = SAMPLING_RATES[header[2] >> 2 & 3] >> version
    if not kilobits or not rate:
        return None
    size = (72 if later else 144) * 1000 * kilobits // rate + (header[2] >> 1 & 1)
    channels = 1 if header[3] >> 6 == 3 else 2
    return FrameKind(size, rate, channels, 4 + SIDE[later][channels - 1])


def find_mp3_parts(content: bytes | mmap) -> list[tuple[bytes, int, int]]:
    """Find the parts of an MP3 by walking from frame to frame.

    Args:
        content: of the file, without tags in front.

    Returns:
        Of each part, bytes to read first, and where it begins and ends in the file, in bytes.
        Empty where decoders read the file to its end, or it is not an MP3.
    """
    place = _next_frame(content, 0, FAR)
    header = _read_header(content, place)
    if header and header[1] and 0 <= len(content) - place - header[1] <= SLACK:
        return []
    found = [frames for frames in _walk(content, place) if frames.count >= FEWEST_FRAMES]
    if len(found) == 1:
        (one,) = found
        guessed = (one.stop - one.start) / one.kind.size
        if one.stated is not None or guessed >= one.count:
            return []
    return [frames.part() for frames in found]


def _read_header(content: bytes | mmap, place: int) -> tuple[int | None, int | None] | None:
    """Read the numbers of frames and bytes that a header states; None: there is no header."""
    kind = frame_kind(content[place : place + 4])
    if kind is None or content[place + kind.mark : place + kind.mark + 4] not in MARKS:
        return None
    place += kind.mark + 4
    flags, *numbers = (int.from_bytes(content[at : at + 4]) for at in range(place, place + 12, 4))
    frames = numbers.pop(0) if flags & HAS_FRAMES else None
    return frames, numbers.pop(0) if flags & HAS_BYTES else None


def _walk(content: bytes | mmap, place: int) -> Iterator[Frames]:
    """Yield the frames of a file in runs, each no longer than its header states."""
    run: Frames | None = None
    left = -1  # frames of the run that are still to come; negative: not known
    while place < len(content):
        first = content[place : place + 4]
        kind = frame_kind(first)
        if kind is None or place + kind.size > len(content):
            found = _next_frame(content, skip_tags(content, place), len(content))
            if run and found - place > GAP:
                yield run
                run = None
            place = found
            continue
        is_header = content[place + kind.mark : place + kind.mark + 4] in MARKS
        if is_header or not left or not run or run.kind[1:3] != kind[1:3]:
            if run:
                yield run
            start = place + kind.size if is_header else place
            run, left = Frames(kind, first, place, start, start), -1
            if is_header:
                run.stated = (_read_header(content, place) or (None, None))[0]
                left = run.stated or -1
                place = start
                continue
        place += kind.size
        run.count, run.stop = run.count + 1, place
        left -= 1
    if run:
        yield run


def skip_tags(content: bytes | mmap, place: int) -> int:
    """Return the place behind the ID3 tags that begin at a place."""
    while True:
        if content[place : place + 3] == b"ID3":
            # Seven bits of each byte count; a footer takes another ten bytes.
            bits = content[place + 6 : place + 10]
            size = functools.reduce(lambda size, byte: size << 7 | byte & 127, bits, 0)
            place += 10 + size + (10 if content[place + 5 : place + 6] >= b"\x10" else 0)
        elif content[place : place + 3] == b"TAG":
            place += 128
        else:
            return place


def _next_frame(content: bytes | mmap, place: int, stop: int) -> int:
    """Return the next place before `stop` where two frames are alike, or the end of the file."""
    for found in SYNC.finditer(content, place, min(stop, len(content))):
        place = found.start()
        kind = frame_kind(content[place : place + 4])
        after = kind and frame_kind(content[place + kind.size : place + kind.size + 4])
        if kind and after and after[1:] == kind[1:]:
            return place
    return len(content)
