"""Folds of named rows: which clips each model is trained and tested on."""

import concurrent.futures
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold

from dusha_ser.corpus.named import NamedRows, read_column
from dusha_ser.errors import WrongUseError
from dusha_ser.experiments.fold_teachers import FoldTeachers
from dusha_ser.experiments.options import FOLDS, MOST_SINGLE_FOLDS, CrossValidateOptions
from dusha_ser.experiments.runs import Run, with_inputs
from dusha_ser.files import safe_name
from dusha_ser.processes import WorkerPool
from dusha_ser.training.teacher_options import FOLDS_FOLDER


@dataclass(frozen=True)
class Fold:
    """One model to train, on the split train, and the clips to test it on, the split test.

    `seed` is that of its training where several are asked for, and None where there is one;
    `groups` are those that folds keep together, of its training clips, where they are known.
    """

    name: str
    run: Run
    splits: dict[str, datasets.Dataset]
    overwrite: bool
    seed: int | None = None
    groups: tuple[str, ...] | None = None


def make_folds(
    options: CrossValidateOptions,
    rows: NamedRows,
    tell: Callable[[str], object] | None = None,
    with_audio: bool = False,
) -> tuple[list[Fold], list[str]]:
    """Divide the rows as the options say; return the folds and the fold of each clip.

    `tell` is called with a line for each teacher that has clips to classify. Features take the
    place of audio, unless `with_audio`, for runs that make features of their own.
    """
    groups = rows.speakers
    if options.group_column:
        groups = read_column(rows, options.group_column, options.data, options.path_column)
    if options.fold_column:
        folds = read_column(rows, options.fold_column, options.data, options.path_column)
        groups = groups or folds
    else:
        folds = assign_folds(rows, options.folds, groups, options.fold_seed)
    names = sorted(set(folds), key=lambda name: (len(name), name))
    if len(names) < 2:
        raise WrongUseError(f"{rows.name} has one fold, {names[0]!r}; two are needed at least")
    if len({safe_name(name) for name in names}) < len(names):
        raise WrongUseError(f"folds are called {', '.join(names)}, which are one as file names")
    run = Run(*options.training).settled(rows.rows)
    fold_of = np.array(folds)
    teachers = FoldTeachers(run, rows.rows, tell) if run.recipe.is_taught else None
    made: list[Fold] = []
    for seed in options.seeds or (None,):
        run = run.seeded(seed)
        if not made or run.recipe.waveform_copies:
            # Copies are drawn by the seed.
            inputs = with_inputs(rows.rows, run, with_audio)
        folder = options.output_dir / ("" if seed is None else f"seed_{seed}") / FOLDS_FOLDER
        for number, name in enumerate(names):
            trained = np.flatnonzero(fold_of != name)
            if options.train_clips:
                draw = np.random.default_rng([run.options.seed, number])
                labels = np.array(rows.rows["label"])[trained]
                trained = trained[draw_clips(labels, options.train_clips, draw)]
            tested = np.flatnonzero(fold_of == name)
            moved = run.moved(folder / safe_name(name), rows.name)
            if teachers and name in (options.folds_only or names):
                moved, splits = teachers.teach(name, moved, inputs, (trained, tested))
            else:
                splits = {"train": inputs.select(trained), "test": inputs.select(tested)}
            kept = None if groups is None else tuple(groups[place] for place in trained)
            made.append(Fold(name, moved, splits, options.overwrite, seed, kept))
    return made, folds


def draw_clips(labels: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    """Draw `count` clips of each class, all of a class that has fewer; their places, in order.

    Examples:
        >>> draw_clips(np.array([0, 1, 1, 1]), 2, np.random.default_rng(0)).tolist()
        [0, 1, 3]
    """
    places = [draw.permutation(np.flatnonzero(labels == one))[:count] for one in np.unique(labels)]
    return np.sort(np.concatenate(places))


def choose_folds(folds: Sequence[Fold], names: Sequence[str]) -> list[Fold]:
    """Return the folds of these names; all of them where none is given."""
    known = dict.fromkeys(fold.name for fold in folds)
    if unknown := [name for name in names if name not in known]:
        raise WrongUseError(
            f"`folds_only` has {unknown[0]!r}; the folds are called {', '.join(known)}"
        )
    return [fold for fold in folds if not names or fold.name in names]


def assign_folds(
    rows: NamedRows, count: int | None, groups: Sequence[str] | None, seed: int
) -> list[str]:
    """Give each clip the fold that tests it; a group (a speaker or session) is never divided.

    Where `count` is None: the usual folds of the corpus if it has some, else one per group up to
    ten of them, else five.
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


def run_each(
    work: Callable[[Any], dict], tasks: Sequence[Any], jobs: int, tell: Callable[[dict], None]
) -> list[dict]:
    """Do each task, in `jobs` processes at once, and tell of each that has ended.

    Returns:
        What the tasks gave, in their order.
    """
    if jobs == 1:
        results = []
        for task in tasks:
            results.append(work(task))
            tell(results[-1])
        return results
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with WorkerPool(min(jobs, len(tasks)), torch.set_num_threads, threads, limit="jobs") as pool:
        running = [pool.submit(work, task) for task in tasks]
        for ended in concurrent.futures.as_completed(running):
            tell(ended.result())
        return [ended.result() for ended in running]
