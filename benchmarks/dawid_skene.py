"""Dawid-Skene at the size of Dusha: this project beside crowd-kit, to the same posteriors.

    python -m benchmarks.dawid_skene [--answers N --tasks N --annotators N --rounds N]

Both get the same answers, in random order, as arrays of integers, and run with their defaults:
at most 100 iterations, the same rule to stop before, one thread. Crowd-kit's data frame is built
before its clock starts. Memory is what the largest resident set of the process grew by during the
first of our runs.
"""

import numpy as np

from benchmarks.answers_to_labels import peak_memory
from benchmarks.crowds import ANNOTATORS, ANSWERS, CLIPS, Crowd, simulate_dusha
from benchmarks.measuring import (
    Measurement,
    compare,
    measure_in_turn,
    measuring_options,
    print_pairs,
    processors,
)
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
    before = peak_memory()
    found = dawid_skene(crowd.answers)
    memory = peak_memory() - before
    expected = run_crowd_kit(crowd, frame)
    variants = {
        "crowd-kit": lambda: run_crowd_kit(crowd, frame),
        "ours": lambda: dawid_skene(crowd.answers),
    }
    times = measure_in_turn(variants, rounds, warm_up=False)
    return {
        "pairs": compare(times, {"Dawid-Skene": ("crowd-kit", "ours")}),
        "iterations": found.iterations,
        **times,
        "memory": memory,
        "largest_difference": float(np.abs(found.probabilities - expected).max()),
    }


def main() -> None:
    """Generate the answers, measure both sides, print and write the comparison."""
    parser = measuring_options(
        __doc__.splitlines()[0],
        "python -m benchmarks.dawid_skene --answers 50000 --tasks 9000 --annotators 400",
    )
    parser.add_argument("--answers", type=int, default=ANSWERS, help="number of answers")
    parser.add_argument("--tasks", type=int, default=CLIPS, help="number of tasks (clips)")
    parser.add_argument("--annotators", type=int, default=ANNOTATORS, help="number of annotators")
    chosen = parser.parse_args()
    measurement = Measurement("dawid_skene", chosen)
    size = {name: getattr(chosen, name) for name in ("answers", "tasks", "annotators")}
    with processors(1):
        found = measure(simulate_dusha(**size), chosen.rounds)
    print_pairs(found["pairs"])
    print(
        f"{found['iterations']} iterations, with {found['memory'] / 1e6:.0f} MB; posteriors differ "
        f"by at most {found['largest_difference']:.1e}"
    )
    print(f"written to {measurement.write({**size, **found})}")


if __name__ == "__main__":
    run_program(main)
