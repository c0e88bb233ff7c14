"""Models evaluated on test sets: predictions, metrics, one table, figures, comparisons."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dusha_ser.corpus.named import NamedRows, named_rows, read_column, refuse_other_labels
from dusha_ser.corpus.speakers import warn_of_splits
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.group_scores import groups_notes, groups_table, score_groups
from dusha_ser.evaluation.predict_rows import model_names, predict_rows
from dusha_ser.evaluation.predictions import (
    Predictions,
    compare_predictions,
    read_predictions,
    score_confident,
    score_predictions,
    write_predictions,
)
from dusha_ser.evaluation.results import (
    PREDICTIONS_DIR,
    RESULTS_DIR,
    all_rows,
    check_table,
    comparison_notes,
    comparison_table,
    pair_name,
    read_results,
    results_table,
    write_table,
)
from dusha_ser.experiments.options import CrossValidateOptions, EvaluateOptions
from dusha_ser.files import safe_name
from dusha_ser.fingerprints import code_digest, digest
from dusha_ser.inference.class_prior import describe_prior
from dusha_ser.inference.loading import label_names, load_model, model_fingerprint
from dusha_ser.inference.settings import CODE as PREDICTION_CODE
from dusha_ser.options import TableOptions
from dusha_ser.reports.figures import (
    draw_calibration,
    draw_confusion,
    draw_risk_coverage,
    save_figure,
)
from dusha_ser.storage import read_json, write_json, write_text
from dusha_ser.tables import markdown_table, screen_table

# Modules whose code decides the numbers.
CODE = (*PREDICTION_CODE, "dusha_ser.evaluation", "dusha_ser.experiments.evaluation")
# What a result is compared by, for messages.
DECISIVE = {
    "model": "this model",
    "rows": "these clips",
    "options": "these options",
    "code": "this version of the software",
}
PAGE = """# Results

The best macro F1 first; intervals are 95 % bootstrap intervals over speakers. `accuracy` is what
the Dusha paper calls UA and most of the field WA; `balanced_accuracy` is the paper's WA and the
field's UA. Each pair's predictions, metrics of each class and confusion matrix lie beside this
page.

