"""How all benchmarks measure: variants in turn within one run, ratios of the same round."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def time_in_turn(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time several ways of doing the same work.

    Args:
        variants: name and work; each is run once for warming up before anything is timed.
        rounds: how often each is timed; the order is A B C A B C ..., so that a machine whose
            speed drifts slows all of them alike.

    Returns:
        For each variant its times, in seconds.
    """
    for work in variants.values():
        work()
    times = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
    return times


def speedups(times: dict[str, list[float]], peer: str) -> dict[str, float]:
    """Say how many times as fast as the peer each variant is, as the median over the rounds."""
    return {
        name: statistics.median(p / own for p, own in zip(times[peer], row, strict=True))
        for name, row in times.items()
    }


def write_results(name: str, results: dict) -> Path:
    """Write a benchmark's results and what it ran on.

    Args:
        name: of the benchmark; the file is benchmarks/results/NAME.json.
        results: what was measured; must be JSON.

    Returns:
        The file.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    machine = {"processors": os.cpu_count(), "architecture": platform.machine()}
    path.write_text(json.dumps({"machine": machine, **results}, indent=2) + "\n")
    return path
