"""Cross-validation of a training setup: folds of named rows, and the results of all together."""

import concurrent.futures
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedGroupKFold

from dusha_ser.corpus.named import NamedRows, named_rows
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import Predictions, read_predictions, write_predictions
from dusha_ser.evaluation.results import (
    all_rows,
    check_table,
    folds_table,
    results_table,
    write_table,
)
from dusha_ser.evaluation.seeds import (
    SEEDS_FILE,
    noise_sentence,
    seed_metrics,
    seeds_folds_table,
)
from dusha_ser.evaluation.ser.ser import SCORES, ser_metrics
from dusha_ser.experiments.evaluation import write_figures, write_result
from dusha_ser.experiments.fold_teachers import FoldTeachers
from dusha_ser.experiments.options import FOLDS, MOST_SINGLE_FOLDS, CrossValidateOptions
from dusha_ser.experiments.runs import Run, settings_of, train_run, with_inputs
from dusha_ser.files import printable_name, safe_name
from dusha_ser.processes import WorkerPool
from dusha_ser.storage import read_json, write_json, write_text
from dusha_ser.tables import markdown_table, read_table, screen_table
from dusha_ser.training.teacher_options import FOLDS_FOLDER
from dusha_ser.training.teachers import describe_teachers

FOLD_FILE = "fold.json"
PREDICTIONS_FILE = "predictions.csv"


@dataclass(frozen=True)
class Fold:
    """One model to train, on the split train, and the clips to test it on, the split test.

    `seed` is that of its training where several are asked for, and None where there is one.
    """

    name: str
    run: Run
    splits: dict[str, datasets.Dataset]
    overwrite: bool
    seed: int | None = None


def cross_validate(options: CrossValidateOptions, tell: Callable[[str], None]) -> str:
    """Divide the rows, run the folds, and return the tables of their results for a screen.

    Raises:
        MissingInputError: if the data are missing.
        WrongUseError: if they cannot be divided so, or a folder is not of these options.
        WorkFailedError: if training fails.
    """
    for path in filter(None, (options.table, options.folds_table)):
        check_table(path, options.command, options.overwrite)
    rows = named_rows(options.data, options.split, options.allow_other_counts, options)
    folds, fold_of = make_folds(options, rows, tell)
    wanted = choose_folds(folds, options.folds_only)
    results = run_folds(wanted, options.jobs, tell)
    if options.folds_only:
        return (
            f"folds {', '.join(options.folds_only)} are finished; the same command without "
            f"`folds_only` pools all folds, once they are in {options.output_dir}\n"
        )
    return write_results(options, rows, folds, fold_of, results)


def read_column(options: CrossValidateOptions, rows: NamedRows, name: str) -> list[str]:
    """Read a column of a prepared corpus or of the table that the rows came from, as text."""
    path, values = Path(options.data), list[Any]()
    if name in rows.rows.column_names:
        values = list(rows.rows[name])
    elif path.is_file():
        table = read_table(path, [options.path_column])
        found = {printable_name(row[options.path_column]): row for row in table}
        # Only the rows that became clips, in their order.
        values = [found[clip].get(name) for clip in rows.rows["id"]]
    if not values or any(value in (None, "") for value in values):
        raise WrongUseError(
            f"{options.data} has no column {name!r} with a value in each row; it has "
            f"{', '.join(rows.rows.column_names)}"
        )
    return list(map(str, values))


