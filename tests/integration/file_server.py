"""A server on the loopback address for tests: answers by Range, faults on demand, a record."""

import http
import json
import re
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BLOCK = 1 << 20


@dataclass
class Fault:
    """A failure to come: which requests meet it, how they fail, and how often."""

    path: re.Pattern
    method: str | None
    status: int | None
    after_bytes: int | None
    times: int


@dataclass
class Request:
    """What was asked; status stays None where the connection was cut without an answer."""

    method: str
    path: str
    status: int | None = None


class LoopbackServer(ThreadingHTTPServer):
    """A threaded server on a free port of the loopback address, to be used in a with statement.

    requests is the record of what was asked, in order, each path with its query.
    """

    daemon_threads = True
    # More than the eight threads of a client's pool may knock at once.
    request_queue_size = 64

    def __init__(self, handler: type[BaseHTTPRequestHandler]):
        super().__init__(("127.0.0.1", 0), handler)
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._faults_lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Address of the server, without a slash at its end."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request, client_address):
        """Report what went wrong in a handler, unless it is only that the client left."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def fail_next(
        self,
        path: str,
        status: int | None = None,
        *,
        method: str | None = None,
        times: int = 1,
        after_bytes: int | None = None,
    ) -> None:
        """Let the next requests fail whose path (with query) a regular expression is found in.

        Args:
            path: the regular expression.
            status: the HTTP status to answer; None cuts the connection without an answer.
            method: only requests of this method; None for any.
            times: how many requests fail.
            after_bytes: answer rightly, and cut the connection after so many bytes of the body.
        """
        with self._faults_lock:
            self._faults.append(Fault(re.compile(path), method, status, after_bytes, times))

    def work_again(self) -> None:
        """End all failures that are still to come."""
        with self._faults_lock:
            self._faults.clear()

    def next_fault(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, which is then used up."""
        with self._faults_lock:
            for fault in self._faults:
                if fault.method in (None, method) and fault.path.search(path):
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(fault)
                    return fault
        return None


class Handler(BaseHTTPRequestHandler):
    """Reads requests and writes answers; a subclass's answer method decides what is said."""

    protocol_version = "HTTP/1.1"
    server: LoopbackServer

    def log_message(self, *_):
        """Keep silent: the record is in server.requests."""

    def do_GET(self):  # noqa: N802 - the name that http.server calls
        """Answer a request of any method."""
        self.fault = self.server.next_fault(self.command, self.path)
        self._body_read = False
        self.request_record = Request(self.command, self.path)
        self.server.requests.append(self.request_record)
        if self.fault is not None and self.fault.after_bytes is None:
            if self.fault.status is None:
                self.close_connection = True
                return
            self.send_json({"error": "a failure that a test asked for"}, self.fault.status)
            return
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        self.answer(url.path, query)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def answer(self, path: str, query: dict[str, str]) -> None:
        """Answer the request for a path, still quoted."""
        raise NotImplementedError

    def blocks(self) -> Iterator[bytes]:
        """The request's body, block by block."""
        self._body_read = True
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            block = self.rfile.read(min(left, BLOCK))
            if not block:
                raise ConnectionResetError("the client left before its body was complete")
            left -= len(block)
            yield block

    def body(self) -> bytes:
        """The request's whole body."""
        return b"".join(self.blocks())

    def send_head(self, status: int, headers: dict[str, str], length: int) -> None:
        """Write the status line and the headers, with the body's length."""
        if not self._body_read:
            # An unread body would be taken for the next request of a kept connection.
            for _ in self.blocks():
                pass
        self.request_record.status = int(status)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_json(
        self, value: object, status: int = http.HTTPStatus.OK, headers: dict | None = None
    ) -> None:
        """Answer with a value as JSON."""
        content = json.dumps(value).encode()
        self.send_head(
            status, {"Content-Type": "application/json", **(headers or {})}, len(content)
        )
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_file(self, path: Path, headers: dict[str, str]) -> None:
        """Answer with a file, or with the part that a Range header asks for."""
        size = path.stat().st_size
        start, stop, status = 0, size, http.HTTPStatus.OK
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
        if (wanted := self.headers.get("Range")) and self._same_as(headers.get("ETag")):
            parts = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted.strip())
            if parts and any(parts.groups()):
                first, last = parts.groups()
                start = int(first) if first else max(0, size - int(last))
                stop = min(size, int(last) + 1) if first and last else size
                if start >= size or stop <= start:
                    self.send_head(416, {"Content-Range": f"bytes */{size}"}, 0)
                    return
                status = http.HTTPStatus.PARTIAL_CONTENT
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self.send_head(status, headers, stop - start)
        if self.command != "HEAD":
            self._send_part(path, start, stop)

    def _same_as(self, tag: str | None) -> bool:
        condition = self.headers.get("If-Range")
        return condition is None or condition == tag

    def _send_part(self, path: Path, start: int, stop: int) -> None:
        left = stop - start
        cut = self.fault is not None
        if cut:
            left = min(left, self.fault.after_bytes)
        with path.open("rb") as file:
            file.seek(start)
            while left > 0:
                block = file.read(min(left, BLOCK))
                self.wfile.write(block)
                left -= len(block)
        if cut:
            self.close_connection = True


class _FolderHandler(Handler):
    server: "FileServer"

    def answer(self, path, query):
        folder = self.server.folder.resolve()
        file = (folder / urllib.parse.unquote(path).lstrip("/")).resolve()
        if self.command not in ("GET", "HEAD"):
            self.send_json({"error": "files are only read here"}, 405)
        elif not file.is_relative_to(folder) or not file.is_file():
            self.send_json({"error": f"no file {path}"}, 404)
        else:
            state = file.stat()
            self.send_file(file, {"ETag": f'"{state.st_mtime_ns:x}-{state.st_size:x}"'})


class FileServer(LoopbackServer):
    """Serves the files of a folder, as a mirror of the corpus' archives would."""

    def __init__(self, folder: Path):
        super().__init__(_FolderHandler)
        self.folder = Path(folder)
