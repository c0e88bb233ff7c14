"""Results as tables: ours, published ones, and the baseline of a constant prediction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dusha_ser.corpus.published import PAPER_PARTS
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.calibration import at_coverage
from dusha_ser.evaluation.ser.ser import (
    LEAST_GROUPS_FOR_P,
    PROBABILITY_SCORES,
    SCORES,
    interval_warning,
)
from dusha_ser.files import safe_name
from dusha_ser.storage import check_file, read_json, write_json
from dusha_ser.tables import number_cell

# A result file's name is its pair's; both parts are made safe for any file system.
RESULTS_DIR = "metrics"
PREDICTIONS_DIR = "predictions"
SHOWN_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
SEARCH_NOTE = (
    "Options were chosen for each fold by trials on its training speakers alone; its test speakers "
    "had no part in it. The score of the best trial is on these training speakers and, as the best "
    "of several, too high."
)


@dataclass(frozen=True)
class ResultRow:
    """A row of a table of results."""

    model: str
    test_set: str
    scores: dict[str, float]  # by name, in [0, 1]
    cells: dict[str, str]  # the scores as the table shows them
    clips: int
    speakers: int | None  # None: not known
    source: str  # where the result comes from


def published(
    test_set: str,
    model: str,
    scores: tuple[float, float, float],
    source: str,
    deviation: float | None = None,
) -> ResultRow:
    """Make the row of a published result, whose scores come in the order of SCORES."""
    spread = "" if deviation is None else f" ± {deviation:.2f}"
    return ResultRow(
        model,
        test_set,
        scores=dict(zip(SCORES, scores, strict=True)),
        cells={name: f"{score:.2f}{spread}" for name, score in zip(SCORES, scores, strict=True)},
        clips=PUBLISHED_CLIPS[test_set],
        speakers=None,
        source=source,
    )


# Clips of the published test sets, and of the four emotions of IEMOCAP.
PUBLISHED_CLIPS = {name: parts["test"][0] for name, parts in PAPER_PARTS.items()} | {
    "iemocap": 5531
}
PAPER_MODEL = "MobileNetV2 + attention (the paper)"
PAPER = "Kondratenko et al. 2022, arXiv 2212.12266"
GIGAAM = "github.com/salute-developers/GigaAM, evaluation.md"
# These papers call accuracy UA and balanced accuracy WA, most of the field the other way round.
PUBLISHED = (
    published("crowd", PAPER_MODEL, (0.83, 0.76, 0.77), PAPER),
    published("podcast", PAPER_MODEL, (0.89, 0.53, 0.54), PAPER),
    # The deviation is over the five sessions of IEMOCAP.
    published("iemocap", PAPER_MODEL, (0.59, 0.59, 0.59), PAPER, deviation=0.01),
    published("crowd", "GigaAM-Emo", (0.90, 0.87, 0.84), GIGAAM),
    published("podcast", "GigaAM-Emo", (0.90, 0.76, 0.67), GIGAAM),
    published("crowd", "TIM-Net", (0.84, 0.77, 0.78), GIGAAM),
    published("podcast", "TIM-Net", (0.90, 0.50, 0.55), GIGAAM),
)


def metrics_row(
    model: str, test_set: str, metrics: dict, source: str = "", groups: str | None = "speakers"
) -> ResultRow:
    """Make the row of one model on one test set.

    Args:
        model: its name.
        test_set: its name.
        metrics: as `ser_metrics` or `seed_metrics` returns them.
        source: where they come from.
        groups: what their intervals are over, as `score_predictions` returns it.

    Returns:
        The row; scores have their deviation over seeds and their intervals where these are known,
        and the source says where intervals are over too few groups.
    """
    scores = {name: metrics[name] for name in SCORES}
    cells = {name: number_cell(value) for name, value in scores.items()}
    for name, deviation in (metrics.get("standard_deviation") or {}).items():
        cells[name] += f" ± {deviation:.3f}"
    for name, interval in (metrics.get("intervals") or {}).items():
        if interval:
            cells[name] += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    count = metrics.get("group_count")
    source = "; ".join(filter(None, (source, interval_warning(count, groups or "groups"))))
    speakers = count if groups == "speakers" else None
    return ResultRow(model, test_set, scores, cells, metrics["count"], speakers, source)


def published_rows(test_set: str, published_as: str | None, clips: int) -> list[ResultRow]:
    """Make the rows of what was published of a test set, as which ours has another name.

    Where our clips are others than the published ones, the rows say so, because results on
    different clips cannot be compared.
    """
    return [
        replace(
            row,
            test_set=test_set,
            source=row.source + ("" if clips == row.clips else "; other clips than ours"),
        )
        for row in PUBLISHED
        if row.test_set == published_as
    ]


def confident_rows(
    model: str, test_set: str, abstaining: dict, groups: str | None
) -> list[ResultRow]:
    """Make the row of a model that abstains, by `score_confident`; none if it always does."""
    if abstaining["metrics"] is None:
        return []
    name = f"{model}, at least {abstaining['least_confidence']:g} sure"
    source = f"this evaluation; {100 * abstaining['coverage']:.1f} % of the clips"
    return [metrics_row(name, test_set, abstaining["metrics"], source, groups)]


def all_rows(results: Iterable[dict]) -> list[ResultRow]:
    """Make the rows of all results, with each test set's baseline and published results once.

    Args:
        results: what evaluations wrote: model, test_set, published_as, metrics and majority.

    Returns:
        The rows, the highest f1_macro first.
    """
    rows, seen = [], set()
    for result in results:
        metrics, majority, test_set = result["metrics"], result["majority"], result["test_set"]
        source = result.get("source", "this evaluation")
        if metrics["absent_classes"]:
            source += f"; no {' and no '.join(metrics['absent_classes'])} clips"
        groups = result.get("groups", "speakers")
        rows.append(metrics_row(result["model"], test_set, metrics, source, groups))
        if abstaining := result.get("abstaining"):
            rows += confident_rows(result["model"], test_set, abstaining, groups)
        # Results of several folders may be of other clips under one name.
        known_as = (test_set, *metrics["support"].items())
        if known_as not in seen:
            seen.add(known_as)
            constant = f"always {majority['label']}"
            # The intervals of a constant tell nothing.
            without = {name: majority[name] for name in (*SCORES, "count")}
            source = "most frequent label of the test set"
            rows.append(metrics_row(constant, test_set, without, source))
            rows += published_rows(test_set, result.get("published_as"), metrics["count"])
    return sorted(rows, key=lambda row: -row.scores["f1_macro"])


def results_table(rows: Sequence[ResultRow]) -> list[list[str]]:
    """Return the cells of a table of results, the head first; empty columns are left out."""
    table = [["model", "test set", *SCORES, "clips", "speakers", "source"]]
    for row in rows:
        scores = (row.cells[name] for name in SCORES)
        speakers = f"{row.speakers:,}" if row.speakers else ""
        table.append([row.model, row.test_set, *scores, f"{row.clips:,}", speakers, row.source])
    columns = [column for column in zip(*table, strict=True) if any(column[1:])]
    return [list(row) for row in zip(*columns, strict=True)]


def class_table(metrics: dict) -> list[list[str]]:
    """Return the cells of a table with one row per class."""
    table = [["emotion", "clips", "recall", "precision", "F1"]]
    for label in metrics["labels"]:
        values = [metrics[name][label] for name in ("recall", "precision", "f1")]
        table.append([label, f"{metrics['support'][label]:,}", *map(number_cell, values)])
    return table


def calibration_table(result: dict) -> list[list[str]]:
    """Return the cells of a table of what probabilities are worth, with and without temperature."""
    table = [["temperature", "log loss", "Brier score", "expected calibration error"]]
    temperature = result.get("temperature", 1)
    for value, scores in ((1, result.get("uncalibrated")), (temperature, result["metrics"])):
        if scores:
            # Results of earlier versions have fewer scores.
            cells = [number_cell(scores.get(name)) for name in PROBABILITY_SCORES]
            table.append([f"{value:.3f}", *cells])
    return table


def coverage_table(curve: list[dict]) -> list[list[str]]:
    """Return the cells of a table of how often a model is right if it may abstain."""
    table = [["coverage", "accuracy", "least confidence"]]
    for share in SHOWN_COVERAGES:
        one = at_coverage(curve, share)
        numbers = number_cell(one["accuracy"]), number_cell(one["least_confidence"])
        table.append([f"{100 * share:.0f} %", *numbers])
    return table


def confusion_table(metrics: dict) -> list[list[str]]:
    """Return the cells of the confusion matrix in clips."""
    table = [["true \\ predicted", *metrics["labels"]]]
    for label, counts in zip(metrics["labels"], metrics["confusion_matrix"], strict=True):
        table.append([label, *(f"{count:,}" for count in counts)])
    return table


def folds_table(result: dict) -> list[list[str]]:
    """Return the cells of a table with one row per fold, then mean and standard deviation."""
    table = [["fold", "clips", *SCORES, "best epoch"]]
    for name, fold in result["folds"].items():
        metrics = fold["metrics"]
        epoch = "last" if fold["best_epoch"] is None else f"{fold['best_epoch']:g}"
        numbers = [number_cell(metrics[score]) for score in SCORES]
        table.append([name, f"{metrics['count']:,}", *numbers, epoch])
    mean, deviation = result["mean"], result["standard_deviation"]
    spread = [f"{mean[score]:.3f} ± {deviation[score]:.3f}" for score in SCORES]
    table.append(["mean ± sd", "", *spread, ""])
    return table


def describe_options(chosen: dict) -> str:
    """Return options in a line.

    Examples:
        >>> describe_options({"learning_rate": 0.00123456, "frozen_blocks": 6})
        'learning_rate 0.00123, frozen_blocks 6'
    """
    cells = {
        name: f"{value:.3g}" if isinstance(value, float) else str(value)
        for name, value in chosen.items()
    }
    return ", ".join(f"{name} {cell}" for name, cell in cells.items())


def search_table(chosen: Sequence[dict]) -> list[list[str]]:
    """Return the cells of a table with one row per fold: trials, best score, chosen options."""
    table = [["fold", "trials", "stopped early", f"best {chosen[0]['name']}", "options"]]
    for one in chosen:
        numbers = str(len(one["trials"])), str(one["stopped"]), f"{one['score']:.3f}"
        table.append([one["fold"], *numbers, describe_options(one["options"])])
    return table


def comparison_table(comparison: dict[str, dict]) -> list[list[str]]:
    """Return the cells of what `compare_models` found, one row per score."""
    table = [["score", "first", "second", "difference", "95 % interval", "p"]]
    for name, values in comparison.items():
        low, high = values["interval"]
        # What version 0.1.0 left in results is another p, of a bootstrap.
        found = values["p_value"] if "group_count" in values else None
        # Random exchanges cannot tell smaller ones apart.
        p_value = "< 0.001" if found is not None and found < 0.001 else number_cell(found)
        cells = [
            f"{values['first']:.3f}",
            f"{values['second']:.3f}",
            f"{values['difference']:+.3f}",
        ]
        table.append([name, *cells, f"[{low:+.3f}, {high:+.3f}]", p_value])
    return table


def comparison_notes(comparison: dict[str, dict]) -> list[str]:
    """Return what must be known to read a table of `comparison_table`, in sentences."""
    speakers = next(iter(comparison.values())).get("group_count")
    if speakers is None:
        return ["No p: an earlier version compared these models; compare them again."]
    notes = []
    if speakers < LEAST_GROUPS_FOR_P:
        notes.append(
            f"No p: {speakers} speakers cannot give one below {2.0 ** (1 - speakers):.2g}, however "
            f"much the models differ; {LEAST_GROUPS_FOR_P} speakers can reach 0.05."
        )
    if warning := interval_warning(speakers, "speakers"):
        notes.append(f"{warning.capitalize()}.")
    return notes


def write_table(path: Path, command: str, table: Sequence[Sequence[str]]) -> None:
    """Write a table, the head first, and the command that writes it again as JSON.

    `python -m benchmarks.page_numbers` takes it into a page.
    """
    write_json(path, {"command": command, "columns": table[0], "rows": list(table[1:])})


def check_table(path: Path, command: str, overwrite: bool = False) -> None:
    """Make sure that `write_table` will replace nothing but the table of the same command.

    Raises:
        WrongUseError: something else is there, or the file cannot be written.
    """
    try:
        content = read_json(path)
    except (MissingInputError, WrongUseError):
        content = {}
    same = isinstance(content, dict) and content.get("command") == command
    check_file(path, overwrite or same, name="table")


def read_results(folder: Path) -> list[dict]:
    """Read all results that evaluations wrote to a folder, in the order of their files' names.

    Raises:
        MissingInputError: if there are none.
    """
    paths = sorted((folder / RESULTS_DIR).glob("*.json"))
    if not paths:
        raise MissingInputError(
            f"no results in {folder / RESULTS_DIR}; give a folder that `dusha evaluate` "
            "or `dusha cross-validate` wrote"
        )
    return [read_json(path) for path in paths]


def pair_name(model: str, test_set: str) -> str:
    """Return a file name for the pair of a model and a test set.

    Examples:
        >>> pair_name("user/dusha-crowd", "data/dusha:podcast:test")
        'user_dusha-crowd--data_dusha_podcast_test'
    """
    return f"{safe_name(model)}--{safe_name(test_set)}"
