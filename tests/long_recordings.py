"""Long recordings of speech between silences: what people have before they have clips."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from dusha_ser.audio.reading import SAMPLING_RATE
from dusha_ser.corpus.sample_voice import draw_voice, speak

EMOTIONS = ("angry", "sad", "neutral", "positive")


@dataclass(frozen=True)
class Phrase:
    """Where somebody speaks in a recording, in seconds, and how."""

    start: float
    end: float
    emotion: str


def join_phrases(phrases, pause=1.0):
    """Put silence around phrases.

    Args:
        phrases: (samples,) each at 16 kHz, with their emotions.
        pause: in seconds.

    Returns:
        The recording (samples,) float32, and its Phrases.
    """
    silence = np.zeros(round(pause * SAMPLING_RATE), np.float32)
    parts, truth, size = [silence], [], len(silence)
    for samples, emotion in phrases:
        start, size = size, size + len(samples)
        truth.append(Phrase(start / SAMPLING_RATE, size / SAMPLING_RATE, emotion))
        parts += [samples.astype(np.float32), silence]
        size += len(silence)
    return np.concatenate(parts), truth


def write_podcast(path: Path, seed=0, phrases=6, pause=1.0):
    """Write a recording of one synthetic voice that speaks with each emotion in turn."""
    rng = np.random.default_rng(seed)
    voice = draw_voice(rng)
    emotions = [EMOTIONS[number % len(EMOTIONS)] for number in range(phrases)]
    spoken = [(speak(rng, voice, emotion)[0], emotion) for emotion in emotions]
    samples, truth = join_phrases(spoken, pause)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SAMPLING_RATE, subtype="PCM_16")
    return truth
