"""How each speaker's time is shared among the emotions, from rows of turns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dusha_ser.storage import write_csv

# What a table calls turns whose speaker is not known.
UNKNOWN = "(unknown)"


@dataclass
class Speaker:
    """What is known of one speaker: turns, seconds, and seconds by what was predicted."""

    recordings: set[str] = field(default_factory=set)
    turns: int = 0
    seconds: float = 0.0
    by_label: dict[str, float] = field(default_factory=dict)

    def share(self, label: str) -> float | None:
        """Which part of the time with a prediction has this label; None: there is none."""
        known = sum(self.by_label.values())
        return self.by_label.get(label, 0.0) / known if known else None


class SpeakerTable:
    """Turns, time and shares of emotions of each speaker.

    Diarization names speakers afresh in each recording: SPEAKER_00 of two recordings are two people
    unless `same_speakers` is set. Turns that overlap count in full.

    Args:
        same_speakers: whether a name means the same person in all recordings.

    Examples:
        >>> table = SpeakerTable()
        >>> table.add([
        ...     {"id": "a.wav", "start": 0, "end": 6, "speaker": "Anna", "prediction": "sad"},
        ...     {"id": "a.wav", "start": 6, "end": 8, "speaker": "Anna", "prediction": "angry"},
        ...     {"id": "a.wav", "start": 7, "end": 9, "speaker": "Boris", "prediction": "angry"},
        ... ])
        >>> for cells in table.cells():
        ...     print(cells)
        ['speaker', 'turns', 'seconds', 'sad', 'angry']
        ['Anna', '2', '8.0', '75%', '25%']
        ['Boris', '1', '2.0', '0%', '100%']
    """

    def __init__(self, same_speakers: bool = False):
        self.same_speakers = same_speakers
        self.speakers: dict[tuple[str, str | None], Speaker] = {}
        self.labels: dict[str, None] = {}

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count rows of turns: id, start, end, speaker, prediction; others do not count."""
        for row in rows:
            if row.get("start") is None or row.get("end") is None:
                continue
            key = "" if self.same_speakers else row["id"], row.get("speaker")
            speaker = self.speakers.setdefault(key, Speaker())
            seconds = row["end"] - row["start"]
            speaker.recordings.add(row["id"])
            speaker.turns += 1
            speaker.seconds += seconds
            # In the order of the probabilities; "uncertain" comes last.
            self.labels |= dict.fromkeys(row.get("probabilities") or ())
            if (label := row["prediction"]) is not None:
                self.labels[label] = None
                speaker.by_label[label] = speaker.by_label.get(label, 0.0) + seconds

    @property
    def has_speakers(self) -> bool:
        """Whether any turn has a speaker."""
        return any(name is not None for _, name in self.speakers)

    def cells(self) -> list[list[str]]:
        """The table for the eye, its head first; with several recordings, one column is theirs."""
        several = len({recording for recording, _ in self.speakers}) > 1
        head = ["speaker", "turns", "seconds", *self.labels]
        table = [["id", *head] if several else head]
        for (recording, name), one in self.speakers.items():
            shares = [one.share(label) for label in self.labels]
            cells = [name or UNKNOWN, f"{one.turns:,}", f"{one.seconds:.1f}"]
            cells += ["–" if share is None else f"{share:.0%}" for share in shares]
            table.append([recording, *cells] if several else cells)
        return table

    def write(self, path: Path) -> None:
        """Write a CSV: id or recordings, speaker, turns, seconds, and share_LABEL in [0, 1]."""
        first = "recordings" if self.same_speakers else "id"
        names = [first, "speaker", "turns", "seconds"]
        rows = []
        for (recording, name), one in self.speakers.items():
            where: str | int = len(one.recordings) if self.same_speakers else recording
            row = dict(zip(names, (where, name, one.turns, round(one.seconds, 3)), strict=True))
            shares = {label: one.share(label) for label in self.labels}
            rows.append(
                row
                | {
                    f"share_{label}": None if share is None else round(share, 4)
                    for label, share in shares.items()
                }
            )
        write_csv(path, [*names, *(f"share_{label}" for label in self.labels)], rows)
