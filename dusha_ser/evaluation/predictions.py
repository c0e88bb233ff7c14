"""A model's predictions on a test set: as a file that anybody can score again, and as metrics."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.calibration import measure_confidence, without_temperature
from dusha_ser.evaluation.ser.ser import (
    PROBABILITY_SCORES,
    compare_models,
    reliability,
    ser_metrics,
)
from dusha_ser.storage import write_csv, write_text
from dusha_ser.tables import parse_number, read_table
from dusha_ser.timelines.recordings import PROBABILITY_PREFIX
from dusha_ser.vocabulary import PROBABILITY_DIGITS

SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True)
class Predictions:
    """What a model predicted for each clip of a test set, and what is true.

    Attributes:
        labels: names of the labels in the order of their numbers.
        ids: of the clips, each once.
        references: true label numbers, (clips,) int64.
        probabilities: (clips, labels) float64 in [0, 1]; rows sum to 1 unless `multi_label`.
        speakers: of the clips, (clips,); None where they are not known.
        folds: of a cross-validation, which tested the clips, (clips,); None where there is none.
        multi_label: whether the model may give a clip several labels, each with a probability of
            its own.
        temperature: of the model, which its probabilities come from; a file does not hold it.
    """

    labels: tuple[str, ...]
    ids: list[str]
    references: np.ndarray
    probabilities: np.ndarray
    speakers: list[str] | None = None
    folds: list[str] | None = None
    multi_label: bool = False
    temperature: float = 1.0

    @property
    def confidence(self) -> np.ndarray:
        """The probability of each clip's most probable label, (clips,)."""
        return self.probabilities.max(axis=1)

    @property
    def right(self) -> np.ndarray:
        """Whether each clip's most probable label is the true one, (clips,) bool."""
        return self.predicted == self.references

    @property
    def predicted(self) -> np.ndarray:
        """The most probable label of each clip, (clips,) int64."""
        return self.probabilities.argmax(axis=1)

    @property
    def distributions(self) -> np.ndarray | None:
        """The probabilities, (clips, labels), if they sum to 1 for each clip; else None."""
        return None if self.multi_label else self.probabilities

    def rows(self) -> Iterator[dict]:
        """Give one dictionary per clip, as in a file."""
        for i, name in enumerate(self.ids):
            row = {
                "id": name,
                "label": self.labels[self.references[i]],
                "prediction": self.labels[self.predicted[i]],
            }
            if self.speakers is not None:
                row["speaker"] = self.speakers[i]
            if self.folds is not None:
                row["fold"] = self.folds[i]
            if self.multi_label:
                row["multi_label"] = True
            # Nine digits are all that a float32 has.
            values = [float(f"{value:.9g}") for value in self.probabilities[i]]
            yield row | {"probabilities": dict(zip(self.labels, values, strict=True))}


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write predictions to a file.

    Args:
        path: ending in .csv (probabilities in columns probability_LABEL) or .jsonl.
        predictions: what to write.

    Raises:
        WrongUseError: if the path ends otherwise.
    """
    path = checked_suffix(path)
    rows = list(predictions.rows())
    if path.suffix == ".jsonl":
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    for row in rows:
        for label, value in row.pop("probabilities").items():
            row[PROBABILITY_PREFIX + label] = value
    write_csv(path, rows[0], rows)


def read_predictions(path: str | Path) -> Predictions:
    """Read predictions that `write_predictions` or another program wrote.

    Args:
        path: .csv or .jsonl, each row with id, label (a name), its probabilities, and, where
            they are known, speaker and fold; `multi_label` is True where a clip may have several
            labels, whose probabilities need not sum to 1.

    Returns:
        The predictions in the order of the file.

    Raises:
        MissingInputError: if there is no such file.
        WrongUseError: if a row repeats an id, has an unknown label or no probabilities, or a
            field is missing; the message names the line.
    """
    path = checked_suffix(path)
    if not path.is_file():
        raise MissingInputError(f"no file {path} with predictions")
    rows: dict[str, dict] = {}
    labels: list[str] = []
    for place, row in numbered_rows(path):
        values = row["probabilities"]
        labels = labels or list(values)
        if row["id"] in rows:
            raise WrongUseError(
                f"{place}: the id {row['id']!r} came before; each clip needs its own"
            )
        if row["label"] not in labels or list(values) != labels:
            raise WrongUseError(
                f"{place}: the label {row['label']!r} with probabilities of "
                f"{', '.join(values)}; the file began with {', '.join(labels)}"
            )
        several = str(row.get("multi_label")) == "True"
        total = max(values.values()) if several else sum(values.values())
        if min(values.values()) < 0 or not (total <= 1 if several else abs(total - 1) < 1e-3):
            raise WrongUseError(
                f"{place}: probabilities {values} must be at least 0 and sum to 1; those of a "
                "model that gives several labels are 0 to 1 each, and the row's `multi_label` is "
                "True"
            )
        rows[row["id"]] = row
    if not rows:
        raise WrongUseError(f"{path} holds no predictions")

    def column(name: str) -> list[str] | None:
        found = [row.get(name) for row in rows.values()]
        return None if any(value in (None, "") for value in found) else list(map(str, found))

    return Predictions(
        labels=tuple(labels),
        ids=list(rows),
        references=np.array([labels.index(row["label"]) for row in rows.values()]),
        probabilities=np.array([list(row["probabilities"].values()) for row in rows.values()]),
        speakers=column("speaker"),
        folds=column("fold"),
        multi_label=set(column("multi_label") or ()) == {"True"},
    )


@dataclass(frozen=True)
class Probabilities:
    """What a model says of clips, whatever is true.

    Attributes:
        labels: names of the labels in the order of their numbers.
        ids: of the clips.
        probabilities: (clips, labels) float64 in [0, 1].
        folds: of a cross-validation, which tested the clips; None where there is none.
    """

    labels: tuple[str, ...]
    ids: list[str]
    probabilities: np.ndarray
    folds: list[str] | None = None


def read_probabilities(path: str | Path, path_column: str = "path") -> Probabilities:
    """Read the probabilities of a file of predictions, also of one without true labels.

    Args:
        path: .csv or .jsonl, as `write_predictions` or `dusha predict` writes it; rows without
            probabilities, which have an error, are left out.
        path_column: that names the clips of a .csv without the column id.

    Raises:
        MissingInputError: if there is no such file.
        WrongUseError: if a row is not a prediction, or no row has probabilities.
    """
    path = checked_suffix(path)
    if not path.is_file():
        raise MissingInputError(f"no file {path} with predictions")
    id_column = "id"
    if path.suffix == ".csv" and id_column not in read_table(path, (), exact=True)[0]:
        id_column = path_column
    found = numbered_rows(path, labelled=False, id_column=id_column)
    rows = [row for _, row in found if row["probabilities"]]
    if not rows:
        raise WrongUseError(f"{path} holds no predictions")
    folds = [str(row.get("fold") or "") for row in rows]
    return Probabilities(
        tuple(rows[0]["probabilities"]),
        [row["id"] for row in rows],
        np.array([list(row["probabilities"].values()) for row in rows]),
        folds if all(folds) else None,
    )


def numbered_rows(
    path: Path, labelled: bool = True, id_column: str = "id"
) -> Iterator[tuple[str, dict]]:
    """Give the rows of a file of predictions with their places, in the form that .jsonl has.

    Where they need not be labelled, they also need no probabilities.
    """
    if path.suffix == ".csv":
        columns = (id_column, "label") if labelled else (id_column,)
        first, rows = 2, list[Any](read_table(path, columns, exact=True))
    else:
        with path.open(encoding="utf-8-sig") as file:
            first, rows = 1, list(file)
    for number, row in enumerate(rows, first):
        place = f"{path}, line {number}"
        try:
            if path.suffix == ".csv":
                row["id"] = row[id_column]
                row["probabilities"] = {
                    name.removeprefix(PROBABILITY_PREFIX): value
                    for name, value in row.items()
                    if name and name.startswith(PROBABILITY_PREFIX) and (labelled or value)
                }
            else:
                row = json.loads(row)
            values = (row["probabilities"] or {} if not labelled else row["probabilities"]).items()
            row["probabilities"] = {
                name: parse_number(value) if isinstance(value, str) else float(value)
                for name, value in values
            }
            row["id"] = str(row["id"])
            if labelled:
                row["label"] = str(row["label"])
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise WrongUseError(
                f"{place} is not a prediction ({type(error).__name__}: {error}); it needs id, "
                f"label and {PROBABILITY_PREFIX}LABEL of each label"
            ) from error
        if labelled and not row["probabilities"]:
            raise WrongUseError(f"{place} has no probabilities, columns {PROBABILITY_PREFIX}…")
        yield place, row


def checked_suffix(path: str | Path) -> Path:
    """Return a path whose suffix is known."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise WrongUseError(f"{path} ends in {path.suffix!r}; predictions are .csv or .jsonl")
    return path


