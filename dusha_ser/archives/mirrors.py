"""Archives fetched from mirrors in turn into a cache, each checked and kept once."""

import contextlib
import functools
import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import url2pathname

from dusha_ser.archives.checksums import check_file, parse_checksum
from dusha_ser.archives.transfer import (
    Patience,
    Transfer,
    TransferError,
    announced_size,
    discard_unused,
    new_session,
    part_of,
)
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.options import split_list
from dusha_ser.storage import check_space

logger = logging.getLogger(__name__)


def fetch_archives(
    names: Sequence[str],
    base_url: str | Sequence[str],
    cache_dir: str | os.PathLike,
    checksums: Mapping[str, str] | None = None,
    optional: Sequence[str] = (),
    quiet: bool = False,
    patience: Patience = Patience(),  # noqa: B008 - it is frozen
) -> dict[str, Path]:
    """Fetch archives into a cache, or find them there; return the path of each by its name.

    A download that was cut off is resumed at its last byte, in this run or in a later one, as long
    as the server proves that the file is still the same. MD5 and SHA-256 of what came are written
    beside it, as NAME.md5 and NAME.sha256. Each mirror has a folder in the cache, so that these
    never mix; what file addresses hold is used in place. Addresses are tried in turn, and optional
    archives may be missing at all of them.

    Raises:
        WrongUseError: what was given as address or checksum is not one.
        MissingInputError: all mirrors say that they do not have an archive.
        WorkFailedError: no mirror gives an archive, a checksum differs, or the disk is full.
    """
    mirrors = [Mirror(address, Path(cache_dir)) for address in split_list(base_url)]
    known = {name: parse_checksum(name, text) for name, text in (checksums or {}).items()}
    found = {}
    for name in names:
        if mirror := next((one for one in mirrors if (one.folder / name).is_file()), None):
            found[name] = mirror.folder / name
            if name in known:
                check_file(found[name], known[name], quiet)
            if not mirror.local:
                # A kill between the last two changes leaves a sidecar; a cache may be read-only.
                with contextlib.suppress(OSError):
                    discard_unused(found[name])
    missing = [name for name in names if name not in found]
    with new_session() as session:
        remote = next((mirror for mirror in mirrors if not mirror.local), None)
        if remote and len(missing) > 1:  # a transfer checks the space for its own file
            limit = min(10, patience.timeout)
            sizes = {name: announced_size(session, remote.url(name), limit) for name in missing}
            needed = sum(max(0, sizes[name] - _size_so_far(remote, name)) for name in missing)
            Path(cache_dir).mkdir(parents=True, exist_ok=True)
            check_space(Path(cache_dir), needed, " and ".join(missing))
        for name in missing:
            transfer = functools.partial(
                Transfer, session, checksum=known.get(name), quiet=quiet, patience=patience
            )
            # Who cannot reach one archive will not reach the next one either, and should not learn
            # that after the first 28 GB.
            by_hand = [one for one in missing if one not in found and one not in optional]
            try:
                found[name] = _fetch(name, mirrors, transfer, by_hand)
            except MissingInputError as error:
                if name not in optional:
                    raise
                logger.warning("continuing without %s: %s", name, error)
    return {name: found[name] for name in names if name in found}


class Mirror:
    """A folder of archives at a http, https or file address, and where these are in the cache."""

    def __init__(self, base_url: str, cache_dir: Path):
        try:
            parts = urlsplit(base_url)
            usable = bool(parts.path if parts.scheme == "file" else parts.hostname)
        except ValueError:
            usable = False
        if not usable or parts.scheme not in ("http", "https", "file"):
            raise WrongUseError(
                f"`base_url` is {base_url!r}, which is not an address of archives; give one that "
                "begins with http://, https:// or file://, or a local folder as `data_dir`"
            )
        self._parts = parts._replace(path=parts.path.rstrip("/") + "/")
        self.local = parts.scheme == "file"
        # Credentials are no part of the place, and are not shown.
        self._public = self._parts._replace(netloc=parts.netloc.rpartition("@")[2])
        if self.local:
            self.folder = Path(url2pathname(self._parts.path))
        else:
            place = f"{self._public.netloc}{self._public.path}"
            readable = re.sub(r"[^\w.-]+", "_", place, flags=re.ASCII).strip("_.")[:80]
            digest = hashlib.sha256(urlunsplit(self._public).encode()).hexdigest()[:8]
            self.folder = cache_dir / "archives" / f"{readable}-{digest}"

    def url(self, name: str) -> str:
        """The address of an archive."""
        return urlunsplit(self._parts._replace(path=self._parts.path + quote(name)))

    def shown(self, name: str) -> str:
        """The address for messages: without credentials."""
        return urlunsplit(self._public._replace(path=self._parts.path + quote(name), query=""))


def _fetch(
    name: str,
    mirrors: Sequence[Mirror],
    transfer: Callable[[str, Path], Transfer],
    by_hand: Sequence[str],
) -> Path:
    """Fetch an archive from the first mirror that gives it, or name all to fetch by hand."""
    failures: list[tuple[str, TransferError]] = []
    for mirror in sorted(mirrors, key=lambda mirror: -_size_so_far(mirror, name)):
        try:
            if mirror.local:
                raise TransferError("no such file", absent=True)
            path = transfer(mirror.url(name), mirror.folder / name).run()
        except TransferError as failure:
            failures.append((mirror.shown(name), failure))
            logger.info("%s: %s", *failures[-1])
            continue
        for other in mirrors:
            if not other.local:
                discard_unused(other.folder / name)
        return path
    what = "; ".join(f"{address}: {failure}" for address, failure in failures)
    by_hand = by_hand if name in by_hand else [name]
    them = "it" if len(by_hand) == 1 else "them"
    advice = (
        f"{name} could not be fetched. {what}. By hand: fetch {' and '.join(by_hand)} in a way "
        f"that works for you (a browser, another network, a mirror), put {them} in a folder and "
        "give that as `data_dir`, or give the address of a mirror as `base_url`"
    )
    if any(_size_so_far(mirror, name) for mirror in mirrors):
        advice += ". What came so far is kept; the next run resumes from there"
    absent = all(failure.absent for _, failure in failures)
    raise (MissingInputError if absent else WorkFailedError)(advice)


def _size_so_far(mirror: Mirror, name: str) -> int:
    """Bytes of an archive that an earlier run fetched from a mirror and did not complete."""
    with contextlib.suppress(OSError):
        return part_of(mirror.folder / name).stat().st_size
    return 0
