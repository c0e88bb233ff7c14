"""Cross-validate a training setup: models that never heard a speaker test all of its clips."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dusha_ser.cli.train import read_run
from dusha_ser.corpus.named import SPELLINGS, NamedRows, named_rows
from dusha_ser.corpus.other_corpora import CORPORA
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.predictions import read_predictions, score_predictions, write_predictions
from dusha_ser.evaluation.results import (
    PREDICTIONS_DIR,
    RESULTS_DIR,
    all_rows,
    folds_table,
    pair_name,
    results_table,
    write_table,
)
from dusha_ser.evaluation.ser.ser import SCORES
from dusha_ser.experiments.folds import (
    FOLDS,
    MOST_SINGLE_FOLDS,
    Fold,
    assign_folds,
    pool_folds,
    run_folds,
    shared_speakers,
)
from dusha_ser.experiments.runs import Run, with_inputs
from dusha_ser.reports.figures import draw_calibration, draw_confusion, save_figure
from dusha_ser.storage import safe_name, write_json, write_text
from dusha_ser.tables import markdown_table, read_table, screen_table


def read_column(spelling: str, rows: NamedRows, name: str) -> list[str]:
    """A column of a prepared corpus or of the table that the rows came from, as text.

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


def make_folds(options: argparse.Namespace, rows: NamedRows) -> tuple[list[Fold], list[str]]:
    """Divide the rows as the options say; returns the folds and the fold of each clip."""
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
    quiet = options.quiet or options.jobs > 1
    run = Run(*read_run(rows.name, options.setup, options.train_options, options.output_dir, quiet))
    inputs = with_inputs(rows.rows, run)
    fold_of = np.array(folds)
    made = []
    for name in names:
        folder = options.output_dir / "folds" / safe_name(name)
        splits = {
            "train": inputs.select(np.flatnonzero(fold_of != name)),
            "test": inputs.select(np.flatnonzero(fold_of == name)),
        }
        made.append(Fold(name, run.moved(folder), splits, options.overwrite))
    return made, folds


def write_result(
    options: argparse.Namespace,
    rows: NamedRows,
    folds: Sequence[Fold],
    fold_of: Sequence[str],
    results: Sequence[dict],
) -> str:
    """Write pooled predictions, metrics, tables and pictures; returns the tables for people."""
    name = options.name or options.output_dir.name
    test_set = f"{rows.name}, {len(folds)} folds"
    pair = pair_name(name, test_set)
    predictions_path = options.output_dir / PREDICTIONS_DIR / f"{pair}.csv"
    write_predictions(predictions_path, pool_folds(folds, [str(one) for one in rows.rows["id"]]))
    predictions = read_predictions(predictions_path)
    scores = score_predictions(predictions, "fold" if predictions.speakers is None else "speaker")
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
        "predictions": f"{PREDICTIONS_DIR}/{predictions_path.name}",
        "command": shlex.join(["dusha", "cross-validate", *sys.argv[1:]]),
        "seconds": sum(result["seconds"] for result in results),
        "source": source,
        "shared_speakers": shared,
        "folds": {
            result["fold"]: {
                "best_epoch": result["best_epoch"],
                "seconds": result["seconds"],
                "metrics": result["metrics"],
            }
            for result in results
        },
        "mean": {score: float(np.mean(values[score])) for score in SCORES},
        "standard_deviation": {score: float(np.std(values[score], ddof=1)) for score in SCORES},
        **scores,
    }
    write_json(options.output_dir / RESULTS_DIR / f"{pair}.json", result)
    tables = folds_table(result), results_table(all_rows([result]))
    for path, table in ((options.folds_table, tables[0]), (options.table, tables[1])):
        if path:
            write_table(path, result["command"], table)
    page = "\n".join(markdown_table(table) for table in tables)
    write_text(
        options.output_dir / "results.md",
        f"# {name} on {test_set}\n\nEach clip is tested once, by a model that was trained on the "
        f"other folds. `mean ± sd` is over folds (n - 1); below, all clips are pooled, and "
        f"intervals are over {'folds' if predictions.speakers is None else 'speakers'}.\n\n{page}",
    )
    confusion = draw_confusion({test_set: result["metrics"]}, name)
    save_figure(confusion, options.output_dir / f"confusion_{safe_name(name)}.png")
    calibration = draw_calibration({name: result["reliability"]}, test_set)
    save_figure(calibration, options.output_dir / f"calibration_{safe_name(test_set)}.png")
    return "\n".join(screen_table(table) for table in tables)


