"""From audio files to labels: this project against librosa and the plain network, clip by clip.

    python -m benchmarks.files_to_labels [--clips FOLDER --model MODEL]

The peer reads a wav, computes librosa's features with Mel filters that are made once, and runs the
published network in plain PyTorch; clips have different lengths and the network no masks, so one
clip at a time. Its network is also run by ONNX Runtime, and ours by a pipeline of Transformers. All
have the same weights, files, order and number of threads: one, but for the last variants, in which
both sides have as many threads or processes as there are processors. The peak of multiply-adds is
measured in the same rounds: a product of matrices with as many of them as the network needs.
"""

import argparse
import functools
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.clips import RATE, read, read_as_ours, wav_files
from benchmarks.limits import SIDE, network_multiply_adds, peak_product
from benchmarks.log_mel import librosa_features, usual_features
from benchmarks.measuring import (
    Measurement,
    compare,
    measure_in_turn,
    measuring_options,
    print_pairs,
    processors,
    slope,
)
from benchmarks.plain_network import plain_twin
from benchmarks.profiles import onnx_profile
from configuration_dusha import DushaConfig
from dusha_ser.cli.program import run_program
from dusha_ser.inference.onnx_export import OPSET, export, quantise
from dusha_ser.inference.onnx_runtime import OnnxClassifier
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

PLAIN = "librosa + plain network"
PLAIN_ONNX = "librosa + plain network in ONNX Runtime"
AS_PEOPLE_DO = "librosa + plain network, filters made again"
PIPELINE = "transformers.pipeline, batches of 8"
FLOAT, INT8 = "ours", "ours, int8"
PEAK = "as many multiply-adds at the peak"
BATCH = 8
CALIBRATION_CLIPS = 24
# Clips that a worker is given at once.
PIECE = 8

# Of a worker, which start_worker sets.
worker_classify: OnnxClassifier
worker_plain: torch.nn.Module


@dataclass
class Sides:
    """Everything that classifies, made once.

    Attributes:
        plain: the published network in PyTorch.
        plain_session: the same, exported, in ONNX Runtime.
        pipeline: ours in a pipeline of Transformers.
        files: our exported models by the names of the variants.
        ours: ours in ONNX Runtime, by the same names.
    """

    plain: torch.nn.Module
    plain_session: Any
    pipeline: Any
    files: dict[str, Path]
    ours: dict[str, OnnxClassifier]


def as_peer(
    paths: list[Path], network: Callable, features: Callable = librosa_features
) -> np.ndarray:
    """Classify files one by one with librosa and the plain network; returns class numbers."""
    labels = []
    with torch.inference_mode():
        for path in paths:
            pixels = torch.from_numpy(features(read(path)))
            labels.append(int(network(pixels[None, None]).argmax()))
    return np.array(labels)


def as_ours(paths: list[Path], classify: Callable) -> np.ndarray:
    """Classify files one by one with ours; returns class numbers."""
    return np.array([int(classify([read_as_ours(path)])[0].argmax()) for path in paths])


def as_pipeline(paths: list[Path], pipeline: Any) -> np.ndarray:
    """Classify files in batches by a pipeline of Transformers; returns class numbers."""
    numbers = pipeline.model.config.label2id
    found = pipeline([read(path) for path in paths], batch_size=BATCH, top_k=1)
    return np.array([numbers[one[0]["label"]] for one in found])


