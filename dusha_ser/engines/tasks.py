"""Work that a program would give to processes of its own, as tasks of a cluster of Ray."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from dusha_ser.engines.cluster import RETRIES, connect
from dusha_ser.engines.options import EngineOptions

# Tasks per processor that wait or run: those that wait are sent ahead.
AHEAD = 2
# Items of `map_on_ray` that one task gets, and how many are done here before a cluster is asked: of
# answers, blocks of 4 MB, and 100 MB, which take less time than a cluster takes to answer.
TOGETHER = 16
FEW = 400


def choose_spread(engine: EngineOptions, quiet: bool = False) -> Callable[..., None] | None:
    """Return what runs jobs on a cluster of Ray; None: this program runs them."""
    return partial(run_on_ray, engine.address, quiet) if engine.on_ray else None


def choose_mapper(engine: EngineOptions, quiet: bool = False) -> Callable[..., Iterator]:
    """Return what does `map` on a cluster of Ray, or `map`."""
    return partial(map_on_ray, engine.address, quiet) if engine.on_ray else map


def map_on_ray(
    address: str | None,
    quiet: bool,
    function: Callable[[Any], Any],
    items: Iterable[Any],
    few: int = FEW,
) -> Iterator[Any]:
    """Yield what a function makes of each item, in their order, as `map` does.

    Args:
        address: of the cluster, as for `connect`.
        quiet: no messages.
        function: of one item.
        items: are taken no faster than they are done.
        few: this many are done here; what comes after them goes to the cluster.

    Raises:
        WrongUseError: Ray is not installed, or it is not such an address.
        WorkFailedError: nobody answers at the address, or the function failed.

    Examples:
        >>> list(map_on_ray(None, True, str.upper, ["a", "b"]))
        ['A', 'B']
    """
    items = iter(items)
    yield from map(function, itertools.islice(items, few))
    groups = iter(lambda: list(itertools.islice(items, TOGETHER)), [])
    if (first := next(groups, None)) is None:
        return
    with connect(address, quiet) as processors:
        import ray

        run = ray.remote(num_cpus=1, max_retries=RETRIES)(call_each)
        running = collections.deque([run.remote(function, first)])
        while running:
            places = AHEAD * max(1, processors.cpus) - len(running)
            running.extend(run.remote(function, one) for one in itertools.islice(groups, places))
            yield from ray.get(running.popleft())


def call_each(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """Call a function with each item; returns what it returns.

    Examples:
        >>> call_each(len, ["a", "bc"])
        [1, 2]
    """
    return list(map(function, items))


def run_on_ray(
    address: str | None,
    quiet: bool,
    jobs: Iterator[Any],
    count: int,
    report: Callable[[int], object],
) -> None:
    """Run jobs as `corpus.parquet_folder.run_jobs` does, a processor each.

    Args:
        address: of the cluster, as for `connect`.
        quiet: no messages.
        jobs: each is called with a function that takes the number of rows done.
        count: of the jobs.
        report: is called with the rows of each job that has ended.

    Raises:
        WrongUseError: Ray is not installed, or it is not such an address.
        WorkFailedError: nobody answers at the address, or a job failed.
    """
    if not count:
        return
    with connect(address, quiet) as processors:
        import ray

        run = ray.remote(num_cpus=1, max_retries=RETRIES)(count_rows)
        running: list[Any] = []
        while True:
            places = AHEAD * max(1, processors.cpus) - len(running)
            running += [run.remote(job) for job in itertools.islice(jobs, places)]
            if not running:
                return
            ended, running = ray.wait(running)
            for one in ended:
                report(ray.get(one))


def count_rows(job: Callable[[Callable[[int], None]], None]) -> int:
    """Run a job, and return how many rows it has done.

    Examples:
        >>> count_rows(lambda report: [report(3), report(4)])
        7
    """
    rows = 0

    def count(more: int) -> None:
        nonlocal rows
        rows += more

    job(count)
    return rows
