"""Dawid-Skene at the size of Dusha: this project beside crowd-kit, to the same posteriors.

    python -m benchmarks.dawid_skene [--answers N --tasks N --annotators N --rounds N]

Both get the same answers, in random order, as arrays of integers, and run with their defaults:
at most 100 iterations, the same rule to stop before. Crowd-kit's data frame is built before its
clock starts. Rounds take turns, the ratio is the median over them. Memory is what the largest
resident set of the process grew by during the first of our runs.
"""

import argparse
import time

import numpy as np

from benchmarks.answers_to_labels import peak_memory
from benchmarks.crowds import ANNOTATORS, ANSWERS, CLIPS, Crowd, simulate_dusha
from benchmarks.measuring import speedups, write_results
from dusha_ser.cli.program import run_program
from dusha_ser.labels.dawid_skene import dawid_skene


def run_crowd_kit(crowd: Crowd, frame) -> np.ndarray:
    """Return crowd-kit's posteriors, float64 (tasks, labels)."""
    from crowdkit.aggregation import DawidSkene

    found = DawidSkene(n_iter=100).fit_predict_proba(frame)
    labels = range(len(crowd.answers.labels))
    return found.reindex(range(len(crowd.truth))).reindex(columns=labels).to_numpy()


def measure(crowd: Crowd, rounds: int) -> dict:
    """Run both in turn; returns times in seconds, bytes, and how far the posteriors differ."""
    import pandas

    frame = pandas.DataFrame(
        {
            "task": crowd.answers.task,
            "worker": crowd.answers.annotator,
            "label": crowd.answers.label,
        }
    )
    # So that one-time costs of SciPy are nobody's.
    dawid_skene(crowd.answers, iterations=1)
    times = {"crowd-kit": [], "ours": []}
    memory = None
    for _ in range(rounds):
        before, started = peak_memory(), time.perf_counter()
        found = dawid_skene(crowd.answers)
        times["ours"].append(time.perf_counter() - started)
        memory = memory or peak_memory() - before
        started = time.perf_counter()
        expected = run_crowd_kit(crowd, frame)
        times["crowd-kit"].append(time.perf_counter() - started)
    return {
        "iterations": found.iterations,
        "seconds": times,
        "times_as_fast": speedups(times, "crowd-kit")["ours"],
        "memory": memory,
        "largest_difference": float(np.abs(found.probabilities - expected).max()),
    }


def options() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.dawid_skene --answers 50000 --tasks 9000 "
        "--annotators 400",
    )
    parser.add_argument("--answers", type=int, default=ANSWERS, help="number of answers")
    parser.add_argument("--tasks", type=int, default=CLIPS, help="number of tasks (clips)")
    parser.add_argument("--annotators", type=int, default=ANNOTATORS, help="number of annotators")
    parser.add_argument("--rounds", type=int, default=3, help="times each side is measured")
    return parser


def main() -> None:
    """Generate the answers, measure both sides, print and write the comparison."""
    chosen = options().parse_args()
    size = {name: getattr(chosen, name) for name in ("answers", "tasks", "annotators")}
    found = measure(simulate_dusha(**size), chosen.rounds)
    for name, seconds in found["seconds"].items():
        print(f"{name}: {min(seconds):.2f} s")
    print(
        f"{found['times_as_fast']:.1f} times as fast over {found['iterations']} iterations, with "
        f"{found['memory'] / 1e6:.0f} MB; posteriors differ by at most "
        f"{found['largest_difference']:.1e}"
    )
    print(f"written to {write_results('dawid_skene', {**size, **found})}")


if __name__ == "__main__":
    run_program(main)
