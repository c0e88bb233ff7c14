"""MD5 and SHA-256 of archives: those that users give, those of files."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from tqdm.auto import tqdm

from dusha_ser.errors import WorkFailedError, WrongUseError


def parse_checksum(name: str, text: str) -> tuple[str, str]:
    """Read a checksum as users give it.

    Args:
        name: the archive, for the message.
        text: "sha256:HEX", "md5:HEX", or the digits alone.

    Returns:
        "md5" or "sha256", and the digits in lower case.

    Raises:
        WrongUseError: text is none of these.

    Example:
        >>> parse_checksum("crowd.tar", "MD5:D41D8CD98F00B204E9800998ECF8427E")
        ('md5', 'd41d8cd98f00b204e9800998ecf8427e')
    """
    match = re.fullmatch(r"(?:(md5|sha256):)?([0-9a-f]{32}|[0-9a-f]{64})", text.strip().lower())
    kind = {32: "md5", 64: "sha256"}[len(match[2])] if match else None
    if not match or match[1] not in (None, kind):
        raise WrongUseError(
            f"{text!r} is no checksum of {name}; give md5: and 32 or sha256: and 64 hexadecimal "
            "digits"
        )
    return kind, match[2]


def check_file(path: Path, checksum: tuple[str, str] | None, quiet: bool = False) -> None:
    """Compare a file with a checksum.

    Args:
        path: the file.
        checksum: kind and digits, or None for no comparison.
        quiet: no bar.

    Raises:
        WorkFailedError: the file has another one, or cannot be read.
    """
    if checksum is None:
        return
    kind, expected = checksum
    digests = {kind: new_digests()[kind]}
    try:
        with path.open("rb") as file:
            feed(digests, file, path.stat().st_size, f"Checking {path.name}", quiet)
    except OSError as error:
        raise WorkFailedError(f"{path}: cannot be read: {error.strerror}") from error
    if (came := digests[kind].hexdigest()) != expected:
        raise WorkFailedError(
            f"{path}: its {kind} is {came}, not {expected}; delete it and fetch it again, or "
            "correct the checksum"
        )


def new_digests() -> dict[str, "hashlib._Hash"]:
    """Digests of nothing yet.

    Returns:
        one for each kind of checksum that users give.
    """
    return {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}


def feed(digests: Mapping, file: BinaryIO, size: int, what: str, quiet: bool) -> None:
    """Add the content of a file to digests.

    Args:
        digests: those of new_digests, or some of them.
        file: open at its start.
        size: its length in bytes, for the bar.
        what: the bar's title.
        quiet: no bar.
    """
    with tqdm(desc=what, total=size, unit="B", unit_scale=True, delay=1, disable=quiet) as bar:
        while data := file.read(2**20):
            for digest in digests.values():
                digest.update(data)
            bar.update(len(data))
