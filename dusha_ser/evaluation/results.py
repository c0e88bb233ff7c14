"""Results as tables: ours and the baseline of a constant answer."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dusha_ser.errors import MissingInputError
from dusha_ser.evaluation.published import published_rows
from dusha_ser.evaluation.ser.ser import SCORES
from dusha_ser.storage import read_json, safe_name, write_json
from dusha_ser.tables import number_cell

# A result file's name is its pair's; both parts are made safe for any file system.
RESULTS_DIR = "metrics"
PREDICTIONS_DIR = "predictions"
HEAD = ("model", "test set", *SCORES, "clips", "speakers", "source")


def result_rows(result: dict) -> list[dict]:
    """Rows of one evaluated pair: the model's and the constant answer's.

    Args:
        result: what evaluation wrote: model, test_set, published_as, metrics and majority.

    Returns:
        rows as `results_table` takes them.
    """
    metrics, majority = result["metrics"], result["majority"]
    ours = {
        "model": result["model"],
        "test_set": result["test_set"],
        "scores": {name: metrics[name] for name in SCORES},
        "intervals": metrics.get("intervals"),
        "clips": metrics["count"],
        "speakers": metrics.get("group_count"),
        "source": result.get("source", "this evaluation"),
    }
    if metrics["absent_classes"]:
        ours["source"] += f"; no {' and no '.join(metrics['absent_classes'])} clips"
    constant = {
        "model": f"always {majority['label']}",
        "test_set": result["test_set"],
        "scores": {name: majority[name] for name in SCORES},
        "clips": majority["count"],
        "source": "most frequent label of the test set",
    }
    return [ours, constant]


def all_rows(results: Iterable[dict]) -> list[dict]:
    """Rows of all pairs, each test set's baseline and published rows once, best f1_macro first."""
    rows, seen = [], set()
    for result in results:
        ours, constant = result_rows(result)
        rows.append(ours)
        if result["test_set"] not in seen:
            seen.add(result["test_set"])
            rows.append(constant)
            clips = result["metrics"]["count"]
            rows += published_rows(result["test_set"], result.get("published_as"), clips)
    return sorted(rows, key=lambda row: -row["scores"]["f1_macro"])


def results_table(rows: Sequence[dict]) -> list[list[str]]:
    """Cells of a table of results, the head first; columns that are empty are left out."""
    table = [list(HEAD)]
    for row in rows:
        table.append(
            [
                row["model"],
                row["test_set"],
                *(score_cell(row, name) for name in SCORES),
                f"{row['clips']:,}",
                f"{row['speakers']:,}" if row.get("speakers") else "",
                row["source"],
            ]
        )
    filled = [any(row[i] for row in table[1:]) for i in range(len(HEAD))]
    return [[cell for cell, keep in zip(row, filled, strict=True) if keep] for row in table]


def score_cell(row: dict, name: str) -> str:
    """A score as it was published, or ours with its interval if there is one."""
    text = row["cells"][name] if "cells" in row else f"{row['scores'][name]:.3f}"
    interval = (row.get("intervals") or {}).get(name)
    return f"{text} [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else text


def class_table(metrics: dict) -> list[list[str]]:
    """Cells of a table with one row a class."""
    table = [["emotion", "clips", "recall", "precision", "F1"]]
    for label in metrics["labels"]:
        values = [metrics[name][label] for name in ("recall", "precision", "f1")]
        table.append([label, f"{metrics['support'][label]:,}", *map(number_cell, values)])
    return table


def confusion_table(metrics: dict) -> list[list[str]]:
    """Cells of the confusion matrix in clips."""
    table = [["true \\ predicted", *metrics["labels"]]]
    for label, counts in zip(metrics["labels"], metrics["confusion_matrix"], strict=True):
        table.append([label, *(f"{count:,}" for count in counts)])
    return table


def folds_table(result: dict) -> list[list[str]]:
    """Cells of a table with one row a fold of a cross-validation, then mean and deviation."""
    table = [["fold", "clips", *SCORES, "best epoch"]]
    for name, fold in result["folds"].items():
        metrics = fold["metrics"]
        epoch = "last" if fold["best_epoch"] is None else f"{fold['best_epoch']:g}"
        numbers = [number_cell(metrics[score]) for score in SCORES]
        table.append([name, f"{metrics['count']:,}", *numbers, epoch])
    spread = [
        f"{result['mean'][score]:.3f} ± {result['standard_deviation'][score]:.3f}"
        for score in SCORES
    ]
    table.append(["mean ± sd", "", *spread, ""])
    return table


def comparison_table(comparison: dict[str, dict]) -> list[list[str]]:
    """Cells of what `metrics.ser.ser.compare_models` gives."""
    table = [["score", "first", "second", "difference", "95 % interval", "p"]]
    for name, values in comparison.items():
        low, high = values["interval"]
        cells = [f"{values[key]:.3f}" for key in ("first", "second")]
        difference = f"{values['difference']:+.3f}"
        table.append([name, *cells, difference, f"[{low:+.3f}, {high:+.3f}]", p_cell(values)])
    return table


def p_cell(values: dict) -> str:
    """A p value; bootstraps cannot tell small ones apart."""
    return "< 0.001" if values["p_value"] < 0.001 else f"{values['p_value']:.3f}"


def write_table(path: Path, command: str, table: Sequence[Sequence[str]]) -> None:
    """Write a table as python -m benchmarks.page_numbers takes it into a page.

    Args:
        path: of a JSON file.
        command: that writes it again.
        table: rows of cells, the head first.
    """
    write_json(path, {"command": command, "columns": table[0], "rows": list(table[1:])})


def read_results(folder: Path) -> list[dict]:
    """All results that evaluations wrote to a folder, in the order of their names.

    Raises:
        MissingInputError: if there are none.
    """
    paths = sorted((folder / RESULTS_DIR).glob("*.json"))
    if not paths:
        raise MissingInputError(
            f"no results in {folder / RESULTS_DIR}; give a folder that dusha evaluate or "
            "dusha cross-validate wrote"
        )
    return [read_json(path) for path in paths]


def pair_name(model: str, test_set: str) -> str:
    """A file name for the pair of a model and a test set.

    Example:
        >>> pair_name("user/dusha-crowd", "data/dusha:podcast:test")
        'user_dusha-crowd--data_dusha_podcast_test'
    """
    return f"{safe_name(model)}--{safe_name(test_set)}"
