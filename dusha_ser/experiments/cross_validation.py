"""Cross-validation of a training setup: folds of named rows, and the results of all together."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dusha_ser.corpus.named import NamedRows, named_rows
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.results import (
    all_rows,
    folds_table,
    results_table,
    write_table,
)
from dusha_ser.evaluation.ser.ser import SCORES
from dusha_ser.experiments.evaluation import write_figures, write_result
from dusha_ser.experiments.folds import Fold, assign_folds, pool_folds, run_folds, shared_speakers
from dusha_ser.experiments.options import CrossValidateOptions
from dusha_ser.experiments.runs import Run, with_inputs
from dusha_ser.storage import safe_name, write_text
from dusha_ser.tables import markdown_table, read_table, screen_table


def cross_validate(options: CrossValidateOptions, tell: Callable[[str], None]) -> str:
    """Divide the rows, run the folds, and return the tables of their results for a screen.

    Raises:
        MissingInputError: if the data are missing.
        WrongUseError: if they cannot be divided so, or a folder is not of these options.
        WorkFailedError: if training fails.
    """
    rows = named_rows(options.data, options.split, options.allow_other_counts)
    folds, fold_of = make_folds(options, rows)
    results = run_folds(folds, options.jobs, tell)
    return write_results(options, rows, folds, fold_of, results)


def read_column(spelling: str, rows: NamedRows, name: str) -> list[str]:
    """Read a column of a prepared corpus or of the table that the rows came from, as text.

    Raises:
        WrongUseError: if there is none, or a value is missing.
    """
    if name in rows.rows.column_names:
        values = list(rows.rows[name])
    elif Path(spelling).is_file():
        values = [row.get(name) for row in read_table(Path(spelling), ())]
    else:
        values = [None]
    if any(value in (None, "") for value in values):
        raise WrongUseError(
            f"{spelling} has no column {name!r} with a value in each row; it has "
            f"{', '.join(rows.rows.column_names)}"
        )
    return list(map(str, values))


def make_folds(options: CrossValidateOptions, rows: NamedRows) -> tuple[list[Fold], list[str]]:
    """Divide the rows as the options say; return the folds and the fold of each clip."""
    if options.fold_column:
        folds = read_column(options.data, rows, options.fold_column)
    else:
        groups = rows.speakers
        if options.group_column:
            groups = read_column(options.data, rows, options.group_column)
        folds = assign_folds(rows, options.folds, groups, options.fold_seed)
    names = sorted(set(folds), key=lambda name: (len(name), name))
    if len(names) < 2:
        raise WrongUseError(f"{rows.name} has one fold, {names[0]!r}; two are needed at least")
    if len({safe_name(name) for name in names}) < len(names):
        raise WrongUseError(f"folds are called {', '.join(names)}, which are one as file names")
    run = Run(*options.training)
    inputs = with_inputs(rows.rows, run)
    fold_of = np.array(folds)
    made = []
    for name in names:
        folder = options.output_dir / "folds" / safe_name(name)
        splits = {
            "train": inputs.select(np.flatnonzero(fold_of != name)),
            "test": inputs.select(np.flatnonzero(fold_of == name)),
        }
        made.append(Fold(name, run.moved(folder, rows.name), splits, options.overwrite))
    return made, folds


def write_results(
    options: CrossValidateOptions,
    rows: NamedRows,
    folds: Sequence[Fold],
    fold_of: Sequence[str],
    results: Sequence[dict],
) -> str:
    """Write pooled predictions, metrics, tables and figures; return the tables for a screen."""
    name = options.name or options.output_dir.name
    test_set = f"{rows.name}, {len(folds)} folds"
    shared = shared_speakers(rows, fold_of)
    values = {score: [result["metrics"][score] for result in results] for score in SCORES}
    source = f"pooled over {len(folds)} folds"
    if shared:
        source += f"; {shared} speakers are in several folds"
    five_sessions = rows.published_as == "iemocap" and rows.folds == list(fold_of)
    result = {
        "model": name,
        "model_path": None,
        "test_set": test_set,
        "published_as": "iemocap" if five_sessions else None,
        "command": options.command,
        "seconds": sum(result["seconds"] for result in results),
        "source": source,
        "shared_speakers": shared,
        "folds": {
            one["fold"]: {key: one[key] for key in ("best_epoch", "seconds", "metrics")}
            for one in results
        },
        "mean": {score: float(np.mean(values[score])) for score in SCORES},
        "standard_deviation": {score: float(np.std(values[score], ddof=1)) for score in SCORES},
    }
    result = write_result(options.output_dir, result, pool_folds(folds, rows), "csv")
    tables = folds_table(result), results_table(all_rows([result]))
    for path, table in ((options.folds_table, tables[0]), (options.table, tables[1])):
        if path:
            write_table(path, result["command"], table)
    page = "\n".join(markdown_table(table) for table in tables)
    write_text(
        options.output_dir / "results.md",
        f"# {name} on {test_set}\n\nEach clip is tested once, by a model that was trained on the "
        f"other folds. `mean ± sd` is over folds (n - 1); below, all clips are pooled, and "
        f"intervals are over {'folds' if rows.speakers is None else 'speakers'}.\n\n{page}",
    )
    write_figures(options.output_dir, [result])
    return "\n".join(screen_table(table) for table in tables)
