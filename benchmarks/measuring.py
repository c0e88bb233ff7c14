"""How all benchmarks measure: variants in turn within one run, ratios of the same round.

Each work is timed by the clock and by the processor time that this process and its ended children
used. On a machine that others use, too, the second is what can be compared: the clock also counts
the time that a program waits for a processor.
"""

import contextlib
import json
import os
import platform
import resource
import shlex
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

RESULTS = Path(__file__).resolve().parent / "results"
# As Linux calls them: what decides how fast sums of products of 32, 16 and 8 bits are.
WIDE_INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8")


@contextlib.contextmanager
def processors(count: int) -> Iterator[None]:
    """Let PyTorch and NumPy's libraries use so many threads.

    Threads of the one that wait a while for more work take processor time from the other.

    Args:
        count: of threads.
    """
    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended, in seconds."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure_in_turn(
    variants: dict[str, Callable[[], object]], rounds: int, warm_up: bool = True
) -> dict[str, dict[str, list[float]]]:
    """Measure several ways of doing the same work.

    Args:
        variants: name and work.
        rounds: how often each is measured; the order is A B C A B C ..., so that a machine whose
            speed drifts slows all of them alike.
        warm_up: whether each is run once before anything is measured.

    Returns:
        seconds (by the clock) and processor_seconds, for each variant the values of its rounds.
    """
    if warm_up:
        for work in variants.values():
            work()
    times = {name: [] for name in variants}
    used = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            started, began = time.perf_counter(), processor_seconds()
            work()
            used[name].append(processor_seconds() - began)
            times[name].append(time.perf_counter() - started)
    return {"seconds": times, "processor_seconds": used}


def time_in_turn(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds alone of measure_in_turn."""
    return measure_in_turn(variants, rounds)["seconds"]


def speedups(times: dict[str, list[float]], peer: str) -> dict[str, float]:
    """Say how many times as fast as the peer each variant is, as the median over the rounds."""
    return {
        name: statistics.median(p / own for p, own in zip(times[peer], row, strict=True))
        for name, row in times.items()
    }


def slope(sizes: dict[int, float]) -> dict[str, float]:
    """Say how cost grows with work.

    Args:
        sizes: seconds by the amount of work.

    Returns:
        exponent (1 where cost is linear, from a line through the logarithms) and seconds_each
        (seconds for one more unit, from a line through the values).

    Examples:
        >>> slope({10: 1.0, 20: 2.0, 40: 4.0})
        {'exponent': 1.0, 'seconds_each': 0.1}
    """
    import numpy as np

    amounts, seconds = np.array(list(sizes)), np.array(list(sizes.values()))
    return {
        "exponent": round(float(np.polyfit(np.log(amounts), np.log(seconds), 1)[0]), 6),
        "seconds_each": round(float(np.polyfit(amounts, seconds, 1)[0]), 9),
    }


def wide_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Name the instructions for many numbers at once that this machine's processors have.

    Args:
        cpuinfo: Linux's file about the processors.

    Returns:
        Those of WIDE_INSTRUCTIONS that are there; none where the file is not.

    Examples:
        >>> wide_instructions(Path("no such file"))
        []
    """
    words = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    return [name for name in WIDE_INSTRUCTIONS if name in words]


def write_results(name: str, results: dict, arguments: Sequence[str] = ()) -> Path:
    """Write a benchmark's results and what it ran on.

    Args:
        name: of the benchmark; the file is benchmarks/results/NAME.json.
        results: what was measured; must be JSON.
        arguments: of the command line, if it had any.

    Returns:
        The file.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    machine = {
        "processors": os.cpu_count(),
        "architecture": platform.machine(),
        "instructions": wide_instructions(),
        # Programs that wanted a processor in the last minute; ours alone count as one to two.
        "load": os.getloadavg()[0],
    }
    command = f"python -m benchmarks.{name}" if arguments else f"python -m benchmarks {name}"
    command = shlex.join([*command.split(), *arguments])
    content = {"command": command, "machine": machine, **results}
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path
