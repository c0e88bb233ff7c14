"""Files and folders that are written whole or not at all, names for them, and keys of caches."""

import contextlib
import csv
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dusha_ser.errors import MissingInputError, WrongUseError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name that takes the place of a file once the block ends well.

    Whoever reads the file meets the old one or the new one, never half of one. The suffix stays,
    because writers go by it.

    Args:
        path: of the file; its folder is made.

    Yields:
        a name in the same folder; whatever is left of it is removed if the block fails.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def digest(*values) -> str:
    """Return a short name for anything that JSON can hold.

    Args:
        values: equal values give equal names, on every machine.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_csv(path: Path, columns: Iterable[str], rows: list[dict]) -> None:
    """Write a table of text, all of it or nothing.

    Args:
        path: the file.
        columns: its header.
        rows: values by column; None becomes an empty field.
    """
    temporary = path.with_name(f".{path.name}.incomplete")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def write_json(path: Path, content: object) -> None:
    """Write JSON, all or nothing; NaN is refused."""
    with replacing(path) as unfinished:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        unfinished.write_text(text + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text file, all or nothing."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict:
    """Read a JSON file that a program of this project wrote.

    Raises:
        MissingInputError: if there is none.
        WrongUseError: if it is not JSON.
    """
    if not path.is_file():
        raise MissingInputError(f"no file {path}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WrongUseError(f"{path} is not JSON ({error}); make it anew") from error


def safe_name(name: str) -> str:
    """A name with whatever a file system may not take replaced."""
    kept = "".join(c if c.isalnum() or c in "-." else "_" for c in name.strip(os.sep))
    return kept.strip("._") or "_"


# Digits of a hash; the published corpus has as many.
HASH_DIGITS = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def hash_name(content: bytes) -> str:
    """Name something by its content.

    Example:
        >>> hash_name(b"clip")
        '67905ad3cc2dd52b1f5f6a6d2814de03'
    """
    return hashlib.sha256(content).hexdigest()[:HASH_DIGITS]


def is_safe_name(name: str) -> bool:
    """Tell whether a name may become a file's: letters, digits, _ and - only.

    Example:
        >>> is_safe_name("0a1b"), is_safe_name("../0a1b"), is_safe_name(".hidden")
        (True, False, False)
    """
    return NAME.fullmatch(name) is not None


@contextlib.contextmanager
def whole_folder(output_dir: Path, own: Sequence[str], replace: bool) -> Iterator[Path]:
    """Give a temporary folder that takes the place of another once the block ends well.

    Args:
        output_dir: which may be there if it is empty, or replaced if it holds nothing else.
        own: names of what is written into it.
        replace: whether what is there of these may go.

    Yields:
        the temporary folder, which is gone if the block fails.

    Raises:
        WrongUseError: if the place is taken.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise WrongUseError(f"{output_dir} is a file; name a folder")
    there = sorted(path.name for path in output_dir.iterdir()) if output_dir.is_dir() else []
    if others := [name for name in there if name not in own]:
        raise WrongUseError(
            f"{output_dir} holds {others[0]}, which is not of this program; name another "
            "--output_dir"
        )
    if there and not replace:
        raise WrongUseError(
            f"{output_dir} holds {there[0]} already; name another --output_dir, or give "
            "--overwrite if nobody needs it any more"
        )
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-", dir=output_dir.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp's folders are for their owner only
        if output_dir.exists():
            old = unfinished.with_name(f"{unfinished.name}.old")
            output_dir.rename(old)
            unfinished.rename(output_dir)
            shutil.rmtree(old, ignore_errors=True)
        else:
            unfinished.rename(output_dir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
