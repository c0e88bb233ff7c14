"""Results as tables: ours, the baseline of a constant answer, and what was published."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from command_line_dusha import MissingInputError, WrongUseError, replacing
from metrics.ser.ser import SCORES

# A result file's name is its pair's; both parts are made safe for any file system.
RESULTS_DIR = "metrics"
PREDICTIONS_DIR = "predictions"


@dataclass(frozen=True)
class PublishedResult:
    """A row of somebody's table, under our names.

    Attributes:
        test_set: what it was measured on: crowd, podcast or iemocap.
        model: its name, and how it was trained where that matters.
        accuracy: the paper calls it UA, most of the field WA.
        balanced_accuracy: the paper calls it WA, most of the field UA.
        f1_macro: macro F1.
        source: where it stands.
        deviation: of each score, as it stands there; None where there is none.
    """

    test_set: str
    model: str
    accuracy: float
    balanced_accuracy: float
    f1_macro: float
    source: str
    deviation: float | None = None

    def cells(self) -> dict[str, str]:
        """The scores as they were published, by name.

        Example:
            >>> result = PublishedResult("iemocap", "a model", 0.59, 0.58, 0.57, "a paper", 0.01)
            >>> result.cells()["accuracy"]
            '0.59 ± 0.01'
        """
        spread = "" if self.deviation is None else f" ± {self.deviation:.2f}"
        return {name: f"{getattr(self, name):.2f}{spread}" for name in SCORES}


PAPER = "Kondratenko et al. 2022, arXiv 2212.12266"
GIGAAM = "GigaAM, evaluation.md"
PUBLISHED = (
    PublishedResult("crowd", "MobileNetV2 + attention (the paper)", 0.83, 0.76, 0.77, PAPER),
    PublishedResult("podcast", "MobileNetV2 + attention (the paper)", 0.89, 0.53, 0.54, PAPER),
    PublishedResult("crowd", "GigaAM-Emo", 0.90, 0.87, 0.84, GIGAAM),
    PublishedResult("podcast", "GigaAM-Emo", 0.90, 0.76, 0.67, GIGAAM),
    PublishedResult("crowd", "TIM-Net", 0.84, 0.77, 0.78, GIGAAM),
    PublishedResult("podcast", "TIM-Net", 0.90, 0.50, 0.55, GIGAAM),
    # The deviation is over the five sessions.
    PublishedResult(
        "iemocap", "MobileNetV2 + attention (the paper)", 0.59, 0.59, 0.59, PAPER, deviation=0.01
    ),
)
# Clips of the published test sets (paper, Table 2) and of the four emotions of IEMOCAP.
PUBLISHED_CLIPS = {"crowd": 14035, "podcast": 10637, "iemocap": 5531}
HEAD = ("model", "test set", *SCORES, "clips", "speakers", "source")


def published_rows(test_set: str, published_as: str | None, clips: int) -> list[dict]:
    """Rows of published results to stand beside ours.

    Args:
        test_set: our name of the test set.
        published_as: crowd, podcast, iemocap, or None where nothing was published.
        clips: how many clips ours has; where it is another number, the rows say so, because
            results on different clips cannot be compared.

    Returns:
        rows as `results_table` takes them.
    """
    rows = []
    for result in PUBLISHED:
        if result.test_set != published_as:
            continue
        published_clips = PUBLISHED_CLIPS[published_as]
        note = "" if clips == published_clips else "; other clips than ours"
        rows.append(
            {
                "model": result.model,
                "test_set": test_set,
                "scores": {name: getattr(result, name) for name in SCORES},
                "cells": result.cells(),
                "clips": published_clips,
                "source": result.source + note,
            }
        )
    return rows


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


def number_cell(value: float | None) -> str:
    """Three decimals, or a dash where there is no number."""
    return "–" if value is None else f"{value:.3f}"


def markdown_table(table: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Args:
        table: rows of cells, the head first.

    Returns:
        lines that end with a line end.

    Example:
        >>> print(markdown_table([["a", "b"], ["1", "x|y"]]), end="")
        | a | b |
        | --- | --- |
        | 1 | x\\|y |
    """
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in table]
    rows.insert(1, ["---"] * len(rows[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def screen_table(table: Sequence[Sequence[str]]) -> str:
    """A table with aligned columns for a terminal; lines end with a line end."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip() + "\n")
    lines.insert(1, "  ".join("-" * width for width in widths) + "\n")
    return "".join(lines)


def write_table(path: Path, command: str, table: Sequence[Sequence[str]]) -> None:
    """Write a table as tools/readme_numbers.py takes it into a page.

    Args:
        path: of a JSON file.
        command: that writes it again.
        table: rows of cells, the head first.
    """
    write_json(path, {"command": command, "columns": table[0], "rows": list(table[1:])})


def write_json(path: Path, content: object) -> None:
    """Write JSON, all or nothing; NaN is refused."""
    with replacing(path) as unfinished:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        unfinished.write_text(text + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text file, all or nothing."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict:
    """Read a JSON file that a program of this project wrote.

    Raises:
        MissingInputError: if there is none.
        WrongUseError: if it is not JSON.
    """
    if not path.is_file():
        raise MissingInputError(f"no file {path}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WrongUseError(f"{path} is not JSON ({error}); make it anew") from error


def read_results(folder: Path) -> list[dict]:
    """All results that evaluations wrote to a folder, in the order of their names.

    Raises:
        MissingInputError: if there are none.
    """
    paths = sorted((folder / RESULTS_DIR).glob("*.json"))
    if not paths:
        raise MissingInputError(
            f"no results in {folder / RESULTS_DIR}; give a folder that tools/evaluate.py or "
            "tools/cross_validate.py wrote"
        )
    return [read_json(path) for path in paths]


def pair_name(model: str, test_set: str) -> str:
    """A file name for the pair of a model and a test set.

    Example:
        >>> pair_name("user/dusha-crowd", "data/dusha:podcast:test")
        'user_dusha-crowd--data_dusha_podcast_test'
    """
    return f"{safe_name(model)}--{safe_name(test_set)}"


def safe_name(name: str) -> str:
    """A name with whatever a file system may not take replaced."""
    kept = "".join(c if c.isalnum() or c in "-." else "_" for c in name.strip(os.sep))
    return kept.strip("._") or "_"
