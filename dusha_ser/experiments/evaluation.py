"""Models evaluated on test sets: predictions, metrics, one table, figures, comparisons."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dusha_ser.corpus.named import NamedRows, named_rows, refuse_other_labels
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predict_rows import model_names, predict_rows
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
from dusha_ser.experiments.options import EvaluateOptions
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


def evaluate(options: EvaluateOptions, tell: Callable[[str], None]) -> None:
    """Evaluate each model on each test set, and write the table and the figures of all results.

    Args:
        options: what to do.
        tell: called with lines for people.

    Raises:
        MissingInputError: if a model or test set is missing.
        WrongUseError: if a model and a test set do not fit.
        WorkFailedError: if training or a model fails.
    """
    test_sets = load_test_sets(options)
    models = list(options.models)
    if options.train_on:
        models.append(train_first(options, test_sets))
    loaded: dict[str, tuple[Any, Any]] = {}
    for model, name in model_names(models).items():
        for test_set in test_sets:
            if not evaluate_pair(model, name, test_set, options, loaded):
                again = "`overwrite=True` does it again"
                tell(f"{name} on {test_set.name}: done before ({again})")
    table = write_pages(options.output_dir)
    if options.table:
        write_table(options.table, options.command, table)
    shown = screen_table(table)
    tell(f"\n{shown}\npredictions, metrics and figures: {options.output_dir}")
    if options.compare:
        for text in compare_pair(*options.compare, options.output_dir):
            tell(text)


def evaluate_pair(
    model: str,
    name: str,
    test_set: NamedRows,
    options: EvaluateOptions,
    loaded: dict[str, tuple[Any, Any]],
) -> bool:
    """Write predictions and metrics of a model on a test set, unless they are there.

    Args:
        model: a folder, or a name on the Hub.
        name: the model's name in tables.
        test_set: the rows.
        options: what to do.
        loaded: keeps the model for its next test set.

    Returns:
        Whether they were not there.
    """
    pair = pair_name(name, test_set.name)
    metrics_path = options.output_dir / RESULTS_DIR / f"{pair}.json"
    predictions_path = options.output_dir / PREDICTIONS_DIR / f"{pair}.{options.form}"
    fingerprint = {
        "model": model_fingerprint(model, options.trust_remote_code),
        "rows": test_set.fingerprint,
    }
    if not options.overwrite and is_done(metrics_path, predictions_path, fingerprint):
        return False
    if model not in loaded:
        loaded.clear()
        loaded[model] = load_model(model, options.device, options.trust_remote_code)
    started = time.perf_counter()
    predictions = predict_rows(*loaded[model], test_set, options.batch_size, options.quiet)
    seconds = time.perf_counter() - started
    write_predictions(predictions_path, predictions)
    # What was written is what is scored: anyone who reads it gets the same numbers.
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
            "command": options.command,
            **scores,
        },
    )
    return True


def is_done(metrics_path: Path, predictions_path: Path, fingerprint: dict) -> bool:
    """Whether this very model was evaluated on these very rows."""
    if not metrics_path.is_file() or not predictions_path.is_file():
        return False
    return read_json(metrics_path).get("fingerprint") == fingerprint


def write_pages(output_dir: Path) -> list[list[str]]:
    """Write the table and the figures of all results in a folder; return the table."""
    results = read_results(output_dir)
    table = results_table(all_rows(results))
    write_text(output_dir / "results.md", PAGE.format(table=markdown_table(table)))
    by_model: dict[str, dict[str, Any]] = {}
    by_test_set: dict[str, dict[str, Any]] = {}
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


def compare_pair(first: str, second: str, output_dir: Path) -> list[str]:
    """Compare two evaluated models on each test set that both were evaluated on.

    Args:
        first: name of a model in the table.
        second: name of another.
        output_dir: where their results lie.

    Returns:
        One text with a table per test set.

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
    told = []
    for test_set, pair in shared.items():
        comparison = compare_predictions(pair[first], pair[second], test_set)
        path = output_dir / "comparisons" / f"{pair_name(first, second)}--{safe_name(test_set)}"
        content = {"first": first, "second": second, "test_set": test_set, "scores": comparison}
        write_json(path.with_name(path.name + ".json"), content)
        table = screen_table(comparison_table(comparison)).rstrip("\n")
        told.append(
            f"\n{first} (first) and {second} (second) on {test_set}, paired by speaker:\n{table}"
        )
    return told


def train_first(options: EvaluateOptions, test_sets: Sequence[NamedRows]) -> str:
    """Train a model on the rows of `train_on`, unless it is there; return its folder.

    Raises:
        WrongUseError: if a test set shares clips with these rows.
    """
    # Training is half of the libraries; evaluating alone need not wait for them.
    from dusha_ser.experiments.runs import Run, is_finished, train_run, with_inputs

    if options.training is None or options.train_on is None:
        raise WrongUseError("nothing to train on")
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
    data, recipe, run_options = options.training
    run = Run(replace(data, dataset=rows.name), recipe, run_options).moved(folder)
    splits = {"train": with_inputs(rows.rows, run)}
    if options.overwrite or not is_finished(run, splits):
        train_run(run, splits, options.overwrite)
    return str(run.output_dir)


def load_test_sets(options: EvaluateOptions) -> list[NamedRows]:
    """Read the rows of all test sets, each under a name of its own."""
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
