"""Rows of predictions as CSV, as JSON lines, or as a table for the screen."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from dusha_ser.inference.settings import Settings
from dusha_ser.timelines.recordings import PROBABILITY_PREFIX, clock

LONGEST_NAME = 60
# Of speakers and texts in a table on the screen.
SPEAKER_WIDTH, TEXT_WIDTH = 12, 60


class RowForm:
    """How rows become lines; `columns` are all but the probabilities (of labels) and the error."""

    def __init__(self, columns: Sequence[str], labels: Sequence[str]):
        self.columns = list(columns)
        self.labels = list(labels)

    def header(self) -> str:
        """The first line with its end; empty where there is none."""
        return ""

    def line(self, row: dict) -> str:
        """One row as a line with its end."""
        raise NotImplementedError

    def read(self, record: bytes) -> tuple[str, str | None]:
        """The id of a row's bytes, and its error or None; ValueError if it is not a row."""
        raise NotImplementedError


class CsvForm(RowForm):
    """One column per probability, probability_LABEL; None is empty."""

    def header(self) -> str:
        """The names of the columns."""
        probabilities = [PROBABILITY_PREFIX + label for label in self.labels]
        return self._write([*self.columns, *probabilities, "error"])

    def line(self, row: dict) -> str:
        """Values in the order of the header."""
        probabilities = row["probabilities"] or dict.fromkeys(self.labels)
        values = [row[name] for name in self.columns]
        return self._write([*values, *probabilities.values(), row["error"]])

    def read(self, record: bytes) -> tuple[str, str | None]:
        """As the base says."""
        text = record.decode("utf-8", "surrogateescape")
        values = next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
        if len(values) != len(self.columns) + len(self.labels) + 1:
            raise ValueError(f"it has {len(values)} values")
        return values[0], values[-1] or None

    def _write(self, values: list) -> str:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue()


class JsonForm(RowForm):
    """One JSON object per line."""

    def line(self, row: dict) -> str:
        """The row as it is."""
        return json.dumps(row, ensure_ascii=False) + "\n"

    def read(self, record: bytes) -> tuple[str, str | None]:
        """As the base says."""
        row = json.loads(record.decode("utf-8", "surrogateescape"))
        if not isinstance(row, dict) or not {*self.columns, "probabilities", "error"} <= row.keys():
            raise ValueError("columns are missing")
        if row["probabilities"] is not None and list(row["probabilities"]) != self.labels:
            raise ValueError(f"it has probabilities of {', '.join(row['probabilities'])}")
        return row["id"], row["error"]


class TableForm(RowForm):
    """For the eye: columns of equal width; what is long is cut off, names at their beginnings."""

    def __init__(self, columns: Sequence[str], labels: Sequence[str], names: Iterable[str]):
        super().__init__(columns, labels)
        self.width = max(4, min(LONGEST_NAME, max(map(len, names), default=0)))
        self.middle = [name for name in self.columns[1:-1] if name != "text"]
        sides = [f"<{SPEAKER_WIDTH}" if name == "speaker" else ">9" for name in self.middle]
        prediction = f"<{max(len('prediction'), *map(len, self.labels))}"
        shares = [f">{max(len(label), 6)}" for label in self.labels]
        aligned = [f"<{self.width}", *sides, prediction, *shares, ""]
        self._form = "  ".join(f"{{:{one}}}" for one in aligned)

    def header(self) -> str:
        """The names of the columns."""
        last = "text" if "text" in self.columns else ""
        return self._write(["id", *self.middle, "prediction", *self.labels, last])

    def line(self, row: dict) -> str:
        """Times, probabilities with three digits, then an error or a text."""
        name = row["id"]
        name = name if len(name) <= self.width else "…" + name[-self.width + 1 :]
        cells = [self._cell(one, row[one]) for one in self.middle]
        probabilities = row["probabilities"] or {}
        shares = [f"{probabilities[label]:.3f}" if probabilities else "" for label in self.labels]
        last = row["error"] or _shorten(row.get("text") or "", TEXT_WIDTH)
        return self._write([name, *cells, row["prediction"] or "", *shares, last])

    def _cell(self, name: str, value: Any) -> str:
        if value is None:
            return ""
        if name in ("start", "end"):
            return clock(value)
        if name == "speaker":
            return _shorten(str(value), SPEAKER_WIDTH)
        return f"{value:.2f}"

    def _write(self, cells: list[str]) -> str:
        # A file's name must not control the terminal.
        line = self._form.format(*cells).rstrip()
        return "".join(c if c.isprintable() else "?" for c in line) + "\n"


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def time_columns(settings: Settings) -> tuple[str, ...]:
    """The columns of seconds that rows have: of a window or turn, or of the whole file."""
    if settings.several_rows:
        return ("start", "end")
    return ("duration", "speech") if settings.vad else ("duration",)


def word_columns(settings: Settings) -> tuple[str, ...]:
    """The columns that rows of turns have beside."""
    return ("speaker", "text") if settings.segments == "turns" else ()


def make_form(
    name: str, settings: Settings, labels: Sequence[str], names: Iterable[str] = ()
) -> RowForm:
    """Make one of settings.FORMATS for a run; a table's first column fits the names of files."""
    columns = ["id", *time_columns(settings), *word_columns(settings), "prediction"]
    if name == "table":
        return TableForm(columns, labels, names)
    return CsvForm(columns, labels) if name == "csv" else JsonForm(columns, labels)
