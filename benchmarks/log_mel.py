"""Log-Mel features: this project against librosa and torchaudio, all warm, in one process.

    python -m benchmarks.log_mel [--clips FOLDER]

Once from wav files, which the peers read with soundfile and ours as all programs of this project
do, and once of samples in memory; one clip after the other, on one thread. All compute one
recipe, librosa and torchaudio with Mel filters that are made once, and librosa once more as people
call it. The features are compared, and, given a model, its logits by ours with those by librosa in
double precision, on all clips.
"""

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
import torchaudio

from benchmarks.clips import RATE, read, read_as_ours, wav_files
from benchmarks.measuring import (
    Measurement,
    compare,
    measure_in_turn,
    measuring_options,
    print_pairs,
    processors,
    slope,
)
from benchmarks.profiles import torch_profile
from dusha_ser.cli.program import run_program
from feature_extraction_dusha import DushaFeatureExtractor
from modeling_dusha import DushaForAudioClassification

USUAL, OURS = "librosa, filters made again", "ours"


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


def usual_features(samples: np.ndarray) -> np.ndarray:
    """Compute the published features as people do, (mels, frames): filters are made each time."""
    power = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_fft=320, hop_length=160, n_mels=64, pad_mode="reflect"
    )
    return librosa.power_to_db(power, ref=np.max)


PEERS = {"librosa": librosa_features, "torchaudio": torchaudio_features}


def as_ours(paths: list[Path], extractor: DushaFeatureExtractor) -> list[np.ndarray]:
    """Compute the features of files with ours, one by one, each (frames, mels)."""
    return [extractor(read_as_ours(path), RATE)["input_features"][0] for path in paths]


def variants_of_files(
    paths: list[Path], extractor: DushaFeatureExtractor
) -> dict[str, Callable[[], list]]:
    """Name the ways of computing the features of wav files, one by one."""
    peers = {
        name: lambda features=features: [features(read(path)) for path in paths]
        for name, features in {**PEERS, USUAL: usual_features}.items()
    }
    return peers | {OURS: lambda: as_ours(paths, extractor)}


def variants_in_memory(
    clips: list[np.ndarray], extractor: DushaFeatureExtractor
) -> dict[str, Callable[[], list]]:
    """Name the ways of computing the features of clips, (samples,) each, one by one."""
    peers = {
        name: lambda features=features: [features(clip) for clip in clips]
        for name, features in {**PEERS, USUAL: usual_features}.items()
    }
    return peers | {OURS: lambda: [extractor(clip, RATE)["input_features"][0] for clip in clips]}


def better_peer(times: dict) -> str:
    """Name the peer whose rounds took the least time on average."""
    return min(PEERS, key=lambda name: sum(times["seconds"][name]))


def difference_of_logits(paths: list[Path], model_name: str, extractor) -> float:
    """Compare a model's logits by our features with those by librosa in double precision.

    Args:
        paths: of all clips.
        model_name: a trained model.
        extractor: ours.

    Returns:
        The largest difference of a logit.
    """
    model = DushaForAudioClassification.from_pretrained(model_name).eval()

    @torch.inference_mode()
    def logits(features: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(features.astype(np.float32))[None]).logits.numpy()

    return max(
        float(np.abs(logits(own) - logits(librosa_features(read(path).astype(float)).T)).max())
        for path, own in zip(paths, as_ours(paths, extractor), strict=True)
    )


def measure(paths: list[Path], chosen: argparse.Namespace) -> dict:
    """Measure all on files and in memory; returns times, pairs, the profile and the growth."""
    extractor = DushaFeatureExtractor()
    clips = [read(path) for path in paths]
    sources = {
        "from wav files": variants_of_files(paths, extractor),
        "of samples in memory": variants_in_memory(clips, extractor),
    }
    expected = [librosa_features(clip) for clip in clips]
    others = {"torchaudio": [torchaudio_features(clip) for clip in clips]}
    others[OURS] = [own.T for own in as_ours(paths, extractor)]
    differences = {
        name: max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
        for name, found in others.items()
    }
    measured = {}
    pairs: dict[str, dict] = {}
    for source, variants in sources.items():
        times = measured[source] = measure_in_turn(variants, chosen.rounds)
        names = {source: better_peer(times), f"{source}, as people do": USUAL}
        names |= {f"{source}, beside {peer}": peer for peer in PEERS}
        pairs |= compare(times, {name: (peer, OURS) for name, peer in names.items()})
    sizes = {}
    for size in (len(paths) // 4, len(paths) // 2, len(paths)):
        part = {"": lambda size=size: as_ours(paths[:size], extractor)}
        sizes[size] = min(measure_in_turn(part, 3)["processor_seconds"][""])
    found: dict[str, Any] = {
        "pairs": pairs,
        "measured": measured,
        "milliseconds_a_file": {
            name: 1e3 * float(np.median(row)) / len(paths)
            for name, row in measured["from wav files"]["seconds"].items()
        },
        "largest_difference_in_decibels": differences,
        "sizes": sizes,
        "growth": slope(sizes),
        "profile": torch_profile(lambda: as_ours(paths, extractor)),
    }
    if chosen.model:
        found["largest_difference_of_logits"] = difference_of_logits(paths, chosen.model, extractor)
    return found


def main() -> None:
    """Measure, print and write the comparison."""
    parser = measuring_options(
        __doc__.splitlines()[0], "python -m benchmarks.log_mel --clips recordings", rounds=15
    )
    parser.add_argument("--clips", type=Path, help="folder of mono 16 kHz files (default: made)")
    parser.add_argument("--limit", type=int, help="how many files to take (default: all)")
    parser.add_argument("--model", help="trained model whose logits are compared (default: none)")
    chosen = parser.parse_args()
    measurement = Measurement("log_mel", chosen)
    with processors(1), tempfile.TemporaryDirectory(prefix="log-mel-") as folder:
        paths = wav_files(Path(folder), chosen.clips, chosen.limit)
        audio = sum(len(read(path)) for path in paths) / RATE
        found = measure(paths, chosen)
    print_pairs(found["pairs"])
    for name, difference in found["largest_difference_in_decibels"].items():
        print(f"features of {name} differ from librosa's by at most {difference:.1e} dB")
    results = {"files": len(paths), "audio_seconds": audio, **found}
    print(f"written to {measurement.write(results)}")


if __name__ == "__main__":
    run_program(main)
