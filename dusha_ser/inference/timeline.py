"""Recordings of any length as a timeline of overlapping windows, from files or from a stream.

Whole recordings and streams go through the same class, so that both give the same prediction, and
neither ever holds more than a few windows of audio.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dusha_ser.audio.reading import read_blocks
from dusha_ser.inference.settings import HOP, WINDOW
from dusha_ser.timelines.merging import Segment

BATCH_SIZE = 8
# Hops that are taken at once, at most.
PIECE_HOPS = 8
# Takes windows, each (samples,), and gives their probabilities, (windows, labels).
Classify = Callable[[list[np.ndarray]], np.ndarray]


class WindowCutter:
    """Cuts a recording that comes in pieces into overlapping windows.

    Windows begin every `hop` seconds. The last one ends with the recording, and exists only if the
    one before it leaves something uncovered. It is never shorter than `window - hop`, unless the
    whole recording is.

    Args:
        sampling_rate: of the pieces, in Hz.
        window: length of a window, in seconds.
        hop: from the start of one window to the start of the next, in seconds; at most `window`.

    Raises:
        ValueError: if window or hop is out of range.

    Examples:
        >>> cutter = WindowCutter(10, window=2, hop=1)
        >>> [(start, len(window)) for start, window in cutter.push(np.ones(35))]
        [(0, 20), (10, 20)]
        >>> [(start, len(window)) for start, window in cutter.finish()]
        [(20, 15)]
    """

    def __init__(self, sampling_rate: int, window: float = WINDOW, hop: float = HOP):
        if not 0 < hop <= window:
            raise ValueError(
                f"hop is {hop} s and window is {window} s; hop must be over 0 and at most window"
            )
        self.window_size = max(1, round(window * sampling_rate))
        self.hop_size = max(1, round(hop * sampling_rate))
        self._held = np.empty(0, dtype=np.float32)
        self._held_from = 0
        self._next_start = 0

    def push(self, samples: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Take the next samples (samples,) of the recording; read all that it yields.

        Yields:
            The windows that these samples completed: the number of the first sample, and
            (samples,).
        """
        # A whole recording may come at once: taken in pieces, it is never copied as a whole.
        piece = self.window_size + PIECE_HOPS * self.hop_size
        for first in range(0, len(samples), piece):
            self._held = np.concatenate([self._held, samples[first : first + piece]])
            end = self._held_from + len(self._held)
            starts = range(self._next_start, end - self.window_size + 1, self.hop_size)
            for start in starts:
                begin = start - self._held_from
                yield start, self._held[begin : begin + self.window_size]
            self._next_start += len(starts) * self.hop_size
            self._held = self._held[self._next_start - self._held_from :]
            self._held_from = self._next_start

    def finish(self) -> Iterator[tuple[int, np.ndarray]]:
        """End the recording.

        Yields:
            The last window, if the ones before it leave something uncovered.

        Raises:
            ValueError: if no samples were pushed.
        """
        end = self._held_from + len(self._held)
        if end == 0:
            raise ValueError("the recording is empty: push at least one sample before finish()")
        covered = self._next_start - self.hop_size + self.window_size if self._next_start else 0
        if covered < end:
            yield self._next_start, self._held


class TimelineClassifier:
    """Classifies the windows of a `WindowCutter` as soon as they are complete.

    Args:
        classify: gives the probabilities (windows, labels) of a list of windows, each (samples,).
        labels: names of the labels, in the order of the probabilities.
        sampling_rate: of the pushed samples, in Hz.
        window: length of a window, in seconds.
        hop: from the start of one window to the start of the next, in seconds; at most `window`.
        batch_size: the most windows that are classified at once.

    Raises:
        ValueError: if window, hop or batch_size is out of range.

    Examples:
        >>> def loudness(windows):
        ...     loud = np.array([np.abs(window).mean() for window in windows])
        ...     return np.stack([loud, 1 - loud], axis=1)
        >>> timeline = TimelineClassifier(loudness, ["loud", "quiet"], 10, window=2, hop=1)
        >>> [(s.start, s.end, s.label) for s in timeline.push(np.ones(25))]
        [(0.0, 2.0, 'loud')]
        >>> [(s.start, s.end, s.label) for s in timeline.finish()]
        [(1.0, 2.5, 'loud')]
    """

    def __init__(
        self,
        classify: Classify,
        labels: list[str],
        sampling_rate: int = 16000,
        window: float = WINDOW,
        hop: float = HOP,
        batch_size: int = BATCH_SIZE,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        self.classify = classify
        self.labels = list(labels)
        self.sampling_rate = sampling_rate
        self.batch_size = batch_size
        self._cutter = WindowCutter(sampling_rate, window, hop)
        self._weighted_sum = np.zeros(len(self.labels))
        self._weight = 0

    def push(self, samples: np.ndarray) -> list[Segment]:
        """Take the next samples of the recording.

        Args:
            samples: (samples,) mono, in [-1, 1], any number of them.

        Returns:
            The windows that these samples completed, in order; often none.

        Raises:
            ValueError: if the samples are not one channel of finite numbers.
        """
        samples = np.asarray(samples, dtype=np.float32)
        if samples.ndim != 1:
            raise ValueError(
                f"samples have shape {samples.shape}; give one channel, (samples,), for instance "
                "the mean over the channels"
            )
        if not np.isfinite(samples).all():
            raise ValueError("samples hold NaN or infinite values; give finite numbers")
        return self._classify(self._cutter.push(samples))

    def finish(self) -> list[Segment]:
        """End the recording.

        Returns:
            The last window, if the ones before it leave something uncovered.

        Raises:
            ValueError: if no samples were pushed.
        """
        return self._classify(self._cutter.finish())

    @property
    def probabilities(self) -> np.ndarray:
        """The prediction for the recording so far.

        Returns:
            (labels,): the mean of the windows' probabilities, weighted by their lengths.

        Raises:
            ValueError: if no window has been classified yet.
        """
        if not self._weight:
            raise ValueError("no window is complete yet: push more samples or call finish()")
        return self._weighted_sum / self._weight

    @property
    def label(self) -> str:
        """The most probable label of the recording so far."""
        return self.labels[int(np.argmax(self.probabilities))]

    def _classify(self, windows: Iterator[tuple[int, np.ndarray]]) -> list[Segment]:
        segments = []
        while batch := list(itertools.islice(windows, self.batch_size)):
            rows = self.classify([window for _, window in batch])
            for (start, window), row in zip(batch, rows, strict=True):
                end = start + len(window)
                self._weighted_sum += len(window) * row
                self._weight += len(window)
                times = start / self.sampling_rate, end / self.sampling_rate
                segments.append(Segment(*times, self.labels[int(np.argmax(row))], row))
        return segments


def classify_file(timeline: TimelineClassifier, path: str | Path) -> list[Segment]:
    """Classify an audio file of any length with bounded memory.

    Args:
        timeline: a fresh classifier; afterwards its `label` and `probabilities` are the file's.
        path: of any format and rate that `read_blocks` reads.

    Returns:
        All windows of the file, in order.

    Raises:
        UnreadableAudioError: if the file cannot be read, or holds no samples.
    """
    blocks = read_blocks(path, timeline.sampling_rate)
    return [one for block in blocks for one in timeline.push(block)] + timeline.finish()
