"""Worker processes that never outlive the program that started them."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

# How often a worker looks whether its parent is still there, in seconds.
LOOK_EVERY = 0.2
_watching = False
_registered = False
_forking = 0


@contextlib.contextmanager
def workers_end_with_us() -> Iterator[None]:
    """Make processes forked inside this context end soon after this process has.

    A killed program cannot tell its workers. They would wait for ever, and hold on to the file
    locks that they inherited, so that starting the program again would wait for ever too.
    """
    global _watching, _registered
    if not _registered and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_remember, after_in_child=_watch_in_child)
        _registered = True
    before, _watching = _watching, True
    try:
        yield
    finally:
        _watching = before


def _remember() -> None:
    global _forking
    _forking = os.getpid()


def _watch_in_child() -> None:
    if _watching:
        end_with(_forking)


def end_with(parent: int) -> None:
    """Make this process end soon after its parent has; call it in a worker.

    Args:
        parent: the parent's process number, taken while it surely was there.
    """
    threading.Thread(target=_wait_for_end, args=(parent,), daemon=True).start()


def _wait_for_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    os._exit(1)
