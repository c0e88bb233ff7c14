"""Who works on which shard, among programs that share nothing but a store.

A claim is a file that its owner rewrites every few seconds. One that stays as it is, by the clock
of its watcher, was left by a program that was killed, and is taken over. Should two
programs do one shard nevertheless, both write the same bytes.
"""

import contextlib
import os
import secrets
import socket
import threading
import time

import psutil

from dusha_ser.shards.stores import Store

FOLDER = ".claims"
# Seconds after which owners rewrite claims, and after which one that was not is taken over.
BEAT, EXPIRY = 15.0, 120.0
# Owners of claims that are part of this process.
_living: set[str] = set()


class Claims:
    """The claims of this program, for a `with` block that ends with all given back.

    Args:
        store: of the job.
        beat: seconds after which claims are rewritten.
        expiry: seconds after which a claim of others that was not rewritten is taken over; one of
            a program of this machine that has ended is taken over at once.
    """

    def __init__(self, store: Store, beat: float = BEAT, expiry: float = EXPIRY):
        self.store, self.beat, self.expiry = store, beat, expiry
        self._owner = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}"
        self._held: set[str] = set()
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._rewrite, daemon=True)

    def __enter__(self) -> "Claims":
        _living.add(self._owner)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        for name in list(self._held):
            self.release(name)
        _living.discard(self._owner)

    def take(self, name: str) -> bool:
        """Claim something by its name, unless another program has; say whether that worked."""
        path = f"{FOLDER}/{name}"
        if not self.store.create(path, self._content()):
            try:
                content = self.store.read(path)
            except FileNotFoundError:
                return False  # given back just now: what was claimed is done
            if not self._is_left(name, content):
                return False
            self.store.write(path, self._content())
        with self._lock:
            self._held.add(name)
        return True

    def release(self, name: str) -> None:
        """Give a claim back."""
        with self._lock:
            if name in self._held:
                self._held.remove(name)
                self.store.remove(f"{FOLDER}/{name}")

    def clear(self) -> None:
        """Remove claims of shards, which killed programs left, when no shard is left to claim."""
        for name in self.store.names(FOLDER):
            if name.isdecimal():
                self.store.remove(f"{FOLDER}/{name}")

    def _content(self) -> bytes:
        return f"{self._owner} {time.time():.3f}\n".encode()

    def _is_left(self, name: str, content: bytes) -> bool:
        """Tell whether its owner has ended."""
        owner = content.decode(errors="replace").rpartition(" ")[0]
        if owner == self._owner:
            return False
        host, process, *_ = [*owner.split(" "), "", ""]
        if host == socket.gethostname() and process.isdecimal():
            # In a container that was started again, others had the number of this process.
            here = int(process) == os.getpid()
            return owner not in _living if here else not psutil.pid_exists(int(process))
        before, since = self._seen.get(name, (b"", 0.0))
        if before != content:
            self._seen[name] = content, time.monotonic()
            return False
        return time.monotonic() - since > self.expiry

    def _rewrite(self) -> None:
        while not self._ended.wait(self.beat):
            with self._lock:
                for name in self._held:
                    # A store that does not answer now may do so at the next beat.
                    with contextlib.suppress(OSError):
                        self.store.write(f"{FOLDER}/{name}", self._content())
