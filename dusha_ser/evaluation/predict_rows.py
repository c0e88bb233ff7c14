"""Any model on any rows: probabilities of each clip, for the labels of the rows."""

from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import numpy as np
from tqdm import tqdm

from configuration_dusha import DushaConfig
from dusha_ser.audio.problems import warn_of_silent
from dusha_ser.audio.reading import read_audio
from dusha_ser.corpus.complete_rows import all_problems_named
from dusha_ser.corpus.named import NamedRows
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.evaluation.predictions import Predictions
from dusha_ser.inference.classify import torch_classifier
from modeling_dusha import is_multi_label

BATCH_SIZE = 16
DUSHA = DushaConfig.model_type


def predict_rows(
    model,
    feature_extractor,
    test_set: NamedRows,
    batch_size: int | None = None,
    quiet: bool = False,
) -> Predictions:
    """Predict the emotion of each row, in their order.

    Args:
        model: an AutoModelForAudioClassification in evaluation mode.
        feature_extractor: the one that was saved with it.
        test_set: the rows; their input_features are used where they have them and the model
            reads them, else their audio.
        batch_size: clips of similar length to classify at once; None: 16 for Dusha's models, 1 for
            others, whose predictions padding may change.
        quiet: whether to show no bar.

    Raises:
        WrongUseError: if a label of the rows is missing in the model, or rows have neither audio
            nor features that the model reads.
        WorkFailedError: if a probability is NaN or infinite.
    """
    columns = match_labels(model.config.id2label, test_set)
    silent: list[str] = []
    read, classify = row_reader(model, feature_extractor, test_set, silent)
    order = by_length(test_set.rows)
    batch_size = batch_size or (BATCH_SIZE if model.config.model_type == DUSHA else 1)
    probabilities = np.zeros((len(order), len(test_set.labels)))
    with tqdm(total=len(order), unit="clip", desc=test_set.name, disable=quiet or None) as bar:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            with all_problems_named(test_set.rows):
                clips = [read(test_set.rows[int(row)]) for row in batch]
            found = classify(clips)
            probabilities[batch] = found[:, columns]
            bar.update(len(batch))
    several = is_multi_label(model.config.problem_type)
    warn_of_silent(silent, len(order), test_set.name)
    # A model may know more labels than the test set has; these are left out.
    sums = probabilities.sum(axis=1, keepdims=True)
    if not np.isfinite(sums).all() or not (several or (sums > 0).all()):
        bad = test_set.rows[int(np.argmin(np.nan_to_num(sums[:, 0])))]["id"]
        raise WorkFailedError(f"the model's probabilities of {bad!r} are NaN or infinite")
    return Predictions(
        labels=test_set.labels,
        ids=[str(name) for name in test_set.rows["id"]],
        references=np.array(test_set.rows["label"], dtype=np.int64),
        probabilities=probabilities if several else probabilities / sums,
        speakers=test_set.speakers,
        folds=test_set.folds,
        multi_label=several,
        temperature=known_temperature(model.config),
    )


def known_temperature(config) -> float:
    """Return what logits were divided by where that is all that was done to them; else 1."""
    plain = config.model_type == DUSHA and config.logit_bias is None
    return config.temperature if plain else 1.0


def match_labels(id2label: dict[int, str], test_set: NamedRows) -> list[int]:
    """Return the model's number of each of the test set's labels."""
    numbers = {label: number for number, label in id2label.items()}
    missing = [label for label in test_set.labels if label not in numbers]
    if missing:
        raise WrongUseError(
            f"the model knows {', '.join(numbers)} and not {', '.join(missing)}, which "
            f"{test_set.name} has; use a model with the labels {', '.join(test_set.labels)}"
        )
    return [numbers[label] for label in test_set.labels]


def row_reader(
    model, feature_extractor, test_set: NamedRows, silent: list[str]
) -> tuple[Callable[[dict], np.ndarray], Callable[[list[np.ndarray]], np.ndarray]]:
    """Choose how to read a row and how to classify what was read.

    `silent` gets the ids of clips in which nothing is to be heard.

    Returns:
        A function from a row to its features (frames, mels) or samples, and one from a list of
        these to probabilities (clips, labels).
    """
    columns = test_set.rows.column_names
    if model.config.model_type == DUSHA and "input_features" in columns:
        return (
            lambda row: np.asarray(row["input_features"], dtype=np.float32),
            torch_classifier(model, feature_extractor, from_features=True),
        )
    if "audio" not in columns or all(
        audio is None or (audio["bytes"] is None and audio["path"] is None)
        for audio in test_set.rows.select(range(min(3, len(test_set.rows))))["audio"]
    ):
        raise WrongUseError(
            f"{test_set.name} has neither audio nor input_features that the model reads; Dusha's "
            "podcasts are published as features only: prepare them by `dusha corpus` with "
            "`input_features=True`"
        )

    def read_waveform(row: dict) -> np.ndarray:
        if row["audio"] is None:
            raise WrongUseError(
                f"{test_set.name}: the clip {row['id']!r} has no audio; leave it out, or prepare "
                "the corpus by `dusha corpus` with `input_features=True`"
            )
        samples = read_audio(row["audio"], feature_extractor.sampling_rate)
        if not np.any(samples):
            silent.append(str(row["id"]))
        return samples

    return read_waveform, torch_classifier(model, feature_extractor)


def by_length(rows: datasets.Dataset) -> np.ndarray:
    """Return the numbers of rows by length, so that batches need little padding."""
    if "duration" not in rows.column_names:
        return np.arange(len(rows))
    durations = [np.inf if value is None else value for value in rows["duration"]]
    return np.argsort(durations, kind="stable")


def model_names(models: Sequence[str]) -> dict[str, str]:
    """Return a short name for each model that no other of them has.

    Example:
        >>> model_names(["runs/small", "runs/large"])
        {'runs/small': 'small', 'runs/large': 'large'}
        >>> model_names(["a/model", "b/model"])
        {'a/model': 'a/model', 'b/model': 'b/model'}
    """
    short = {model: Path(model).name for model in models}
    return short if len(set(short.values())) == len(short) else {model: model for model in models}
