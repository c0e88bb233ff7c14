"""A long recording to a timeline: this project against the plain network, window by window.

    python -m benchmarks.long_recording [--minutes N]

Both classify windows of 5 s that begin every 2.5 s, on one processor, with the same weights. The
peer computes librosa's features of a window and runs the plain network on it; ours is the timeline
of dusha predict with an exported model, in float and in int8. Memory is the largest resident set
of a process that classifies a recording with ours, for three lengths. That the plain network cannot
take the recording at once is shown by its attention alone, which is asked to try.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.answers_to_labels import peak_memory
from benchmarks.clips import RATE, make_clip
from benchmarks.log_mel import librosa_features
from benchmarks.measuring import measure_in_turn, processors, slope, speedups, write_results
from benchmarks.plain_network import PlainAttention, plain_twin
from configuration_dusha import DushaConfig
from dusha_ser.cli.program import run_program
from dusha_ser.inference.onnx_export import export, quantise
from dusha_ser.inference.onnx_runtime import OnnxClassifier
from dusha_ser.inference.timeline import HOP, WINDOW, TimelineClassifier, classify_file
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

REPOSITORY = Path(__file__).resolve().parent.parent
WINDOWS_AT_ONCE = 1
CALIBRATION_CLIPS = 24
FRAMES_A_SECOND = 100
# The network halves mels and frames three times.
POSITIONS_A_FRAME = (64 / 8) / 8


def write_recording(path: Path, minutes: float) -> Path:
    """Write a wav of so many minutes, piece by piece."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        left = minutes * 60
        while left > 0:
            file.write(make_clip(rng, min(30, left)))
            left -= 30
    return path


def as_peer(path: Path, network) -> list[int]:
    """Classify window after window with librosa and the plain network."""
    size, hop = round(WINDOW * RATE), round(HOP * RATE)
    labels = []
    with torch.inference_mode():
        for start in range(0, max(1, soundfile.info(path).frames - size + 1), hop):
            samples, _ = soundfile.read(path, size, start, dtype="float32")
            features = torch.from_numpy(librosa_features(samples))
            labels.append(int(network(features[None, None]).argmax()))
    return labels


def as_ours(path: Path, classify) -> list[int]:
    """Classify a recording as a timeline; returns class numbers of complete windows."""
    names = ["0", "1", "2", "3"]
    timeline = TimelineClassifier(classify, names, RATE, batch_size=WINDOWS_AT_ONCE)
    segments = classify_file(timeline, path)
    return [int(one.label) for one in segments if one.end - one.start == WINDOW]


def memory_of_ours(path: Path, model: Path) -> int:
    """Classify a recording in a process of its own; returns its largest resident set in bytes."""
    command = [sys.executable, "-m", "benchmarks.long_recording"]
    command += ["--recording", str(path), "--model", str(model)]
    done = subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def at_once(minutes: float) -> dict:
    """Ask the plain network's attention for a whole recording; returns what that came to."""
    positions = int(minutes * 60 * FRAMES_A_SECOND * POSITIONS_A_FRAME)
    found = {"positions": positions, "bytes_of_scores": 4 * positions**2}
    try:
        with torch.inference_mode():
            PlainAttention()(torch.zeros(1, 128, 8, positions // 8))
    except (RuntimeError, MemoryError) as error:
        return found | {"fits": False, "error": str(error).splitlines()[0]}
    return found | {"fits": True}


def measure(folder: Path, minutes: float, rounds: int) -> dict:
    """Measure both on recordings of three lengths; returns times, memory and agreement."""
    torch.manual_seed(0)
    model, extractor = (
        DushaForAudioClassification(DushaConfig()).eval(),
        DushaFeatureExtractor(),
    )
    plain = plain_twin(model)
    export(model, extractor, folder / "model.onnx", one_length=True)
    rng = np.random.default_rng(1)
    calibration = [make_clip(rng, WINDOW) for _ in range(CALIBRATION_CLIPS)]
    quantise(folder / "model.onnx", folder / "int8.onnx", calibration)
    onnx, int8 = (OnnxClassifier(folder / f"{name}.onnx", threads=1) for name in ("model", "int8"))
    lengths = (minutes / 10, minutes / 3, minutes)
    paths = [write_recording(folder / f"{number}.wav", n) for number, n in enumerate(lengths)]
    expected, found = as_peer(paths[0], plain), as_ours(paths[0], onnx)
    memory = {
        length: memory_of_ours(path, folder / "model.onnx")
        for length, path in zip(lengths, paths, strict=True)
    }
    variants = {
        "librosa + plain network, windows one by one": lambda: as_peer(paths[-1], plain),
        "ours, ONNX Runtime": lambda: as_ours(paths[-1], onnx),
        "ours, ONNX Runtime, int8": lambda: as_ours(paths[-1], int8),
    }
    times = measure_in_turn(variants, rounds, False)
    sizes = {}
    for length, path in zip(lengths[:-1], paths[:-1], strict=True):
        used = measure_in_turn({"ours": lambda path=path: as_ours(path, onnx)}, 1, False)
        sizes[length] = used["processor_seconds"]["ours"][0]
    sizes[minutes] = min(times["processor_seconds"]["ours, ONNX Runtime"])
    peer = next(iter(variants))
    return {
        **times,
        "times_as_fast": speedups(times["processor_seconds"], peer),
        "times_as_fast_by_the_clock": speedups(times["seconds"], peer),
        "same_label": float(np.mean(np.array(expected) == np.array(found[: len(expected)]))),
        "sizes": sizes,
        "growth": slope(sizes),
        "peak_memory": memory,
        "at_once": at_once(minutes),
    }


def main() -> None:
    """Write the recordings, measure, print and write the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.long_recording --minutes 3",
    )
    parser.add_argument("--minutes", type=float, default=60, help="length of the recording")
    parser.add_argument("--rounds", type=int, default=1, help="times each variant is measured")
    parser.add_argument("--recording", type=Path, help="classify this one only, with --model")
    parser.add_argument("--model", type=Path, help=".onnx file for --recording")
    chosen = parser.parse_args()
    if chosen.recording:
        torch.set_num_threads(1)
        as_ours(chosen.recording, OnnxClassifier(chosen.model, threads=1))
        print(peak_memory())
        return
    with processors(1), tempfile.TemporaryDirectory(prefix="long-recording-") as folder:
        found = measure(Path(folder), chosen.minutes, chosen.rounds)
    for name, ratio in found["times_as_fast"].items():
        used = min(found["processor_seconds"][name])
        print(f"{name:<45} {used:7.1f} s of processor time, {ratio:5.2f} times as fast")
    for length, memory in found["peak_memory"].items():
        print(f"{length:5.1f} minutes: {memory / 1e6:.0f} MB at most")
    print(f"at once: {found['at_once']}")
    print(f"written to {write_results('long_recording', {'minutes': chosen.minutes, **found})}")


if __name__ == "__main__":
    run_program(main)
