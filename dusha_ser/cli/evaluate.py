"""Evaluate models on test sets: predictions, metrics with intervals, one table of all pairs."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import datasets
import transformers

from dusha_ser.corpus.named import SPELLINGS, NamedRows, named_rows, refuse_other_labels
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predict_rows import BATCH_SIZE, model_names, predict_rows
from dusha_ser.evaluation.predictions import (
    Predictions,
    compare_predictions,
    read_predictions,
    score_predictions,
    write_predictions,
)
from dusha_ser.evaluation.results import (
    PREDICTIONS_DIR,
    RESULTS_DIR,
    all_rows,
    comparison_table,
    pair_name,
    read_results,
    results_table,
    write_table,
)
from dusha_ser.inference.loading import load_model, model_fingerprint
from dusha_ser.reports.figures import draw_calibration, draw_confusion, save_figure
from dusha_ser.storage import read_json, safe_name, write_json, write_text
from dusha_ser.tables import markdown_table, screen_table

PAGE = """# Results

The best macro F1 first; intervals are 95 % bootstrap intervals over speakers. `accuracy` is what
the Dusha paper calls UA and most of the field WA; `balanced_accuracy` is the paper's WA and the
field's UA. Each pair's predictions, metrics of each class and confusion matrix lie beside this
page.

