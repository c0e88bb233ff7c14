"""From sound files to labels: this project against librosa and the plain network, clip by clip.

    python -m benchmarks.files_to_labels [--clips FOLDER --model MODEL]

The peer reads a wav, computes librosa's features and runs the published network in plain PyTorch,
one clip at a time. All have the same weights, and one processor each, but for the last variants,
which have as many processes as there are processors. Where silence is cut off at both ends of
clips, the labels are not the peer's: that is for models that were trained so.
"""

import argparse
import multiprocessing
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.clips import RATE, read, read_as_ours, wav_files
from benchmarks.limits import (
    network_multiply_adds,
    peak_8_bit_multiply_adds,
    peak_multiply_adds,
)
from benchmarks.log_mel import librosa_features
from benchmarks.measuring import measure_in_turn, processors, slope, speedups, write_results
from benchmarks.plain_network import plain_twin
from benchmarks.profiles import onnx_profile
from configuration_dusha import DushaConfig
from dusha_ser.cli.program import run_program
from dusha_ser.inference.classify import torch_classifier
from dusha_ser.inference.onnx_export import export, quantise
from dusha_ser.inference.onnx_runtime import OnnxClassifier
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

PEER = "librosa + plain network"
BATCH = 8
CALIBRATION_CLIPS = 24
# As the setup own_recordings has it, in dB.
TRIM = 40


def as_peer(paths: list[Path], network) -> np.ndarray:
    """Classify files one by one with librosa and the plain network; returns class numbers."""
    labels = []
    with torch.inference_mode():
        for path in paths:
            features = torch.from_numpy(librosa_features(read(path)))
            labels.append(int(network(features[None, None]).argmax()))
    return np.array(labels)


def in_batches(classify, paths: list[Path], batch_size: int) -> np.ndarray:
    """Classify files in batches of like length; returns class numbers in the files' order."""
    clips = [read_as_ours(path) for path in paths]
    order = np.argsort([len(clip) for clip in clips])
    labels = np.empty(len(clips), dtype=int)
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        labels[chosen] = classify([clips[number] for number in chosen]).argmax(1)
    return labels


def start_worker(path: Path) -> None:
    """Open the exported model once a process, with one thread."""
    global worker_classify
    torch.set_num_threads(1)
    worker_classify = OnnxClassifier(path, threads=1)


def classify_in_worker(paths: list[Path]) -> np.ndarray:
    """Classify files one by one in a worker."""
    return in_batches(worker_classify, paths, 1)


