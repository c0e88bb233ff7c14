"""Files and folders that are written whole or not at all, and never over the user's.

Finished results are replaced only where the user says so (`overwrite=True`), and a folder that
other programs filled is never written into: `check_file`, `check_folder` and `replacing_folder`.
"""

import contextlib
import csv
import fnmatch
import functools
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError

try:
    import fcntl
except ImportError:  # Windows: what killed programs leave there stays
    fcntl = None  # type: ignore[assignment]  # mypy has no name for a missing module

# What a file manager, a shell or a scheduler leaves in a folder.
BESIDE = (".*", "*.log", "*.out", "*.err")
# What is being written has a hidden name such as ".table.4711.unfinished.csv".
UNFINISHED = re.compile(r"\..+\.\d+\.unfinished(\.[^.]*)?", re.DOTALL)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file whole or not at all: a temporary file takes its place when the block ends well.

    What a killed program left in the folder goes when the next program writes there.

    Args:
        path: the file; its folder is made. If it is a link, what it points to is replaced.

    Yields:
        The temporary file, empty, with path's suffix, by which writers choose a format.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path, Path.touch) as unfinished:
        yield unfinished
        unfinished.replace(path)


def create_file(path: Path, content: bytes) -> bool:
    """Write a file whole unless it is there; of several programs that try, one succeeds.

    Returns:
        Whether this one has.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path, Path.touch) as unfinished:
        unfinished.write_bytes(content)
        try:
            os.link(unfinished, path)
        except FileExistsError:
            return False
    return True


@contextlib.contextmanager
def replacing_folder(
    place: str | os.PathLike,
    own: Sequence[str] | None = None,
    overwrite: bool = False,
    merge: bool = False,
) -> Iterator[Path]:
    """Write a folder whole or not at all: a temporary one takes its place when the block ends well.

    A program killed between the two renames leaves the old folder hidden beside its place; the
    next one that writes there puts it back first.

    Args:
        place: the folder; its parents are made. If it is a link, what it points to is replaced.
        own: patterns of names that may be in a folder that is replaced; None: anything.
        overwrite: whether a folder that is not empty, or where merged a file, may be replaced.
        merge: whether what is in the folder stays, except files of equal names.

    Yields:
        The temporary folder, empty.

    Raises:
        WrongUseError: place is a file, or holds something that may not be replaced.
    """
    shown, place = Path(place), Path(place).resolve()
    _check_writable(shown, "output_dir")
    place.parent.mkdir(parents=True, exist_ok=True)
    restore_folder(place)
    check_folder(shown)
    there = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    if others := [name for name in there if own is not None and not _matches(name, own)]:
        raise WrongUseError(foreign(shown, others[0]))
    if there and not (merge or overwrite):
        raise WrongUseError(in_the_way(shown, there[0]))
    merge = merge and place.exists()
    # Of a folder that stays, the parent may be somebody else's.
    with _temporary(place / "new" if merge else place, Path.mkdir) as unfinished:
        yield unfinished
        if merge:
            files = {path: path.relative_to(unfinished) for path in unfinished.rglob("*")}
            files = {path: name for path, name in sorted(files.items()) if path.is_file()}
            for name in () if overwrite else files.values():
                if (place / name).exists():
                    raise WrongUseError(in_the_way(shown, name))
            for path, name in files.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                path.replace(place / name)
        else:
            replace_folder(unfinished, place)


def check_file(
    path: str | os.PathLike,
    overwrite: bool = False,
    inputs: Iterable[str | os.PathLike] = (),
    name: str = "output_file",
) -> None:
    """Make sure, before any work is done, that a file can be written and replaces nothing.

    Args:
        path: of the file.
        overwrite: whether it may be replaced.
        inputs: what is read, which may not be replaced in any case.
        name: of the option that names the file.

    Raises:
        WrongUseError: it is there, is a folder, is an input, or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise WrongUseError(f"{path} is a folder; name a file as `{name}`")
    _check_writable(path, name)
    if not path.exists():
        return
    if any(_exists(Path(one)) and path.samefile(one) for one in inputs):
        raise WrongUseError(f"{path} is read here and would be replaced; name another `{name}`")
    if not overwrite:
        raise WrongUseError(
            f"{path} is there already; name another `{name}`, or replace it with `overwrite=True`"
        )


def check_folder(
    place: str | os.PathLike,
    overwrite: bool = False,
    finished: Sequence[str] = (),
    marks: Sequence[str] | None = None,
    neutral: Sequence[str] = (),
    name: str = "output_dir",
) -> None:
    """Make sure, before any work is done, that a folder can be written and replaces nothing.

    Hidden files and logs are nobody's results.

    Args:
        place: the folder, which need not be there.
        overwrite: whether a finished result may be replaced.
        finished: patterns of names that a finished result has.
        marks: patterns of paths of which a folder of this program has one; a folder with other
            files and none of these is refused. None: any folder may be written into.
        neutral: patterns of names that say nothing of whose folder it is.
        name: of the option that names the folder.

    Raises:
        WrongUseError: the folder is of others or holds a finished result, is a file, or cannot be
            written.
    """
    place = Path(place)
    if place.exists() and not place.is_dir():
        raise WrongUseError(f"{place} is a file; name a folder as `{name}`")
    _check_writable(place, name)
    there = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    others = [one for one in there if not _matches(one, (*BESIDE, *neutral))]
    if others and marks is not None and not any(any(place.glob(mark)) for mark in marks):
        raise WrongUseError(foreign(place, others[0], name))
    if not overwrite and (taken := [one for one in there if _matches(one, finished)]):
        raise WrongUseError(in_the_way(place, taken[0]))


