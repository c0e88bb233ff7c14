"""Log-Mel features from wav files: this project against librosa, both warm, one process each.

    python -m benchmarks.log_mel [--clips FOLDER]

The peer reads files with soundfile, ours as all programs of this project do; both one after the
other, on one processor, and once more with as many threads as there are processors. Both compute
the published recipe, and the features are compared.
"""

import argparse
import os
import tempfile
from pathlib import Path

import librosa
import numpy as np

from benchmarks.clips import RATE, read, read_as_ours, wav_files
from benchmarks.measuring import measure_in_turn, processors, slope, speedups, write_results
from benchmarks.profiles import torch_profile
from dusha_ser.cli.program import run_program
from feature_extraction_dusha import DushaFeatureExtractor

AT_ONCE = 8


def librosa_features(samples: np.ndarray) -> np.ndarray:
    """Compute the published features, (mels, frames)."""
    power = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_fft=320, hop_length=160, n_mels=64, pad_mode="reflect"
    )
    return librosa.power_to_db(power, ref=np.max)


def as_peer(paths: list[Path]) -> list[np.ndarray]:
    """Compute the features of files with librosa, each (mels, frames)."""
    return [librosa_features(read(path)) for path in paths]


def as_ours(paths: list[Path], extractor, at_once: int) -> list[np.ndarray]:
    """Compute the features of files with ours, so many at once, each (frames, mels)."""
    return [
        features
        for first in range(0, len(paths), at_once)
        for features in extractor(
            [read_as_ours(path) for path in paths[first : first + at_once]], sampling_rate=RATE
        )["input_features"]
    ]


def measure(paths: list[Path], rounds: int) -> dict:
    """Measure both on files; returns times, how they compare, the profile and the growth."""
    extractor = DushaFeatureExtractor()
    variants = {
        "librosa": lambda: as_peer(paths),
        "ours, one by one": lambda: as_ours(paths, extractor, 1),
        f"ours, {AT_ONCE} at once": lambda: as_ours(paths, extractor, AT_ONCE),
    }
    differences = [
        float(np.abs(ours - peer.T).max())
        for peer, ours in zip(as_peer(paths), as_ours(paths, extractor, AT_ONCE), strict=True)
    ]
    times = measure_in_turn(variants, rounds)
    used = times["processor_seconds"]
    sizes = {len(paths): min(used["ours, one by one"])}
    for size in (len(paths) // 4, len(paths) // 2):
        row = measure_in_turn({"ours": lambda size=size: as_ours(paths[:size], extractor, 1)}, 3)
        sizes[size] = min(row["processor_seconds"]["ours"])
    with processors(os.cpu_count() or 1):
        names = ("librosa", "ours, one by one")
        by_clock = measure_in_turn({name: variants[name] for name in names}, rounds)["seconds"]
    return {
        **times,
        "times_as_fast": speedups(used, "librosa"),
        "times_as_fast_by_the_clock": speedups(times["seconds"], "librosa"),
        "all_processors": {
            "threads": os.cpu_count(),
            "seconds": by_clock,
            "times_as_fast_by_the_clock": speedups(by_clock, "librosa"),
        },
        "largest_difference_in_decibels": max(differences),
        "sizes": dict(sorted(sizes.items())),
        "growth": slope(sizes),
        "profile": torch_profile(lambda: as_ours(paths, extractor, 1)),
    }


def main() -> None:
    """Measure, print and write the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python -m benchmarks.log_mel --clips recordings",
    )
    parser.add_argument("--clips", type=Path, help="folder of mono 16 kHz files (default: made)")
    parser.add_argument("--limit", type=int, default=200, help="how many files to take")
    parser.add_argument("--rounds", type=int, default=5, help="times each variant is measured")
    chosen = parser.parse_args()
    with processors(1), tempfile.TemporaryDirectory(prefix="log-mel-") as folder:
        paths = wav_files(Path(folder), chosen.clips, chosen.limit)
        audio = sum(len(read(path)) for path in paths) / RATE
        found = measure(paths, chosen.rounds)
    for name, ratio in found["times_as_fast"].items():
        used = min(found["processor_seconds"][name]) / len(paths)
        print(f"{name:<20} {1e3 * used:6.2f} ms a file, {ratio:5.2f} times as fast")
    together = found["all_processors"]
    print(
        f"with {together['threads']} threads each, by the clock: "
        f"{together['times_as_fast_by_the_clock']['ours, one by one']:.2f} times as fast"
    )
    print(f"features differ by at most {found['largest_difference_in_decibels']:.1e} dB")
    results = {"files": len(paths), "audio_seconds": audio, **found}
    print(f"written to {write_results('log_mel', results)}")


if __name__ == "__main__":
    run_program(main)
