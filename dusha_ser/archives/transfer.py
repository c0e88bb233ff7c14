"""One file over HTTP: resumed where it stopped, never spliced, with its digests."""

import contextlib
import email.utils
import http.client
import json
import logging
import os
import random
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path

import requests
import urllib3
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from dusha_ser.archives.checksums import Checksum, feed, new_digests
from dusha_ser.errors import WorkFailedError
from dusha_ser.storage import check_space, write_json, write_text

logger = logging.getLogger(__name__)

CHUNK = 2**16  # bytes read and written at once
MOST_REDIRECTS = 10
PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses whose request may work later
CLOSED = "the connection was closed early"
WEB_PAGE = "a web page came in place of the archive"
OTHER_FILE = "the file on the server is not the one from before"


@dataclass(frozen=True)
class Patience:
    """How long to try with a server that fails; waits in seconds."""

    tries: int = 8  # connections in a row without a new byte before a mirror is given up
    first_tries: int = 3  # the same for a mirror that has not answered at all in this run
    first_wait: float = 1.0  # before the second connection; each further wait is twice as long
    longest_wait: float = 60.0  # to which this grows
    longest_retry_after: float = 600.0  # for which a server may ask
    timeout: float = 60.0  # without a byte, after which a connection counts as lost


class TransferError(Exception):
    """A connection failed; it may work again after wait seconds, or the file is absent there."""

    def __init__(self, message: str, again: bool = False, wait: float = 0.0, absent: bool = False):
        super().__init__(message)
        self.again, self.wait, self.absent = again, wait, absent


