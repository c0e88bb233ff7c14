"""How right and how well calibrated each aggregator is, on crowds whose truth is known.

    python -m benchmarks.aggregators [--answers_dir FOLDER] [--archives_dir FOLDER]

Real crowds are read from folders, since their data is not ours to ship; simulated ones are always
measured. Nothing in the aggregators was fitted to the truth of any of these crowds. pages
take the tables by `python -m benchmarks.page_numbers`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.crowds import KINDS, SHARES, Crowd, read_archives, read_crowd, simulate_crowd
from benchmarks.measuring import write_results
from dusha_ser.cli.program import run_program
from dusha_ser.labels.aggregation import aggregate, single_labels
from dusha_ser.tables import screen_table
from dusha_ser.vocabulary import ANSWERS, METHODS, THRESHOLD

COMPARED = ("majority_vote", "dawid_skene", "regularised_dawid_skene")
ANSWERS_AN_ANNOTATOR = (5, 15, 45, 150, 500)
# A truth that was thought impossible costs this probability's logarithm, not an infinite one.
LEAST_PROBABILITY = 1e-6


def score(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Compare probabilities with the truth.

    Args:
        probabilities: float64 (tasks, labels).
        truth: int (tasks,), -1 where it is not known.

    Returns:
        accuracy, log_loss (natural units), and of labels with a probability of at least 0.9 the
        share that is kept and the share of those that is right.
    """
    probabilities, truth = probabilities[truth >= 0], truth[truth >= 0]
    of_truth = probabilities[np.arange(len(truth)), truth]
    labels = single_labels(probabilities, THRESHOLD)
    kept = labels >= 0
    return {
        "accuracy": float((probabilities.argmax(axis=1) == truth).mean()),
        "log_loss": float(-np.log(np.maximum(of_truth, LEAST_PROBABILITY)).mean()),
        "kept": float(kept.mean()),
        "accuracy_of_kept": float((labels == truth)[kept].mean()) if kept.any() else None,
    }


def measure_crowd(crowd: Crowd, methods: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Score the methods on one crowd, by name."""
    return {
        method: score(aggregate(crowd.answers, method).probabilities, crowd.truth)
        for method in methods
    }


def measure_simulated(seeds: int, tasks: int, quiet: bool) -> list[dict]:
    """Score COMPARED on crowds of each kind, size and shares of labels.

    Args:
        seeds: how many crowds of each.
        tasks: number of tasks of a crowd.
        quiet: no bar.

    Returns:
        One row for each kind, shares and answers an annotator: means of accuracy and log loss for
        each method, and the gain of the regularised method over the better of the other two with
        its standard error over crowds.
    """
    settings = [
        (kind, shares, size) for kind in KINDS for shares in SHARES for size in ANSWERS_AN_ANNOTATOR
    ]
    rows = []
    for kind, shares, size in tqdm(settings, desc="crowds", disable=quiet):
        found = [
            measure_crowd(
                simulate_crowd(
                    kind, seed=seed, answers_an_annotator=size, tasks=tasks, shares=shares
                ),
                COMPARED,
            )
            for seed in range(seeds)
        ]
        means = {
            method: {
                name: float(np.mean([crowd[method][name] for crowd in found]))
                for name in ("accuracy", "log_loss")
            }
            for method in COMPARED
        }
        better = max(COMPARED[:2], key=lambda method: means[method]["accuracy"])
        gains = [crowd[COMPARED[2]]["accuracy"] - crowd[better]["accuracy"] for crowd in found]
        rows.append(
            {
                "kind": kind,
                "shares": shares,
                "answers_an_annotator": size,
                "methods": means,
                "gain": float(np.mean(gains)),
                "standard_error": float(np.std(gains, ddof=1) / np.sqrt(seeds)),
            }
        )
    return rows


def real_table(methods: dict[str, dict]) -> dict:
    """Return the columns and rows of one real crowd."""
    return {
        "columns": ["method", "right", "log loss of the truth", "kept at 0.9", "right of the kept"],
        "rows": [
            [
                f"`{method}`",
                f"{found['accuracy']:.4f}",
                f"{found['log_loss']:.3f}",
                f"{found['kept']:.3f}",
                "" if found["accuracy_of_kept"] is None else f"{found['accuracy_of_kept']:.4f}",
            ]
            for method, found in methods.items()
        ],
    }


def simulated_table(rows: list[dict]) -> dict:
    """Return the columns and rows of simulated crowds."""
    names = ("votes", "Dawid-Skene", "regularised")
    columns = ["annotators, labels", "answers each", *(f"{name}: right" for name in names)]
    columns += ["gain", *(f"{name}: log loss" for name in names)]
    lines = []
    for row in rows:
        found = [row["methods"][method] for method in COMPARED]
        lines.append(
            [
                f"{row['kind']}, {row['shares']}",
                str(row["answers_an_annotator"]),
                *(f"{own['accuracy']:.4f}" for own in found),
                f"{row['gain']:+.4f} ± {row['standard_error']:.4f}",
                *(f"{own['log_loss']:.3f}" for own in found),
            ]
        )
    return {"columns": columns, "rows": lines}


def make_tables(results: dict) -> dict[str, dict]:
    """Return the tables of results by name, as benchmarks.page_numbers takes them into a page."""
    tables = {name: real_table(methods) for name, methods in results["real"].items()}
    return {**tables, "simulated": simulated_table(results["simulated"])}


def options() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.aggregators --answers_dir crowd_faces",
    )
    parser.add_argument(
        "--answers_dir",
        type=Path,
        help="real answers: a folder with answers.csv (question, worker, answer) and truth.csv "
        "(question, truth)",
    )
    parser.add_argument(
        "--archives_dir",
        type=Path,
        help="answers in Dusha's layout: a folder with crowd.tar, podcast.tar and truth.csv "
        "(hash_id, emotion)",
    )
    parser.add_argument("--seeds", type=int, default=10, help="simulated crowds of each kind")
    parser.add_argument("--tasks", type=int, default=600, help="tasks of a simulated crowd")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def main() -> None:
    """Measure, print the tables and write the results."""
    chosen = options().parse_args()
    real = {}
    if chosen.answers_dir:
        real["answers"] = measure_crowd(read_crowd(chosen.answers_dir), METHODS)
    if chosen.archives_dir:
        real["archives"] = measure_crowd(read_archives(chosen.archives_dir, ANSWERS), METHODS)
    results = {
        "seeds": chosen.seeds,
        "tasks": chosen.tasks,
        "real": real,
        "simulated": measure_simulated(chosen.seeds, chosen.tasks, chosen.quiet),
    }
    results["tables"] = make_tables(results)
    for name, table in results["tables"].items():
        print(f"{name}\n{screen_table([table['columns'], *table['rows']])}")
    path = write_results("aggregators", results, sys.argv[1:])
    print(f"written to {path}; pages take it by python -m benchmarks.page_numbers")


if __name__ == "__main__":
    run_program(main)
