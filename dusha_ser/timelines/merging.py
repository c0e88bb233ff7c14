"""Overlapping windows become segments, which neither overlap nor repeat a label.

The rule: each instant gets the mean of the probabilities of the windows that cover it, all of the
same weight, and from it a label. Neighbouring instants of the same label are one segment, whose
probabilities are their mean, weighted by time. Where no window is, such as between stretches of
speech, there is no segment.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# What stands in place of a label whose probability is below the least confidence.
UNCERTAIN = "uncertain"
# Digits after the point of a second, and of a probability, that are told apart.
TIME_DIGITS = 6
PROBABILITY_DIGITS = 6


@dataclass(frozen=True)
class Piece:
    """A stretch of a recording, in seconds, its probabilities (labels,) and what they predict."""

    start: float
    end: float
    probabilities: np.ndarray
    label: str

    @property
    def duration(self) -> float:
        """The length in seconds."""
        return self.end - self.start


Label = Callable[[np.ndarray], str]


def merge_rows(
    rows: Iterable[dict[str, Any]], least_confidence: float = 0.0, shortest: float = 0.0
) -> list[dict[str, Any]]:
    """Merge the windows of a timeline into segments, each recording's and speaker's by themselves.

    A segment's prediction is the most probable label by its own probabilities, or "uncertain" if
    that is below `least_confidence`. A segment that is too short is joined with the longer one of
    those that touch it, from the first on, and the label follows from the joint probabilities.

    Args:
        rows: of `dusha predict --timeline`: id, start and end in seconds, prediction, probabilities
            by label, error; speaker and text may be missing. Rows without probabilities stay.
        least_confidence: probability below which a segment is uncertain, in [0, 1].
        shortest: least length of a segment that touches another one, in seconds.

    Returns:
        Rows with the same columns, one per segment, each recording's in the order of time. A text
        goes to the segment that holds its row's middle.

    Examples:
        >>> windows = [(0, 5, 0.9), (2.5, 7.5, 0.7), (5, 10, 0.1)]
        >>> rows = [
        ...     {"id": "a.wav", "start": start, "end": end, "prediction": None, "error": None,
        ...      "probabilities": {"angry": angry, "sad": 1 - angry}}
        ...     for start, end, angry in windows
        ... ]
        >>> for row in merge_rows(rows):
        ...     print(row["start"], row["end"], row["prediction"], row["probabilities"]["angry"])
        0.0 5.0 angry 0.85
        5.0 10.0 sad 0.25
    """
    merged: list[dict[str, Any]] = []
    for _, recording in itertools.groupby(rows, key=lambda row: row["id"]):
        speakers: dict[Any, list[dict]] = {}
        segments: list[dict] = []
        for row in recording:
            if row["probabilities"]:
                speakers.setdefault(row.get("speaker"), []).append(row)
            else:
                segments.append(row)
        for windows in speakers.values():
            segments += _merge_windows(windows, least_confidence, shortest)
        merged += sorted(segments, key=lambda row: (row["start"] or 0, row["end"] or 0))
    return merged


def _merge_windows(rows: Sequence[dict], least_confidence: float, shortest: float) -> list[dict]:
    """Merge the windows of one speaker of one recording."""
    labels = list(rows[0]["probabilities"])

    def label(probabilities: np.ndarray) -> str:
        best = int(np.argmax(probabilities))
        return UNCERTAIN if probabilities[best] < least_confidence else labels[best]

    segments: list[Piece] = []
    for piece in _pieces(rows, label):
        segments.append(piece)
        _join_equal(segments, len(segments) - 1, label)
    _join_short(segments, shortest, label)
    return [_row(segment, rows, labels) for segment in segments]


def _pieces(rows: Sequence[dict], label: Label) -> list[Piece]:
    """Cut time where a window begins or ends; each piece has the mean of the windows over it."""
    spans = np.array([(row["start"], row["end"]) for row in rows], dtype=np.float64)
    edges, places = np.unique(spans.round(TIME_DIGITS), return_inverse=True)
    sums, counts = np.zeros((len(edges), len(rows[0]["probabilities"]))), np.zeros(len(edges))
    for (first, last), row in zip(places.reshape(-1, 2), rows, strict=True):
        sums[first:last] += list(row["probabilities"].values())
        counts[first:last] += 1
    pieces = []
    for place in np.flatnonzero(counts):
        mean = sums[place] / counts[place]
        pieces.append(Piece(float(edges[place]), float(edges[place + 1]), mean, label(mean)))
    return pieces


def _join_equal(segments: list[Piece], place: int, label: Label) -> None:
    """Join the segment at a place with those before and behind that touch it and say the same."""
    for first in (place, place - 1):
        if 0 <= first < len(segments) - 1:
            one, other = segments[first : first + 2]
            if one.end == other.start and one.label == other.label:
                segments[first : first + 2] = [_join(one, other, label)]


def _join(one: Piece, other: Piece, label: Label) -> Piece:
    """Join two pieces that touch."""
    sums = one.duration * one.probabilities + other.duration * other.probabilities
    probabilities = sums / (one.duration + other.duration)
    return Piece(one.start, other.end, probabilities, label(probabilities))


def _join_short(segments: list[Piece], shortest: float, label: Label) -> None:
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
        segments[first : first + 2] = [_join(segments[first], segments[first + 1], label)]
        _join_equal(segments, first, label)
        place = max(0, first - 1)


def _row(segment: Piece, rows: Sequence[dict], labels: Sequence[str]) -> dict:
    """Make a row of a segment, with the columns that the windows have."""
    shares = [round(float(value), PROBABILITY_DIGITS) for value in segment.probabilities]
    row = rows[0] | {
        "start": segment.start,
        "end": segment.end,
        "prediction": segment.label,
        "probabilities": dict(zip(labels, shares, strict=True)),
    }
    if "text" in row:
        own = [
            one["text"]
            for one in rows
            if one["text"] and segment.start <= (one["start"] + one["end"]) / 2 < segment.end
        ]
        row["text"] = " ".join(own) or None
    return row
