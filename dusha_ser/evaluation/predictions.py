"""A model's predictions on a test set: as a file that anybody can score again, and as metrics."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.ser.ser import compare_models, reliability, ser_metrics
from dusha_ser.inference.prediction_rows import PROBABILITY_PREFIX
from dusha_ser.storage import write_csv, write_text
from dusha_ser.tables import read_table

SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True)
class Predictions:
    """What a model predicted for each clip of a test set, and what is true.

    Attributes:
        labels: names of the labels in the order of their numbers.
        ids: of the clips, each once.
        references: true label numbers, (clips,) int64.
        probabilities: (clips, labels) float64, rows summing to 1.
        speakers: of the clips, (clips,); None where they are not known.
        folds: the fold of a cross-validation that tested each clip, (clips,); None where there is
            none.
    """

    labels: tuple[str, ...]
    ids: list[str]
    references: np.ndarray
    probabilities: np.ndarray
    speakers: list[str] | None = None
    folds: list[str] | None = None

    @property
    def predicted(self) -> np.ndarray:
        """The most probable label of each clip, (clips,) int64."""
        return self.probabilities.argmax(axis=1)

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
            they are known, speaker and fold.

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
    rows = list(numbered_rows(path))
    if not rows:
        raise WrongUseError(f"{path} holds no predictions")
    labels = tuple(rows[0][1]["probabilities"])
    numbers = {label: number for number, label in enumerate(labels)}
    seen: set[str] = set()
    references, probabilities = [], []
    for place, row in rows:
        if row["id"] in seen:
            raise WrongUseError(
                f"{place}: the id {row['id']!r} came before; each clip needs its own"
            )
        seen.add(row["id"])
        if row["label"] not in numbers or tuple(row["probabilities"]) != labels:
            raise WrongUseError(
                f"{place}: the label {row['label']!r} with probabilities of "
                f"{', '.join(row['probabilities'])}; the file began with {', '.join(labels)}"
            )
        references.append(numbers[row["label"]])
        probabilities.append(list(row["probabilities"].values()))
    array = np.array(probabilities, dtype=np.float64)
    good = np.isfinite(array).all(axis=1) & (array >= 0).all(axis=1)
    good &= np.abs(array.sum(axis=1) - 1) < 1e-3
    if not good.all():
        place, row = rows[int(np.argmin(good))]
        raise WrongUseError(
            f"{place}: probabilities {row['probabilities']} must be at least 0 and sum to 1"
        )
    return Predictions(
        labels=labels,
        ids=[row["id"] for _, row in rows],
        references=np.array(references, dtype=np.int64),
        probabilities=array,
        speakers=column(rows, "speaker"),
        folds=column(rows, "fold"),
    )


def numbered_rows(path: Path) -> Iterator[tuple[str, dict]]:
    """Give the rows of a file of predictions with their places, in the form that .jsonl has."""
    if path.suffix == ".csv":
        rows: list[Any] = read_table(path, ("id", "label"))
    else:
        with path.open(encoding="utf-8-sig") as file:
            rows = list(file)
    for number, row in enumerate(rows, start=2 if path.suffix == ".csv" else 1):
        place = f"{path}, line {number}"
        try:
            row = json.loads(row) if path.suffix == ".jsonl" else with_probabilities(row)
            values = row["probabilities"]
            row["probabilities"] = {name: float(value) for name, value in values.items()}
            row["id"], row["label"] = str(row["id"]), str(row["label"])
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise WrongUseError(
                f"{place} is not a prediction ({type(error).__name__}: {error}); it needs id, "
                f"label and {PROBABILITY_PREFIX}LABEL of each label"
            ) from error
        if not row["probabilities"]:
            raise WrongUseError(f"{place} has no probabilities, columns {PROBABILITY_PREFIX}…")
        yield place, row


def with_probabilities(row: dict[str, str]) -> dict:
    """Return a row of a table with its columns of probabilities in one dictionary."""
    probabilities = {
        name.removeprefix(PROBABILITY_PREFIX): value
        for name, value in row.items()
        if name is not None and name.startswith(PROBABILITY_PREFIX)
    }
    return row | {"probabilities": probabilities}


def column(rows: Sequence[tuple[str, dict]], name: str) -> list[str] | None:
    """Return a column as text; None where it is missing in any row."""
    values = [row.get(name) for _, row in rows]
    return None if any(value in (None, "") for value in values) else list(map(str, values))


def checked_suffix(path: str | Path) -> Path:
    """Return a path whose suffix is known."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise WrongUseError(f"{path} ends in {path.suffix!r}; predictions are .csv or .jsonl")
    return path


def score_predictions(predictions: Predictions, group_by: str = "speaker") -> dict:
    """Compute all metrics of predictions and the bins of their calibration.

    Args:
        predictions: of one model on one test set.
        group_by: "speaker" or "fold": what the intervals resample, where it is known.

    Returns:
        `metrics`, as `ser_metrics` returns them; `reliability`, the bins; and `majority`, the
        metrics of a model that always predicts the test set's most frequent label, with that
        label's name as `label`.
    """
    groups = {"speaker": predictions.speakers, "fold": predictions.folds}[group_by]
    truth, labels = predictions.references, predictions.labels
    predicted, probabilities = predictions.predicted, predictions.probabilities
    most = int(np.bincount(truth).argmax())
    always = np.full(len(truth), most)
    return {
        "metrics": ser_metrics(predicted, truth, probabilities, groups, labels),
        "reliability": reliability(predicted, truth, probabilities),
        "majority": {
            "label": labels[most],
            **ser_metrics(always, truth, groups=groups, labels=labels),
        },
    }


def compare_predictions(first: Predictions, second: Predictions, test_set: str) -> dict:
    """Compare two models' predictions of the same clips.

    Args:
        first: of one model.
        second: of the other; clips may be in another order.
        test_set: name of the test set, for messages.

    Returns:
        What `compare_models` found.

    Raises:
        WrongUseError: if clips or labels differ, or the speakers are not known.
    """
    place = {name: i for i, name in enumerate(second.ids)}
    if set(place) != set(first.ids) or first.labels != second.labels:
        raise WrongUseError(
            f"predictions on {test_set} are of different clips or labels; evaluate both models "
            "again with `overwrite=True`"
        )
    if first.speakers is None:
        raise WrongUseError(
            f"the speakers of {test_set} are not known, so models cannot be compared by speaker; "
            "give a table with a speaker column"
        )
    predicted = second.predicted[[place[name] for name in first.ids]]
    return compare_models(
        first.predicted, predicted, first.references, first.speakers, first.labels
    )
