"""Fetching an archive over HTTP, whole and from its middle: this project, curl and huggingface_hub.

    python -m benchmarks.download

A server on the loopback address sends one file. Ours checks that the file on the server is still
the same, takes MD5 and SHA-256 while it comes, and waits for the disk. Experts run curl, which
resumes where a file ends, and sha256sum; people let huggingface_hub fetch it and take SHA-256 then.
"""

import argparse
import contextlib
import hashlib
import multiprocessing
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import disable_progress_bars

from benchmarks.measuring import (
    Measurement,
    compare,
    measure_in_turn,
    measuring_options,
    print_pairs,
)
from dusha_ser.archives.mirrors import Mirror, fetch_archives
from dusha_ser.archives.transfer import Patience, part_of
from dusha_ser.cli.program import run_program
from dusha_ser.errors import MissingInputError, WorkFailedError

NAME = "archive.tar"
PEER, USUAL, OURS = "curl, sha256sum", "huggingface_hub, hashlib", "ours"


class FileServer(ThreadingHTTPServer):
    """A server of one file, of which it knows the path and the SHA-256."""

    file: tuple[Path, str]


class OneFile(BaseHTTPRequestHandler):
    """Sends the file that the server has, or what a Range asks of it; /half breaks off there."""

    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Answer."""
        path, digest = self.server.file
        size = path.stat().st_size
        first = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        self.send_response(HTTPStatus.PARTIAL_CONTENT if first else HTTPStatus.OK)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{digest}"')
        self.end_headers()
        broken = self.path.startswith("/half")
        with path.open("rb") as file:
            self.connection.sendfile(file, first, (size // 2 if broken else size) - first)
        self.close_connection = broken

    def log_message(self, *arguments):
        """Say nothing."""


def serve(path: Path, digest: str, ready: Connection) -> None:
    """Send a file until this process is ended; tells its port first."""
    with FileServer(("127.0.0.1", 0), OneFile) as server:
        server.file = path, digest
        ready.send(server.server_port)
        server.serve_forever()


@contextlib.contextmanager
def served(path: Path, digest: str) -> Iterator[str]:
    """Serve a file from a process of its own; the address ends without a slash."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(path, digest, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def write_file(path: Path, gigabytes: float) -> str:
    """Write random bytes; returns their SHA-256."""
    rng, digest = np.random.default_rng(0), hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(round(gigabytes * 100)):
            block = rng.bytes(10**7)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


class Ways:
    """The ways to fetch the file into a folder, and what each has of it when half has come.

    Args:
        url: of the server.
        folder: to work in.
        digest: SHA-256 of the file.

    Raises:
        MissingInputError: if one of the programs is not installed.
    """

    def __init__(self, url: str, folder: Path, digest: str):
        self.url, self.folder, self.digest = url, folder, digest
        self.target, self.halves = folder / "fetched", folder / "half"
        self.programs: dict[str, Any] = {name: shutil.which(name) for name in ("curl", "sha256sum")}
        if missing := [name for name, path in self.programs.items() if not path]:
            raise MissingInputError(f"{' and '.join(missing)} of the system must be installed")

    def keep_half(self, source: Path) -> None:
        """Let our own download break off in the middle, and cut a file there for the others."""
        with contextlib.suppress(WorkFailedError):
            self.fetch("/half", patience=Patience(tries=1, first_tries=1, first_wait=0))
        # The same file on the same server, under the name that is fetched.
        kept = Mirror(f"{self.url}/half", self.target).folder
        place = Mirror(self.url, self.target).folder.relative_to(self.target)
        shutil.copytree(kept, self.halves / place)
        part = next(self.halves.rglob(part_of(Path(NAME)).name))
        if part.stat().st_size != source.stat().st_size // 2:
            raise WorkFailedError(f"{part.stat().st_size} bytes came, not half of the file")
        shutil.copyfile(part, self.halves / NAME)

    def clear(self, half: bool = False) -> None:
        """Let the folder hold nothing, or half of the file for each of them."""
        shutil.rmtree(self.target, ignore_errors=True)
        if half:
            shutil.copytree(self.halves, self.target)
        else:
            self.target.mkdir()

    def fetch(self, part: str = "", **options: Any) -> None:
        """Fetch as `dusha corpus --base_url` does."""
        checksums = {NAME: f"sha256:{self.digest}"}
        fetch_archives([NAME], self.url + part, self.target, checksums, quiet=True, **options)

    def curl(self) -> None:
        """Fetch and check by two programs."""
        path = self.target / NAME
        words = [self.programs["curl"], "-fsS", "-C", "-", "-o", path, f"{self.url}/{NAME}"]
        subprocess.run(words, check=True)
        words = [self.programs["sha256sum"], path]
        shown = subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout
        self.check(shown.decode().split()[0])

    def hub(self) -> None:
        """Fetch and check as a program of Python does that has huggingface_hub."""
        path = self.target / NAME
        with path.open("ab") as file:
            http_get(f"{self.url}/{NAME}", file, resume_size=file.tell())
        with path.open("rb") as file:
            self.check(hashlib.file_digest(file, "sha256").hexdigest())

    def check(self, found: str) -> None:
        """Raise a WorkFailedError for another file."""
        if found != self.digest:
            raise WorkFailedError(f"the file has the SHA-256 {found}, not {self.digest}")


def measure(folder: Path, chosen: argparse.Namespace) -> dict:
    """Measure all ways; returns seconds and how they compare."""
    source = folder / NAME
    digest = write_file(source, chosen.gigabytes)
    with served(source, digest) as url:
        ways = Ways(url, folder, digest)
        ways.clear()
        ways.keep_half(source)
        work: dict[str, Callable[[], None]] = {
            PEER: ways.curl,
            USUAL: ways.hub,
            OURS: ways.fetch,
        }
        measured = {
            kind: measure_in_turn(work, chosen.rounds, before=partial(ways.clear, half))
            for kind, half in (("whole", False), ("from the middle", True))
        }
    pairs: dict[str, dict] = {}
    for kind, times in measured.items():
        pairs |= compare(times, {kind: (PEER, OURS), f"{kind}, as people do": (USUAL, OURS)})
    return {"gigabytes": chosen.gigabytes, "pairs": pairs, "measured": measured}


def main() -> None:
    """Write the file, measure, print and write the comparison."""
    parser = measuring_options(__doc__.splitlines()[0], "python -m benchmarks.download")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the file (1)")
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: temporary)")
    chosen = parser.parse_args()
    # Ours shows none either.
    disable_progress_bars()
    measurement = Measurement("download", chosen)
    with tempfile.TemporaryDirectory(prefix="download-", dir=chosen.folder) as name:
        found = measure(Path(name), chosen)
    print_pairs(found["pairs"])
    print(f"written to {measurement.write(found)}")


if __name__ == "__main__":
    run_program(main)
