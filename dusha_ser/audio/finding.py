"""Audio files that a user means: files, folders, patterns, tables, standard input."""

import csv
import glob
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import soundfile

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.tables import TABLES

STANDARD_INPUT = "-"
# What phones, messengers and browsers record, and libsndfile does not read.
OTHER_SUFFIXES = (".3gp", ".aac", ".amr", ".m4a", ".mka", ".mp4", ".webm", ".wma")


@dataclass(frozen=True, slots=True)
class Sound:
    """A file to read, and the name under which the user knows it."""

    name: str
    path: str


def sound_suffixes() -> list[str]:
    """Suffixes of the files that libsndfile knows by their content, in lower case, with a dot."""
    known = {f".{name.lower()}" for name in soundfile.available_formats()}
    # A .raw file does not say its rate.
    return sorted((known | {".aif", ".oga", ".opus", ".mp3"}) - {".raw"})


def find_clips(paths: Iterable[Path], suffixes: Sequence[str] | None = None) -> list[Path]:
    """List sound files by their names.

    Args:
        paths: files and folders, which are searched through.
        suffixes: how the files' names end, in lower case; None: as libsndfile reads them.

    Returns:
        The files, in a stable order.

    Raises:
        MissingInputError: if a path does not exist or there are no sound files at all.
    """
    paths, suffixes = list(paths), suffixes or sound_suffixes()
    found = []
    for path in paths:
        if not path.exists():
            raise MissingInputError(f"no such file or folder: {path}")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [
            file
            for file in inside
            # macOS leaves a "._NAME" companion of each file on foreign disks.
            if file.suffix.lower() in suffixes and not file.name.startswith("._") and file.is_file()
        ]
    if not found:
        raise MissingInputError(
            f"no sound files in {', '.join(map(str, paths))}; they end in {', '.join(suffixes)}"
        )
    return found


def list_sounds(
    inputs: Iterable[str],
    path_column: str = "path",
    standard_input: BinaryIO | None = None,
    folder: str | Path = ".",
) -> list[Sound]:
    """List what a user names on a command line.

    Args:
        inputs: sound files; folders, which are searched through; patterns with *, ? and **; tables
            (.csv, .tsv) of paths, which are relative to the table's folder; "-" for standard
            input, which is one sound, or a list of paths, one a line or each ended by a zero byte.
        path_column: the column of the tables that holds paths.
        standard_input: what "-" reads.
        folder: where the sound that comes by standard input is kept.

    Returns:
        Each file once, in a stable order. Files of tables and lists may be missing: whoever reads
        them finds that out.

    Raises:
        MissingInputError: if a file, folder or pattern leads to nothing.
        WrongUseError: if a table has no such column, or standard input is no list.
    """
    suffixes = [*sound_suffixes(), *OTHER_SUFFIXES]
    found: list[Sound] = []
    for given in inputs:
        path = Path(given)
        if given == STANDARD_INPUT:
            found += from_standard_input(standard_input, Path(folder))
        elif path.is_dir():
            found += [Sound(str(file), str(file)) for file in find_clips([path], suffixes)]
        elif path.suffix.lower() in TABLES and path.is_file():
            found += from_table(path, path_column)
        elif path.exists():
            found.append(Sound(given, given))
        elif glob.has_magic(given):
            # Path.glob takes no pattern that begins at the root.
            matches = [Path(m) for m in sorted(glob.glob(given, recursive=True))]  # noqa: PTH207
            if not matches:
                raise MissingInputError(f"nothing matches the pattern {given}")
            found += [Sound(str(file), str(file)) for file in find_clips(matches, suffixes)]
        else:
            raise MissingInputError(
                f"no such file or folder: {given}; give sound files, folders, patterns, a .csv of "
                "paths, or - for standard input"
            )
    return list({sound.name: sound for sound in found}.values())


def from_table(path: Path, column: str) -> list[Sound]:
    """List the files that a table names, by the names that stand there."""
    sounds = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=TABLES[path.suffix.lower()])
            if column not in (reader.fieldnames or []):
                raise WrongUseError(
                    f"{path} has the columns {', '.join(reader.fieldnames or []) or '(none)'} and "
                    f"not {column!r}; name the one that holds paths with --path_column"
                )
            for row in reader:
                if not row[column]:
                    raise WrongUseError(f"{path}, line {reader.line_num} has no path; fill it in")
                sounds.append(Sound(row[column], str(path.parent / row[column])))
    except (csv.Error, UnicodeDecodeError) as error:
        raise WrongUseError(f"{path} is no table in UTF-8: {error}") from error
    if not sounds:
        raise WrongUseError(f"{path} has no rows below its header; add a path a row")
    return sounds


def from_standard_input(stream: BinaryIO, folder: Path) -> list[Sound]:
    """Take standard input as a sound, which is kept in a folder, or as a list of paths."""
    path = folder / "standard_input"
    with path.open("wb") as file:
        shutil.copyfileobj(stream, file)
    content = Sound(STANDARD_INPUT, str(path))
    try:
        soundfile.info(path)
        return [content]
    except soundfile.LibsndfileError:
        pass
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        # No text, so a sound that libsndfile does not know; reading it says the rest.
        return [content]
    names = text.split("\0") if "\0" in text else text.splitlines()
    if not any(names):
        raise WrongUseError("standard input is empty; send a sound, or a list of paths")
    return [Sound(name, name) for name in names if name]
