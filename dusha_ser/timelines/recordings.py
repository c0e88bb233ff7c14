"""The timeline of one recording, made of rows, and how much of the time each label has."""

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dusha_ser.timelines.merging import (
    TIME_DIGITS,
    Segment,
    cut_pieces,
    merge_segments,
    row_segment,
)
from dusha_ser.vocabulary import choose_label

# Columns of probabilities begin so in all tables.
PROBABILITY_PREFIX = "probability_"


def clock(seconds: float, digits: int = 1) -> str:
    """Write a time as h:mm:ss.s.

    Args:
        seconds: at least 0.
        digits: behind the point of a second.

    Examples:
        >>> clock(2.5), clock(3675.96), clock(59.96), clock(59.96, digits=0)
        ('0:00:02.5', '1:01:16.0', '0:01:00.0', '0:01:00')
    """
    units = round(seconds * 10**digits)
    minutes, units = divmod(units, 60 * 10**digits)
    whole, part = divmod(units, 10**digits)
    fraction = f".{part:0{digits}}" if digits else ""
    return f"{minutes // 60}:{minutes % 60:02}:{whole:02}{fraction}"


@dataclass(frozen=True)
class Timeline:
    """The emotions of a recording over time.

    Attributes:
        name: of the recording, as its user knows it.
        labels: of the model, in the order of the probabilities.
        segments: in the order of time; those of one speaker do not overlap.
        pieces: stretches of time without a boundary inside and their probabilities, which are
            finer than segments where the rows were overlapping windows.
    """

    name: str
    labels: list[str]
    segments: list[Segment]
    pieces: list[Segment]

    @property
    def duration(self) -> float:
        """Where the last segment ends, in seconds."""
        return max(one.end for one in self.segments)

    @property
    def speakers(self) -> list[str | None]:
        """Who speaks, in the order of their first words; [None] where nobody is known."""
        return list(dict.fromkeys(one.speaker for one in self.segments))

    @property
    def seconds(self) -> dict[str, float]:
        """The time of each label, with those of the model first, in seconds."""
        found = dict.fromkeys(self.labels, 0.0)
        for one in self.segments:
            found[one.label_name] = found.get(one.label_name, 0.0) + one.duration
        return found


def make_timeline(rows: Sequence[dict[str, Any]], least_confidence: float = 0.0) -> Timeline | None:
    """Make the timeline of a recording's rows; windows that overlap are merged.

    Args:
        rows: of `dusha predict --timeline`, as `merge_rows` takes them.
        least_confidence: probability below which a merged segment is uncertain, in [0, 1].

    Returns:
        The timeline; None where no row has a prediction.

    Examples:
        >>> row = {"id": "a.wav", "start": 0.0, "end": 4.0, "prediction": "sad"}
        >>> row |= {"probabilities": {"angry": 0.2, "sad": 0.8}}
        >>> timeline = make_timeline([row, row | {"start": 2.0, "end": 6.0}])
        >>> [(one.start, one.end, one.label) for one in timeline.segments], timeline.seconds
        ([(0.0, 6.0, 'sad')], {'angry': 0.0, 'sad': 6.0})
    """
    windows = [row_segment(row) for row in rows if row["probabilities"]]
    if not windows:
        return None
    labels = list(next(row["probabilities"] for row in rows if row["probabilities"]))
    label = partial(choose_label, labels, least_confidence=least_confidence)
    segments = sorted(windows, key=lambda one: (one.start, one.end))
    if _overlap(segments):
        segments = merge_segments(windows, label)
    name = rows[0]["id"]
    return Timeline(name, labels, segments, cut_pieces(windows, label))


def _overlap(segments: Iterable[Segment]) -> bool:
    """Tell whether segments of one speaker, in the order of time, overlap."""
    ends: dict[str | None, float] = {}
    for one in segments:
        if one.start < ends.get(one.speaker, 0.0) - 10**-TIME_DIGITS:
            return True
        ends[one.speaker] = one.end
    return False


def read_rows(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Read the rows of each recording, which stand together, of a file of predictions.

    Args:
        path: a .csv or .jsonl that `dusha predict` wrote, as its rows are.
    """
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        is_csv = file.read(1) != "{"
        file.seek(0)
        rows = map(_from_csv, csv.DictReader(file)) if is_csv else map(json.loads, file)
        for _, own in itertools.groupby(rows, key=lambda row: row["id"]):
            yield list(own)


def _from_csv(values: dict[str, str]) -> dict[str, Any]:
    """Make a row of the texts of its columns."""
    row: dict[str, Any] = {name: value or None for name, value in values.items()}
    shares = [name for name in row if name.startswith(PROBABILITY_PREFIX)]
    named = {name.removeprefix(PROBABILITY_PREFIX): row.pop(name) for name in shares}
    row["probabilities"] = {name: float(value) for name, value in named.items() if value} or None
    return row | {
        name: float(row[name]) for name in ("start", "end", "duration", "speech") if row.get(name)
    }


class Shares:
    """How much of the time of many recordings each label has."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.recordings = 0

    def add(self, timeline: Timeline) -> None:
        """Count a recording."""
        self.recordings += 1
        for label, seconds in timeline.seconds.items():
            self.seconds[label] = self.seconds.get(label, 0.0) + seconds

    def rows(self) -> list[list[str]]:
        """The labels, the longest time first, with time and share; the head first.

        Examples:
            >>> shares = Shares()
            >>> segments = [Segment(0, 6, "sad", None), Segment(6, 8, "angry", None)]
            >>> shares.add(Timeline("a.wav", ["angry", "sad"], segments, []))
            >>> shares.rows()[1:]
            [['sad', '0:00:06.0', '75%'], ['angry', '0:00:02.0', '25%']]
        """
        total = sum(self.seconds.values()) or 1.0
        ordered = sorted(self.seconds.items(), key=lambda item: -item[1])
        rows = [[label, clock(seconds), f"{seconds / total:.0%}"] for label, seconds in ordered]
        return [["emotion", "time", "share"], *rows]
