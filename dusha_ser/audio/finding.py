"""Audio files that a user names: files, folders, patterns, tables, standard input."""

import glob
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import soundfile

from dusha_ser.audio.reading import UnreadableAudioError, read_info
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.files import find_files, named_file, printable_name
from dusha_ser.tables import is_table, read_table

if TYPE_CHECKING:
    from dusha_ser.audio.finding_turns import TurnsOf

logger = logging.getLogger(__name__)

STANDARD_INPUT = "-"
# What phones, messengers and browsers record, and libsndfile does not read.
OTHER_SUFFIXES = (".3gp", ".aac", ".amr", ".m4a", ".mka", ".mp4", ".webm", ".wma")


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A file to read, the user's name for it, and where its turns are, if they are asked for."""

    name: str
    path: str
    turns: "TurnsOf | None" = None


def name_file(name: str, folder: Path | None = None) -> AudioFile:
    """Make an AudioFile of a name that a table or list holds; see `files.named_file`."""
    return AudioFile(printable_name(name), str(named_file(name, folder)))


def audio_suffixes() -> list[str]:
    """Suffixes of the files that are read by their content, in lower case, with a dot."""
    known = {f".{name.lower()}" for name in soundfile.available_formats()}
    # A .raw file does not state its rate.
    return sorted((known | {".aif", ".oga", ".opus", ".mp3", *OTHER_SUFFIXES}) - {".raw"})


def files_below(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Find the files of a folder (or a file itself) whose names end in one of the suffixes.

    They come in a stable order, without hidden ones. A warning counts links that are not followed.
    """
    left_out: list[str] = []
    for path in find_files(folder, left_out) if folder.is_dir() else [folder]:
        if path.suffix.lower() in suffixes and path.is_file():
            yield path
    if left_out:
        logger.warning(
            "%d links in %s are not followed: %s%s",
            *(len(left_out), folder, "; ".join(left_out[:3])),
            "; ..." if left_out[3:] else "",
        )


def find_audio_files(paths: Iterable[Path], suffixes: Sequence[str] | None = None) -> list[Path]:
    """List audio files by their names, in a stable order.

    Args:
        paths: files and folders, which are searched through.
        suffixes: how the files' names end, in lower case; None: all that are read.

    Raises:
        MissingInputError: if a path does not exist or there are no audio files at all.
    """
    paths, suffixes = list(paths), suffixes or audio_suffixes()
    for path in paths:
        if not path.exists():
            raise MissingInputError(f"no such file or folder: {path}")
    found = [file for path in paths for file in files_below(path, suffixes)]
    if not found:
        raise MissingInputError(
            f"no audio files in {', '.join(map(str, paths))}; they end in {', '.join(suffixes)}"
        )
    return found


def list_audio_files(
    inputs: Iterable[str],
    path_column: str = "path",
    standard_input: BinaryIO | None = None,
    folder: str | Path = ".",
) -> list[AudioFile]:
    """List what a user names on a command line.

    Args:
        inputs: audio files; folders, which are searched through; patterns with *, ? and **; tables
            (.csv, .tsv, .txt) of paths, which are relative to the table's folder; "-" for standard
            input, which is one recording, or a list of paths, one per line or each ended by a zero
            byte.
        path_column: the column of the tables that holds paths.
        standard_input: what "-" reads.
        folder: where the recording that comes by standard input is kept.

    Returns:
        Each file once, in a stable order. Files of tables and lists may be missing; reading them
        shows that.

    Raises:
        MissingInputError: if a file, folder or pattern leads to nothing.
        WrongUseError: if a table has no such column, or standard input is not a list.
    """
    found: list[AudioFile] = []
    for given in inputs:
        path = Path(given)
        if given == STANDARD_INPUT:
            if standard_input is None:
                raise WrongUseError("there is no standard input to read; name files")
            found += _from_standard_input(standard_input, Path(folder) / "standard_input")
        elif is_table(path) and path.is_file():
            advice = "name the one that holds paths with `path_column`"
            names = [
                row[path_column] for row in read_table(path, [path_column], advice, [path_column])
            ]
            found += [name_file(name, path.parent) for name in names]
        elif path.exists() and not path.is_dir():
            found.append(AudioFile(printable_name(given), given))
        elif path.is_dir() or glob.has_magic(given):
            # Path.glob takes no pattern that begins at the root.
            matches = [given] if path.is_dir() else sorted(glob.glob(given, recursive=True))  # noqa: PTH207
            if not matches:
                raise MissingInputError(f"nothing matches the pattern {given}")
            files = find_audio_files(map(Path, matches))
            found += [AudioFile(printable_name(str(file)), str(file)) for file in files]
        else:
            raise MissingInputError(
                f"no such file or folder: {given}; give audio files, folders, patterns, a .csv of "
                "paths, or - for standard input"
            )
    return list({file.name: file for file in found}.values())


def _from_standard_input(stream: BinaryIO, path: Path) -> list[AudioFile]:
    """Take standard input as a recording, which is kept at a path, or as a list of paths."""
    with path.open("wb") as file:
        shutil.copyfileobj(stream, file)
    content = AudioFile(STANDARD_INPUT, str(path))
    try:
        read_info(path)
        return [content]
    except UnreadableAudioError:
        pass
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    names = text.split("\0") if "\0" in text else text.splitlines()
    # What is not UTF-8 is audio that nothing here knows, or names of files.
    if re.search("[\udc80-\udcff]", text) and not any(map(os.path.lexists, names[:1])):
        return [content]
    if not any(names):
        raise WrongUseError("standard input is empty; send a recording, or a list of paths")
    return [name_file(name) for name in names if name]
