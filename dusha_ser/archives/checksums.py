"""MD5 and SHA-256 of archives: those that users give, those of files."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm.auto import tqdm

from dusha_ser.errors import WorkFailedError, WrongUseError


class Checksum(NamedTuple):
    """What a file's content is known to be: "md5" or "sha256", and digits in lower case."""

    kind: str
    digits: str


def parse_checksum(name: str, text: str) -> Checksum:
    """Read an archive's checksum as users give it: "sha256:HEX", "md5:HEX", or the digits alone.

    Examples:
        >>> parse_checksum("crowd.tar", "MD5:D41D8CD98F00B204E9800998ECF8427E")
        Checksum(kind='md5', digits='d41d8cd98f00b204e9800998ecf8427e')
    """
    pattern = r"(?:md5:)?([0-9a-f]{32})|(?:sha256:)?([0-9a-f]{64})"
    if match := re.fullmatch(pattern, text.strip().lower()):
        return Checksum("md5" if match[1] else "sha256", match[1] or match[2])
    raise WrongUseError(
        f"{text!r} is not a checksum of {name}; give md5: and 32 or sha256: and 64 hexadecimal "
        "digits"
    )


def check_file(path: Path, checksum: Checksum, quiet: bool = False) -> None:
    """Raise WorkFailedError if a file has another checksum, or cannot be read."""
    digests = {checksum.kind: new_digests()[checksum.kind]}
    try:
        with path.open("rb") as file:
            feed(digests, file, path.stat().st_size, f"Checking {path.name}", quiet)
    except OSError as error:
        raise WorkFailedError(f"{path}: cannot be read: {error.strerror}") from error
    if (came := digests[checksum.kind].hexdigest()) != checksum.digits:
        raise WorkFailedError(
            f"{path}: its {checksum.kind} is {came}, not {checksum.digits}; delete it and fetch it "
            "again, or correct the checksum"
        )


def new_digests() -> dict[str, "hashlib._Hash"]:
    """Make the digests of nothing, one for each kind of checksum."""
    return {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}


def feed(
    digests: Mapping[str, "hashlib._Hash"], file: BinaryIO, size: int, title: str, quiet: bool
) -> None:
    """Add what is left of a file to digests; size (bytes) and title are the bar's."""
    with byte_bar(title, size, quiet) as bar:
        while data := file.read(2**20):
            for digest in digests.values():
                digest.update(data)
            bar.update(len(data))


def byte_bar(title: str, size: int | None, quiet: bool) -> tqdm:
    """Make a bar of bytes; what takes less than a second shows none."""
    return tqdm(desc=title, total=size, unit="B", unit_scale=True, delay=1, disable=quiet)