def make_folds(
    options: CrossValidateOptions, rows: NamedRows, tell: Callable[[str], object] | None = None
) -> tuple[list[Fold], list[str]]:
    """Divide the rows as the options say; return the folds and the fold of each clip.

    `tell` is called with a line for each teacher that has clips to classify.
    """
    if options.fold_column:
        folds = read_column(options, rows, options.fold_column)
    else:
        groups = rows.speakers
        if options.group_column:
            groups = read_column(options, rows, options.group_column)
        folds = assign_folds(rows, options.folds, groups, options.fold_seed)
    names = sorted(set(folds), key=lambda name: (len(name), name))
    if len(names) < 2:
        raise WrongUseError(f"{rows.name} has one fold, {names[0]!r}; two are needed at least")
    if len({safe_name(name) for name in names}) < len(names):
        raise WrongUseError(f"folds are called {', '.join(names)}, which are one as file names")
    run = Run(*options.training)
    inputs = with_inputs(rows.rows, run)
    fold_of = np.array(folds)
    teachers = FoldTeachers(run, rows.rows, tell) if run.recipe.is_taught else None
    made = []
    for seed in options.seeds or (None,):
        run = run.seeded(seed)
        place = options.output_dir / ("" if seed is None else f"seed_{seed}") / FOLDS_FOLDER
        for number, name in enumerate(names):
            trained = np.flatnonzero(fold_of != name)
            if options.train_clips:
                draw = np.random.default_rng([run.options.seed, number])
                labels = np.array(rows.rows["label"])[trained]
                trained = trained[draw_clips(labels, options.train_clips, draw)]
            tested = np.flatnonzero(fold_of == name)
            moved = run.moved(place / safe_name(name), rows.name)
            if teachers and name in (options.folds_only or names):
                moved, splits = teachers.teach(name, moved, inputs, (trained, tested))
            else:
                splits = {"train": inputs.select(trained), "test": inputs.select(tested)}
            made.append(Fold(name, moved, splits, options.overwrite, seed))
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


def run_fold(fold: Fold) -> dict:
    """Train and test one fold, unless it is done; return the content of its file."""
    folder = fold.run.output_dir
    path = folder / FOLD_FILE
    settings = settings_of(fold.run, fold.splits)
    if path.is_file() and (folder / PREDICTIONS_FILE).is_file() and not fold.overwrite:
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
        "seed": fold.seed,
        "settings": settings,
        "best_epoch": result.best_epoch,
        "seconds": round(time.perf_counter() - started, 1),
        "metrics": ser_metrics(
            predictions.predicted,
            predictions.references,
            predictions.distributions,
            labels=predictions.labels,
        ),
    }
    write_json(path, done)
    return done


def run_folds(folds: Sequence[Fold], jobs: int, tell: Callable[[str], None]) -> list[dict]:
    """Run all folds, and tell of each that has ended; what is done is kept if one fails."""

    def told(done: dict) -> dict:
        scores = ", ".join(f"{name} {done['metrics'][name]:.3f}" for name in SCORES)
        seed = "" if done.get("seed") is None else f"seed {done['seed']}, "
        tell(f"{seed}fold {done['fold']}: {scores} ({done['seconds']:.0f} s)")
        return done

    if jobs == 1:
        return [told(run_fold(fold)) for fold in folds]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with WorkerPool(min(jobs, len(folds)), torch.set_num_threads, threads, limit="jobs") as pool:
        running = [pool.submit(run_fold, fold) for fold in folds]
        for ended in concurrent.futures.as_completed(running):
            told(ended.result())
        return [ended.result() for ended in running]


def pool_folds(folds: Sequence[Fold], rows: NamedRows) -> Predictions:
    """Put the predictions of all folds together, in the order of the rows."""
    parts = [read_predictions(fold.run.output_dir / PREDICTIONS_FILE) for fold in folds]
    found = {
        clip: (probabilities, fold.name)
        for fold, part in zip(folds, parts, strict=True)
        for clip, probabilities in zip(
            part.ids,
            part.probabilities[:, [part.labels.index(label) for label in rows.labels]],
            strict=True,
        )
    }
    ids = list(map(str, rows.rows["id"]))
    return Predictions(
        labels=rows.labels,
        ids=ids,
        references=np.array(rows.rows["label"]),
        probabilities=np.array([found[clip][0] for clip in ids]),
        speakers=rows.speakers,
        folds=[found[clip][1] for clip in ids],
        multi_label=any(part.multi_label for part in parts),
    )


def shared_speakers(rows: NamedRows, folds: Sequence[str]) -> int:
    """Count the speakers that are in more than one fold."""
    if rows.speakers is None:
        return 0
    return int((pd.Series(list(folds)).groupby(rows.speakers).nunique() > 1).sum())


