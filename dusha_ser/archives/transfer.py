"""One file over HTTP: continued where it stopped, never spliced, with its digests."""

import contextlib
import email.utils
import http.client
import json
import logging
import os
import random
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path

import requests
import urllib3
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from dusha_ser.archives.checksums import feed, new_digests
from dusha_ser.errors import WorkFailedError

logger = logging.getLogger(__name__)


@dataclass
class Origin:
    """What identifies a file on a server, from one answer to the next.

    Args:
        size: bytes of the whole file, where the server tells.
        etag: its entity tag, where there is one.
        last_modified: its time of change as the server writes it, where it can be relied on.
    """

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], size: int | None) -> "Origin":
        """What an answer says of the file."""
        last_modified, date = headers.get("Last-Modified"), parse_date(headers.get("Date"))
        changed = parse_date(last_modified)
        if changed is None or (date is not None and date - changed < 1):
            # It may change once more within the second that the time is counted in: RFC 9110,
            # section 8.8.2.2.
            last_modified = None
        return cls(size, headers.get("ETag"), last_modified)

    @property
    def validator(self) -> str | None:
        """The value for If-Range, where weak tags are of no use: RFC 9110, section 13.1.5."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def agrees(self, other: "Origin") -> bool:
        """Whether nothing that both know differs; equal strong tags leave no doubt of the rest."""
        mine, theirs = asdict(self), asdict(other)
        if self.validator and self.validator == self.etag == other.etag:
            mine["last_modified"] = None  # set anew by a copy of the file, or another machine
        return all(mine[key] == theirs[key] for key in mine if None not in (mine[key], theirs[key]))


def describe_status(status: int) -> str:
    """Say what a server answered.

    Args:
        status: of the answer.

    Returns:
        some words of a sentence.

    Example:
        >>> describe_status(403)
        'the server answered 403 (Forbidden)'
    """
    try:
        return f"the server answered {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return f"the server answered {status}"


def parse_date(date: str | None) -> float | None:
    """Read an HTTP date.

    Args:
        date: the value of a header, or None.

    Returns:
        seconds since 1970, None where there is no date.

    Example:
        >>> parse_date("Thu, 01 Jan 1970 00:01:00 GMT")
        60.0
    """
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None


def retry_after(headers: Mapping[str, str]) -> float:
    """Read how long a server asks to wait.

    Args:
        headers: of the answer; Retry-After in it is a number of seconds or a date.

    Returns:
        seconds, 0 where nothing is asked.

    Example:
        >>> retry_after({"Retry-After": "120"})
        120.0
    """
    text = headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    date = parse_date(text)
    return max(0.0, date - time.time()) if date else 0.0


def describe_failure(error: BaseException) -> str:
    """Say why a connection failed: the cause at the bottom of a stack of wrapped errors.

    Args:
        error: what the HTTP library raised.

    Returns:
        one line.
    """
    while inner := next(
        (
            inner
            for inner in (getattr(error, "reason", None), *error.args)
            if isinstance(inner, BaseException)
        ),
        None,
    ):
        error = inner
    if isinstance(error, urllib3.exceptions.IncompleteRead | http.client.IncompleteRead):
        return "the connection was closed early"
    return re.sub(r"^<?HTTPS?Connection\w*\(.*?\)>?: ", "", str(error)) or type(error).__name__


CHUNK = 2**16  # bytes read and written at once
MOST_REDIRECTS = 10
# Statuses of servers where the same request may work later.
PASSING = (408, 425, 429, 500, 502, 503, 504)
WEB_PAGE = "a web page came in place of the archive"
OTHER_FILE = "the file on the server is another one than before"


@dataclass(frozen=True)
class Patience:
    """How long to go on with a server that fails.

    Args:
        tries: connections in a row without a new byte before a mirror is given up.
        first_tries: the same for a mirror that has not answered at all in this run.
        first_wait: seconds before the second connection; each further wait is twice as long.
        longest_wait: seconds that this wait grows to.
        longest_retry_after: seconds of waiting that a server may ask for (Retry-After).
        timeout: seconds without a byte after which a connection counts as lost.
    """

    tries: int = 8
    first_tries: int = 3
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_retry_after: float = 600.0
    timeout: float = 60.0


class GiveUpError(Exception):
    """This address does not give the file.

    Args:
        message: why.
        absent: whether the server said that it has no such file.
    """

    def __init__(self, message: str, absent: bool = False):
        super().__init__(message)
        self.absent = absent


class _TryAgainError(Exception):
    """This connection failed; wait is what the server asked for, in seconds."""

    def __init__(self, message: str, wait: float = 0.0):
        super().__init__(message)
        self.wait = wait


class Transfer:
    """A file on its way from a server.

    Beside NAME, NAME.part holds the bytes that came and NAME.part.json what the server said of
    the file that they begin. A fresh start empties the first before it writes the second, so that
    a program killed between the two leaves nothing that does not fit together.

    Args:
        session: where connections come from.
        url: address of the file.
        target: where the file goes once it is complete.
        checksum: kind ("md5", "sha256") and hexadecimal digest that the user gave, or None.
        quiet: no bars.
        patience: how long to go on with a server that fails.
    """

    def __init__(
        self,
        session: requests.Session,
        url: str,
        target: Path,
        checksum: tuple[str, str] | None = None,
        quiet: bool = False,
        patience: Patience = Patience(),  # noqa: B008 - it is frozen
    ):
        self.session, self.url, self.target = session, url, target
        self.checksum, self.quiet, self.patience = checksum, quiet, patience
        self.part, self.sidecar = part_of(target), part_of(target, ".part.json")
        self.origin = Origin()
        self.digests = new_digests()
        self.position = 0
        self.answered = False

    def run(self) -> Path:
        """Fetch the file, or find that another program has just done so.

        Returns:
            target.

        Raises:
            GiveUpError: the server does not give it, or it has another checksum.
            WorkFailedError: it cannot be written.
        """
        title = f"Fetching {self.target.name}"
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            with _alone(self.target), contextlib.ExitStack() as stack:
                if self.target.is_file():
                    discard(self.target)
                    return self.target
                self.bar = stack.enter_context(
                    tqdm(desc=title, unit="B", unit_scale=True, disable=self.quiet)
                )
                self.file = stack.enter_context(self.part.open("ab+", buffering=0))
                self._take_up()
                self._go_on()
                os.fsync(self.file.fileno())
                self._finish()
        except OSError as error:
            raise WorkFailedError(
                f"{self.part}: {error.strerror or error} after {self.position} bytes; what came is "
                "kept: make room, or name another folder with --cache_dir, and start again"
            ) from error
        return self.target

    @property
    def complete(self) -> bool:
        """Whether every byte that the server announced is there."""
        return self.position == self.origin.size

    def _take_up(self) -> None:
        """Go on from what an earlier run left, if it is known what that is."""
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

    def _go_on(self) -> None:
        """Connect as often as needed, as long as it helps."""
        patience = self.patience
        furthest, failures = self.position, 0
        while not self.complete:
            asked = 0.0
            try:
                self._connect()
                problem = "the connection was closed early"
            except _TryAgainError as failure:
                problem, asked = str(failure), failure.wait
            if self.complete:
                return
            if self.position > furthest:
                furthest, failures = self.position, 0
            failures += 1
            if failures >= (patience.tries if self.answered else patience.first_tries):
                raise GiveUpError(f"{problem} ({failures} tries in a row brought nothing)")
            if asked > patience.longest_retry_after:
                raise GiveUpError(f"{problem}, and asks to come back in {asked:.0f} seconds")
            own = min(patience.longest_wait, patience.first_wait * 2 ** (failures - 1))
            # Spread, so that not all clients of a server that restarts come back at once; not from
            # the generator that users seed.
            wait = max(asked, own * random.SystemRandom().uniform(0.5, 1))
            self.bar.set_postfix_str(f"{problem}; again in {wait:.0f} s")
            time.sleep(wait)
            self.bar.set_postfix_str("")

    def _connect(self) -> None:
        """Make one connection and write what it brings."""
        if self.position and not self.origin.validator and not self.checksum:
            self._start_over()  # nothing would tell whether the file is still the same
        headers = {}
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
            if self.origin.validator:
                headers["If-Range"] = self.origin.validator
        with self._ask(headers) as response:
            self.answered = True
            self._judge(response)
            data = self._read(response)
            if response.status_code == HTTPStatus.OK:
                self._begin(response, data)
            while data:
                self._write(data)
                data = self._read(response)
        if self.origin.size is None:
            self.origin.size = self.position  # a server may tell the end and not the size

    def _ask(self, headers: dict[str, str]) -> requests.Response:
        try:
            return self.session.get(
                self.url, headers=headers, stream=True, timeout=self.patience.timeout
            )
        except requests.TooManyRedirects:
            raise GiveUpError(f"more than {MOST_REDIRECTS} redirects") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            problem = describe_failure(error)
            if "CERTIFICATE_VERIFY_FAILED" in problem or isinstance(error, ValueError):
                raise GiveUpError(problem) from error  # no trust, or redirected to no address
            raise _TryAgainError(problem) from error

    def _read(self, response: requests.Response) -> bytes:
        """What has come by now, as it lies on the server; nothing at the end."""
        try:
            return response.raw.read1(CHUNK, decode_content=False)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _TryAgainError(describe_failure(error)) from error

    def _judge(self, response: requests.Response) -> None:
        """Accept only an answer that is the file, whole or from this position on."""
        status, headers = response.status_code, response.headers
        if status in PASSING:
            raise _TryAgainError(describe_status(status), retry_after(headers))
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self.position:
            self._start_over()
            raise _TryAgainError(OTHER_FILE)
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            absent = status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
            raise GiveUpError(describe_status(status), absent)
        if "html" in headers.get("Content-Type", ""):
            raise GiveUpError(WEB_PAGE)
        encoding = headers.get("Content-Encoding", "identity")
        if encoding != "identity" and self.target.suffix == ".tar":
            raise GiveUpError(f"the server sends it encoded ({encoding}), though asked not to")
        if status == HTTPStatus.PARTIAL_CONTENT:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
            size = int(span[2]) if span and span[2] != "*" else None
            if not self.position:
                raise GiveUpError("a part of the file came, though the whole was asked for")
            fits = span is not None and int(span[1]) == self.position
            # Servers may ignore If-Range.
            if not fits or not self.origin.agrees(Origin.of(headers, size)):
                self._start_over()
                raise _TryAgainError(OTHER_FILE)

    def _begin(self, response: requests.Response, data: bytes) -> None:
        """Prepare for a whole file, whose first bytes are data."""
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdigit() else None
        if data.lstrip().startswith(b"<"):
            raise GiveUpError(WEB_PAGE)
        if size == 0:
            raise GiveUpError("the file on the server is empty")
        if self.position:
            self._start_over()
        check_space(self.target.parent, size or 0, self.target.name)
        self.origin = Origin.of(response.headers, size)
        unfinished = self.sidecar.with_name(f"{self.sidecar.name}.unfinished")
        unfinished.write_text(json.dumps(asdict(self.origin)), "utf-8")
        unfinished.replace(self.sidecar)
        self._show()

    def _write(self, data: bytes) -> None:
        if self.origin.size is not None and self.position + len(data) > self.origin.size:
            self._start_over()
            raise _TryAgainError("the server sent more than it had announced")
        end = self.position + len(data)
        while self.position < end:  # a disk that is nearly full takes less than it is given
            self.position += self.file.write(data[self.position - end :])
        for digest in self.digests.values():
            digest.update(data)
        self.bar.update(len(data))

    def _finish(self) -> None:
        """Check the digest and give the file its name."""
        self.file.close()
        kind, expected = self.checksum or (None, None)
        if kind and (came := self.digests[kind].hexdigest()) != expected:
            discard(self.target)
            raise GiveUpError(f"its {kind} is {came}, not {expected}")
        for kind, digest in self.digests.items():
            line = f"{digest.hexdigest()}  {self.target.name}\n"  # as md5sum and sha256sum take it
            self.target.with_name(f"{self.target.name}.{kind}").write_text(line, "utf-8")
        self.part.replace(self.target)
        self.sidecar.unlink(missing_ok=True)


def part_of(target: Path, suffix: str = ".part") -> Path:
    """Where the bytes of a file are until it is complete.

    Args:
        target: the complete file.
        suffix: ".part" for the bytes, ".part.json" for what is known of them.

    Returns:
        the path beside target.
    """
    return target.with_name(target.name + suffix)


def discard(target: Path) -> None:
    """Delete what came of a file.

    Args:
        target: the complete file.
    """
    part_of(target).unlink(missing_ok=True)
    part_of(target, ".part.json").unlink(missing_ok=True)


def discard_unused(target: Path) -> None:
    """Delete what came of a file, or was left by a kill, unless some program is fetching it.

    Args:
        target: the complete file.
    """
    if part_of(target).is_file() or part_of(target, ".part.json").is_file():
        with contextlib.suppress(Timeout), _lock_of(target).acquire(timeout=0):
            discard(target)


def check_space(folder: Path, size: int, what: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: where it goes.
        size: bytes still to come.
        what: its name, for the message.

    Raises:
        WorkFailedError: fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise WorkFailedError(
            f"{what} needs {size / 1e9:.1f} GB more in {folder}, where {free / 1e9:.1f} GB are "
            "free; make room, or name another folder with --cache_dir"
        )


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other programs that want the same file waiting."""
    lock = _lock_of(target)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another program is fetching %s; waiting for it", target)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _lock_of(target: Path) -> FileLock:
    return FileLock(target.with_name(f"{target.name}.lock"))