def export_plain(network: torch.nn.Module, path: Path) -> Any:
    """Export the plain network and open it in ONNX Runtime, with one thread."""
    import onnxruntime

    features = torch.zeros(1, 1, 64, 300)
    frames = {3: torch.export.Dim("frames", min=16, max=100_000)}
    program: Any = torch.onnx.export(
        network.eval(), (features,), dynamic_shapes=(frames,), opset_version=OPSET, dynamo=True
    )
    program.save(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_plain(session: Any, features: torch.Tensor) -> np.ndarray:
    """Run the exported plain network on (1, 1, mels, frames)."""
    (name,) = (one.name for one in session.get_inputs())
    return session.run(None, {name: features.numpy()})[0]


def make_sides(folder: Path, model_name: str | None, calibration: list[np.ndarray]) -> Sides:
    """Load or make the weights, export them in all forms and open those.

    Args:
        folder: for the exported models.
        model_name: a trained model; None: random weights.
        calibration: clips that the ranges of int8 are taken from.
    """
    torch.manual_seed(0)
    model = (
        DushaForAudioClassification.from_pretrained(model_name)
        if model_name
        else DushaForAudioClassification(DushaConfig())
    ).eval()
    extractor, plain = DushaFeatureExtractor(), plain_twin(model)
    files = {FLOAT: folder / "float.onnx", INT8: folder / "int8.onnx"}
    export(model, extractor, files[FLOAT], one_length=True)
    quantise(files[FLOAT], files[INT8], calibration)
    return Sides(
        plain,
        export_plain(plain, folder / "plain.onnx"),
        transformers.pipeline("audio-classification", model=model, feature_extractor=extractor),
        files,
        {name: OnnxClassifier(path, threads=1) for name, path in files.items()},
    )


def one_thread(paths: list[Path], sides: Sides) -> dict[str, Callable[[], np.ndarray]]:
    """Name the ways of classifying files with one thread."""
    in_onnx = functools.partial(run_plain, sides.plain_session)
    return {
        PLAIN: lambda: as_peer(paths, sides.plain),
        AS_PEOPLE_DO: lambda: as_peer(paths, sides.plain, usual_features),
        PLAIN_ONNX: lambda: as_peer(paths, in_onnx),
        PIPELINE: lambda: as_pipeline(paths, sides.pipeline),
        FLOAT: lambda: as_ours(paths, sides.ours[FLOAT]),
        INT8: lambda: as_ours(paths, sides.ours[INT8]),
    }


def start_worker(model: Path, plain: torch.nn.Module) -> None:
    """Open both networks once a process, with one thread."""
    global worker_classify, worker_plain
    torch.set_num_threads(1)
    worker_classify, worker_plain = OnnxClassifier(model, threads=1), plain


def ours_in_worker(paths: list[Path]) -> np.ndarray:
    """Classify files in a worker, by ours."""
    return as_ours(paths, worker_classify)


def peer_in_worker(paths: list[Path]) -> np.ndarray:
    """Classify files in a worker, by librosa and the plain network."""
    return as_peer(paths, worker_plain)


def measure_processes(paths: list[Path], sides: Sides, count: int, rounds: int) -> dict:
    """Measure both sides with `count` processes of one thread each; returns what compare does."""
    pieces = [paths[first : first + PIECE] for first in range(0, len(paths), PIECE)]
    peer, ours = f"{PLAIN}, {count} processes", f"ours, {count} processes"
    context = multiprocessing.get_context("spawn")
    with context.Pool(count, start_worker, (sides.files[FLOAT], sides.plain)) as pool:
        variants = {
            peer: lambda: pool.map(peer_in_worker, pieces),
            ours: lambda: pool.map(ours_in_worker, pieces),
        }
        times = measure_in_turn(variants, rounds)
    pairs = compare(times, {"by two processes": (peer, ours)})
    # The workers' processor time is known only when they have ended.
    return {name: pair | {"in_processor_time": None} for name, pair in pairs.items()}


def measure(folder: Path, paths: list[Path], chosen: argparse.Namespace) -> dict:
    """Measure all variants; returns times, pairs, agreement, the limit, profile and growth."""
    step = max(1, len(paths) // CALIBRATION_CLIPS)
    sides = make_sides(folder, chosen.model, [read(path) for path in paths[::step]])
    frames = [len(read(path)) // 160 + 1 for path in paths]
    needed = network_multiply_adds(round(float(np.mean(frames)))) * len(paths)
    product = peak_product()
    variants: dict[str, Callable[[], Any]] = one_thread(paths, sides)
    expected = variants[PLAIN]()
    same = {name: float((work() == expected).mean()) for name, work in variants.items()}
    products = max(1, round(needed / SIDE**3))
    variants[PEAK] = lambda: [product() for _ in range(products)]
    times = measure_in_turn(variants, chosen.rounds)
    pairs = compare(
        times,
        {
            "float": (PLAIN, FLOAT),
            "float, as people do": (AS_PEOPLE_DO, FLOAT),
            "int8": (PLAIN, INT8),
            "share of the peak": (PEAK, FLOAT),
            "beside ONNX Runtime": (PLAIN_ONNX, FLOAT),
            "beside a pipeline": (PIPELINE, FLOAT),
        },
    )
    pairs |= measure_processes(paths, sides, os.cpu_count() or 1, chosen.rounds)
    sizes = {}
    for size in (len(paths) // 4, len(paths) // 2, len(paths)):
        part = {"": lambda size=size: as_ours(paths[:size], sides.ours[FLOAT])}
        sizes[size] = min(measure_in_turn(part, 3, False)["processor_seconds"][""])
    clips = [read(path) for path in paths[:20]]
    by_file = {
        name: 1e3 * float(np.median(row)) / len(paths) for name, row in times["seconds"].items()
    }
    return {
        "pairs": pairs,
        **times,
        "milliseconds_a_file": by_file,
        "same_label": same,
        "limit": {
            "frames_a_file": float(np.mean(frames)),
            "multiply_adds_a_file": needed / len(paths),
            "milliseconds_a_file": by_file[PEAK],
            "most_times_as_fast": by_file[PLAIN] / by_file[PEAK],
        },
        "sizes": sizes,
        "growth": slope(sizes),
        "profile": onnx_profile(
            sides.files[FLOAT],
            lambda session: [
                session.run(["probabilities"], sides.ours[FLOAT].inputs([clip])) for clip in clips
            ],
        ),
    }


def options() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = measuring_options(
        __doc__.splitlines()[0],
        "python -m benchmarks.files_to_labels --clips clips --model runs/sample",
    )
    parser.add_argument("--clips", type=Path, help="folder of mono 16 kHz files (default: made)")
    parser.add_argument("--model", help="model folder; random weights by default")
    parser.add_argument("--limit", type=int, default=673, help="how many files to take")
    return parser


def main() -> None:
    """Measure all variants in turn, print and write the table."""
    chosen = options().parse_args()
    measurement = Measurement("files_to_labels", chosen)
    with processors(1), tempfile.TemporaryDirectory(prefix="files-to-labels-") as folder:
        paths = wav_files(Path(folder), chosen.clips, chosen.limit)
        audio = sum(len(read(path)) for path in paths) / RATE
        found = measure(Path(folder), paths, chosen)
    print_pairs(found["pairs"])
    results = {"files": len(paths), "audio_seconds": audio, **found}
    results["weights"] = "trained" if chosen.model else "random"
    print(f"written to {measurement.write(results)}")


if __name__ == "__main__":
    run_program(main)