def main(arguments: Sequence[str] | None = None) -> None:
    """Divide the rows, run the folds, put the results together."""
    options = parse_options(arguments)
    tell = (lambda line: None) if options.quiet else (lambda line: print(line, flush=True))
    rows = named_rows(options.data, options.split, options.allow_other_counts)
    folds, fold_of = make_folds(options, rows)
    results = run_folds(folds, options.jobs, tell)
    tables = write_result(options, rows, folds, fold_of, results)
    tell(f"\n{tables}\npredictions, metrics and pictures: {options.output_dir}")


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what is not known here is for `dusha train`."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Any option of `dusha train` may follow. Examples: dusha cross-validate "
        "iemocap --data_dir IEMOCAP_full_release --output_dir runs/iemocap (the paper's five "
        "sessions); dusha cross-validate clips.csv --folds 5 --output_dir runs/own "
        "--num_train_epochs 20 --model_name_or_path dusha-model",
        allow_abbrev=False,
    )
    parser.add_argument(
        "data", help=f"a corpus ({', '.join(CORPORA)}) with --data_dir, or {SPELLINGS}"
    )
    parser.add_argument("--data_dir", help="folder that the corpus was unpacked to")
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=Path("cross_validation"),
        help="folder for models, predictions and results (cross_validation)",
    )
    parser.add_argument(
        "--table", type=Path, help="JSON file for the table, from which pages take their numbers"
    )
    parser.add_argument("--folds_table", type=Path, help="the same for the table with a row a fold")
    parser.add_argument("--name", help="of the model in tables (default: name of output_dir)")
    parser.add_argument(
        "--folds",
        type=int,
        help=f"how many (default: the usual ones of the corpus, else one a speaker up to "
        f"{MOST_SINGLE_FOLDS} speakers, else {FOLDS})",
    )
    parser.add_argument(
        "--group_column",
        help="column whose groups are kept together, such as session (default: the speaker)",
    )
    parser.add_argument("--fold_column", help="column that gives the folds themselves")
    parser.add_argument(
        "--fold_seed", type=int, default=0, help="of the assignment of groups to folds (0)"
    )
    parser.add_argument("--split", help="split of a prepared corpus, such as train")
    parser.add_argument("--setup", help="setup of `dusha train`, a name or a YAML file")
    parser.add_argument("--jobs", type=int, default=1, help="folds that run at once (1)")
    parser.add_argument(
        "--allow_other_counts",
        action="store_true",
        help="go on where another corpus has not the published number of recordings",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="lose what is in output_dir, and begin anew"
    )
    parser.add_argument("--quiet", action="store_true", help="show no bars and no tables")
    options, options.train_options = parser.parse_known_args(arguments)
    if options.jobs < 1:
        raise WrongUseError(f"--jobs is {options.jobs}; it must be at least 1")
    if options.data in CORPORA:
        if not options.data_dir:
            raise MissingInputError(
                f"--data_dir is missing: name the folder that {CORPORA[options.data].title} was "
                "unpacked to"
            )
        options.data = f"{options.data}={options.data_dir}"
    elif options.data_dir:
        raise WrongUseError(
            f"--data_dir is the folder of a corpus ({', '.join(CORPORA)}), and {options.data!r} is "
            "none of them; leave it out, or name the corpus"
        )
    return options
