"""A model's answers to a test set as a file that anybody can score again, and their metrics."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.ser.ser import reliability, ser_metrics
from dusha_ser.inference.prediction_rows import PROBABILITY_PREFIX
from dusha_ser.storage import replacing

SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True)
class Predictions:
    """What a model said of each clip of a test set, and what is right.

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
    def answers(self) -> np.ndarray:
        """The most probable label of each clip, (clips,) int64."""
        return self.probabilities.argmax(axis=1)

    def rows(self) -> Iterable[dict]:
        """One dictionary a clip, as they stand in a file."""
        for i, name in enumerate(self.ids):
            row = {
                "id": name,
                "label": self.labels[self.references[i]],
                "prediction": self.labels[self.answers[i]],
            }
            if self.speakers is not None:
                row["speaker"] = self.speakers[i]
            if self.folds is not None:
                row["fold"] = self.folds[i]
            # Nine digits are all that a float32 has.
            values = [float(f"{value:.9g}") for value in self.probabilities[i]]
            yield row | {"probabilities": dict(zip(self.labels, values, strict=True))}


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write predictions, all or nothing.

    Args:
        path: ending in .csv (one column a probability, probability_LABEL) or .jsonl.
        predictions: what to write.

    Raises:
        WrongUseError: if the path ends otherwise.
    """
    path = checked_suffix(path)
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            for row in predictions.rows():
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            return
        writer = None
        for row in predictions.rows():
            for label, value in row.pop("probabilities").items():
                row[PROBABILITY_PREFIX + label] = value
            if writer is None:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)


def read_predictions(path: str | Path) -> Predictions:
    """Read predictions that `write_predictions` or another program wrote.

    Args:
        path: .csv or .jsonl, each row with id, label (a name), its probabilities, and, where
            they are known, speaker and fold.

    Returns:
        the predictions in the order of the file.

    Raises:
        MissingInputError: if there is no such file.
        WrongUseError: if a row lacks a field, repeats an id, has an unknown label or no
            probabilities; the message names the line.
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


def numbered_rows(path: Path) -> Iterable[tuple[str, dict]]:
    """Rows of a predictions file with their places, in the one form that JSON lines have."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = file if path.suffix == ".jsonl" else csv.DictReader(file)
        for number, line in enumerate(reader, start=1 if path.suffix == ".jsonl" else 2):
            place = f"{path}, line {number}"
            try:
                row = json.loads(line) if path.suffix == ".jsonl" else dict(line)
                if path.suffix == ".csv":
                    row["probabilities"] = {
                        name.removeprefix(PROBABILITY_PREFIX): value
                        for name, value in row.items()
                        if name is not None and name.startswith(PROBABILITY_PREFIX)
                    }
                values = row["probabilities"]
                row["probabilities"] = {name: float(value) for name, value in values.items()}
                row["id"], row["label"] = str(row["id"]), str(row["label"])
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise WrongUseError(
                    f"{place} is no prediction ({type(error).__name__}: {error}); it needs id, "
                    f"label and {PROBABILITY_PREFIX}LABEL of each label"
                ) from error
            if not row["probabilities"]:
                raise WrongUseError(f"{place} has no probabilities, columns {PROBABILITY_PREFIX}…")
            yield place, row


def column(rows: Sequence[tuple[str, dict]], name: str) -> list[str] | None:
    """A column as text; None where any row lacks it."""
    values = [row.get(name) for _, row in rows]
    return None if any(value in (None, "") for value in values) else list(map(str, values))


def checked_suffix(path: str | Path) -> Path:
    """The path, if its form is known."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise WrongUseError(f"{path} ends in {path.suffix!r}; predictions are .csv or .jsonl")
    return path


def score_predictions(predictions: Predictions, group_by: str = "speaker") -> dict:
    """Give all metrics of predictions and the bins of their calibration.

    Args:
        predictions: of one model on one test set.
        group_by: "speaker" or "fold": what the intervals resample, where it is known.

    Returns:
        `metrics`, as `metrics.ser.ser.ser_metrics` gives them; `reliability`, the bins; and
        `majority`, the metrics of a model that always gives the test set's most frequent label,
        with that label's name as `label`.
    """
    groups = {"speaker": predictions.speakers, "fold": predictions.folds}[group_by]
    common = {"groups": groups, "labels": predictions.labels}
    most = int(np.bincount(predictions.references).argmax())
    always = np.full(len(predictions.references), most)
    answers = predictions.answers
    return {
        "metrics": ser_metrics(
            answers, predictions.references, predictions.probabilities, **common
        ),
        "reliability": reliability(answers, predictions.references, predictions.probabilities),
        "majority": {
            "label": predictions.labels[most],
            **ser_metrics(always, predictions.references, **common),
        },
    }
