"""A recording drawn over time: its waveform, coloured by the predicted emotion."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from dusha_ser.timelines.merging import Segment
from dusha_ser.vocabulary import RUSSIAN_NAMES

# Peaks are kept this far apart, in seconds, and drawn as at most COLUMNS lines.
STEP = 0.02
COLUMNS = 600
# A recording whose loudest sample is below this is not scaled up to the full height.
QUIETEST = 0.02
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
MOST_TICKS = 9


class Envelope:
    """The peaks of a recording that comes piece by piece, each of `step` seconds.

    Examples:
        >>> envelope = Envelope(sampling_rate=4, step=0.5)
        >>> envelope.push(np.array([0.5, -1.0, 0.25]))
        >>> envelope.peaks().tolist(), envelope.duration
        ([1.0, 0.25], 0.75)
    """

    def __init__(self, sampling_rate: int, step: float = STEP):
        self.sampling_rate = sampling_rate
        self.size = max(1, round(step * sampling_rate))
        self._held = np.empty(0, dtype=np.float32)
        self._peaks: list[np.ndarray] = []
        self._samples = 0

    def push(self, samples: np.ndarray) -> None:
        """Take the next samples, (samples,) in [-1, 1]."""
        self._samples += len(samples)
        held = np.concatenate([self._held, np.abs(samples)], dtype=np.float32)
        whole = len(held) - len(held) % self.size
        if whole:
            self._peaks.append(held[:whole].reshape(-1, self.size).max(axis=1))
        self._held = held[whole:]

    @property
    def duration(self) -> float:
        """Length of the recording so far, in seconds."""
        return self._samples / self.sampling_rate

    def peaks(self) -> np.ndarray:
        """The loudest sample of each step, (steps,) in [0, 1]."""
        rest = [self._held.max(keepdims=True)] if len(self._held) else []
        return np.concatenate([np.empty(0, dtype=np.float32), *self._peaks, *rest])


def clock(seconds: float) -> str:
    """A time in seconds as people write it.

    Examples:
        >>> clock(75.4), clock(3675)
        ('1:15', '1:01:15')
    """
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def emotions_over_time(
    segments: Sequence[Segment], labels: Sequence[str], times: np.ndarray
) -> np.ndarray:
    """The label at each of the times in seconds: that of the window whose middle is nearest.

    Windows may overlap and leave gaps. The result is (moments,) indices of labels, -1 in gaps.

    Examples:
        >>> windows = [Segment(0, 4, "sad", None), Segment(2, 6, "angry", None)]
        >>> emotions_over_time(windows, ["angry", "sad"], np.array([1, 3.5, 7])).tolist()
        [1, 0, -1]
    """
    if not segments:
        return np.full(len(times), -1)
    starts = np.array([one.start for one in segments])
    ends = np.array([one.end for one in segments])
    distance = np.abs(times[:, None] - (starts + ends) / 2)  # (moments, windows)
    distance[(times[:, None] < starts) | (times[:, None] > ends)] = np.inf
    nearest = distance.argmin(axis=1)
    numbers = np.array([labels.index(one.label) for one in segments])[nearest]
    return np.where(np.isfinite(distance.min(axis=1)), numbers, -1)


def draw_timeline(
    envelope: Envelope, segments: Sequence[Segment], labels: Sequence[str], table: bool = True
) -> str:
    """Draw a recording over time, as the HTML of a figure.

    Args:
        envelope: of its samples.
        segments: its windows, in order.
        labels: names of the labels, in the order of their probabilities.
        table: whether to write the windows as a table, too.
    """
    duration = envelope.duration
    peaks = envelope.peaks()
    group = max(1, -(-len(peaks) // COLUMNS))
    columns = np.pad(peaks, (0, -len(peaks) % group)).reshape(-1, group).max(axis=1)
    columns /= max(QUIETEST, columns.max(initial=0))
    width = max(1, len(columns))
    emotions = emotions_over_time(
        segments, labels, (np.arange(len(columns)) + 0.5) * duration / width
    )
    shares = sorted(((np.mean(emotions == i), one) for i, one in enumerate(labels)), reverse=True)
    listed = ", ".join(f"{label} {share:.0%}" for share, label in shares if share)
    lines: dict[int, str] = {}
    for place, (number, height) in enumerate(zip(emotions.tolist(), columns, strict=True)):
        line = f"M{place + 0.5} {50 - 48 * height:.1f}v{max(1, 96 * height):.1f}"
        lines[number] = lines.get(number, "") + line
    spans, first = [], 0
    for number, same in itertools.groupby(emotions.tolist()):
        size = len(list(same))
        spans.append((number, first / width, size / width))
        first += size
    step = next((one for one in TICKS if duration / one <= MOST_TICKS), TICKS[-1])
    # The last tick leaves room for its own text.
    ticks = [(seconds / duration, seconds) for seconds in np.arange(0, duration * 0.97, step)]
    description = f"Waveform of {clock(duration)}. Share of the time: {listed or 'no speech'}."
    shown = segments if table else []
    return str(HTML.timeline(labels, shown, description, width, lines, spans, ticks))


_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_environment.globals |= {"NAMES": RUSSIAN_NAMES, "clock": clock}
# The macros of the template.
HTML: Any = _environment.get_template("drawing.html").module
