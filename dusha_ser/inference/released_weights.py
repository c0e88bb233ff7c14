"""Turn the weights that the paper's authors released into a model folder of Transformers."""

import pickle
import re
from pathlib import Path

import torch

from configuration_dusha import DushaConfig
from dusha_ser.corpus.configurations import HOMEPAGE, LICENSE_FIELDS
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.inference.subnormals import count_dead_channels
from dusha_ser.storage import replacing_folder, write_text
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

# What a converted model's folder holds.
OWN = ("README.md", "config.json", "model.safetensors", "preprocessor_config.json", "*_dusha.py")
LAYER = {"0": "convolution", "1": "normalization"}
NARROW_BLOCK = {
    "0.0": "depthwise_3x3.convolution",
    "0.1": "depthwise_3x3.normalization",
    "1": "project_1x1.convolution",
    "2": "project_1x1.normalization",
}
EXPANDED_BLOCK = {
    "0.0": "expand_1x1.convolution",
    "0.1": "expand_1x1.normalization",
    "1.0": "depthwise_3x3.convolution",
    "1.1": "depthwise_3x3.normalization",
    "2": "project_1x1.convolution",
    "3": "project_1x1.normalization",
}
OTHERS = {
    # Its query is what is asked, its key is who asks: the other way round than today.
    "pooling.0.query.weight": "dusha.attention.key.weight",
    "pooling.0.key.weight": "dusha.attention.query.weight",
    "pooling.0.value.weight": "dusha.attention.value.weight",
    "pooling.0.gamma": "dusha.attention.gamma",
    "classifier.weight": "classifier.weight",
    "classifier.bias": "classifier.bias",
}

# Models that start from these weights read their licence here.
CARD = "\n".join(
    [
        "---",
        *(f"{name}: {value}" for name, value in LICENSE_FIELDS.items()),
        "language: ru",
        "library_name: transformers",
        "pipeline_tag: audio-classification",
        "---",
        "",
        "# Released weights of the Dusha paper",
        "",
        "Speech emotion recognition, fine-tuned on Russian podcasts by the authors of Dusha",
        "(Kondratenko et al. 2022, arXiv 2212.12266), in the form of Transformers. Their public",
        f"licence asks for attribution: {HOMEPAGE}.",
        "",
    ]
)


def convert_checkpoint(released: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give the released weights the names of DushaForAudioClassification.

    Raises:
        WrongUseError: if a name is none of the released network's.
    """
    converted = {}
    for name, tensor in released.items():
        if name in OTHERS:
            # 1x1 convolutions over flattened positions are linear maps.
            tensor = tensor.squeeze(-1) if tensor.dim() == 3 else tensor
            converted[OTHERS[name]] = tensor
        elif match := re.fullmatch(r"features\.(\d+)\.([01])\.(\w+)", name):
            layer = "stem" if match[1] == "0" else "last_1x1"
            converted[f"dusha.{layer}.{LAYER[match[2]]}.{match[3]}"] = tensor
        elif match := re.fullmatch(r"features\.(\d+)\.conv\.([\d.]+)\.(\w+)", name):
            expanded = f"features.{match[1]}.conv.3.weight" in released
            part = (EXPANDED_BLOCK if expanded else NARROW_BLOCK).get(match[2])
            if part is None:
                raise WrongUseError(f"{name} is not a weight of the released network's blocks")
            converted[f"dusha.blocks.{int(match[1]) - 1}.{part}.{match[3]}"] = tensor
        else:
            raise WrongUseError(f"{name} is not a weight of the released network")
    return converted


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict, to the CPU, without running any code that the file may hold.

    Raises:
        MissingInputError: if there is no such file.
        WrongUseError: if it holds anything but tensors by name.
    """
    if not path.is_file():
        raise MissingInputError(f"no such file: {path}; give the released weights (a .pt file)")
    try:
        released = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The library's own message tells how to run that code all the same.
        raise WrongUseError(
            f"{path} is not a PyTorch state dict, or holds more than tensors, such as code, which "
            "is never run here; give the released weights alone"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError) as error:
        raise WrongUseError(f"{path} is not a PyTorch state dict, or damaged: {error}") from error
    if not isinstance(released, dict) or not all(
        isinstance(tensor, torch.Tensor) for tensor in released.values()
    ):
        raise WrongUseError(f"{path} holds other things than tensors by name; give a state dict")
    return released


def write_model(
    released: dict[str, torch.Tensor], output_dir: Path, overwrite: bool = False
) -> int:
    """Write a model folder, whole or not at all; with `overwrite` it may replace such a folder.

    Returns:
        The number of dead channels.

    Raises:
        WrongUseError: if the weights are not those of the published architecture, or the folder
            holds something that may not be replaced.
    """
    with replacing_folder(output_dir, own=OWN, overwrite=overwrite) as unfinished:
        model = DushaForAudioClassification(DushaConfig())
        try:
            model.load_state_dict(convert_checkpoint(released))
        except RuntimeError as error:
            raise WrongUseError(f"the weights do not fit the published network: {error}") from error
        model.save_pretrained(unfinished)
        DushaFeatureExtractor().save_pretrained(unfinished)
        write_text(unfinished / "README.md", CARD)
    return count_dead_channels(model)
