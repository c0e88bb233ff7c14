"""Memory and time of joining many answers, and how many fit into this machine's memory.

    python -m benchmarks.aggregation_scale [--answers N ... --methods NAME ...]

Answers are generated: those of the paper, its clips and its annotators, as many times as it takes.
Each size and method runs in a process of its own. Memory is the largest resident set from the
moment on when the answers are there as arrays, Python and the answers included.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.answers_to_labels import peak_memory
from benchmarks.crowds import ANNOTATORS, ANSWERS, CLIPS, Crowd, simulate_dusha
from benchmarks.measuring import Measurement, measuring_options, processor_seconds, slope
from dusha_ser.cli.program import run_program
from dusha_ser.errors import WorkFailedError
from dusha_ser.labels.dawid_skene import dawid_skene, m_step
from dusha_ser.labels.regularised import regularised_dawid_skene
from dusha_ser.vocabulary import ITERATIONS

SIZES = (1_000_000, 5_000_000, 17_000_000)
# Three to four answers to each of thirty million clips.
WANTED = 100_000_000
METHODS = {"dawid_skene": dawid_skene, "regularised": regularised_dawid_skene}


def simulate(answers: int) -> Crowd:
    """Generate a crowd as Dusha's, of any size."""
    times = answers / ANSWERS
    return simulate_dusha(answers, round(CLIPS * times), max(2, round(ANNOTATORS * times)))


def part_difference(crowd: Crowd, parts: int = 4) -> float:
    """Compare the counts of an M-step with the sum of those of parts of the tasks.

    Returns:
        The largest relative difference: what cutting the tasks into parts changes, by rounding.
    """
    table = crowd.answers.table()
    probabilities = table.vote_shares()
    edges = np.linspace(0, len(probabilities), parts + 1).astype(int)
    summed = sum(
        m_step(table.matrix[begin:end], probabilities[begin:end])
        for begin, end in zip(edges, edges[1:], strict=False)
    )
    whole = m_step(table.matrix, probabilities)
    return float(np.abs(summed - whole).max() / whole.max())


def run_here(answers: int, method: str) -> dict:
    """Join generated answers by one method in this process; memory in bytes, times in seconds."""
    crowd = simulate(answers)
    # The memory that generating took must not count: Linux forgets the peak.
    Path("/proc/self/clear_refs").write_text("5")
    began, used = time.perf_counter(), processor_seconds()
    found = METHODS[method](crowd.answers)
    return {
        "memory": peak_memory(),
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(processor_seconds() - used, 3),
        "iterations": found.iterations,
        "right": round(float(np.mean(found.probabilities.argmax(axis=1) == crowd.truth)), 4),
    }


def run_alone(answers: int, method: str) -> dict:
    """Do `run_here` in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, "--here", str(answers), method]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise WorkFailedError(f"{answers} answers by {method} failed: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def extrapolate(sizes: dict[int, dict]) -> dict:
    """Say what WANTED answers would take, and how many this machine's memory holds."""
    amounts = np.array(list(sizes))
    each, fixed = np.polyfit(amounts, [one["memory"] for one in sizes.values()], 1)
    iteration = {n: one["processor_seconds"] / one["iterations"] for n, one in sizes.items()}
    # At most as many iterations, each of the longest that was measured for an answer.
    seconds_each = ITERATIONS * max(seconds / n for n, seconds in iteration.items())
    return {
        "bytes_an_answer": round(float(each), 1),
        "growth_of_an_iteration": slope(iteration)["exponent"],
        "wanted": WANTED,
        "wanted_gigabytes": round(float(fixed + each * WANTED) / 1e9, 1),
        "wanted_hours": round(WANTED * seconds_each / 3600, 2),
        "millions_that_fit": int((psutil.virtual_memory().total - fixed) / each / 1e6),
    }


def make_table(methods: dict[str, dict]) -> dict:
    """Return the columns and rows that pages show."""
    rows = [
        [
            name,
            f"{answers / 1e6:.0f} million",
            f"{one['memory'] / 1e9:.2f} GB",
            f"{one['processor_seconds']:.0f} s",
            str(one["iterations"]),
        ]
        for name, found in methods.items()
        for answers, one in found["sizes"].items()
    ]
    columns = ["method", "answers", "memory", "processor time", "iterations"]
    return {"columns": columns, "rows": rows}


def main() -> None:
    """Measure each size by each method, print and write what was found."""
    parser = measuring_options(
        __doc__.splitlines()[0],
        "python -m benchmarks.aggregation_scale --answers 100000 500000",
        rounds=1,
    )
    parser.add_argument(
        "--answers", type=int, nargs="+", default=SIZES, help="numbers of answers, two at least"
    )
    parser.add_argument(
        "--methods", nargs="+", default=tuple(METHODS), choices=METHODS, help="how to join them"
    )
    parser.add_argument("--here", nargs=2, metavar=("N", "METHOD"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.here:
        print(json.dumps(run_here(int(chosen.here[0]), chosen.here[1])))
        return
    measurement = Measurement("aggregation_scale", chosen)
    methods = {}
    for method in chosen.methods:
        sizes = {}
        for answers in chosen.answers:
            sizes[answers] = run_alone(answers, method)
            print(f"{method}, {answers:,} answers: {sizes[answers]}", flush=True)
        methods[method] = {"sizes": sizes, **extrapolate(sizes)}
    results = {
        "methods": methods,
        "parts_differ_by": part_difference(simulate(min(chosen.answers))),
        "machine_gigabytes": round(psutil.virtual_memory().total / 1e9, 1),
        "table": make_table(methods),
    }
    print(f"written to {measurement.write(results)}")


if __name__ == "__main__":
    run_program(main)
