"""Folds of a cross-validation: which tests which, the runs, and their predictions together."""

import concurrent.futures
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import datasets
import numpy as np
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
    """One model to train and the clips to test it on.

    Attributes:
        name: of the fold.
        run: how to train.
        splits: train and test.
        overwrite: whether what is there may be deleted.
    """

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
    """Train and test one fold, unless it is done.

    Args:
        fold: to run.

    Returns:
        The content of its file: name, settings, best epoch, seconds and metrics.

    Raises:
        WrongUseError: if its folder was made with other options.
        WorkFailedError: if training fails.
    """
    folder = fold.run.output_dir
    path = folder / FOLD_FILE
    if path.is_file() and not fold.overwrite:
        done = read_json(path)
        if done["settings"] == settings_of(fold.run, fold.splits):
            return done
    started = time.perf_counter()
    result = train_run(fold.run, fold.splits, fold.overwrite)
    predictions = replace(
        result.predictions, folds=[fold.name] * len(result.predictions.references)
    )
    write_predictions(folder / PREDICTIONS_FILE, predictions)
    predictions = read_predictions(folder / PREDICTIONS_FILE)
    done = {
        "fold": fold.name,
        "settings": settings_of(fold.run, fold.splits),
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
    """Run all folds; what is done is kept if one fails.

    Args:
        folds: to run.
        jobs: number of processes.
        tell: called with a line for each fold that has ended.

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


def pool_folds(folds: Sequence[Fold], order: Sequence[str]) -> Predictions:
    """Put the predictions of all folds together, in the order of the clips' names."""
    parts = [read_predictions(fold.run.output_dir / PREDICTIONS_FILE) for fold in folds]
    ids = [name for part in parts for name in part.ids]
    place = {name: i for i, name in enumerate(ids)}
    turn = [place[name] for name in order]
    speakers = [speaker for part in parts for speaker in part.speakers or []]
    numbers = [fold for part in parts for fold in part.folds or []]
    return Predictions(
        labels=parts[0].labels,
        ids=list(order),
        references=np.concatenate([part.references for part in parts])[turn],
        probabilities=np.concatenate([part.probabilities for part in parts])[turn],
        speakers=[speakers[i] for i in turn] if len(speakers) == len(turn) else None,
        folds=[numbers[i] for i in turn],
    )


def shared_speakers(rows: NamedRows, folds: Sequence[str]) -> int:
    """Count the speakers that are in more than one fold."""
    found: dict[str, set[str]] = {}
    for speaker, fold in zip(rows.speakers or [], folds, strict=False):
        found.setdefault(speaker, set()).add(fold)
    return sum(len(of_one) > 1 for of_one in found.values())
