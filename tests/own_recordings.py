"""Recordings that a test writes: tones whose pitch is their label."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile


def write_recordings(
    folder: Path,
    labels: Sequence[str],
    count: int = 8,
    speakers: Sequence[str] = (),
    rate: int = 22050,
) -> Path:
    """Write stereo FLAC files at a rate that is not the model's, and their table.

    Args:
        folder: to write into; it is made.
        labels: which come in turn.
        count: number of recordings, each a little longer than the one before.
        speakers: who come in turn, a label's round each; none: the table has no speaker.
        rate: in Hz.

    Returns:
        The table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    rows = ["path,label,speaker"]
    for number in range(count):
        label = labels[number % len(labels)]
        times = np.arange(rate // 4 + 500 * (number % 20)) / rate
        tone = 0.3 * np.sin(2 * np.pi * 200 * 3 ** labels.index(label) * times)
        tone += 0.001 * rng.standard_normal(len(tone))
        soundfile.write(folder / f"{number}.flac", np.stack([tone, tone], 1), rate)
        speaker = speakers[number // len(labels) % len(speakers)] if speakers else ""
        rows.append(f"{number}.flac,{label},{speaker}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder / "clips.csv"
