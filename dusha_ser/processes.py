"""Worker processes that never outlive the work, or the program that started them."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker

from dusha_ser.errors import WorkFailedError

SPAWN = multiprocessing.get_context("spawn")  # forked processes could not use PyTorch's threads
# Does what the built-in `map` does, here or elsewhere: results in the order of the items.
Mapper = Callable[[Callable, Iterator], Iterator]
LOOK_EVERY = 0.2  # seconds after which a worker looks again whether its parent is still there
_watched = 0  # this process's number while what it forks is to end with it, else 0


class WorkerPool(ProcessPoolExecutor):
    """Processes for a `with` block: the block's failure or the program's end is theirs, too.

    They are spawned, so what they call must be importable. Ctrl-C is for the program alone.

    Args:
        count: number of processes.
        prepare: called in each process before anything else; None: nothing.
        *arguments: of prepare; what is shared between processes is made with SPAWN.
        limit: the caller's parameter for count, to name where memory ran out.

    Raises:
        WorkFailedError: at the end of the block, if a process was ended from outside.

    Examples:
        >>> with WorkerPool(2) as pool:
        ...     list(pool.map(abs, [-1, -2]))
        [1, 2]
    """

    def __init__(
        self,
        count: int,
        prepare: Callable[..., object] | None = None,
        *arguments: object,
        limit: str = "num_proc",
    ):
        self._limit = limit
        self._others = set(multiprocessing.active_children())
        # Started with the first process, it would unblock what `submit` blocks.
        resource_tracker.ensure_running()
        super().__init__(count, SPAWN, _start_worker, (os.getpid(), prepare, arguments))

    def submit(self, *args, **kwargs) -> Future:
        """As the executor's; a process that it starts hears no Ctrl-C from the first moment."""
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            return super().submit(*args, **kwargs)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(*args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __exit__(self, kind, error, traceback) -> None:
        if error is not None:
            started = set(multiprocessing.active_children()) - self._others
            self.shutdown(wait=False, cancel_futures=True)
            for process in started:
                process.terminate()
            for process in started:
                process.join()
                # Where the executor's thread is told of the end, `join` returns before it is noted.
                while process.exitcode is None:
                    time.sleep(0.001)
        self.shutdown()
        if isinstance(error, BrokenProcessPool):
            raise WorkFailedError(
                "a worker process was ended from outside, most often because memory ran out: start "
                f"again with a smaller `{self._limit}`; what is finished is kept"
            ) from error


def _start_worker(parent: int, prepare: Callable[..., object] | None, arguments: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)
    if prepare is not None:
        prepare(*arguments)


@contextlib.contextmanager
def workers_end_with_us() -> Iterator[None]:
    """Make processes that other libraries fork inside this block end soon after this process has.

    A killed program cannot tell its workers. They would wait for ever, and hold on to the file
    locks that they inherited, so that starting the program again would wait for ever too. PyTorch
    works with one thread in them: it would wait for ever for threads that were not forked.
    """
    global _watched
    before, _watched = _watched, os.getpid()
    try:
        yield
    finally:
        _watched = before


def _watch_in_child() -> None:
    global _watched
    if _watched:
        parent, _watched = _watched, os.getpid()  # what a worker forks ends with that worker
        end_with(parent)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watch_in_child)


def end_with(parent: int) -> None:
    """End this process soon after its parent, a process number taken while that surely lived."""

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
