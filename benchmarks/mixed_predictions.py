"""Two models that answer together: the mean of their log probabilities, for each seed of one.

    python -m benchmarks.mixed_predictions RUN/predictions/*.csv --beside TEACHERS/tested.csv

Both sides are tables of predictions of the same clips. That of `dusha cross-validate --seeds` holds
one for each seed; `--beside` is another model's, such as that of benchmarks.encoder_teachers.
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
from dusha_ser.evaluation.results import check_table, metrics_row, results_table, write_table
from dusha_ser.evaluation.seeds import seed_metrics
from dusha_ser.tables import screen_table
from dusha_ser.training.teachers import mean_probabilities


def mixed(first: Predictions, second: Predictions) -> Predictions:
    """Let two models answer together.

    Args:
        first: what the one predicts; its order of clips and labels is kept.
        second: what the other predicts of the same clips.

    Returns:
        The mean of their log probabilities, made to sum to 1.

    Raises:
        WrongUseError: if clips, their true labels, or labels differ.
    """
    place = {name: number for number, name in enumerate(second.ids)}
    if set(place) != set(first.ids) or set(second.labels) != set(first.labels):
        raise WrongUseError(
            f"the one has {len(first.ids)} clips of {', '.join(first.labels)}, the other "
            f"{len(place)} of {', '.join(second.labels)}; both must be the same"
        )
    rows = [place[name] for name in first.ids]
    columns = [second.labels.index(label) for label in first.labels]
    truth = [second.labels[number] for number in second.references[rows]]
    if truth != [first.labels[number] for number in first.references]:
        raise WrongUseError("the true labels of some clips differ; both must be the same")
    both = [first.probabilities, second.probabilities[np.ix_(rows, columns)]]
    return replace(first, probabilities=mean_probabilities(both))


def score(runs: Sequence[Predictions]) -> dict:
    """Score one run, or average several that differ in their seed."""
    return seed_metrics(runs) if len(runs) > 1 else score_predictions(runs[0])["metrics"]


def main() -> None:
    """Mix, score, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("predictions", nargs="+", type=Path, help="of one model, a file per seed")
    parser.add_argument("--beside", type=Path, required=True, help="predictions of the other one")
    parser.add_argument("--name", default="both", help="name of the two in the table")
    parser.add_argument("--test_set", default="", help="name of the clips in the table")
    parser.add_argument("--table", type=Path, help="file to write the scores to, .json")
    parser.add_argument("--overwrite", action="store_true", help="replace another table")
    options = parser.parse_args()
    words = ["python", "-m", "benchmarks.mixed_predictions", *map(str, options.predictions)]
    words += ["--beside", str(options.beside), "--name", options.name]
    command = shlex.join([*words, "--test_set", options.test_set])
    if options.table:
        check_table(options.table, command, options.overwrite)
    other = read_predictions(options.beside)
    runs = [mixed(read_predictions(path), other) for path in options.predictions]
    source = f"mean of {len(runs)} seeds ± deviation" if len(runs) > 1 else "one run"
    table = results_table([metrics_row(options.name, options.test_set, score(runs), source)])
    print(screen_table(table))
    if options.table:
        write_table(options.table, command, table)


if __name__ == "__main__":
    run_program(main)
