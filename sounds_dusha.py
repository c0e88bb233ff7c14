"""Sound files of any kind: which ones the user means, and their samples piece by piece."""

import csv
import glob
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from command_line_dusha import MissingInputError, WrongUseError
from timeline_dusha import read_blocks, resample_blocks

STANDARD_INPUT = "-"
TABLES = {".csv": ",", ".tsv": "\t"}
# What phones, messengers and browsers record, and libsndfile does not read.
OTHER_SUFFIXES = (".3gp", ".aac", ".amr", ".m4a", ".mka", ".mp4", ".webm", ".wma")


@dataclass(frozen=True, slots=True)
class Sound:
    """A file to read, and the name under which the user knows it."""

    name: str
    path: str


class UnreadableSoundError(ValueError):
    """A file holds no sound that can be read; the message says why."""


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