{table}"""


def evaluate_pair(
    model: str, name: str, test_set: NamedRows, options: argparse.Namespace, loaded: dict
) -> None:
    """Write predictions and metrics of a model on a test set, unless they are there.

    Args:
        model: a folder, or a name on the Hub.
        name: the model's name in tables.
        test_set: the rows.
        options: of the command line.
        loaded: keeps the model for its next test set.
    """
    pair = pair_name(name, test_set.name)
    metrics_path = options.output_dir / RESULTS_DIR / f"{pair}.json"
    predictions_path = options.output_dir / PREDICTIONS_DIR / f"{pair}.{options.form}"
    fingerprint = {
        "model": model_fingerprint(model, options.trust_remote_code),
        "rows": test_set.fingerprint,
    }
    if not options.overwrite and is_done(metrics_path, predictions_path, fingerprint):
        tell(f"{name} on {test_set.name}: done before (--overwrite does it again)", options)
        return
    if model not in loaded:
        loaded.clear()
        loaded[model] = load_model(model, options.device, options.trust_remote_code)
    started = time.perf_counter()
    predictions = predict_rows(*loaded[model], test_set, options.batch_size, options.quiet)
    seconds = time.perf_counter() - started
    write_predictions(predictions_path, predictions)
    # What was written is what is scored: whoever reads the file gets the same numbers.
    scores = score_predictions(read_predictions(predictions_path))
    write_json(
        metrics_path,
        {
            "model": name,
            "model_path": model,
            "test_set": test_set.name,
            "published_as": test_set.published_as,
            "fingerprint": fingerprint,
            "predictions": f"{PREDICTIONS_DIR}/{predictions_path.name}",
            "seconds": round(seconds, 2),
            "command": command_line(),
            **scores,
        },
    )


def command_line() -> str:
    """The line that started this program."""
    return shlex.join(["dusha", "evaluate", *sys.argv[1:]])


def is_done(metrics_path: Path, predictions_path: Path, fingerprint: dict) -> bool:
    """Whether this very model was evaluated on these very rows."""
    if not metrics_path.is_file() or not predictions_path.is_file():
        return False
    return read_json(metrics_path).get("fingerprint") == fingerprint


def write_pages(output_dir: Path) -> list[list[str]]:
    """Write the table and the pictures of all results in a folder; returns the table."""
    results = read_results(output_dir)
    table = results_table(all_rows(results))
    write_text(output_dir / "results.md", PAGE.format(table=markdown_table(table)))
    by_model, by_test_set = {}, {}
    for result in results:
        by_model.setdefault(result["model"], {})[result["test_set"]] = result["metrics"]
        by_test_set.setdefault(result["test_set"], {})[result["model"]] = result["reliability"]
    for model, matrices in by_model.items():
        path = output_dir / f"confusion_{safe_name(model)}.png"
        save_figure(draw_confusion(matrices, model), path)
    for test_set, bins in by_test_set.items():
        path = output_dir / f"calibration_{safe_name(test_set)}.png"
        save_figure(draw_calibration(bins, test_set), path)
    return table


def compare_pair(first: str, second: str, output_dir: Path, quiet: bool) -> None:
    """Compare two evaluated models on each test set that both were evaluated on.

    Args:
        first: name of a model in the table.
        second: name of another.
        output_dir: where their results lie.
        quiet: whether to print no table.

    Raises:
        WrongUseError: if they share no test set, or speakers are not known.
    """
    found: dict[str, dict[str, Predictions]] = {}
    for result in read_results(output_dir):
        names = {result["model"], result["model_path"]}
        for wanted in {first, second} & names:
            path = output_dir / result["predictions"]
            found.setdefault(result["test_set"], {})[wanted] = read_predictions(path)
    shared = {name: pair for name, pair in found.items() if len(pair) == 2}
    if not shared:
        models = sorted({result["model"] for result in read_results(output_dir)})
        raise WrongUseError(
            f"{first} and {second} were evaluated on no test set in common; {output_dir} has "
            f"results of {', '.join(models)}"
        )
    for test_set, pair in shared.items():
        comparison = compare_predictions(pair[first], pair[second], test_set)
        path = output_dir / "comparisons" / f"{pair_name(first, second)}--{safe_name(test_set)}"
        content = {"first": first, "second": second, "test_set": test_set, "scores": comparison}
        write_json(path.with_name(path.name + ".json"), content)
        if not quiet:
            print(f"\n{first} (first) and {second} (second) on {test_set}, paired by speaker:")
            print(screen_table(comparison_table(comparison)), end="")


def train_first(options: argparse.Namespace, test_sets: Sequence[NamedRows]) -> str:
    """Train a model on the rows of --train_on, unless it is there; returns its folder.

    Raises:
        WrongUseError: if a test set shares clips with these rows.
    """
    # Training is half of the libraries; whoever only evaluates need not wait for them.
    from dusha_ser.cli.train import read_run
    from dusha_ser.experiments.runs import Run, is_finished, train_run, with_inputs

    rows = named_rows(options.train_on, "train", options.allow_other_counts)
    for test_set in test_sets:
        refuse_other_labels([rows, test_set])
        shared = rows.clips & test_set.clips
        if shared:
            raise WrongUseError(
                f"{len(shared)} clips of {test_set.name} are in {rows.name}, such as "
                f"{min(shared)}: a model must not be tested on what it was trained on"
            )
    folder = options.output_dir / "models" / f"trained_on_{safe_name(rows.name)}"
    run = Run(*read_run(rows.name, options.setup, options.train_options, folder, options.quiet))
    splits = {"train": with_inputs(rows.rows, run)}
    if options.overwrite or not is_finished(run, splits):
        train_run(run, splits, options.overwrite)
    return str(run.output_dir)


def tell(message: str, options: argparse.Namespace) -> None:
    """Print a message, unless told to be quiet."""
    if not options.quiet:
        print(message, flush=True)


def load_test_sets(options: argparse.Namespace) -> list[NamedRows]:
    """The rows of all test sets, each under a name of its own."""
    test_sets = [
        named_rows(spelling, options.split, options.allow_other_counts)
        for spelling in options.test_sets
    ]
    names = [test_set.name for test_set in test_sets]
    if len(set(names)) < len(names):
        raise WrongUseError(
            f"test sets are called {', '.join(names)}: each needs a name of its own, rename files"
        )
    return test_sets


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate each model on each test set and print the table."""
    options = parse_options(arguments)
    if options.quiet:
        transformers.utils.logging.disable_progress_bar()
        datasets.disable_progress_bars()
    test_sets = load_test_sets(options)
    if options.train_on:
        options.models.append(train_first(options, test_sets))
    names, loaded = model_names(options.models), {}
    for model, name in names.items():
        for test_set in test_sets:
            evaluate_pair(model, name, test_set, options, loaded)
    table = write_pages(options.output_dir)
    if options.table:
        write_table(options.table, command_line(), table)
    tell(
        f"\n{screen_table(table)}\npredictions, metrics and pictures: {options.output_dir}", options
    )
    if options.compare:
        compare_pair(*options.compare, options.output_dir, options.quiet)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: dusha evaluate --models runs/crowd_large runs/podcast_tune "
        "--test_sets data/dusha:crowd data/dusha:podcast --compare crowd_large podcast_tune. "
        "Across corpora: dusha evaluate --train_on crema_d=CREMA-D --test_sets "
        "ravdess=RAVDESS --num_train_epochs 30",
        allow_abbrev=False,
    )
    parser.add_argument("--models", nargs="+", default=[], help="model folders, or Hub names")
    parser.add_argument(
        "--train_on",
        metavar="DATA",
        help="train a model on this first (spelled as a test set); any option of `dusha train` may "
        "follow",
    )
    parser.add_argument("--setup", help="setup of `dusha train` for --train_on")
    parser.add_argument("--test_sets", nargs="+", required=True, help=SPELLINGS)
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=Path("results"),
        help="folder for predictions, metrics, tables and pictures (default: results)",
    )
    parser.add_argument(
        "--table", type=Path, help="JSON file for the table, from which pages take their numbers"
    )
    parser.add_argument(
        "--split", default="test", help="split of prepared corpora, where none is named (test)"
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("FIRST", "SECOND"),
        help="two evaluated models to compare by a bootstrap that draws the same speakers for both",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="evaluate pairs again that are done"
    )
    parser.add_argument(
        "--form", choices=("csv", "jsonl"), default="csv", help="of predictions (csv)"
    )
    parser.add_argument(
        "--batch_size",
        type=int,
        help=f"clips that are classified at once (default: {BATCH_SIZE} for Dusha's models, 1 for "
        "others, whose answers padding may change)",
    )
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.add_argument(
        "--allow_other_counts",
        action="store_true",
        help="go on where another corpus has not the published number of recordings",
    )
    parser.add_argument(
        "--trust_remote_code",
        action="store_true",
        help="let code that came with a model run; Dusha's models need none",
    )
    parser.add_argument("--quiet", action="store_true", help="show no bars and no table")
    options, options.train_options = parser.parse_known_args(arguments)
    if not options.train_on and (options.train_options or options.setup):
        unknown = (options.train_options or ["--setup"])[0]
        raise WrongUseError(f"{unknown} is unknown without --train_on; see --help")
    if options.batch_size is not None and options.batch_size < 1:
        raise WrongUseError(f"--batch_size is {options.batch_size}; it must be at least 1")
    if not options.models and not options.train_on:
        raise WrongUseError("no model to evaluate; give --models, or --train_on to train one")
    return options
