"""A long recording to a timeline: this project against the plain network, window by window.

    python -m benchmarks.long_recording [--minutes N]

Both classify windows of 5 s that begin every 2.5 s, on one thread, with the same weights. The peer
computes librosa's features of a window, with filters that are made once, and runs the plain network
on eight windows at once or, as people do, on one; ours is the timeline of dusha predict with an
exported model, in float and in int8. Memory is the largest resident set
of a process that classifies a recording with ours, for three lengths. That the plain network cannot
take the recording at once is shown by its attention alone, which is asked to try.
"""

import sys
import tempfile
from pathlib import Path
from typing import cast

import numpy as np
import soundfile
import torch

from benchmarks.answers_to_labels import peak_memory
from benchmarks.clips import RATE, make_clip
from benchmarks.log_mel import librosa_features
from benchmarks.measuring import (
    Measurement,
    compare,
    measure_in_turn,
    measuring_options,
    print_pairs,
    processors,
    run_quietly,
    slope,
)
from benchmarks.plain_network import PlainAttention, plain_twin
from configuration_dusha import DushaConfig
from dusha_ser.cli.program import run_program
from dusha_ser.inference.onnx_export import export, quantise
from dusha_ser.inference.onnx_runtime import OnnxClassifier
from dusha_ser.inference.timeline import HOP, WINDOW, TimelineClassifier, classify_file
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

WINDOWS_AT_ONCE = 1
EXPERT, USUAL = "librosa + plain network, 8 windows at once", "librosa + plain network, one by one"
FLOAT, INT8 = "ours", "ours, int8"
PEER_AT_ONCE = 8
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


def as_peer(path: Path, network: torch.nn.Module, at_once: int) -> list[int]:
    """Classify windows with librosa and the plain network, `at_once` of them together."""
    size, hop = round(WINDOW * RATE), round(HOP * RATE)
    starts = range(0, max(1, soundfile.info(path).frames - size + 1), hop)
    labels: list[int] = []
    with torch.inference_mode(), soundfile.SoundFile(path) as file:
        for first in range(0, len(starts), at_once):
            features = []
            for start in starts[first : first + at_once]:
                file.seek(start)
                features.append(librosa_features(file.read(size, dtype="float32")))
            batch = torch.from_numpy(np.stack(features)[:, None])
            labels += network(batch).argmax(1).tolist()
    return labels


def as_ours(path: Path, classify) -> list[int]:
    """Classify a recording as a timeline; returns class numbers of complete windows."""
    names = ["0", "1", "2", "3"]
    timeline = TimelineClassifier(classify, names, RATE, batch_size=WINDOWS_AT_ONCE)
    segments = classify_file(timeline, path)
    return [int(cast(str, one.label)) for one in segments if one.end - one.start == WINDOW]


def memory_of_ours(path: Path, model: Path) -> int:
    """Classify a recording in a process of its own; returns its largest resident set in bytes."""
    command = [sys.executable, "-m", "benchmarks.long_recording"]
    return int(run_quietly([*command, "--recording", path, "--model", model]).split()[-1])


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
    expected, found = as_peer(paths[0], plain, 1), as_ours(paths[0], onnx)
    memory = {
        length: memory_of_ours(path, folder / "model.onnx")
        for length, path in zip(lengths, paths, strict=True)
    }
    variants = {
        EXPERT: lambda: as_peer(paths[-1], plain, PEER_AT_ONCE),
        USUAL: lambda: as_peer(paths[-1], plain, 1),
        FLOAT: lambda: as_ours(paths[-1], onnx),
        INT8: lambda: as_ours(paths[-1], int8),
    }
    times = measure_in_turn(variants, rounds)
    sizes = {}
    for length, path in zip(lengths[:-1], paths[:-1], strict=True):
        part = {"ours": lambda path=path: as_ours(path, onnx)}
        sizes[length] = measure_in_turn(part, 1, False)["processor_seconds"]["ours"][0]
    sizes[minutes] = min(times["processor_seconds"][FLOAT])
    better = min((EXPERT, USUAL), key=lambda name: sum(times["seconds"][name]))
    pairs = {
        f"hour{kind}{usual}": (peer, ours)
        for kind, ours in (("", FLOAT), (", int8", INT8))
        for usual, peer in (("", better), (", as people do", USUAL))
    }
    return {
        "pairs": compare(times, pairs),
        **times,
        "same_label": float(np.mean(np.array(expected) == np.array(found[: len(expected)]))),
        "sizes": sizes,
        "growth": slope(sizes),
        "peak_memory": memory,
        "times_the_memory": memory[minutes] / memory[lengths[0]],
        "at_once": at_once(minutes),
    }


def main() -> None:
    """Write the recordings, measure, print and write the comparison."""
    parser = measuring_options(
        __doc__.splitlines()[0], "python -m benchmarks.long_recording --minutes 3 --allow_load"
    )
    parser.add_argument("--minutes", type=float, default=60, help="length of the recording")
    parser.add_argument("--recording", type=Path, help="classify this one only, with --model")
    parser.add_argument("--model", type=Path, help=".onnx file for --recording")
    chosen = parser.parse_args()
    if chosen.recording:
        torch.set_num_threads(1)
        as_ours(chosen.recording, OnnxClassifier(chosen.model, threads=1))
        print(peak_memory())
        return
    measurement = Measurement("long_recording", chosen)
    with processors(1), tempfile.TemporaryDirectory(prefix="long-recording-") as folder:
        found = measure(Path(folder), chosen.minutes, chosen.rounds)
    print_pairs(found["pairs"])
    for length, memory in found["peak_memory"].items():
        print(f"{length:5.1f} minutes: {memory / 1e6:.0f} MB at most")
    print(f"at once: {found['at_once']}")
    print(f"written to {measurement.write({'recording_minutes': chosen.minutes, **found})}")


if __name__ == "__main__":
    run_program(main)
