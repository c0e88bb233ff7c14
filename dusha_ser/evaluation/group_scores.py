"""How a model does on parts of a test set: women and men, one sentence and another."""

from collections.abc import Mapping, Sequence

import numpy as np

from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import Predictions
from dusha_ser.evaluation.ser.ser import (
    BOOTSTRAP,
    SCORES,
    group_confusions,
    interval_warning,
    scores,
    ser_metrics,
)
from dusha_ser.tables import number_cell

# More are not read as a table, and are mostly ids.
MOST_VALUES = 30
EXPLANATION = (
    "The difference is to all clips with another value; its interval draws speakers, each with all "
    "of their clips. A difference whose interval holds 0 may be chance, and the more values are "
    "looked at, the more of them will seem to differ by chance."
)


def score_groups(predictions: Predictions, columns: Mapping[str, Sequence[str]]) -> dict:
    """Score the clips of each value of each column, and how far they are from the other clips.

    Args:
        predictions: of one model on one test set.
        columns: value of each clip, (clips,), by the name of the column.

    Returns:
        by column and value `count` clips, `group_count` speakers (None where they are not known),
        the three scores in [0, 1], `intervals` of these over speakers and `absent_classes`, as
        `ser_metrics` returns them, and `differences`: of each score from that of all other clips,
        `difference` in [-1, 1] and `interval` [low, high], None where speakers are not known or
        a side has only one of its own.

    Raises:
        WrongUseError: if a column has one value only, or more than 30.

    Examples:
        >>> truth = np.array([0, 1, 0, 1])
        >>> same = Predictions(("a", "b"), list("1234"), truth, np.eye(2)[[0, 1, 0, 0]])
        >>> found = score_groups(same, {"sex": ["f", "f", "m", "m"]})["sex"]
        >>> found["f"]["accuracy"], found["m"]["differences"]["accuracy"]["difference"]
        (1.0, -0.5)
    """
    found: dict = {}
    for name, values in columns.items():
        known = sorted(set(values))
        if not 2 <= len(known) <= MOST_VALUES:
            raise WrongUseError(
                f"`scores_by` has {name!r}, of which the clips have {len(known)} different "
                f"value{'s'[: len(known) != 1]}; 2 to {MOST_VALUES} make a table"
            )
        of = np.array(values, dtype=object)
        found[name] = {value: score_part(predictions, of == value) for value in known}
    return found


def score_part(predictions: Predictions, chosen: np.ndarray) -> dict:
    """Score the chosen clips, (clips,) bool, as `score_groups` returns it."""
    predicted, truth = predictions.predicted, predictions.references
    speakers, labels = predictions.speakers, predictions.labels
    own = speakers and [one for one, keep in zip(speakers, chosen, strict=True) if keep]
    metrics = ser_metrics(predicted[chosen], truth[chosen], groups=own, labels=labels)
    others = ser_metrics(predicted[~chosen], truth[~chosen], labels=labels)
    intervals = draw_differences(predictions, chosen) if speakers else dict.fromkeys(SCORES)
    return {
        "count": metrics["count"],
        "group_count": metrics.get("group_count"),
        "absent_classes": metrics["absent_classes"],
        "intervals": metrics.get("intervals"),
        **{name: metrics[name] for name in SCORES},
        "differences": {
            name: {"difference": metrics[name] - others[name], "interval": intervals[name]}
            for name in SCORES
        },
    }


def draw_differences(predictions: Predictions, chosen: np.ndarray) -> dict:
    """Return the interval over speakers of the differences of the chosen clips to the others."""
    # Each speaker's clips on both sides, so that those who are on both are drawn for both.
    confusions = np.stack([side_confusions(predictions, side) for side in (chosen, ~chosen)], 1)
    heard = confusions.sum(axis=(2, 3)) > 0
    # Women and men are drawn apart, so that each draw has as many of both as there are.
    kinds = (heard[:, 0] & ~heard[:, 1], ~heard[:, 0] & heard[:, 1], heard.all(axis=1))
    strata = sorted((np.flatnonzero(kind) for kind in kinds if kind.any()), key=lambda one: one[0])
    if min(map(len, strata)) < 2:
        return dict.fromkeys(SCORES)

    def differences(confusion: np.ndarray) -> np.ndarray:
        first, second = np.moveaxis(scores(confusion), -1, 0)
        return first - second

    return BOOTSTRAP.draw(confusions, differences, strata)


def side_confusions(predictions: Predictions, chosen: np.ndarray) -> np.ndarray:
    """Count the chosen clips by speaker and true and predicted label, all speakers among them."""
    labels = len(predictions.labels)
    # Clips that are not chosen have a label of their own, which is then cut off.
    truth = np.where(chosen, predictions.references, labels)
    counts = group_confusions(predictions.predicted, truth, predictions.speakers or [], labels + 1)
    return counts[:, :labels, :labels]


def groups_table(found: dict) -> list[list[str]]:
    """Return the cells of a table of what `score_groups` found, one row per value."""
    shown = "balanced_accuracy"
    table = [["column", "value", "clips", "speakers", *SCORES, f"{shown}, difference to the rest"]]
    for column, values in found.items():
        for value, one in values.items():
            cells = [number_cell(one[name]) for name in SCORES]
            for place, name in enumerate(SCORES):
                if ends := (one["intervals"] or {}).get(name):
                    cells[place] += f" [{ends[0]:.3f}, {ends[1]:.3f}]"
            gap = one["differences"][shown]
            cell = f"{gap['difference']:+.3f}"
            if gap["interval"]:
                cell += f" [{gap['interval'][0]:+.3f}, {gap['interval'][1]:+.3f}]"
            speakers = f"{one['group_count']:,}" if one["group_count"] else ""
            table.append([column, value, f"{one['count']:,}", speakers, *cells, cell])
    return table


def groups_notes(found: dict) -> list[str]:
    """Return what must be known to read a table of `groups_table`, in sentences."""
    notes = [EXPLANATION]
    for column, values in found.items():
        for value, one in values.items():
            if one["absent_classes"]:
                absent = " and no ".join(one["absent_classes"])
                notes.append(
                    f"{column} {value} has no {absent} clips, so its scores are of fewer classes."
                )
            if warning := interval_warning(one["group_count"], f"speakers of {column} {value}"):
                notes.append(f"{warning.capitalize()}.")
    return notes
