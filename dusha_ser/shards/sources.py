"""What shards lie in, and tables and tars read from any of their bytes on."""

import csv
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from dusha_ser.audio.finding import audio_suffixes
from dusha_ser.errors import WrongUseError
from dusha_ser.shards.stores import open_files
from dusha_ser.tables import TABLES

PARQUET, TAR, TABLE, LIST = "parquet", "tar", "table", "list"
TarErrors = (tarfile.TarError, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of what is to be done.

    Attributes:
        kind: of what it lies in.
        place: path or URL of that.
        start: its first row of Parquet, or byte of a table, list or tar.
        stop: the one behind its last; -1: all that are there.
        state: of the file, as `stores.file_states` has it; empty where it is not known.
    """

    kind: str
    place: str
    start: int = 0
    stop: int = -1
    state: str = ""

    def __str__(self) -> str:
        unit = "rows" if self.kind == PARQUET else "bytes"
        if not self.start and self.stop < 0:
            return self.place
        return f"{self.place} ({unit} {self.start} to {'the end' if self.stop < 0 else self.stop})"


def changed_input(place: str) -> str:
    """Say that a file of a job is another one now."""
    return (
        f"{place} has changed since this job was begun, so that its rows would be of both; name "
        "another `output_shards`"
    )


class Lines:
    """The lines of a table in UTF-8, as the csv module reads them; counts the bytes."""

    def __init__(self, file: Any, place: str, position: int = 0):
        self.file, self.place, self.position = file, place, position
        file.seek(position)

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.position += len(line)
            try:
                yield line.decode("utf-8-sig" if self.position == len(line) else "utf-8")
            except UnicodeDecodeError as error:
                raise WrongUseError(
                    f"{self.place} is not in UTF-8; save a table of this size as CSV UTF-8, or as "
                    "Parquet"
                ) from error


def table_rows(place: str, file: Any, start: int = 0) -> Iterator[tuple[list[str], int]]:
    """Read the records of a table from a byte on, each with the byte behind it."""
    lines = Lines(file, place, start)
    separator = TABLES.get(Path(place).suffix.lower(), ",")
    for cells in csv.reader(iter(lines), delimiter=separator):
        yield cells, lines.position


class Member(NamedTuple):
    """Audio in a tar: its name without the suffix, its content if it was read, where it begins."""

    name: str
    content: bytes
    offset: int


def audio_members(
    place: str, start: int = 0, stop: int = -1, read: bool = True
) -> Iterator[Member]:
    """Read the audio in a tar, in its order.

    In tars of WebDataset, names without suffixes are the keys of the samples.

    Args:
        place: path or URL.
        start: byte where a member begins; only of a tar that is not compressed.
        stop: byte before which members begin; -1: all.
        read: whether to read contents.

    Raises:
        tarfile.TarError, EOFError, zlib.error: if it is not a tar, or damaged.
    """
    files, path = open_files(place)
    suffixes = audio_suffixes()
    with files.open(path, "rb") as file:
        file.seek(start)
        with tarfile.open(fileobj=file, mode="r:*") as archive:
            for member in archive:
                if 0 <= stop <= member.offset:
                    return
                # Python keeps all members it has seen, which would grow with the archive.
                archive.members = []  # type: ignore[attr-defined]  # not in the stubs
                name = PurePosixPath(member.name)
                if not member.isfile() or name.suffix.lower() not in suffixes:
                    continue
                content = archive.extractfile(member) if read else None
                audio = content.read() if content else b""
                if content and len(audio) < member.size:
                    raise tarfile.ReadError("unexpected end of data")
                yield Member(str(name.with_suffix("")), audio, member.offset)
            # Python takes a damaged header behind the first for the end.
            blocks: Any = archive.fileobj
            blocks.seek(archive.offset)
            if blocks.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"the header at byte {archive.offset} is damaged")