def foreign(place: Path, what: str | os.PathLike, name: str = "output_dir") -> str:
    """Say that a folder, which an option names, is not this program's, by something in it."""
    return (
        f"{place} holds {what}, which this program did not write; name another folder as `{name}`"
    )


def in_the_way(place: Path, name: str | os.PathLike) -> str:
    """Say that a folder holds a finished result, by the name of something in it."""
    return (
        f"{place} already holds {name}; name another folder as `output_dir`, or replace what is "
        "there with `overwrite=True` if nobody needs it any more"
    )


def free_name(place: Path, word: str) -> Path:
    """Name a folder beside a place, such as model_tuned or model_tuned_2, that is not there yet."""
    place = place.resolve() if place.name in ("", "..") else place
    names = itertools.chain([word], (f"{word}_{number}" for number in itertools.count(2)))
    places = (place.with_name(f"{place.name}_{name}") for name in names)
    return next(one for one in places if not one.exists())


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _exists(path: Path) -> bool:
    """Tell whether something is at a path; not if the folder may not be looked into."""
    with contextlib.suppress(OSError):
        return path.exists()
    return False


def _check_writable(path: Path, name: str) -> None:
    """Raise a WrongUseError if a file or folder cannot be made or replaced at a path."""
    there = next(one for one in (path, *path.parents) if _exists(one))
    if there == path and not path.is_dir():
        there = path.parent
    if not there.is_dir():
        raise WrongUseError(f"{there} is a file, so {path} cannot be made; name another `{name}`")
    if not os.access(there, os.W_OK | os.X_OK):
        raise WrongUseError(
            f"{path} cannot be written: {there} may not be changed; name another `{name}`"
        )


def replace_folder(new: Path, place: Path) -> None:
    """Move a finished folder, on the same disk, to its place and remove the one that is there."""
    with _locked(place.parent):
        old = _restore(place)
        if place.exists():
            place.rename(old)
        new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def restore_folder(place: Path) -> None:
    """Put a folder back that a program moved aside to replace it, and was killed."""
    if place.parent.is_dir():
        with _locked(place.parent):
            _restore(place)


def _restore(place: Path) -> Path:
    """Put back what a kill in `replace_folder` left moved aside; return where that would lie."""
    old = place.with_name(f".{place.name}.replaced")
    if old.exists():
        if place.exists():
            shutil.rmtree(old)
        else:
            old.rename(place)
    return old


@contextlib.contextmanager
def _temporary(place: Path, make) -> Iterator[Path]:
    """A temporary file or folder beside place, locked while in use, and gone afterwards."""
    _remove_leftovers(place.parent)
    path = place.with_name(f".{place.stem}.{os.getpid()}.unfinished{place.suffix}")
    _remove(path)
    while True:
        make(path)
        with _locked(path):
            if not path.exists():
                continue  # another program took it for a leftover before it was locked
            try:
                yield path
            finally:
                _remove(path)
            return


@functools.cache  # once per process, because a folder may hold 100,000 files
def _remove_leftovers(folder: Path) -> None:
    """Remove what killed programs left unfinished in a folder: nobody holds a lock on it."""
    for path in [path for path in folder.iterdir() if UNFINISHED.fullmatch(path.name)]:
        with _locked(path, wait=False) as held:
            if held:
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Lock a file or folder; gives whether that worked. The lock ends with the process, too."""
    descriptor, held = None, False
    with contextlib.suppress(OSError):  # some network disks know no locks
        if fcntl is not None:
            descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
    try:
        yield held
    finally:
        if descriptor is not None:
            os.close(descriptor)


def check_space(folder: Path, size: int, what: str) -> None:
    """Raise WorkFailedError if a disk has fewer than size bytes left for `what`, in a cache."""
    if size > (free := shutil.disk_usage(folder).free):
        raise WorkFailedError(
            f"{what} needs {size / 1e9:.1f} GB more in {folder}, where {free / 1e9:.1f} GB are "
            "free; make room, or name another `cache_dir`"
        )


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows of values by column as CSV, whole or not at all; None becomes an empty field."""
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV that `write_csv` wrote, all as text."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all; NaN or an infinite number in it is a ValueError."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict:
    """Read a JSON file that `write_json` wrote.

    Raises:
        MissingInputError: there is no such file.
        WrongUseError: it is not JSON.
    """
    if not path.is_file():
        raise MissingInputError(f"no file {path}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WrongUseError(f"{path} is not JSON ({error}); make it again") from error


def check_settings(note: Path, settings: dict, shown: Path, name: str) -> None:
    """Let no result be resumed with other settings than those that began it.

    Args:
        note: the file where they are noted, now if they were not.
        settings: JSON values.
        shown: the result.
        name: of the option that names it.

    Raises:
        WrongUseError: others began it.
    """
    if not note.exists():
        write_json(note, settings)
        return
    try:
        before = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        before = {}
    if other := sorted(key for key in settings if before.get(key) != settings[key]):
        raise WrongUseError(
            f"{shown} was begun with another {', '.join(other)}; name another `{name}`, or replace "
            "it with `overwrite=True`"
        )