@dataclass
class Origin:
    """What identifies a file on a server; None: not told, or not to be relied on."""

    size: int | None = None  # bytes
    etag: str | None = None
    last_modified: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], size: int | None) -> "Origin":
        """Make it of a response's headers, and the size of the whole file in bytes."""
        last_modified, date = headers.get("Last-Modified"), parse_date(headers.get("Date"))
        changed = parse_date(last_modified)
        if changed is None or (date is not None and date - changed < 1):
            last_modified = None  # it may change again within that second: RFC 9110, 8.8.2.2
        return cls(size, headers.get("ETag"), last_modified)

    @property
    def validator(self) -> str | None:
        """The value for If-Range, which takes no weak tags: RFC 9110, section 13.1.5."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def agrees(self, other: "Origin") -> bool:
        """Tell whether nothing that both know differs; equal strong tags settle the rest."""
        mine, theirs = asdict(self), asdict(other)
        if self.validator and self.validator == self.etag == other.etag:
            mine["last_modified"] = None  # a copy of the file, or another machine, has its own
        return all(mine[key] == theirs[key] for key in mine if None not in (mine[key], theirs[key]))


@dataclass
class Transfer:
    """A file on its way from a server.

    NAME.part holds the bytes that came and NAME.part.json what the server said of them; unlike
    those of `storage.replacing` they outlive a killed program. A fresh start empties the first
    before it writes the second, so that a kill in between does no harm.
    """

    session: requests.Session
    url: str
    target: Path
    checksum: Checksum | None = None
    quiet: bool = False
    patience: Patience = Patience()

    def __post_init__(self):
        self.part, self.sidecar = part_of(self.target), part_of(self.target, ".part.json")
        self.origin, self.digests = Origin(), new_digests()
        self.position, self.answered = 0, False

    def run(self) -> Path:
        """Fetch the file to target; TransferError if this server does not give the right one."""
        title = f"Fetching {self.target.name}"
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            with _lock(self.target):
                if self.target.is_file():
                    discard(self.target)
                    return self.target
                with (
                    tqdm(desc=title, unit="B", unit_scale=True, disable=self.quiet) as self.bar,
                    self.part.open("ab+", buffering=0) as self.file,
                ):
                    self._take_up()
                    self._connect_until_complete()
                    os.fsync(self.file.fileno())
                self._finish()
        except OSError as error:
            raise WorkFailedError(
                f"{self.part}: {error.strerror or error} after {self.position} bytes; what came is "
                "kept: make room, or name another `cache_dir`, and start again"
            ) from error
        return self.target

    def _take_up(self) -> None:
        """Resume from what an earlier run left, if it is known what that is."""
        try:
            self.origin = Origin(**json.loads(self.sidecar.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            self.file.truncate(0)
        self.position = os.fstat(self.file.fileno()).st_size
        if self.origin.size is not None and self.position > self.origin.size:
            self._start_over()
        if self.position:
            self.file.seek(0)
            feed(self.digests, self.file, self.position, f"Checking {self.part.name}", self.quiet)
        self._show()

    def _start_over(self) -> None:
        """Forget what came: it is not the beginning of what the server has."""
        self.file.truncate(0)
        self.sidecar.unlink(missing_ok=True)
        self.position, self.origin, self.digests = 0, Origin(), new_digests()
        self._show()

    def _show(self) -> None:
        """Set the bar, whose speed counts from here."""
        self.bar.reset(self.origin.size)
        self.bar.initial = self.bar.n = self.bar.last_print_n = self.position

    def _connect_until_complete(self) -> None:
        """Connect as long as it brings bytes, which urllib3's Retry does not count."""
        patience, furthest, failures = self.patience, self.position, 0
        while self.position != self.origin.size:
            failure = TransferError(CLOSED)
            try:
                self._connect()
            except TransferError as error:
                if not error.again:
                    raise
                failure = error
            if self.position == self.origin.size:
                return
            failures = 1 if self.position > furthest else failures + 1
            furthest = max(furthest, self.position)
            if failures >= (patience.tries if self.answered else patience.first_tries):
                raise TransferError(f"{failure} ({failures} tries in a row brought nothing)")
            if failure.wait > patience.longest_retry_after:
                raise TransferError(
                    f"{failure}, and asks to come back in {failure.wait:.0f} seconds"
                )
            own = min(patience.longest_wait, patience.first_wait * 2 ** (failures - 1))
            # Spread, so that not all clients of a server that restarts come back at once; not from
            # the generator that users seed.
            wait = max(failure.wait, own * random.SystemRandom().uniform(0.5, 1))
            self.bar.set_postfix_str(f"{failure}; again in {wait:.0f} s")
            time.sleep(wait)
            self.bar.set_postfix_str("")

    def _connect(self) -> None:
        """Make one connection and write what it brings."""
        if self.position and not self.origin.validator and not self.checksum:
            self._start_over()  # nothing would tell whether the file is still the same
        rest = {"Range": f"bytes={self.position}-", "If-Range": self.origin.validator}
        headers, limit = rest if self.position else {}, self.patience.timeout
        try:
            with self.session.get(
                self.url, headers=headers, stream=True, timeout=limit
            ) as response:
                self.answered = True
                self._judge(response)
                # As they lie on the server; what has come by now, nothing at the end.
                chunks = iter(lambda: response.raw.read1(CHUNK, decode_content=False), b"")
                data = next(chunks, b"")
                if response.status_code == HTTPStatus.OK:
                    self._begin(response.headers, data)
                self._write(data)
                for data in chunks:
                    self._write(data)
        except requests.TooManyRedirects:
            raise TransferError(f"more than {MOST_REDIRECTS} redirects") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            problem = describe_failure(error)
            # Not where trust is missing, or the server redirects to what is not an address.
            again = not isinstance(error, ValueError) and "CERTIFICATE_VERIFY" not in problem
            raise TransferError(problem, again) from error
        if self.origin.size is None:
            self.origin.size = self.position  # a server may tell the end and not the size

    def _judge(self, response: requests.Response) -> None:
        """Accept only a response that is the file, whole or from this position on."""
        status, headers = response.status_code, response.headers
        answered = f"the server answered {status}"
        if phrase := http.client.responses.get(status):
            answered += f" ({phrase})"
        if status in PASSING:
            raise TransferError(answered, again=True, wait=retry_after(headers))
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self.position:
            self._start_over()
            raise TransferError(OTHER_FILE, again=True)
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise TransferError(answered, absent=status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE))
        if "html" in headers.get("Content-Type", ""):
            raise TransferError(WEB_PAGE)
        encoding = headers.get("Content-Encoding", "identity")
        if encoding != "identity" and self.target.suffix == ".tar":
            raise TransferError(f"the server sends it encoded ({encoding}), though asked not to")
        if status == HTTPStatus.PARTIAL_CONTENT:
            if not self.position:
                raise TransferError("a part of the file came, though the whole was asked for")
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
            size = int(span[2]) if span and span[2] != "*" else None
            fits = span is not None and int(span[1]) == self.position
            # Servers may ignore If-Range.
            if not fits or not self.origin.agrees(Origin.of(headers, size)):
                self._start_over()
                raise TransferError(OTHER_FILE, again=True)

    def _begin(self, headers: Mapping[str, str], data: bytes) -> None:
        """Prepare for a whole file, whose first bytes are data."""
        length = headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        if data.lstrip().startswith(b"<"):
            raise TransferError(WEB_PAGE)
        if size == 0:
            raise TransferError("the file on the server is empty")
        if self.position:
            self._start_over()
        check_space(self.target.parent, size or 0, self.target.name)
        self.origin = Origin.of(headers, size)
        write_json(self.sidecar, asdict(self.origin))
        self._show()

    def _write(self, data: bytes) -> None:
        if self.origin.size is not None and self.position + len(data) > self.origin.size:
            self._start_over()
            raise TransferError("the server sent more than it had announced", again=True)
        end = self.position + len(data)
        while self.position < end:  # a disk that is nearly full takes less than it is given
            self.position += self.file.write(data[self.position - end :])
        for digest in self.digests.values():
            digest.update(data)
        self.bar.update(len(data))

    def _finish(self) -> None:
        """Check the digest and give the file its name."""
        if self.checksum:
            kind, expected = self.checksum
            if (came := self.digests[kind].hexdigest()) != expected:
                discard(self.target)
                raise TransferError(f"its {kind} is {came}, not {expected}")
        for kind, digest in self.digests.items():
            line = f"{digest.hexdigest()}  {self.target.name}\n"  # as md5sum and sha256sum take it
            write_text(part_of(self.target, f".{kind}"), line)
        self.part.replace(self.target)
        self.sidecar.unlink(missing_ok=True)


