"""Rows of predictions as CSV, as JSON lines, or as a table for the screen."""

import csv
import io
import json
from collections.abc import Iterable, Sequence

# Columns of probabilities begin so in all tables.
PROBABILITY_PREFIX = "probability_"
LONGEST_NAME = 60


class RowForm:
    """How rows become lines; the base of the three forms.

    Args:
        columns: all but the probabilities and the error, in order.
        labels: of the probabilities, in order.
    """

    def __init__(self, columns: Sequence[str], labels: Sequence[str]):
        self.columns = list(columns)
        self.labels = list(labels)

    def header(self) -> str:
        """The first line with its end; empty where there is none."""
        return ""

    def line(self, row: dict) -> str:
        """One row as a line with its end."""
        raise NotImplementedError

    def read(self, record: bytes) -> tuple[str, bool]:
        """The id of a row's bytes, and whether it has an error; ValueError if it is not a row."""
        raise NotImplementedError


class CsvForm(RowForm):
    """One column per probability, probability_LABEL."""

    def header(self) -> str:
        """The names of the columns."""
        probabilities = [PROBABILITY_PREFIX + label for label in self.labels]
        return self._write([*self.columns, *probabilities, "error"])

    def line(self, row: dict) -> str:
        """Values in the order of the header; None is empty."""
        probabilities = row["probabilities"] or dict.fromkeys(self.labels)
        values = [row[name] for name in self.columns]
        return self._write([*values, *probabilities.values(), row["error"]])

    def read(self, record: bytes) -> tuple[str, bool]:
        """As the base says."""
        text = record.decode("utf-8", "surrogateescape")
        values = next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
        if len(values) != len(self.columns) + len(self.labels) + 1:
            raise ValueError(f"it has {len(values)} values")
        return values[0], bool(values[-1])

    def _write(self, values: list) -> str:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue()


class JsonForm(RowForm):
    """One JSON object per line."""

    def line(self, row: dict) -> str:
        """The row as it is."""
        return json.dumps(row, ensure_ascii=False) + "\n"

    def read(self, record: bytes) -> tuple[str, bool]:
        """As the base says."""
        row = json.loads(record.decode("utf-8", "surrogateescape"))
        if not isinstance(row, dict) or not {*self.columns, "error"} <= row.keys():
            raise ValueError("columns are missing")
        if row["probabilities"] is not None and list(row["probabilities"]) != self.labels:
            raise ValueError(f"it has probabilities of {', '.join(row['probabilities'])}")
        return row["id"], row["error"] is not None


class TableForm(RowForm):
    """For the eye: columns of equal width; long names lose their beginnings.

    Args:
        columns: as of all forms.
        labels: as of all forms.
        names: of the files, for the first column's width.
    """

    def __init__(self, columns: Sequence[str], labels: Sequence[str], names: Iterable[str] = ()):
        super().__init__(columns, labels)
        self.width = max(4, min(LONGEST_NAME, max(map(len, names), default=0)))
        self.widths = [max(len(label), 6) for label in self.labels]
        self.label_width = max(len("prediction"), *map(len, self.labels))

    def header(self) -> str:
        """The names of the columns."""
        return self._join([*self.columns, *self.labels])

    def line(self, row: dict) -> str:
        """Times in seconds, probabilities with three digits, then an error if there is one."""
        name = row["id"]
        name = name if len(name) <= self.width else "…" + name[-self.width + 1 :]
        times = [
            "" if row[column] is None else f"{row[column]:.2f}" for column in self.columns[1:-1]
        ]
        probabilities = row["probabilities"] or {}
        shares = [f"{probabilities[label]:.3f}" if probabilities else "" for label in self.labels]
        error = row["error"] or ""
        return self._join([name, *times, row["prediction"] or "", *shares], error)

    def _join(self, cells: list[str], error: str = "") -> str:
        times = [f"{cell:>9}" for cell in cells[1 : len(self.columns) - 1]]
        prediction = f"{cells[len(self.columns) - 1]:<{self.label_width}}"
        shares = [
            f"{cell:>{width}}"
            for cell, width in zip(cells[len(self.columns) :], self.widths, strict=True)
        ]
        line = "  ".join([f"{cells[0]:<{self.width}}", *times, prediction, *shares, error])
        # A file's name must not control the terminal.
        return "".join(c if c.isprintable() else "?" for c in line.rstrip()) + "\n"


def make_form(
    name: str, timeline: bool, vad: bool, labels: Sequence[str], names: Iterable[str] = ()
) -> RowForm:
    """Make the form that is named, with the columns that a run has.

    Args:
        name: one of settings.FORMATS.
        timeline: whether there is one row per window.
        vad: whether silence is left out.
        labels: of the probabilities, in order.
        names: of the files, for the width of a table's first column.
    """
    times = ["start", "end"] if timeline else ["duration", "speech"] if vad else ["duration"]
    columns = ["id", *times, "prediction"]
    if name == "table":
        return TableForm(columns, labels, names)
    if name == "csv":
        return CsvForm(columns, labels)
    return JsonForm([*columns, "probabilities"], labels)
