"""Two models that answer together: the mean of their log probabilities, for each seed of one.

    python -m benchmarks.mixed_predictions RUN --beside TEACHERS/tested.csv

RUN is a folder that `dusha cross-validate --seeds` wrote. What the other model predicts of the same
clips is a table, such as that of benchmarks.encoder_teachers.
"""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dusha_ser.cli.program import run_program
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import Predictions, read_predictions, score_predictions
from dusha_ser.evaluation.results import (
    check_table,
    metrics_row,
    read_results,
    results_table,
    write_table,
)
from dusha_ser.evaluation.seeds import seed_differences, seed_metrics
from dusha_ser.tables import screen_table
from dusha_ser.training.teachers import mean_probabilities


def aligned(other: Predictions, first: Predictions) -> Predictions:
    """Bring what another model predicts into the order of clips and labels of the first.

    Raises:
        WrongUseError: if clips, their true labels, or labels differ.
    """
    place = {name: number for number, name in enumerate(other.ids)}
    if set(place) != set(first.ids) or set(other.labels) != set(first.labels):
        raise WrongUseError(
            f"the one has {len(first.ids)} clips of {', '.join(first.labels)}, the other "
            f"{len(place)} of {', '.join(other.labels)}; both must be the same"
        )
    rows = [place[name] for name in first.ids]
    columns = [other.labels.index(label) for label in first.labels]
    truth = [other.labels[number] for number in other.references[rows]]
    if truth != [first.labels[number] for number in first.references]:
        raise WrongUseError("the true labels of some clips differ; both must be the same")
    return replace(first, probabilities=other.probabilities[np.ix_(rows, columns)])


def mixed(first: Predictions, second: Predictions) -> Predictions:
    """Let two models answer together: the mean of their log probabilities, made to sum to 1."""
    both = [first.probabilities, aligned(second, first).probabilities]
    return replace(first, probabilities=mean_probabilities(both))


def score(runs: Sequence[Predictions]) -> dict:
    """Score one run, or average several that differ in their seed."""
    return seed_metrics(runs) if len(runs) > 1 else score_predictions(runs[0])["metrics"]


def difference_cell(runs: Sequence[Predictions], others: Sequence[Predictions]) -> str:
    """Return by how much balanced accuracy is better than that of others, with its interval."""
    found = seed_differences(runs, others)
    low, high = (found["intervals"] or {}).get("balanced_accuracy") or (None, None)
    interval = "" if low is None else f" [{low:+.3f}, {high:+.3f}]"
    return f"{found['balanced_accuracy']:+.3f}{interval}"


def main() -> None:
    """Mix, score, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder that `dusha cross-validate` wrote")
    parser.add_argument("--beside", type=Path, required=True, help="predictions of another model")
    parser.add_argument("--name", default="both", help="name of the two in the table")
    parser.add_argument("--test_set", default="", help="name of the clips in the table")
    parser.add_argument("--table", type=Path, help="file to write the scores to, .json")
    parser.add_argument("--overwrite", action="store_true", help="replace another table")
    options = parser.parse_args()
    words = ["python", "-m", "benchmarks.mixed_predictions", str(options.run)]
    words += ["--beside", str(options.beside), "--name", options.name]
    words += ["--test_set", options.test_set, "--table", str(options.table)]
    command = shlex.join(words)
    if options.table:
        check_table(options.table, command, options.overwrite)
    folder = options.run
    first = [read_predictions(folder / one["predictions"]) for one in read_results(folder)]
    first = [aligned(one, first[0]) for one in first]
    other = read_predictions(options.beside)
    runs = [mixed(one, other) for one in first]
    source = f"mean of {len(runs)} seeds ± deviation" if len(runs) > 1 else "one run"
    table = results_table([metrics_row(options.name, options.test_set, score(runs), source)])
    table[0] += ["balanced_accuracy, more than the first", "more than the other"]
    table[1] += [difference_cell(runs, first), difference_cell(runs, [aligned(other, first[0])])]
    print(screen_table(table))
    if options.table:
        write_table(options.table, command, table)


if __name__ == "__main__":
    run_program(main)
