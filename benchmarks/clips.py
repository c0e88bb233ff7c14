"""Sound files to measure with: a folder's own, or made ones of the same lengths."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from dusha_ser.audio.finding import find_audio_files
from dusha_ser.audio.reading import read_audio
from dusha_ser.errors import WrongUseError

RATE = 16000
# Acted utterances of the usual corpora; Dusha's crowd has 4.5 s.
MEAN_SECONDS = 3.7


def make_clip(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Make a sound whose pitch and loudness move as a voice's do, (samples,) in [-1, 1]."""
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 120 * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.2, 1) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(order * phase) / order for order in range(1, 30))
    loudness = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(2, 5) * time)
    return 0.1 * loudness * voice + 0.003 * rng.standard_normal(len(time))


def wav_files(folder: Path, source: Path | None, count: int | None) -> list[Path]:
    """Write wavs of 16 kHz, 16 bits and one channel.

    Args:
        folder: where to.
        source: folder of mono audio files of 16 kHz, taken in the order of their names; None:
            synthetic recordings.
        count: how many of them; None: all, of synthetic ones 200.

    Returns:
        The wavs.

    Raises:
        WrongUseError: if a file has another rate or several channels.
    """
    if source is None:
        rng = np.random.default_rng(0)
        lengths = np.clip(rng.lognormal(np.log(MEAN_SECONDS), 0.15, count or 200), 1, 20)
        sounds: Iterable[np.ndarray] = (make_clip(rng, seconds) for seconds in lengths)
    else:
        sounds = map(read, find_audio_files([source])[:count])
    paths = []
    for number, samples in enumerate(sounds):
        paths.append(folder / f"{number:05d}.wav")
        soundfile.write(paths[-1], samples, RATE, subtype="PCM_16")
    return paths


def read(path: Path) -> np.ndarray:
    """Read a mono file of 16 kHz as (samples,)."""
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or samples.ndim != 1:
        raise WrongUseError(
            f"{path} has {rate} Hz and shape {samples.shape}; need 16 kHz, one channel"
        )
    return samples


def read_as_ours(path: Path) -> np.ndarray:
    """Read any sound file as this project's programs do, as (samples,) of 16 kHz."""
    return read_audio(path, RATE)