def measure(folder: Path, paths: list[Path], model_name: str | None, rounds: int) -> dict:
    """Measure all variants; returns times, how they compare, agreement, profile and growth."""
    torch.manual_seed(0)
    model = (
        DushaForAudioClassification.from_pretrained(model_name)
        if model_name
        else DushaForAudioClassification(DushaConfig())
    ).eval()
    extractor, plain = DushaFeatureExtractor(), plain_twin(model)
    names = ("masked", "float", "int8", "trimmed", "trimmed_int8")
    files = {name: folder / f"{name}.onnx" for name in names}
    export(model, extractor, files["masked"])
    export(model, extractor, files["float"], one_length=True)
    export(model, DushaFeatureExtractor(trim_silence=TRIM), files["trimmed"], one_length=True)
    step = max(1, len(paths) // CALIBRATION_CLIPS)
    calibration = [read(path) for path in paths[::step]]
    quantise(files["float"], files["int8"], calibration)
    quantise(files["trimmed"], files["trimmed_int8"], calibration)
    sessions = {name: OnnxClassifier(path, threads=1) for name, path in files.items()}
    by_torch = torch_classifier(model.to(memory_format=torch.channels_last), extractor)
    count = os.cpu_count() or 1
    pieces = [paths[first : first + 8] for first in range(0, len(paths), 8)]
    with multiprocessing.get_context("spawn").Pool(count, start_worker, (files["float"],)) as pool:
        variants = {
            PEER: lambda: as_peer(paths, plain),
            f"PyTorch, batches of {BATCH}": lambda: in_batches(by_torch, paths, BATCH),
            "ONNX Runtime, masked": lambda: in_batches(sessions["masked"], paths, 1),
            "ONNX Runtime": lambda: in_batches(sessions["float"], paths, 1),
            "ONNX Runtime, int8": lambda: in_batches(sessions["int8"], paths, 1),
            "ONNX Runtime, silence cut off": lambda: in_batches(sessions["trimmed"], paths, 1),
            "ONNX Runtime, int8, silence cut off": lambda: in_batches(
                sessions["trimmed_int8"], paths, 1
            ),
        }
        # What the peer says, and so a warm-up of all.
        expected = variants[PEER]()
        same = {name: float((work() == expected).mean()) for name, work in variants.items()}
        times = measure_in_turn(variants, rounds, False)
        at_once = f"{count} processes"
        all_threads = f"{PEER}, {count} threads"
        one_thread = f"{PEER}, one thread"

        def peer_with_all_threads() -> None:
            with processors(count):
                as_peer(paths, plain)

        by_clock = measure_in_turn(
            {
                all_threads: peer_with_all_threads,
                one_thread: lambda: as_peer(paths, plain),
                "one process": lambda: classify_in_here(sessions["float"], pieces),
                at_once: lambda: pool.map(classify_in_worker, pieces),
            },
            1,
            False,
        )["seconds"]
    sizes = {len(paths): min(times["processor_seconds"]["ONNX Runtime"])}
    for size in (len(paths) // 4, len(paths) // 2):
        work = {"": lambda size=size: in_batches(sessions["float"], paths[:size], 1)}
        sizes[size] = measure_in_turn(work, 1, False)["processor_seconds"][""][0]
    clips = [read(path) for path in paths[:20]]
    frames = round(sum(len(read(path)) // 160 + 1 for path in paths) / len(paths))
    peak, needed = peak_multiply_adds(), network_multiply_adds(frames)
    least = needed / peak
    used = {name: min(row) / len(paths) for name, row in times["processor_seconds"].items()}
    return {
        **times,
        "milliseconds_a_file": {name: 1e3 * value for name, value in used.items()},
        "times_as_fast": speedups(times["processor_seconds"], PEER),
        "times_as_fast_by_the_clock": speedups(times["seconds"], PEER),
        "all_processors": {
            "seconds": by_clock,
            "times_as_fast_by_the_clock": speedups(by_clock, all_threads),
            "times_as_fast_as_one_thread": speedups(by_clock, one_thread),
        },
        "same_label": same,
        "limit": {
            "frames_a_file": frames,
            "multiply_adds_a_file": needed,
            "peak_multiply_adds_a_second": peak,
            "peak_8_bit_multiply_adds_a_second": peak_8_bit_multiply_adds(),
            "milliseconds_a_file": 1e3 * least,
            "most_times_as_fast": used[PEER] / least,
            "share_reached": least / used["ONNX Runtime"],
        },
        "sizes": dict(sorted(sizes.items())),
        "growth": slope(sizes),
        "profile": onnx_profile(
            files["float"],
            lambda session: [
                session.run(["probabilities"], sessions["float"].inputs([clip])) for clip in clips
            ],
        ),
    }


def classify_in_here(classify, pieces: list[list[Path]]) -> None:
    """Classify pieces of the files one by one in this process."""
    for piece in pieces:
        in_batches(classify, piece, 1)


def options() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.files_to_labels --clips clips --model runs/sample",
    )
    parser.add_argument("--clips", type=Path, help="folder of mono 16 kHz files (default: made)")
    parser.add_argument("--model", help="model folder; random weights by default")
    parser.add_argument("--rounds", type=int, default=2, help="times each variant is measured")
    parser.add_argument("--limit", type=int, default=673, help="how many files to take")
    return parser


def main() -> None:
    """Measure all variants in turn, print and write the table."""
    chosen = options().parse_args()
    with processors(1), tempfile.TemporaryDirectory(prefix="files-to-labels-") as folder:
        paths = wav_files(Path(folder), chosen.clips, chosen.limit)
        audio = sum(len(read(path)) for path in paths) / RATE
        found = measure(Path(folder), paths, chosen.model, chosen.rounds)
    for name, ratio in found["times_as_fast"].items():
        print(
            f"{name:<35} {found['milliseconds_a_file'][name]:6.2f} ms a file, {ratio:5.2f} times "
            f"as fast, same label {found['same_label'][name]:.3f}"
        )
    limit = found["limit"]
    print(
        f"the network alone needs {limit['milliseconds_a_file']:.1f} ms a file at this machine's "
        f"peak, {limit['most_times_as_fast']:.1f} times as fast as the peer"
    )
    results = {"files": len(paths), "audio_seconds": audio, **found}
    results["weights"] = "trained" if chosen.model else "random"
    print(f"written to {write_results('files_to_labels', results)}")


if __name__ == "__main__":
    run_program(main)
