"""Folds of a cross-validation: which tests which, the runs, and their predictions together."""

import concurrent.futures
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import datasets
import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedGroupKFold

from dusha_ser.corpus.named import NamedRows
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import Predictions, read_predictions, write_predictions
from dusha_ser.evaluation.ser.ser import SCORES, ser_metrics
from dusha_ser.experiments.options import FOLDS, MOST_SINGLE_FOLDS
from dusha_ser.experiments.runs import Run, settings_of, train_run
from dusha_ser.processes import WorkerPool
from dusha_ser.storage import read_json, write_json

FOLD_FILE = "fold.json"
PREDICTIONS_FILE = "predictions.csv"


@dataclass(frozen=True)
class Fold:
    """One model to train, on the split train, and the clips to test it on, the split test."""

    name: str
    run: Run
    splits: dict[str, datasets.Dataset]
    overwrite: bool


def assign_folds(
    rows: NamedRows, count: int | None, groups: Sequence[str] | None, seed: int
) -> list[str]:
    """Give each clip the fold that tests it; a group is never divided.

    Args:
        rows: to divide.
        count: of folds; None: the usual folds of the corpus where it has some, else one per group
            up to ten of them, else five.
        groups: of the clips (speakers or sessions), (clips,); None: not known.
        seed: of the assignment of groups to folds.

    Returns:
        Names of folds, (clips,).

    Raises:
        WrongUseError: if groups are not known or too few.
    """
    if count is None and rows.folds is not None:
        return list(rows.folds)
    if groups is None:
        raise WrongUseError(
            f"the speakers of {rows.name} are not known, and folds that share speakers give too "
            "good a result; add a speaker column, or give `group_column` or `fold_column`"
        )
    different = len(set(groups))
    if count is None:
        if different <= MOST_SINGLE_FOLDS:
            return list(groups)
        count = FOLDS
    if not 2 <= count <= different:
        raise WrongUseError(
            f"{rows.name} has {different} groups and cannot make {count} folds; allowed are 2 to "
            f"{different}"
        )
    labels = np.array(rows.rows["label"])
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    folds = np.empty(len(labels), dtype=object)
    for number, (_, tested) in enumerate(splitter.split(labels, labels, np.array(groups)), 1):
        folds[tested] = str(number)
    return list(folds)


def run_fold(fold: Fold) -> dict:
    """Train and test one fold, unless it is done; return the content of its file.

    Raises:
        WrongUseError: if its folder was made with other options.
        WorkFailedError: if training fails.
    """
    folder = fold.run.output_dir
    path = folder / FOLD_FILE
    settings = settings_of(fold.run, fold.splits)
    if path.is_file() and not fold.overwrite:
        done = read_json(path)
        if done["settings"] == settings:
            return done
    started = time.perf_counter()
    result = train_run(fold.run, fold.splits, fold.overwrite)
    predictions = replace(result.predictions, folds=[fold.name] * len(result.predictions.ids))
    write_predictions(folder / PREDICTIONS_FILE, predictions)
    predictions = read_predictions(folder / PREDICTIONS_FILE)
    done = {
        "fold": fold.name,
        "settings": settings,
        "best_epoch": result.best_epoch,
        "seconds": round(time.perf_counter() - started, 1),
        "metrics": ser_metrics(
            predictions.predicted,
            predictions.references,
            predictions.probabilities,
            labels=predictions.labels,
        ),
    }
    write_json(path, done)
    return done


def run_folds(folds: Sequence[Fold], jobs: int, tell: Callable[[str], None]) -> list[dict]:
    """Run all folds, and tell of each that has ended; what is done is kept if one fails.

    Returns:
        The content of the folds' files, in their order.
    """
    if jobs == 1:
        results = []
        for fold in folds:
            results.append(run_fold(fold))
            tell(fold_line(results[-1]))
        return results
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with WorkerPool(min(jobs, len(folds)), torch.set_num_threads, threads, limit="jobs") as pool:
        running = [pool.submit(run_fold, fold) for fold in folds]
        for ended in concurrent.futures.as_completed(running):
            tell(fold_line(ended.result()))
        return [ended.result() for ended in running]


def fold_line(done: dict) -> str:
    """Return the line of a fold that has ended."""
    scores = ", ".join(f"{name} {done['metrics'][name]:.3f}" for name in SCORES)
    return f"fold {done['fold']}: {scores} ({done['seconds']:.0f} s)"


def pool_folds(folds: Sequence[Fold], rows: NamedRows) -> Predictions:
    """Put the predictions of all folds together, in the order of the rows."""
    parts = [read_predictions(fold.run.output_dir / PREDICTIONS_FILE) for fold in folds]
    found = {
        clip: (probabilities, fold.name)
        for fold, part in zip(folds, parts, strict=True)
        for clip, probabilities in zip(part.ids, part.probabilities, strict=True)
    }
    ids = list(map(str, rows.rows["id"]))
    return Predictions(
        labels=rows.labels,
        ids=ids,
        references=np.array(rows.rows["label"]),
        probabilities=np.array([found[clip][0] for clip in ids]),
        speakers=rows.speakers,
        folds=[found[clip][1] for clip in ids],
    )


def shared_speakers(rows: NamedRows, folds: Sequence[str]) -> int:
    """Count the speakers that are in more than one fold."""
    if rows.speakers is None:
        return 0
    return int((pd.Series(list(folds)).groupby(rows.speakers).nunique() > 1).sum())