def write_results(
    options: CrossValidateOptions,
    rows: NamedRows,
    folds: Sequence[Fold],
    fold_of: Sequence[str],
    results: Sequence[dict],
) -> str:
    """Write pooled predictions, metrics, tables and figures; return the tables for a screen."""
    pairs = list(zip(folds, results, strict=True))
    found = [
        write_pooled(options, rows, [pair for pair in pairs if pair[0].seed == seed], fold_of)
        for seed in dict.fromkeys(fold.seed for fold in folds)
    ]
    tables, note = [folds_table(found[0]), results_table(all_rows(found))], ""
    if len(found) > 1:
        combined = write_seeds(options, found)
        tables = [seeds_folds_table(found), results_table(all_rows([combined]))]
        note = f" {noise_sentence(combined['metrics'])}"
    for path, table in ((options.folds_table, tables[0]), (options.table, tables[1])):
        if path:
            write_table(path, options.command, table)
    page = "\n".join(markdown_table(table) for table in tables)
    write_text(
        options.output_dir / "results.md",
        f"# {options.shown_name} on {found[0]['test_set']}\n\n{explain(options, rows)}{note}\n\n"
        + "\n\n".join(filter(None, [found[0].get("teachers"), page])),
    )
    write_figures(options.output_dir, found)
    return "\n".join(
        [*(screen_table(table) for table in tables), *([f"{note[1:]}\n"] * bool(note))]
    )


def explain(options: CrossValidateOptions, rows: NamedRows) -> str:
    """Say what the tables of a cross-validation are."""
    groups = "folds" if rows.speakers is None else "speakers"
    text = (
        "Each clip is tested once, by a model that was trained on the other folds. `mean ± sd` is "
        "over folds (n - 1); below, all clips are pooled"
    )
    if len(options.seeds) < 2:
        return f"{text}, and intervals are over {groups}."
    return (
        f"{text} and scored for each seed of training: the mean over seeds ± their standard "
        f"deviation (n - 1), and the interval of the mean over {groups}. A fold has its mean and "
        "deviation over seeds."
    )


def write_seeds(options: CrossValidateOptions, found: Sequence[dict]) -> dict:
    """Write the mean over seeds of their results; return it in the form of a result."""
    runs = [read_predictions(options.output_dir / one["predictions"]) for one in found]
    first, metrics = found[0], seed_metrics(runs)
    seeds = [one["seed"] for one in found]
    combined = {
        **{key: first[key] for key in ("test_set", "published_as", "command", "majority")},
        "model": options.shown_name,
        "source": f"mean of {len(found)} seeds ± deviation, {first['source']}",
        "seconds": sum(one["seconds"] for one in found),
        "groups": metrics["groups"],
        "metrics": metrics | {key: first["metrics"][key] for key in ("support", "absent_classes")},
        "seeds": {
            str(seed): {score: one["metrics"][score] for score in SCORES}
            for seed, one in zip(seeds, found, strict=True)
        },
    }
    write_json(options.output_dir / SEEDS_FILE, combined)
    return combined


def write_pooled(
    options: CrossValidateOptions,
    rows: NamedRows,
    pairs: Sequence[tuple[Fold, dict]],
    fold_of: Sequence[str],
) -> dict:
    """Write the pooled predictions and the metrics of all folds of one seed; return the result."""
    folds, results = zip(*pairs, strict=True)
    seed, name = folds[0].seed, options.shown_name
    taught = describe_teachers(options.training[1], "Each model")
    shared = shared_speakers(rows, fold_of)
    values = {score: [result["metrics"][score] for result in results] for score in SCORES}
    source = f"pooled over {len(folds)} folds"
    if options.train_clips:
        source += f", {options.train_clips} training clips per class"
    if shared:
        source += f"; {shared} speakers are in several folds"
    five_sessions = rows.published_as == "iemocap" and rows.folds == list(fold_of)
    result = {
        "model": name if seed is None else f"{name}, seed {seed}",
        "model_path": None,
        "test_set": f"{rows.name}, {len(folds)} folds",
        "published_as": "iemocap" if five_sessions else None,
        "command": options.command,
        **({"teachers": taught} if taught else {}),
        "seconds": sum(result["seconds"] for result in results),
        "source": source,
        "shared_speakers": shared,
        "seed": seed,
        "folds": {
            one["fold"]: {key: one[key] for key in ("best_epoch", "seconds", "metrics")}
            for one in results
        },
        "mean": {score: float(np.mean(values[score])) for score in SCORES},
        "standard_deviation": {score: float(np.std(values[score], ddof=1)) for score in SCORES},
    }
    return write_result(options.output_dir, result, pool_folds(folds, rows), "csv")
