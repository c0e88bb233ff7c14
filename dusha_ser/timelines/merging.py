"""Overlapping windows become segments, which neither overlap nor repeat a label.

The rule: each instant gets the mean of the probabilities of the windows that cover it, all of the
same weight, and from it a label. Neighbouring instants of the same label are one segment, whose
probabilities are their mean, weighted by time. Where no window is, such as between stretches of
speech, there is no segment.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dusha_ser.vocabulary import PROBABILITY_DIGITS, choose_label

# Digits of a second: times that are closer are the same.
TIME_DIGITS = 6


@dataclass(frozen=True)
class Segment:
    """The prediction for a window, a turn of a speaker, or a whole recording.

    Attributes:
        start: where it begins, in seconds from the start of the recording.
        end: where it ends, in seconds.
        label: the most probable label; None: a turn is too short for one.
        probabilities: (labels,), in [0, 1]; their sum is 1 unless a clip may have several labels.
            Empty where there is no label.
        speaker: who speaks, where that is known.
        text: what is said, where that is known.
    """

    start: float
    end: float
    label: str | None
    probabilities: np.ndarray
    speaker: str | None = None
    text: str | None = None

    @property
    def duration(self) -> float:
        """The length in seconds."""
        return self.end - self.start

    @property
    def label_name(self) -> str:
        """The label as text; empty where there is none."""
        return self.label or ""


# The label of probabilities (labels,).
Label = Callable[[Any], str]


def merge_segments(
    windows: Sequence[Segment], label: Label, shortest: float = 0.0
) -> list[Segment]:
    """Merge the windows of a recording into segments, each speaker's by themselves.

    A segment's label is what its own probabilities say, also where one that is too short is joined
    with the longer one of those that touch it, from the first on.

    Args:
        windows: of one recording, in any order; they may overlap.
        label: gives the label of probabilities (labels,), such as the most probable one's.
        shortest: least length of a segment that touches another one, in seconds.

    Returns:
        The segments in the order of time; those of a speaker do not overlap, and cover what the
        windows do. A text goes to the segment that holds its window's middle.

    Examples:
        >>> windows = [(0, 5, 0.9), (2.5, 7.5, 0.7), (5, 10, 0.1)]
        >>> windows = [Segment(a, b, "", np.array([angry, 1 - angry])) for a, b, angry in windows]
        >>> for one in merge_segments(windows, lambda row: "angry" if row[0] > 0.5 else "sad"):
        ...     print(one.start, one.end, one.label, one.probabilities)
        0.0 5.0 angry [0.85 0.15]
        5.0 10.0 sad [0.25 0.75]
    """
    speakers: dict[str | None, list[Segment]] = {}
    for window in windows:
        speakers.setdefault(window.speaker, []).append(window)
    merged: list[Segment] = []
    for speaker, own in speakers.items():
        segments: list[Segment] = []
        for piece in cut_pieces(own, label):
            segments.append(piece)
            _join_equal(segments, len(segments) - 1, label)
        _join_short(segments, shortest, label)
        merged += [replace(one, speaker=speaker, text=_text(one, own)) for one in segments]
    return sorted(merged, key=lambda one: (one.start, one.end))


def cut_pieces(windows: Sequence[Segment], label: Label) -> list[Segment]:
    """Cut time wherever a window begins or ends; a piece has the mean of the windows over it."""
    spans = np.array([(one.start, one.end) for one in windows], dtype=np.float64)
    edges, places = np.unique(spans.round(TIME_DIGITS), return_inverse=True)
    sums, counts = np.zeros((len(edges), len(windows[0].probabilities))), np.zeros(len(edges))
    for (first, last), window in zip(places.reshape(-1, 2), windows, strict=True):
        sums[first:last] += window.probabilities
        counts[first:last] += 1
    pieces = []
    for place in np.flatnonzero(counts):
        mean = sums[place] / counts[place]
        pieces.append(Segment(float(edges[place]), float(edges[place + 1]), label(mean), mean))
    return pieces


def _join(segments: list[Segment], place: int, label: Label) -> None:
    """Join the segment at a place with the next one."""
    one, other = segments[place : place + 2]
    sums = one.duration * one.probabilities + other.duration * other.probabilities
    mean = sums / (one.duration + other.duration)
    segments[place : place + 2] = [Segment(one.start, other.end, label(mean), mean)]


def _join_equal(segments: list[Segment], place: int, label: Label) -> None:
    """Join the segment at a place with those before and behind that touch it and say the same."""
    for first in (place, place - 1):
        if 0 <= first < len(segments) - 1:
            one, other = segments[first : first + 2]
            if one.end == other.start and one.label == other.label:
                _join(segments, first, label)


def _join_short(segments: list[Segment], shortest: float, label: Label) -> None:
    """Join segments that are too short with the longer one of their neighbours."""
    place = 0
    while place < len(segments):
        segment = segments[place]
        # Each neighbour's length, and where the pair begins that it makes with this segment.
        pairs = []
        if place and segments[place - 1].end == segment.start:
            pairs.append((segments[place - 1].duration, place - 1))
        if place + 1 < len(segments) and segments[place + 1].start == segment.end:
            pairs.append((segments[place + 1].duration, place))
        if not pairs or segment.duration >= shortest - 10**-TIME_DIGITS:
            place += 1
            continue
        first = max(pairs)[1]
        _join(segments, first, label)
        _join_equal(segments, first, label)
        place = max(0, first - 1)


def _text(segment: Segment, windows: Iterable[Segment]) -> str | None:
    """The texts of the windows whose middles a segment holds."""
    said = [((one.start + one.end) / 2, one.text) for one in windows if one.text]
    own = [text for middle, text in said if segment.start <= middle < segment.end]
    return " ".join(own) or None


def merge_rows(
    rows: Iterable[dict[str, Any]], least_confidence: float = 0.0, shortest: float = 0.0
) -> list[dict[str, Any]]:
    """Merge the windows of timelines into segments, as `merge_segments` does.

    Args:
        rows: of `dusha predict --timeline`, those of a recording together: id, start and end in
            seconds, prediction, probabilities by label, error; speaker and text may be missing.
            Rows without probabilities stay.
        least_confidence: probability below which a segment is uncertain, in [0, 1].
        shortest: least length of a segment that touches another one, in seconds.

    Returns:
        One row per segment, with the same columns.
    """
    merged: list[dict[str, Any]] = []
    for _, recording in itertools.groupby(rows, key=lambda row: row["id"]):
        own = list(recording)
        windows = [one for one in own if one["probabilities"]]
        merged += [one for one in own if not one["probabilities"]]
        if windows:
            labels = list(windows[0]["probabilities"])
            label = functools.partial(choose_label, labels, least_confidence=least_confidence)
            segments = merge_segments([row_segment(one) for one in windows], label, shortest)
            merged += [segment_row(windows[0], one) for one in segments]
    return merged


def row_segment(row: dict[str, Any]) -> Segment:
    """Make a segment of a row that has probabilities."""
    shares = np.array(list(row["probabilities"].values()), dtype=np.float64)
    speaker, text = row.get("speaker"), row.get("text")
    return Segment(row["start"], row["end"], row["prediction"], shares, speaker, text)


def segment_row(row: dict[str, Any], segment: Segment) -> dict[str, Any]:
    """Make a row of a segment, with the columns and labels of another row."""
    shares = [round(float(value), PROBABILITY_DIGITS) for value in segment.probabilities]
    values = {
        "start": segment.start,
        "end": segment.end,
        "prediction": segment.label,
        "probabilities": dict(zip(row["probabilities"], shares, strict=True)),
        "speaker": segment.speaker,
        "text": segment.text,
    }
    return {name: values.get(name, value) for name, value in row.items()}
