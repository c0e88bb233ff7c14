"""From sound files to labels: this project against librosa and the plain network, clip by clip.

    python -m benchmarks.files_to_labels --clips FOLDER [--model MODEL]

The peer reads a file, computes librosa's features and runs the published network in plain
PyTorch, one clip at a time. All variants use the same two processors and the same weights.
"""

import argparse
import multiprocessing
import tempfile
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch

from benchmarks.measuring import speedups, time_in_turn, write_results
from benchmarks.plain_network import plain_twin
from command_line_dusha import WrongUseError, run_program
from configuration_dusha import DushaConfig
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification
from onnx_dusha import OnnxClassifier, export, quantise
from timeline_dusha import torch_classifier
from tools.export_onnx import find_clips

RATE = 16000


def read(path: Path) -> np.ndarray:
    """Read a mono file of 16 kHz as (samples,)."""
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or samples.ndim != 1:
        raise WrongUseError(
            f"{path} has {rate} Hz and shape {samples.shape}; need 16 kHz, one channel"
        )
    return samples


def librosa_features(samples: np.ndarray) -> np.ndarray:
    """Compute the published features, (mels, frames)."""
    power = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_fft=320, hop_length=160, n_mels=64, pad_mode="reflect"
    )
    return librosa.power_to_db(power, ref=np.max)


def in_batches(classify, paths: list[Path], batch_size: int) -> np.ndarray:
    """Classify files in batches of like length; returns label numbers in the order of the files."""
    clips = [read(path) for path in paths]
    order = np.argsort([len(clip) for clip in clips])
    labels = np.empty(len(clips), dtype=int)
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        labels[chosen] = classify([clips[number] for number in chosen]).argmax(1)
    return labels


def start_worker(path: Path) -> None:
    """Open the exported model once a process, with one thread."""
    global worker_classify
    worker_classify = OnnxClassifier(path, threads=1)


def classify_in_worker(paths: list[Path]) -> np.ndarray:
    """Classify files one by one in a worker."""
    return np.array([worker_classify([read(path)])[0].argmax() for path in paths])


def options() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.files_to_labels --clips clips --model runs/sample",
    )
    parser.add_argument("--clips", type=Path, required=True, help="folder of mono 16 kHz files")
    parser.add_argument("--model", help="model folder; random weights by default")
    parser.add_argument("--rounds", type=int, default=5, help="times each variant is measured")
    parser.add_argument("--limit", type=int, help="how many files to take; all by default")
    return parser


def main() -> None:
    """Measure all variants in turn, print and write the table."""
    arguments = options().parse_args()
    paths = find_clips([arguments.clips])[: arguments.limit]
    torch.manual_seed(0)
    model = (
        DushaForAudioClassification.from_pretrained(arguments.model)
        if arguments.model
        else DushaForAudioClassification(DushaConfig())
    ).eval()
    extractor = DushaFeatureExtractor()
    plain = plain_twin(model)

    def peer() -> np.ndarray:
        labels = []
        with torch.inference_mode():
            for path in paths:
                features = torch.from_numpy(librosa_features(read(path)))
                labels.append(int(plain(features[None, None]).argmax()))
        return np.array(labels)

    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in ("features", "waveform", "int8")}
        export(model, extractor, files["features"])
        export(model, extractor, files["waveform"], waveform=True)
        quantise(files["waveform"], files["int8"], [read(path) for path in paths[::10]])
        context = multiprocessing.get_context("spawn")
        pools = {
            name: context.Pool(2, start_worker, (files[name],)) for name in ("waveform", "int8")
        }
        pieces = [paths[first : first + 8] for first in range(0, len(paths), 8)]
        sessions = {name: OnnxClassifier(path) for name, path in files.items()}
        clips = [read(path) for path in paths]
        variants = {
            "librosa + plain network": peer,
            "PyTorch, batches of 8": lambda: in_batches(
                torch_classifier(model, extractor), paths, 8
            ),
            "ONNX, PyTorch features": lambda: in_batches(sessions["features"], paths, 1),
            "ONNX, waveform in": lambda: in_batches(sessions["waveform"], paths, 1),
            "ONNX, waveform in, 2 processes": lambda: np.concatenate(
                pools["waveform"].map(classify_in_worker, pieces)
            ),
            "ONNX int8, waveform in": lambda: in_batches(sessions["int8"], paths, 1),
            "ONNX int8, waveform in, 2 processes": lambda: np.concatenate(
                pools["int8"].map(classify_in_worker, pieces)
            ),
        }
        expected = peer()
        same = {name: float((work() == expected).mean()) for name, work in variants.items()}
        times = time_in_turn(variants, arguments.rounds)
        feature_times = time_in_turn(
            {
                "librosa features": lambda: [librosa_features(clip) for clip in clips],
                "DushaFeatureExtractor": lambda: [extractor(clip, RATE) for clip in clips],
            },
            arguments.rounds,
        )
        for pool in pools.values():
            pool.terminate()

    ratios = {
        "files to labels": speedups(times, "librosa + plain network"),
        "features alone": speedups(feature_times, "librosa features"),
    }
    for claim, row in ratios.items():
        print(claim)
        for name, ratio in row.items():
            print(f"  {ratio:6.2f} x  same label {same.get(name, 1):.3f}  {name}")
    seconds = {name: min(row) for name, row in {**times, **feature_times}.items()}
    path = write_results(
        "files_to_labels",
        {
            "files": len(paths),
            "audio_seconds": sum(map(len, clips)) / RATE,
            "speedup": ratios,
            "same_label": same,
            "best_seconds": seconds,
        },
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    run_program(main)
