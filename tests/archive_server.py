"""A server of archives on the loopback address that misbehaves as a test asks it to."""

import hashlib
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ArchiveServer:
    """Serves files with ranges and If-Range (RFC 9110); faults of a list come first, one a request.

    A fault is a function of the request's handler, which answers in the server's place, or the
    name of one of `Handler`'s methods with its arguments. None answers rightly.

    Args:
        files: contents by path, such as "/dusha/crowd.tar".
        faults: of the first GET requests, in their order.
        validators: headers ("ETag", "Last-Modified") that tell a file's state.
        port: of the address; 0 takes a free one.
        tls: an SSL context, or None for plain HTTP.
    """

    def __init__(self, files, faults=(), validators=("ETag", "Last-Modified"), port=0, tls=None):
        self.files = {path if path[0] == "/" else f"/{path}": files[path] for path in files}
        self.faults = list(faults)
        self.validators = validators
        self.changed = formatdate(time.time() - 3600, usegmt=True)
        self.announced = {}  # by path: the size that HEAD tells in place of the true one
        self.requests = []  # (method, path, Range header or None, If-Range header or None)
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", port), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.server.owner = self
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_address[1]}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def ranges(self):
        """The Range headers of all GET requests."""
        return [ranged for method, _, ranged, _ in self.requests if method == "GET"]


class Server(ThreadingHTTPServer):
    """One thread a connection, none of them waited for."""

    daemon_threads = True

    def handle_error(self, *_):
        """Clients that hang up, or are killed, are what tests are about."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Not on standard error."""

    def do_HEAD(self):  # noqa: N802 - the base class asks for this name
        self.note()
        size = self.owner.announced.get(self.path)
        self.plain(headers={"Content-Length": str(size)} if size else None)

    def do_GET(self):  # noqa: N802 - the base class asks for this name
        self.note()
        with self.owner.lock:
            fault = self.owner.faults.pop(0) if self.owner.faults else None
        if fault is None:
            self.plain()
        elif callable(fault):
            fault(self)
        else:
            getattr(self, fault[0])(*fault[1:])

    @property
    def owner(self):
        return self.server.owner

    def note(self):
        headers = self.headers
        asked = (self.command, self.path, headers["Range"], headers["If-Range"])
        self.owner.requests.append(asked)

    def plain(self, stop=None, ranges=True, conditions=True, headers=None, wait=0, encode=None):
        """Answer rightly but for what the arguments say.

        Args:
            stop: bytes of the body after which the connection ends.
            ranges: whether Range is honoured.
            conditions: whether If-Range is.
            headers: replaced or added ones; None leaves one out.
            wait: seconds between pieces of the body.
            encode: "chunked" in place of a length.
        """
        content = self.owner.files.get(self.path.partition("?")[0])
        if content is None:
            return self.status(404)
        facts = {
            "ETag": f'"{hashlib.md5(content).hexdigest()}"',
            "Last-Modified": self.owner.changed,
        }
        facts = {key: facts[key] for key in self.owner.validators}
        start, code = 0, 200
        ranged = self.headers["Range"] if ranges else None
        condition = self.headers["If-Range"] if conditions else None
        facts |= {key: headers[key] for key in facts if key in (headers or {})}
        if ranged and (condition is None or condition in facts.values()):
            start = int(ranged.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.status(416, {"Content-Range": f"bytes */{len(content)}"})
            code = 206
            facts["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        facts["Content-Length"] = str(len(body))
        facts |= headers or {}
        if encode == "chunked":
            facts |= {"Transfer-Encoding": "chunked", "Content-Length": None}
        self.send_response(code)
        for key, value in facts.items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        sent = body if stop is None else body[:stop]
        piece = max(1, len(sent) // 8) if wait or encode else max(1, len(sent))
        for place in range(0, len(sent), piece):
            part = sent[place : place + piece]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if encode else part)
            self.wfile.flush()
            time.sleep(wait)
        if encode and stop is None:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = stop is not None or "Content-Length" in (headers or {})
        return None

    def status(self, code, headers=None, body=b"", reason=None):
        """Answer with a status, headers and a body."""
        self.send_response(code, reason)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def hang_up(self):
        """Close the connection without an answer."""
        self.close_connection = True
