"""What HTTP answers say: which file it is, how long to wait, why a connection failed."""

import email.utils
import http.client
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus

import urllib3


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