{table}"""


@dataclass(frozen=True)
class Measures:
    """What is measured of predictions beside the usual scores."""

    least_confidence: float = 0.0  # from which they are also scored by themselves; 0: not
    # Value of each clip by column, by which they are scored in parts.
    columns: dict[str, list[str]] = field(default_factory=dict)


def evaluate(options: EvaluateOptions, tell: Callable[[str], None]) -> None:
    """Evaluate each model on each test set, and write the table and the figures of all results.

    Args:
        options: what to do.
        tell: called with lines for people.

    Raises:
        MissingInputError: if a model or test set is missing.
        WrongUseError: if a model and a test set do not fit, or other results of the same names are
            there.
        WorkFailedError: if training or a model fails.
    """
    for path in filter(None, (options.table, options.scores_by_table)):
        check_table(path, options.command, options.overwrite)
    test_sets = load_test_sets(options)
    models = list(options.models)
    if options.train_on:
        models.append(train_first(options, test_sets))
    loaded: dict[str, tuple[Any, Any]] = {}
    for model, name in model_names(models).items():
        for test_set in test_sets:
            if not evaluate_pair(model, name, test_set, options, loaded):
                tell(f"{name} on {test_set.name}: done before (`overwrite=True` does it again)")
    results = read_results(options.output_dir)
    table = results_table(all_rows(results))
    groups = scores_by_text(results)
    page = PAGE.format(table=markdown_table(table)) + groups
    write_text(options.output_dir / "results.md", page)
    write_figures(options.output_dir, results)
    if options.table:
        write_table(options.table, options.command, table)
    write_scores_by(options, results)
    for result in results:
        if options.scores_by and "scores_by" in result:
            tell(f"\n{result['model']} on {result['test_set']}:")
            tell(screen_table(groups_table(result["scores_by"])).rstrip("\n"))
    tell(f"\n{screen_table(table)}\npredictions, metrics and figures: {options.output_dir}")
    if options.compare:
        for text in compare_pair(*options.compare, options.output_dir):
            tell(text)


def evaluate_pair(
    model: str, name: str, test_set: NamedRows, options: EvaluateOptions, loaded: dict[str, tuple]
) -> bool:
    """Write predictions and metrics of a model on a test set; return False if they are there.

    The dictionary keeps the model for its next test set.
    """
    pair = pair_name(name, test_set.name)
    metrics_path = options.output_dir / RESULTS_DIR / f"{pair}.json"
    predictions_path = options.output_dir / PREDICTIONS_DIR / f"{pair}.{options.form}"
    columns = {column: test_set.facts[column] for column in options.scores_by}
    fingerprint = {
        "model": model_fingerprint(model, options.trust_remote_code),
        "rows": test_set.fingerprint,
        "options": digest(
            options.batch_size,
            options.device,
            options.trust_remote_code,
            options.least_confidence,
            options.prior,
            columns,
        ),
        "code": code_digest(*CODE),
    }
    if metrics_path.is_file() and not options.overwrite:
        before = read_json(metrics_path).get("fingerprint", {})
        if other := [
            words for key, words in DECISIVE.items() if before.get(key) != fingerprint[key]
        ]:
            raise WrongUseError(
                f"{metrics_path} was not made with {', '.join(other)}; name another `output_dir`, "
                "or replace it with `overwrite=True`"
            )
        if predictions_path.is_file():
            return False
    if model not in loaded:
        loaded.clear()
        loaded[model] = load_model(model, options.device, options.trust_remote_code, options.prior)
    started = time.perf_counter()
    network, extractor = loaded[model]
    predictions = predict_rows(network, extractor, test_set, options.batch_size, options.quiet)
    result = {
        "model": name,
        "model_path": model,
        "test_set": test_set.name,
        "published_as": test_set.published_as,
        "fingerprint": fingerprint,
        "seconds": round(time.perf_counter() - started, 2),
        "command": options.command,
        "class_prior": getattr(network.config, "class_prior", None),
    }
    if options.prior:
        shares = describe_prior(label_names(network.config, model), network.config.class_prior)
        result["source"] = f"this evaluation; classes are taken to be {shares}"
    measures = Measures(options.least_confidence, columns)
    write_result(options.output_dir, result, predictions, options.form, measures)
    return True


def write_result(
    output_dir: Path,
    result: dict,
    predictions: Predictions,
    form: str,
    measures: Measures = Measures(),  # noqa: B008  # it is not changed
) -> dict:
    """Write predictions and what they score; return the result with its metrics.

    Args:
        output_dir: of all results.
        result: with model and test_set, which name the files.
        predictions: of this model on this test set.
        form: csv or jsonl.
        measures: what is measured beside the usual scores.
    """
    pair = pair_name(result["model"], result["test_set"])
    path = output_dir / PREDICTIONS_DIR / f"{pair}.{form}"
    write_predictions(path, predictions)
    # What was written is what is scored: anyone who reads the file gets the same numbers.
    written = replace(read_predictions(path), temperature=predictions.temperature)
    scores = score_predictions(written)
    if measures.least_confidence:
        scores["abstaining"] = score_confident(written, measures.least_confidence)
    if measures.columns:
        scores["scores_by"] = score_groups(written, measures.columns)
    result = {**result, "predictions": f"{PREDICTIONS_DIR}/{path.name}", **scores}
    write_json(output_dir / RESULTS_DIR / f"{pair}.json", result)
    return result


def write_scores_by(
    options: EvaluateOptions | CrossValidateOptions, results: Sequence[dict]
) -> None:
    """Write the table of `scores_by` of the only result, if it is asked for."""
    if not options.scores_by_table:
        return
    found = [result for result in results if "scores_by" in result]
    tables = [groups_table(result["scores_by"]) for result in found]
    if len(found) > 1:
        # Several models, test sets or seeds: each row says which.
        tables = [
            [
                ["model", "test set", *table[0]],
                *([result["model"], result["test_set"], *row] for row in table[1:]),
            ]
            for result, table in zip(found, tables, strict=True)
        ]
    rows = [row for table in tables for row in table[1:]]
    write_table(options.scores_by_table, options.command, [tables[0][0], *rows])


def scores_by_text(results: Sequence[dict]) -> str:
    """Return a section of a page for each result with scores by columns; empty without any."""
    sections = [
        f"\n## {result['model']} on {result['test_set']}, by {', '.join(result['scores_by'])}\n\n"
        f"{markdown_table(groups_table(result['scores_by']))}\n"
        f"{' '.join(groups_notes(result['scores_by']))}\n"
        for result in results
        if "scores_by" in result
    ]
    return "".join(sections)


def write_figures(output_dir: Path, results: Sequence[dict]) -> None:
    """Draw the confusion matrices of each model, and calibration and risk on each test set."""
    by_model: dict[str, dict[str, Any]] = {}
    by_test_set: dict[str, dict[str, Any]] = {}
    confidence: dict[str, dict[str, Any]] = {}
    for result in results:
        by_model.setdefault(result["model"], {})[result["test_set"]] = result["metrics"]
        if result["reliability"]:
            by_test_set.setdefault(result["test_set"], {})[result["model"]] = result["reliability"]
        if "confidence" in result:
            confidence.setdefault(result["test_set"], {})[result["model"]] = result["confidence"]
    for model, matrices in by_model.items():
        path = output_dir / f"confusion_{safe_name(model)}.png"
        save_figure(draw_confusion(matrices, model), path)
    for test_set, bins in by_test_set.items():
        path = output_dir / f"calibration_{safe_name(test_set)}.png"
        save_figure(draw_calibration(bins, test_set), path)
    for test_set, measured in confidence.items():
        path = output_dir / f"risk_coverage_{safe_name(test_set)}.png"
        save_figure(draw_risk_coverage(measured, test_set), path)


def compare_pair(first: str, second: str, output_dir: Path) -> Iterator[str]:
    """Compare two evaluated models on each test set in common; give a text with a table of each."""
    results = read_results(output_dir)
    found: dict[str, dict[str, Predictions]] = {}
    for result in results:
        for wanted in {first, second} & {result["model"], result["model_path"]}:
            path = output_dir / result["predictions"]
            found.setdefault(result["test_set"], {})[wanted] = read_predictions(path)
    shared = {name: pair for name, pair in found.items() if len(pair) == 2}
    if not shared:
        models = sorted({result["model"] for result in results})
        raise WrongUseError(
            f"{first} and {second} were evaluated on no test set in common; {output_dir} has "
            f"results of {', '.join(models)}"
        )
    for test_set, pair in shared.items():
        comparison = compare_predictions(pair[first], pair[second], test_set)
        name = f"{pair_name(first, second)}--{safe_name(test_set)}.json"
        content = {"first": first, "second": second, "test_set": test_set, "scores": comparison}
        write_json(output_dir / "comparisons" / name, content)
        lines = [
            f"\n{first} (first) and {second} (second) on {test_set}, paired by speaker:",
            screen_table(comparison_table(comparison)).rstrip("\n"),
            *comparison_notes(comparison),
        ]
        yield "\n".join(lines)


def train_first(options: EvaluateOptions, test_sets: Sequence[NamedRows]) -> str:
    """Train a model on the rows of `train_on`, unless it is there; return its folder."""
    # Training is half of the libraries; evaluating alone need not wait for them.
    from dusha_ser.experiments.runs import Run, is_finished, train_run, with_inputs
    from dusha_ser.training.teachers import add_teachers, refuse_untrained_teacher

    if options.training is None or options.train_on is None:
        raise WrongUseError("nothing to train on")
    if options.training[1].teacher_backbone:
        refuse_untrained_teacher()
    rows = named_rows(options.train_on, "train", options.allow_other_counts, options)
    for test_set in test_sets:
        refuse_other_labels([rows, test_set])
        if shared := rows.clips & test_set.clips:
            raise WrongUseError(
                f"{len(shared)} clips of {test_set.name} are in {rows.name}, such as "
                f"{min(shared)}: a model must not be tested on what it was trained on"
            )
        names = {"train": rows.name, "test": test_set.name}
        warn_of_splits({"train": rows.rows, "test": test_set.rows}, names)
    folder = options.output_dir / "models" / f"trained_on_{safe_name(rows.name)}"
    run = Run(*options.training).settled(rows.rows).moved(folder, rows.name)
    splits = add_teachers({"train": rows.rows}, run.data, run.recipe, seed=run.options.seed)
    splits["train"] = with_inputs(splits["train"], run)
    if options.overwrite or not is_finished(run, splits):
        train_run(run, splits, options.overwrite)
    return str(run.output_dir)


def with_facts(
    rows: NamedRows, names: Sequence[str], spelling: str, options: TableOptions
) -> NamedRows:
    """Return rows that know their values of these columns."""
    found = {name: read_column(rows, name, spelling, options.path_column) for name in names}
    return replace(rows, facts=rows.facts | found)


def load_test_sets(options: EvaluateOptions) -> list[NamedRows]:
    """Read the rows of all test sets, each under a name of its own."""
    split, allow = options.split, options.allow_other_counts
    test_sets = [
        with_facts(
            named_rows(spelling, split, allow, options), options.scores_by, spelling, options
        )
        for spelling in options.test_sets
    ]
    names = [test_set.name for test_set in test_sets]
    if len(set(names)) < len(names):
        raise WrongUseError(
            f"test sets are called {', '.join(names)}: each needs a name of its own, rename files"
        )
    return test_sets
