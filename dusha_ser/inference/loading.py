"""Models from a folder or the Hub, and one line for people where there is none to use."""

import contextlib
import hashlib
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

import feature_extraction_dusha  # noqa: F401 - both make Transformers know our model type
from dusha_ser.errors import MissingInputError, WrongUseError, first_line
from dusha_ser.inference.class_prior import assume_prior
from dusha_ser.inference.settings import check_model_folder
from dusha_ser.inference.subnormals import flush_subnormals
from modeling_dusha import clear_subnormals, is_multi_label

# The files of a model folder that decide its predictions.
MODEL_FILES = (
    *("*.safetensors", "*model*.bin", "*.index.json", "*.py"),
    *("config.json", "preprocessor_config.json", "processor_config.json"),
)


def load_model(
    name: str,
    device: str | None = None,
    trust_remote_code: bool = False,
    prior: str | Mapping[str, float] | None = None,
):
    """Load a model and its feature extractor.

    Args:
        name: a model folder, or a name on the Hub.
        device: "cpu", "cuda" and so on; None: a GPU if there is one.
        trust_remote_code: whether code that came with the model may run; Dusha's needs none.
        prior: how frequent predictions take the classes to be, as `read_prior` takes it; None: as
            the model was trained or saved.

    Returns:
        The model in evaluation mode, and its feature extractor.

    Raises:
        MissingInputError: if there is no such model.
        WrongUseError: if it is not an audio classification model, weights or labels are missing,
            there is no such device, or the model cannot assume that prior.
    """
    check_model_folder(name)
    flush_subnormals()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = {"trust_remote_code": trust_remote_code}
    with explained_errors(name):
        model, report = AutoModelForAudioClassification.from_pretrained(
            name, output_loading_info=True, **options
        )
        extractor = AutoFeatureExtractor.from_pretrained(name, **options)
        is_multi_label(model.config.problem_type)  # refuses a regression
    # Transformers draws what is missing at random. How often a normalisation was updated does
    # not matter to predictions.
    missing = [key for key in report["missing_keys"] if not key.endswith("num_batches_tracked")]
    if missing:
        raise WrongUseError(
            f"{len(missing)} weights of {name} are missing, such as {min(missing)}, and would be "
            "random: fetch it again whole, or train it first (`dusha train` takes it as the "
            "`model_name_or_path`)"
        )
    label_names(model.config, name)
    if prior is not None:
        assume_prior(model.config, prior)
    clear_subnormals(model)
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise WrongUseError(
            f"`device` is {device!r}, where {name} cannot run: {first_line(error)}; give cpu, cuda "
            "or another device of this machine"
        ) from error
    return model.eval(), extractor


def label_names(config: Any, name: str) -> list[str]:
    """List the labels of a model in the order of their numbers.

    Args:
        config: of the model; its id2label counts.
        name: of the model, for the message.

    Raises:
        WrongUseError: if two labels are the same, or a number is missing.
    """
    labels = config.id2label
    if sorted(labels) != list(range(len(labels))) or len(set(labels.values())) < len(labels):
        raise WrongUseError(
            f"{name} has the labels {labels}; they must be different and numbered from 0 without "
            "a gap: correct id2label in its config.json"
        )
    return [labels[number] for number in range(len(labels))]


def set_labels(config: Any, labels: list[str]) -> None:
    """Name the labels of a configuration, in the order of their numbers."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}


def model_fingerprint(name: str, trust_remote_code: bool = False) -> str:
    """Hash what decides a model's predictions briefly: models that predict the same share it.

    Args:
        name: its folder or its name on the Hub.
        trust_remote_code: as for `load_model`.

    Returns:
        16 hexadecimal digits of what is in the folder, or the commit on the Hub.

    Raises:
        MissingInputError: if there is no such model.
    """
    folder = Path(name)
    check_model_folder(name)
    if not folder.is_dir():
        with explained_errors(name):
            config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        return str(config._commit_hash)
    content = hashlib.sha256()
    for path in sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)}):
        content.update(path.name.encode())
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    return content.hexdigest()[:16]


@contextlib.contextmanager
def explained_errors(name: str) -> Iterator[None]:
    """Turn what Transformers raises for a missing or unusable model into one line."""
    try:
        yield
    except OSError as error:
        raise MissingInputError(
            f"no model {name!r}: {first_line(error)}; give a model folder (what `dusha train` or "
            "`dusha convert` writes) or a name on the Hub"
        ) from error
    except (ValueError, KeyError, StrictDataclassError) as error:
        reason = str(error) if isinstance(error, StrictDataclassError) else first_line(error)
        raise WrongUseError(
            f"{name} is not an audio classification model: {' '.join(reason.split())}"
        ) from error
    except pickle.UnpicklingError as error:
        # The library's own message says how to run that code all the same.
        raise WrongUseError(
            f"the weights of {name} are damaged, or hold more than weights, such as code, which is "
            "never run here; take a model that is saved as safetensors"
        ) from error
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise WrongUseError(
            f"the weights of {name} are damaged, or those of another network: {first_line(error)}; "
            "fetch it again"
        ) from error
