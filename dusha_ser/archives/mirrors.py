"""Archives fetched from mirrors in turn into a cache, each checked and kept once."""

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import url2pathname

import requests

from dusha_ser.archives.checksums import check_file, parse_checksum
from dusha_ser.archives.transfer import (
    MOST_REDIRECTS,
    GiveUpError,
    Patience,
    Transfer,
    check_space,
    discard_unused,
    part_of,
)
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError

logger = logging.getLogger(__name__)


def fetch_archives(
    names: Sequence[str],
    base_urls: str | Sequence[str],
    cache_dir: str | os.PathLike,
    checksums: Mapping[str, str] | None = None,
    optional: Sequence[str] = (),
    quiet: bool = False,
    patience: Patience = Patience(),  # noqa: B008 - it is frozen
) -> dict[str, Path]:
    """Fetch archives into a cache, or find them there from an earlier run.

    A download that was cut off goes on from its last byte, in this run or in a later one, as long
    as the server proves that the file is still the same. MD5 and SHA-256 of what came are written
    beside it, as NAME.md5 and NAME.sha256.

    Args:
        names: archives to fetch.
        base_urls: addresses (http, https, file) of folders that hold them, tried in turn. What
            file addresses hold is used where it lies.
        cache_dir: folder for downloads, with a folder of its own for each mirror, so that files
            of different mirrors never mix.
        checksums: "sha256:HEX" or "md5:HEX" for names whose content the user knows.
        optional: those of names that all mirrors may lack.
        quiet: no bars.
        patience: how long to go on with a server that fails.

    Returns:
        path of each archive that is there, in the order of names.

    Raises:
        WrongUseError: what was given as address or checksum cannot be one.
        MissingInputError: all mirrors say that they lack an archive.
        WorkFailedError: no mirror gives an archive, a checksum differs, or the disk is full.
    """
    base_urls = [base_urls] if isinstance(base_urls, str) else base_urls
    mirrors = [Mirror(url, Path(cache_dir)) for url in base_urls]
    checksums = {name: parse_checksum(name, text) for name, text in (checksums or {}).items()}
    found = {}
    for name in names:
        mirror = next((mirror for mirror in mirrors if mirror.place(name).is_file()), None)
        if mirror is not None:
            path = mirror.place(name)
            check_file(path, checksums.get(name), quiet)
            if not mirror.local:
                # A kill between the last two changes leaves a sidecar; a cache may be read-only.
                with contextlib.suppress(OSError):
                    discard_unused(path)
            found[name] = path
    missing = [name for name in names if name not in found]
    with requests.Session() as session:
        session.max_redirects = MOST_REDIRECTS
        # Bytes are kept and counted as they lie on the server.
        session.headers["Accept-Encoding"] = "identity"
        _check_space_for_all(session, missing, mirrors, Path(cache_dir), patience)
        for name in missing:
            by_hand = [one for one in missing if one not in found and one not in optional]
            by_hand = by_hand if name in by_hand else [name]
            try:
                found[name] = _fetch(
                    session, name, mirrors, checksums.get(name), by_hand, quiet, patience
                )
            except MissingInputError as error:
                if name not in optional:
                    raise
                logger.warning("going on without %s: %s", name, error)
    return {name: found[name] for name in names if name in found}


class Mirror:
    """A folder of archives at an address, and the folder where its archives are on this machine.

    Args:
        base_url: http, https or file address.
        cache_dir: folder for downloads.

    Raises:
        WrongUseError: base_url is no such address.
    """

    def __init__(self, base_url: str, cache_dir: Path):
        try:
            parts = urlsplit(base_url)
            usable = bool(parts.path if parts.scheme == "file" else parts.hostname)
        except ValueError:
            usable = False
        if not usable or parts.scheme not in ("http", "https", "file"):
            raise WrongUseError(
                f"{base_url!r} is no address of archives; give one that begins with http://, "
                "https:// or file://, or name a local folder with --data_dir"
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

    def place(self, name: str) -> Path:
        """Where an archive is once it is complete."""
        return self.folder / name

    def url(self, name: str) -> str:
        """The address of an archive."""
        return urlunsplit(self._parts._replace(path=self._parts.path + quote(name)))

    def shown(self, name: str) -> str:
        """The address for messages: without credentials."""
        return urlunsplit(self._public._replace(path=self._parts.path + quote(name), query=""))


def _check_space_for_all(
    session: requests.Session,
    names: Sequence[str],
    mirrors: Sequence[Mirror],
    cache_dir: Path,
    patience: Patience,
) -> None:
    """Refuse to begin with the first of several archives where they do not fit together."""
    mirror = next((mirror for mirror in mirrors if not mirror.local), None)
    if mirror is None or len(names) < 2:
        return  # a transfer checks the space for its own file
    needed = 0
    for name in names:
        # A server that does not answer this may answer the download; that one tells the user.
        with contextlib.suppress(requests.RequestException, ValueError):
            answer = session.head(
                mirror.url(name), allow_redirects=True, timeout=min(10, patience.timeout)
            )
            if answer.ok:
                there = _size(part_of(mirror.place(name)))
                needed += max(0, int(answer.headers.get("Content-Length", "0")) - there)
    cache_dir.mkdir(parents=True, exist_ok=True)
    check_space(cache_dir, needed, " and ".join(names))


def _fetch(
    session: requests.Session,
    name: str,
    mirrors: Sequence[Mirror],
    checksum: tuple[str, str] | None,
    by_hand: Sequence[str],
    quiet: bool,
    patience: Patience,
) -> Path:
    """Fetch one archive from the first mirror that gives it; one that has begun comes first.

    by_hand names what the user must fetch where no mirror does: who cannot reach one archive
    will not reach the next one either, and should not learn that after the first 28 GB.
    """
    failures = []
    for mirror in sorted(mirrors, key=lambda mirror: -_size(part_of(mirror.place(name)))):
        try:
            if mirror.local:
                raise GiveUpError("no such file", absent=True)
            path = Transfer(
                session, mirror.url(name), mirror.place(name), checksum, quiet, patience
            ).run()
        except GiveUpError as failure:
            failures.append((mirror.shown(name), failure))
            logger.info("%s: %s", *failures[-1])
            continue
        for other in mirrors:
            if not other.local:
                discard_unused(other.place(name))
        return path
    what = "; ".join(f"{address}: {failure}" for address, failure in failures)
    absent = all(failure.absent for _, failure in failures)
    them = "it" if len(by_hand) == 1 else "them"
    advice = (
        f"{name} could not be fetched. {what}. By hand: fetch {' and '.join(by_hand)} in a way "
        f"that works for you (a browser, another network, a mirror), put {them} in a folder and "
        "name that with --data_dir FOLDER, or name a mirror with --base_url ADDRESS"
    )
    if any(_size(part_of(mirror.place(name))) for mirror in mirrors):
        advice += ". What came so far is kept; the next run goes on from there"
    raise (MissingInputError if absent else WorkFailedError)(advice)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