def score_predictions(predictions: Predictions) -> dict:
    """Compute all metrics of predictions and the bins of their calibration.

    Args:
        predictions: of one model on one test set; intervals are over their speakers, or else
            over their folds.

    Returns:
        `metrics`, as `ser_metrics` returns them; `groups`, what their intervals are over, speakers
        or folds, None where neither is known; `reliability`, the bins; `temperature`, that of the
        model, and, where it is not 1, `uncalibrated`: the `reliability`, and the metrics of the
        probabilities (PROBABILITY_SCORES), without it; `confidence`, as `measure_confidence`
        returns it; and `majority`, the metrics of a model that always predicts the test set's most
        frequent label, with that label's name as `label`. Log loss and calibration need one
        distribution per clip: of a multi-label model there are none, and no bins.
    """
    groups = predictions.speakers or predictions.folds
    truth, labels = predictions.references, predictions.labels
    predicted, probabilities = predictions.predicted, predictions.distributions
    most = int(np.bincount(truth).argmax())
    always = ser_metrics(np.full(len(truth), most), truth, groups=groups, labels=labels)
    known = {"speakers": predictions.speakers, "folds": predictions.folds}
    found: dict[str, Any] = {
        "groups": next((name for name, values in known.items() if values), None),
        "metrics": ser_metrics(predicted, truth, probabilities, groups, labels),
        "reliability": []
        if probabilities is None
        else reliability(predicted, truth, probabilities),
        "temperature": predictions.temperature,
        "confidence": measure_confidence(predictions.confidence, predictions.right),
        "majority": {"label": labels[most], **always},
    }
    if probabilities is not None and predictions.temperature != 1:
        before = without_temperature(probabilities, predictions.temperature)
        metrics = ser_metrics(predicted, truth, before, labels=labels)
        found["uncalibrated"] = {name: metrics[name] for name in PROBABILITY_SCORES} | {
            "reliability": reliability(predicted, truth, before)
        }
    return found


