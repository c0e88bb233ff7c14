"""Models from the shelf on any rows: probabilities of each clip, in the rows' own labels."""

import contextlib
import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tqdm import tqdm
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

import feature_extraction_dusha  # noqa: F401 - the same
import modeling_dusha  # noqa: F401 - both make Transformers know our model type
from command_line_dusha import MissingInputError, WorkFailedError, WrongUseError, first_line
from configuration_dusha import DushaConfig
from predictions_dusha import Predictions
from recordings_dusha import decode_audio
from test_sets_dusha import NamedRows
from timeline_dusha import torch_classifier

BATCH_SIZE = 16
DUSHA = DushaConfig.model_type
# What of a model folder decides its answers.
MODEL_FILES = ("*.safetensors", "*.bin", "config.json", "preprocessor_config.json")


def load_model(name: str, device: str | None = None, trust_remote_code: bool = False):
    """Load a model and its feature extractor.

    Args:
        name: a model folder, or a name on the Hub.
        device: "cpu", "cuda" and so on; None: a GPU if there is one.
        trust_remote_code: whether code that came with the model may run; Dusha's needs none.

    Returns:
        the model in evaluation mode, and its feature extractor.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is no audio classification model, or lacks weights or labels.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = {"trust_remote_code": trust_remote_code}
    with explained_errors(name):
        model, report = AutoModelForAudioClassification.from_pretrained(
            name, output_loading_info=True, **options
        )
        extractor = AutoFeatureExtractor.from_pretrained(name, **options)
    # Transformers draws what is missing at random. How often a normalisation was updated is
    # of no matter to answers.
    missing = [key for key in report["missing_keys"] if not key.endswith("num_batches_tracked")]
    if missing:
        raise WrongUseError(
            f"{name} lacks {len(missing)} weights, such as {min(missing)}, and would answer at "
            "random: fetch it again whole, or train it first (train.py --model_name_or_path)"
        )
    labels = model.config.id2label
    if sorted(labels) != list(range(len(labels))) or len(set(labels.values())) < len(labels):
        raise WrongUseError(
            f"{name} has the labels {labels}; they must be different and numbered from 0 without "
            "a gap: correct id2label in its config.json"
        )
    return model.to(device).eval(), extractor


def predict_rows(
    model,
    feature_extractor,
    test_set: NamedRows,
    batch_size: int | None = None,
    quiet: bool = False,
) -> Predictions:
    """Give a model's probabilities of each row.

    Args:
        model: an AutoModelForAudioClassification in evaluation mode.
        feature_extractor: the one that was saved with it.
        test_set: the rows; their input_features are used where they have them and the model
            reads them, else their audio.
        batch_size: clips of like length that are classified at once; None: 16 for Dusha's models,
            and 1 for others, whose answers padding may change.
        quiet: whether to show no bar.

    Returns:
        predictions in the order of the rows.

    Raises:
        WrongUseError: if the model's labels are others than the rows', or rows have neither
            audio nor features that the model reads.
    """
    columns = match_labels(model.config.id2label, test_set)
    read, classify = row_reader(model, feature_extractor, test_set)
    order = by_length(test_set.rows)
    batch_size = batch_size or (BATCH_SIZE if model.config.model_type == DUSHA else 1)
    probabilities = np.zeros((len(order), len(test_set.labels)))
    bar = tqdm(total=len(order), unit="clip", desc=test_set.name, disable=quiet or None)
    with bar:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            answers = classify([read(test_set.rows[int(row)]) for row in batch])
            probabilities[batch] = answers[:, columns]
            bar.update(len(batch))
    # A model may know more labels than the test set has; the rest is shared out.
    sums = probabilities.sum(axis=1, keepdims=True)
    if not np.isfinite(sums).all() or not (sums > 0).all():
        bad = test_set.rows[int(np.argmin(np.nan_to_num(sums[:, 0])))]["id"]
        raise WorkFailedError(f"the model's probabilities of {bad!r} are no numbers")
    return Predictions(
        labels=test_set.labels,
        ids=[str(name) for name in test_set.rows["id"]],
        references=np.array(test_set.rows["label"], dtype=np.int64),
        probabilities=probabilities / sums,
        speakers=test_set.speakers,
        folds=test_set.folds,
    )


def match_labels(id2label: dict[int, str], test_set: NamedRows) -> list[int]:
    """The model's number of each of the test set's labels, by name."""
    numbers = {label: number for number, label in id2label.items()}
    missing = [label for label in test_set.labels if label not in numbers]
    if missing:
        raise WrongUseError(
            f"the model knows {', '.join(numbers)} and not {', '.join(missing)}, which "
            f"{test_set.name} has; use a model with the labels {', '.join(test_set.labels)}"
        )
    return [numbers[label] for label in test_set.labels]


def row_reader(
    model, feature_extractor, test_set: NamedRows
) -> tuple[Callable[[dict], np.ndarray], Callable[[list[np.ndarray]], np.ndarray]]:
    """How to read a row and how to classify what was read.

    Returns:
        a function from a row to its features (frames, mels) or samples, and one from a list of
        these to probabilities (clips, labels).
    """
    columns = test_set.rows.column_names
    if model.config.model_type == DUSHA and "input_features" in columns:
        return read_features, feature_classifier(model, feature_extractor)
    if "audio" not in columns or all(
        audio is None or (audio["bytes"] is None and audio["path"] is None)
        for audio in test_set.rows.select(range(min(3, len(test_set.rows))))["audio"]
    ):
        raise WrongUseError(
            f"{test_set.name} has neither audio nor input_features that the model reads; Dusha's "
            "podcasts are published as features only: prepare them with --input_features"
        )

    def read_audio(row: dict) -> np.ndarray:
        if row["audio"] is None:
            raise WrongUseError(
                f"{test_set.name}: the clip {row['id']!r} has no audio; leave it out, or prepare "
                "the corpus with --input_features"
            )
        return decode_audio(row["audio"], feature_extractor.sampling_rate)

    return read_audio, torch_classifier(model, feature_extractor)


def read_features(row: dict) -> np.ndarray:
    """The features of a row, (frames, mels) float32."""
    return np.asarray(row["input_features"], dtype=np.float32)


def feature_classifier(model, feature_extractor) -> Callable[[list[np.ndarray]], np.ndarray]:
    """As `timeline_dusha.torch_classifier`, from features (frames, mels) instead of samples."""

    def classify(features: list[np.ndarray]) -> np.ndarray:
        inputs = feature_extractor.pad(
            {"input_features": features}, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            logits = model(**inputs.to(model.device)).logits
        return logits.float().softmax(dim=-1).cpu().numpy()

    return classify


def by_length(rows: datasets.Dataset) -> np.ndarray:
    """Numbers of rows so that neighbours are of like length: little padding in a batch."""
    if "duration" not in rows.column_names:
        return np.arange(len(rows))
    durations = [np.inf if value is None else value for value in rows["duration"]]
    return np.argsort(durations, kind="stable")


def model_fingerprint(name: str, trust_remote_code: bool = False) -> str:
    """A short hash of the weights and settings of a model: what answers alike has the same one.

    Args:
        name: its folder or its name on the Hub.
        trust_remote_code: as for `load_model`.

    Returns:
        16 hexadecimal digits of what is in the folder, or the commit on the Hub.

    Raises:
        MissingInputError: if there is no such model.
    """
    folder = Path(name)
    if not folder.is_dir():
        with explained_errors(name):
            config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        return str(config._commit_hash)
    content = hashlib.sha256()
    for pattern in MODEL_FILES:
        for path in sorted(folder.glob(pattern)):
            content.update(path.name.encode())
            with path.open("rb") as file:
                content.update(hashlib.file_digest(file, "sha256").digest())
    return content.hexdigest()[:16]


@contextlib.contextmanager
def explained_errors(name: str) -> Iterator[None]:
    """Turn what Transformers raises for a model that is not there, or is none, into one line."""
    try:
        yield
    except OSError as error:
        raise MissingInputError(
            f"no model {name!r}: {first_line(error)}; give a model folder (what train.py or "
            "tools/convert_checkpoint.py writes) or a name on the Hub"
        ) from error
    except (ValueError, KeyError, StrictDataclassError) as error:
        reason = " ".join(str(error).split()) if isinstance(error, StrictDataclassError) else None
        raise WrongUseError(
            f"{name} is no audio classification model: {reason or first_line(error)}"
        ) from error
    except pickle.UnpicklingError as error:
        # The library's own message tells how to run that code all the same.
        raise WrongUseError(
            f"the weights of {name} are damaged, or hold more than weights, such as code, which is "
            "never run here; take a model that is saved as safetensors"
        ) from error
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise WrongUseError(
            f"the weights of {name} are damaged, or those of another network: {first_line(error)}; "
            "fetch it again"
        ) from error


def model_names(models: Sequence[str]) -> dict[str, str]:
    """From each model to a short name that no other of them has.

    Example:
        >>> model_names(["runs/small", "runs/large"])
        {'runs/small': 'small', 'runs/large': 'large'}
        >>> model_names(["a/model", "b/model"])
        {'a/model': 'a/model', 'b/model': 'b/model'}
    """
    short = {model: Path(model).name for model in models}
    if len(set(short.values())) == len(short):
        return short
    return {model: model for model in models}
