"""What models gain that also hear each clip with warped frequencies, without training again.

    python -m benchmarks.frequency_warp ravdess=FOLDER --runs runs/tuned --warps 0.12

Each run is the folder of a cross-validation. Its models hear the clips that their folds test, with
each `frequency_warp` of their configuration, and once without.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import write_results
from benchmarks.mixed_predictions import aligned, difference_cell, score
from dusha_ser.cli.program import hide_bars, run_program
from dusha_ser.corpus.named import NamedRows, named_rows
from dusha_ser.errors import MissingInputError
from dusha_ser.evaluation.predict_rows import predict_rows
from dusha_ser.evaluation.predictions import Predictions, read_predictions
from dusha_ser.evaluation.results import metrics_row
from dusha_ser.evaluation.ser.ser import SCORES
from dusha_ser.experiments.cross_validation import PREDICTIONS_FILE
from dusha_ser.inference.loading import load_model
from dusha_ser.training.features import compute_inputs
from dusha_ser.training.teacher_options import FOLDS_FOLDER

NAME = "frequency_warp"
GAIN = "balanced_accuracy, more than without"
COLUMNS = ["run", "frequency_warp", *SCORES, GAIN, "seeds", "clips"]


def find_folds(run: Path) -> list[list[Path]]:
    """Return the models of a cross-validation, of each seed those of its folds.

    Raises:
        MissingInputError: if there are none, or one seed has fewer than another.
    """
    seeds = [
        place for place in (run, *sorted(run.glob("seed_*"))) if (place / FOLDS_FOLDER).is_dir()
    ]
    folds = [
        sorted(path.parent for path in place.glob(f"{FOLDS_FOLDER}/*/config.json"))
        for place in seeds
    ]
    if not folds or not all(folds):
        raise MissingInputError(f"{run} holds no models of folds: name a cross-validation's folder")
    if len(set(map(len, folds))) > 1:
        counts = [f"{seed.name} {len(one)}" for seed, one in zip(seeds, folds, strict=True)]
        raise MissingInputError(
            f"{run} has not ended, models of folds are: {', '.join(counts)}; resume it"
        )
    return folds


def predict_fold(model_folder: Path, rows: NamedRows, warps: Sequence[float]) -> list[Predictions]:
    """Predict the clips that a fold tested, with each warp, in the order of its own predictions."""
    model, extractor = load_model(str(model_folder))
    tested = read_predictions(model_folder / PREDICTIONS_FILE).ids
    place = {str(name): number for number, name in enumerate(rows.rows["id"])}
    inputs, _ = compute_inputs(rows.rows.select([place[name] for name in tested]), extractor)
    found = []
    for warp in warps:
        model.config.frequency_warp = warp
        found.append(predict_rows(model, extractor, replace(rows, rows=inputs, folds=None)))
    return found


def pooled(parts: Sequence[Predictions]) -> Predictions:
    """Put the predictions of folds together."""
    speakers = [part.speakers for part in parts]
    return replace(
        parts[0],
        ids=[name for part in parts for name in part.ids],
        references=np.concatenate([part.references for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        speakers=None if None in speakers else [one for part in speakers for one in part or ()],
    )


def predict_run(run: Path, rows: NamedRows, warps: Sequence[float]) -> list[list[Predictions]]:
    """Return what a run predicts with each warp, of each seed; clips are in one order."""
    by_seed = []
    for folds in find_folds(run):
        parts = [predict_fold(fold, rows, warps) for fold in folds]
        by_seed.append([pooled(of_warp) for of_warp in zip(*parts, strict=True)])
    first = by_seed[0][0]
    return [[aligned(one, first) for one in of_warp] for of_warp in zip(*by_seed, strict=True)]


def table_rows(run: Path, warps: Sequence[float], found: list[list[Predictions]]) -> list[list]:
    """Return the cells of a run, the first warp's, to which the others are compared, first."""
    rows = []
    for warp, runs in zip(warps, found, strict=True):
        cells = metrics_row(run.name, "", score(runs)).cells
        gain = "-" if runs is found[0] else difference_cell(runs, found[0])
        rows.append([run.name, f"{warp:g}", *cells.values(), gain, len(runs), len(runs[0].ids)])
    return rows


def main() -> None:
    """Predict with the models of all runs, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="as `dusha cross-validate` takes it, such as ravdess=FOLDER")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="cross-validations")
    parser.add_argument(
        "--warps", type=float, nargs="+", default=[0.12], help="shares of frequency"
    )
    parser.add_argument("--results", type=Path, help="folder for the table")
    options = parser.parse_args()
    hide_bars(quiet=True)
    torch.set_grad_enabled(False)
    rows = named_rows(options.data)
    warps = [0.0, *options.warps]
    shown = [f"{options.data.partition('=')[0]}=RAVDESS", "--runs", *map(str, options.runs)]
    shown += ["--warps", *(f"{warp:g}" for warp in options.warps)]
    shown += ["--results", str(options.results)] if options.results else []
    cells: list[list] = []
    for run in options.runs:
        cells += table_rows(run, warps, predict_run(run, rows, warps))
        print("\n".join("  ".join(map(str, row)) for row in cells[-len(warps) :]), flush=True)
        write_results(NAME, {"columns": COLUMNS, "rows": cells}, shown, options.results)


if __name__ == "__main__":
    run_program(main)
