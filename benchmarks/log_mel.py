"""Log-Mel features: this project against librosa and torchaudio, all warm, in one process.

    python -m benchmarks.log_mel [--clips FOLDER]

Once from wav files, which the peers read with soundfile and ours as all programs of this project
do, and once of samples in memory; one clip after the other, on one processor, and files once more
with as many threads as there are processors. All compute the published recipe, librosa and
torchaudio with Mel filters that are made once, and the features are compared.
"""

import argparse
import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import torch
import torchaudio

from benchmarks.clips import RATE, read, read_as_ours, wav_files
from benchmarks.measuring import measure_in_turn, processors, slope, speedups, write_results
from benchmarks.profiles import torch_profile
from dusha_ser.cli.program import run_program
from feature_extraction_dusha import DushaFeatureExtractor

AT_ONCE = 8


@functools.cache
def librosa_filters() -> np.ndarray:
    """Make the Mel filters, (mels, bins), which librosa itself makes again for each clip."""
    return librosa.filters.mel(sr=RATE, n_fft=320, n_mels=64)


def librosa_features(samples: np.ndarray) -> np.ndarray:
    """Compute the published features with librosa, (mels, frames)."""
    spectrum = librosa.stft(samples, n_fft=320, hop_length=160, pad_mode="reflect")
    return librosa.power_to_db(librosa_filters() @ np.abs(spectrum) ** 2, ref=np.max)


@functools.cache
def torchaudio_power() -> torchaudio.transforms.MelSpectrogram:
    """Make what computes the power of the published features' bands."""
    return torchaudio.transforms.MelSpectrogram(
        RATE, 320, hop_length=160, n_mels=64, norm="slaney", mel_scale="slaney"
    )


def torchaudio_features(samples: np.ndarray) -> np.ndarray:
    """Compute the published features with torchaudio, (mels, frames)."""
    decibel = torchaudio_power()(torch.from_numpy(samples)).clamp_min_(1e-10).log10_().mul_(10)
    return decibel.sub_(decibel.max()).clamp_min_(-80).numpy()


def as_peer(paths: list[Path], features: Callable = librosa_features) -> list[np.ndarray]:
    """Compute the features of files with librosa or torchaudio, each (mels, frames)."""
    return [features(read(path)) for path in paths]


def as_ours(paths: list[Path], extractor, at_once: int) -> list[np.ndarray]:
    """Compute the features of files with ours, so many at once, each (frames, mels)."""
    return [
        features
        for first in range(0, len(paths), at_once)
        for features in extractor(
            [read_as_ours(path) for path in paths[first : first + at_once]], sampling_rate=RATE
        )["input_features"]
    ]


def variants_in_memory(clips: list[np.ndarray], extractor) -> dict[str, Callable[[], list]]:
    """Name the ways of computing the features of clips, (samples,) each, one by one."""
    return {
        "librosa": lambda: [librosa_features(clip) for clip in clips],
        "torchaudio": lambda: [torchaudio_features(clip) for clip in clips],
        "ours": lambda: [extractor(clip, RATE)["input_features"][0] for clip in clips],
    }


def measure(paths: list[Path], rounds: int) -> dict:
    """Measure all on files and in memory; returns times, ratios, the profile and the growth."""
    extractor = DushaFeatureExtractor()
    variants = {
        "librosa": lambda: as_peer(paths),
        "torchaudio": lambda: as_peer(paths, torchaudio_features),
        "ours, one by one": lambda: as_ours(paths, extractor, 1),
        f"ours, {AT_ONCE} at once": lambda: as_ours(paths, extractor, AT_ONCE),
    }
    in_memory = variants_in_memory([read(path) for path in paths], extractor)
    expected = in_memory["librosa"]()
    differences = {
        name: max(
            float(np.abs(own.T - peer).max()) for own, peer in zip(work(), expected, strict=True)
        )
        for name, work in {
            "torchaudio": lambda: [one.T for one in in_memory["torchaudio"]()],
            "ours": variants["ours, one by one"],
        }.items()
    }
    samples = measure_in_turn(in_memory, rounds)
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
        "times_as_fast_as_torchaudio": speedups(used, "torchaudio"),
        "of_samples_in_memory": {
            **samples,
            "times_as_fast": speedups(samples["processor_seconds"], "librosa"),
            "times_as_fast_as_torchaudio": speedups(samples["processor_seconds"], "torchaudio"),
        },
        "times_as_fast_by_the_clock": speedups(times["seconds"], "librosa"),
        "all_processors": {
            "threads": os.cpu_count(),
            "seconds": by_clock,
            "times_as_fast_by_the_clock": speedups(by_clock, "librosa"),
        },
        "largest_difference_in_decibels": differences,
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
    in_memory = found["of_samples_in_memory"]
    print(
        f"of samples in memory: {in_memory['times_as_fast']['ours']:.2f} times as fast as librosa, "
        f"{in_memory['times_as_fast_as_torchaudio']['ours']:.2f} as torchaudio"
    )
    for name, difference in found["largest_difference_in_decibels"].items():
        print(f"features of {name} differ from librosa's by at most {difference:.1e} dB")
    results = {"files": len(paths), "audio_seconds": audio, **found}
    print(f"written to {write_results('log_mel', results)}")


if __name__ == "__main__":
    run_program(main)
