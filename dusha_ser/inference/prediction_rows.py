"""Rows of answers as CSV, as JSON lines or as a table, and files of them that a killed run resumes.

A row goes to the file when its file is done. Starting again drops a last line that was cut, keeps
the others and says which files are done. Processes that share a list write a part each; parts
become one file in the order of the list.
"""

import contextlib
import csv
import glob
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from dusha_ser.errors import WrongUseError
from dusha_ser.storage import replacing

# Columns of probabilities begin so in all tables.
PROBABILITY_PREFIX = "probability_"
FORMATS = ("csv", "jsonl", "table")
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
        """The id of a row's bytes, and whether it has an error; ValueError where it is no row."""
        raise NotImplementedError


class CsvForm(RowForm):
    """One column a probability, probability_LABEL."""

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
    """One JSON object a line."""

    def line(self, row: dict) -> str:
        """The row as it is."""
        return json.dumps(row, ensure_ascii=False) + "\n"

    def read(self, record: bytes) -> tuple[str, bool]:
        """As the base says."""
        row = json.loads(record.decode("utf-8", "surrogateescape"))
        if not isinstance(row, dict) or not {*self.columns, "error"} <= row.keys():
            raise ValueError("it lacks columns")
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
        answer = f"{cells[len(self.columns) - 1]:<{self.label_width}}"
        shares = [
            f"{cell:>{width}}"
            for cell, width in zip(cells[len(self.columns) :], self.widths, strict=True)
        ]
        line = "  ".join([f"{cells[0]:<{self.width}}", *times, answer, *shares, error])
        # A name of a file must not steer the terminal.
        return "".join(c if c.isprintable() else "?" for c in line.rstrip()) + "\n"


def make_form(
    name: str, timeline: bool, vad: bool, labels: Sequence[str], names: Iterable[str] = ()
) -> RowForm:
    """Give the form of a name among FORMATS, with the columns that a run has."""
    times = ["start", "end"] if timeline else ["duration", "speech"] if vad else ["duration"]
    columns = ["id", *times, "prediction"]
    if name == "table":
        return TableForm(columns, labels, names)
    if name == "csv":
        return CsvForm(columns, labels)
    return JsonForm([*columns, "probabilities"], labels)


def complete_records(path: Path, form: RowForm) -> Iterator[tuple[int, int, bytes]]:
    """Read the records of a file that were written to their ends.

    Args:
        path: of the file.
        form: of its rows; in CSV, a record goes on where a line ends within quotes.

    Yields:
        where the record begins, where it ends, in bytes, and what it is.
    """
    begin, end, record = 0, 0, b""
    with path.open("rb") as file:
        for line in file:
            record += line
            end += len(line)
            if isinstance(form, CsvForm) and record.count(b'"') % 2:
                continue
            if record.endswith(b"\n"):
                yield begin, end, record
            begin, record = end, b""


