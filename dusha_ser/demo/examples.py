"""Recordings to try the page with, made by the synthesis that makes the sample corpus."""

from pathlib import Path

import numpy as np
import soundfile

from dusha_ser.audio.reading import SAMPLING_RATE
from dusha_ser.corpus.sample_voice import MANNERS, draw_voice, speak

# Phrases of an example, and of each emotion in the long one.
PHRASES = 2
LONG_PHRASES = 6
PAUSE = 0.25  # seconds
LONG = "all in turn"


def write_examples(folder: str | Path, seed: int = 5) -> dict[str, Path]:
    """Write one recording for each emotion, and a longer one that goes through all of them.

    Returns:
        The files, by what a recording holds: an emotion, or "all in turn".
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    recordings = {name: _say([name], PHRASES, seed) for name in MANNERS}
    recordings[LONG] = _say(list(MANNERS), LONG_PHRASES, seed)
    written = {}
    for name, samples in recordings.items():
        written[name] = folder / f"{name.replace(' ', '_')}.wav"
        soundfile.write(written[name], samples, SAMPLING_RATE, "PCM_16")
    return written


def _say(emotions: list[str], phrases: int, seed: int) -> np.ndarray:
    """Phrases of one voice with pauses between them, (samples,) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    voice = draw_voice(rng)
    pause = np.zeros(round(PAUSE * SAMPLING_RATE))
    said = [speak(rng, voice, emotion)[0] for emotion in emotions for _ in range(phrases)]
    return np.concatenate([part for phrase in said for part in (phrase, pause)])