def score_confident(predictions: Predictions, least_confidence: float) -> dict:
    """Score a model that abstains where it is less confident.

    Args:
        predictions: of one model on one test set.
        least_confidence: probability of the prediction, of six digits, from which it counts.

    Returns:
        `least_confidence`; `coverage`, the share of clips that have a prediction, in [0, 1]; and
        `metrics` of these clips, as `ser_metrics` returns them, None where there are none.
    """
    kept = predictions.confidence.round(PROBABILITY_DIGITS) >= least_confidence
    found = {"least_confidence": least_confidence, "coverage": float(kept.mean()), "metrics": None}
    if not kept.any():
        return found
    groups = predictions.speakers or predictions.folds
    probabilities = predictions.distributions
    metrics = ser_metrics(
        predictions.predicted[kept],
        predictions.references[kept],
        None if probabilities is None else probabilities[kept],
        groups and [group for group, keep in zip(groups, kept, strict=True) if keep],
        predictions.labels,
    )
    return found | {"metrics": metrics}


def compare_predictions(first: Predictions, second: Predictions, test_set: str) -> dict:
    """Compare two models' predictions of the same clips.

    Args:
        first: of one model.
        second: of the other; clips and labels may be in another order.
        test_set: name of the test set, for messages.

    Returns:
        What `compare_models` found.

    Raises:
        WrongUseError: if clips or labels differ, or the speakers are not known.
    """
    if set(second.ids) != set(first.ids) or set(first.labels) != set(second.labels):
        raise WrongUseError(
            f"predictions on {test_set} are of different clips or labels; evaluate both models "
            "again with `overwrite=True`"
        )
    if first.speakers is None:
        raise WrongUseError(
            f"the speakers of {test_set} are not known, so models cannot be compared by speaker; "
            "give a table with a speaker column"
        )
    numbers = [first.labels.index(label) for label in second.labels]
    found = {name: numbers[one] for name, one in zip(second.ids, second.predicted, strict=True)}
    others = [found[name] for name in first.ids]
    return compare_models(first.predicted, others, first.references, first.speakers, first.labels)