def new_session() -> requests.Session:
    """Open a session for transfers: bytes are kept and counted as they lie on the server."""
    session = requests.Session()
    session.max_redirects = MOST_REDIRECTS
    session.headers["Accept-Encoding"] = "identity"
    return session


def announced_size(session: requests.Session, url: str, timeout: float) -> int:
    """Ask a server for a file's size in bytes; 0 if it does not tell: the download will say why."""
    with contextlib.suppress(requests.RequestException, ValueError):
        response = session.head(url, allow_redirects=True, timeout=timeout)
        return int(response.headers.get("Content-Length", "0")) if response.ok else 0
    return 0


def parse_date(date: str | None) -> float | None:
    """Read an HTTP date as seconds since 1970; None if it is not one."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None


def retry_after(headers: Mapping[str, str]) -> float:
    """Read how many seconds a server asks to wait (Retry-After, a number or a date); 0 if none."""
    text = headers.get("Retry-After", "")  # urllib3's reader cuts it to six hours
    return float(text) if text.isdecimal() else max(0.0, (parse_date(text) or 0.0) - time.time())


def describe_failure(error: BaseException) -> str:
    """Say in one line why a connection failed: the cause at the bottom of wrapped errors."""
    while inner := [
        one for one in (getattr(error, "reason", None), *error.args) if isinstance(one, Exception)
    ]:
        error = inner[0]
    if isinstance(error, urllib3.exceptions.IncompleteRead | http.client.IncompleteRead):
        return CLOSED
    return re.sub(r"^<?HTTPS?Connection\w*\(.*?\)>?: ", "", str(error)) or type(error).__name__


def part_of(target: Path, suffix: str = ".part") -> Path:
    """Name a file beside a target: its bytes so far, or, by another suffix, what goes with it."""
    return target.with_name(target.name + suffix)


def discard(target: Path) -> None:
    """Delete what came so far of a file."""
    part_of(target).unlink(missing_ok=True)
    part_of(target, ".part.json").unlink(missing_ok=True)


def discard_unused(target: Path) -> None:
    """Delete what came of a file, or was left by a kill, unless some program is fetching it."""
    if part_of(target).is_file() or part_of(target, ".part.json").is_file():
        lock = FileLock(part_of(target, ".lock"))
        with contextlib.suppress(Timeout), lock.acquire(timeout=0):
            discard(target)


def _lock(target: Path) -> contextlib.AbstractContextManager:
    """Keep other programs that want the same file waiting, or wait for them."""
    lock = FileLock(part_of(target, ".lock"))
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another program is fetching %s; waiting for it", target)
        return lock.acquire()