class AnswerFile:
    """A file of rows that is written group by group and taken up where it ends.

    Args:
        path: of the file; its folder is made.
        form: of its rows.
        rows_of_a_file: whether a file may have several rows: then the last file's, which may not
            all be there, are dropped.

    Attributes:
        done: the ids whose rows are there.
        failed: the ids among them that have an error.

    Raises:
        WrongUseError: if the file holds something else.
    """

    def __init__(self, path: Path, form: RowForm, rows_of_a_file: bool = False):
        self.path, self.form = path, form
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self.places: dict[str, tuple[int, int]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        end = self._take_up() if path.exists() else 0
        if rows_of_a_file and self.places:
            name = next(reversed(self.places))
            end = self.places.pop(name)[0]
        self.done = set(self.places)
        self.failed &= self.done
        self._file = path.open("ab")
        self._file.truncate(end)
        if not end:
            self._file.write(self._encode(form.header()))
            self._file.flush()

    def _take_up(self) -> int:
        header, end = self._encode(self.form.header()), 0
        for begin, after, record in complete_records(self.path, self.form):
            if header and not begin:
                if record != header:
                    raise self._refusal("its header is another one")
            else:
                try:
                    name, failed = self.form.read(record)
                except (ValueError, TypeError, AttributeError, csv.Error) as error:
                    raise self._refusal(f"byte {begin} begins no row of it: {error}") from error
                # Rows of one file stand together.
                self.places[name] = (self.places.get(name, (begin, 0))[0], after)
                if failed:
                    self.failed.add(name)
            end = after
        return end

    def _refusal(self, reason: str) -> WrongUseError:
        return WrongUseError(
            f"{self.path} is there and not by a run of this kind ({reason}); name another "
            "--output_file, or give --overwrite"
        )

    @staticmethod
    def _encode(text: str) -> bytes:
        # Names of files need not be UTF-8.
        return text.encode("utf-8", "surrogateescape")

    def write(self, files: Iterable[list[dict]]) -> None:
        """Add the rows of files, leaving out those that are there."""
        lines = []
        for rows in files:
            name = rows[0]["id"]
            if name in self.done:
                continue
            lines += [self.form.line(row) for row in rows]
            self.done.add(name)
            if rows[0]["error"] is not None:
                self.failed.add(name)
        self._file.write(self._encode("".join(lines)))
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other program adds to a file of rows, and keep others waiting.

    Args:
        path: of the file; its folder is made, and the lock lies beside it, hidden.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


def part_path(path: Path, rank: int, world_size: int) -> Path:
    """Where one of several processes writes.

    Example:
        >>> part_path(Path("answers.csv"), 1, 4).name
        'answers.part-00001-of-00004.csv'
    """
    return path.with_name(f"{path.stem}.part-{rank:05d}-of-{world_size:05d}{path.suffix}")


def find_parts(path: Path) -> list[Path]:
    """The parts of a file that lie beside it."""
    digits = "[0-9]" * 5
    pattern = f"{glob.escape(path.stem)}.part-{digits}-of-{digits}{glob.escape(path.suffix)}"
    return sorted(path.parent.glob(pattern))


def merge_parts(
    path: Path, names: Iterable[str], form: RowForm, rows_of_a_file: bool = False
) -> None:
    """Make one file of its parts and of itself, and remove the parts.

    Args:
        path: of the file, which need not be there.
        names: the ids, in the order that the rows shall have; others in the file come before.
        form: of the rows.
        rows_of_a_file: whether a file may have several rows.
    """
    parts = find_parts(path)
    sources = [
        AnswerFile(one, form, rows_of_a_file and one != path)
        for one in ([path] if path.exists() else []) + parts
    ]
    where: dict[str, tuple[int, tuple[int, int]]] = {}
    for number, source in enumerate(sources):
        source.close()
        for name, place in source.places.items():
            where.setdefault(name, (number, place))
    names = list(names)
    wanted = set(names)
    order = [name for name in where if name not in wanted] + [n for n in names if n in where]
    opened = [source.path.open("rb") for source in sources]
    try:
        with replacing(path) as unfinished, unfinished.open("wb") as merged:
            merged.write(form.header().encode())
            for name in order:
                number, (begin, end) = where[name]
                opened[number].seek(begin)
                merged.write(opened[number].read(end - begin))
    finally:
        for file in opened:
            file.close()
    for part in parts:
        part.unlink()


def check_settings(path: Path, settings: dict) -> None:
    """Refuse to continue a file that other settings began; note them where there are none.

    Args:
        path: the file of rows; the note lies beside it, hidden.
        settings: what decides the answers, of JSON values.

    Raises:
        WrongUseError: if the note says something else; the message names what.
    """
    note = settings_path(path)
    if note.exists():
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            before = {}
        other = sorted(name for name in settings if before.get(name) != settings[name])
        if other:
            raise WrongUseError(
                f"{path} was begun with another {', '.join(other)}; name another --output_file, "
                "or give --overwrite"
            )
        return
    with replacing(note) as unfinished:
        unfinished.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def settings_path(path: Path) -> Path:
    """Where the settings of a file of rows are noted."""
    return path.with_name(f".{path.name}.settings.json")
