"""WAV files whose header is not true of them: unfinished, cut, or several joined to one.

A recorder that is killed, or that writes into a pipe, never learns the size that belongs into the
header. What is behind the samples is read as chunks (titles, cue points) where it can be one.
"""

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


class Wav(NamedTuple):
    """Where a wav and its samples lie in a file, in bytes."""

    start: int
    fmt: bytes  # the content of its chunk "fmt "
    samples: int
    stated: int  # the size of the samples by the header
    is_regular: bool  # whether libsndfile finds its chunks


def find_wav_parts(file: BinaryIO, size: int) -> tuple[list[tuple[bytes, int, int]], str]:
    """Find the samples of a wav whose header is not true of it.

    Args:
        file: the wav, of `size` bytes.
        size: of the file.

    Returns:
        As `mp3_parts.find_mp3_parts`; and what the header states wrongly, empty if it is true.
    """
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
    return [(_make_header(one, stop), one.samples, stop) for one, stop in wavs], wrong


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
