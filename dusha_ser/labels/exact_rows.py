"""What a valid row is: lines of jsonl and tsv files, parsed one by one.

- jsonl: an object a line; NaN is allowed as in Python's json. Fields nobody asks for are ignored.
- tsv: the first line names the columns; nothing is quoted, so that a quotation mark is a letter
  like any other and no text holds a tab.
- Missing are null, NaN, an absent field and the texts "", "nan" and "NaN".
- Line ends of Windows, empty lines and a last line without an end do no harm.
- Whole numbers may stand for text: some corpora number their annotators. Text may stand for a
  number, as in tsv it always does.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

MISSING_TEXTS = ("", "nan", "NaN")
SHOWN_VALUE = 80  # characters of a bad value that are shown
TEXT = pa.dictionary(pa.int32(), pa.string())
NUMBER = pa.float64()


@dataclass(frozen=True)
class Column:
    """A column of a table and the field that it comes from.

    Args:
        field: name in the file.
        name: name in the table.
        required: whether a row without it is bad.
        number: whether it is a finite number of at least 0; else it is text.
        allowed: the texts that may stand there; None: any.
    """

    field: str
    name: str
    required: bool = False
    number: bool = False
    allowed: tuple[str, ...] | None = None

    @property
    def type(self) -> pa.DataType:
        """Arrow type in the table."""
        return NUMBER if self.number else TEXT


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used.

    Args:
        file: name of the file in the corpus.
        line: its line, from 1; the header of a tsv file is line 1.
        field: the field at fault, "" where it is the whole line.
        value: what stands there, at most 80 characters of it.
        problem: what is wrong with it.
    """

    file: str
    line: int
    field: str
    value: str
    problem: str

    def __str__(self) -> str:
        where = f"{self.field} is {self.value!r}" if self.field else f"{self.value!r}"
        return f"{self.file}, line {self.line}: {where}: {self.problem}"


class BadValueError(ValueError):
    """A field, its value, and what is wrong with it."""

    def __init__(self, field: str, value: object, problem: str):
        super().__init__(problem)
        self.field, self.value, self.problem = field, value, problem


def schema_of(columns: Iterable[Column]) -> pa.Schema:
    """Return the schema of a table with these columns."""
    return pa.schema([(column.name, column.type) for column in columns])


def parse_lines(
    file: str, block: bytes, first_line: int, columns: tuple[Column, ...], slow: Callable
) -> tuple[pa.Table, list[BadRow]]:
    """Parse lines one by one: the definition of a valid row.

    Args:
        file: name of the file, for bad rows.
        block: whole lines.
        first_line: number of the first one.
        columns: what to read.
        slow: json_row or tsv_row.

    Returns:
        As check_table, and the bad rows.
    """
    rows, bad = [], []
    for number, line in enumerate(block.split(b"\n"), first_line):
        line = line.removesuffix(b"\r")
        try:
            fields = slow(line)
            if fields is not None:
                rows.append([check_value(column, fields.get(column.field)) for column in columns])
        except BadValueError as error:
            shown = error.value if isinstance(error.value, str) else repr(error.value)
            # Half characters cannot be written anywhere.
            shown = shown[:SHOWN_VALUE].encode("utf-8", "backslashreplace").decode()
            bad.append(BadRow(file, number, error.field, shown, error.problem))
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    arrays = [
        pa.array(own, NUMBER) if column.number else pa.array(own, pa.string()).dictionary_encode()
        for column, own in zip(columns, values, strict=True)
    ]
    return pa.table(arrays, schema_of(columns)), bad


def json_row(line: bytes) -> dict | None:
    """Parse a line of jsonl; None where it is empty, BadValueError where it is no object."""
    if not line.strip(b" \t\r"):
        return None
    text = _decode(line)
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"broken JSON: {error.msg} at column {error.colno}"
        raise BadValueError("", text, problem) from error
    except (ValueError, RecursionError) as error:
        raise BadValueError("", text, f"broken JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadValueError("", text, "a row is a JSON object")
    return fields


def tsv_row(line: bytes, header: list[str]) -> dict | None:
    """Parse a line of tsv; None where it is empty, BadValueError where it does not fit."""
    if not line:
        return None
    text = _decode(line)
    values = text.split("\t")
    if len(values) != len(header):
        problem = f"{len(values)} columns, the header has {len(header)}"
        raise BadValueError("", text, problem)
    return dict(zip(header, values, strict=True))


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        shown = line.decode(errors="backslashreplace")
        problem = f"byte {error.start + 1} is not UTF-8"
        raise BadValueError("", shown, problem) from error


def check_value(column: Column, value: object) -> str | float | None:
    """Check a parsed value.

    Args:
        column: what it must be.
        value: what json or a split line gave, None where the field is absent.

    Returns:
        Text or a finite number of at least 0; None where it is missing.

    Raises:
        BadValueError: it is something else.
    """
    not_a_number = isinstance(value, float) and math.isnan(value)
    if value is None or not_a_number or (isinstance(value, str) and value in MISSING_TEXTS):
        if column.required:
            shown = "missing" if value is None else value
            raise BadValueError(column.field, shown, "each row needs it")
        return None
    return _check_number(column, value) if column.number else _check_text(column, value)


def _check_number(column: Column, value: object) -> float:
    try:
        # Python also takes digits of other scripts and 1_000, which no other reader does.
        is_plain = not isinstance(value, str) or (value.isascii() and "_" not in value)
        number = float(value) if is_plain and not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    except OverflowError:
        number = math.inf
    if math.isnan(number):
        raise BadValueError(column.field, value, "must be a number")
    if math.isinf(number) or number < 0:
        raise BadValueError(column.field, value, "must be finite and at least 0")
    return number


def _check_text(column: Column, value: object) -> str:
    # Other people's corpora number their annotators.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise BadValueError(column.field, value, "must be text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadValueError(column.field, text, "holds half a character") from error
    if column.allowed is not None and text not in column.allowed:
        raise BadValueError(column.field, text, f"must be one of {', '.join(column.allowed)}")
    return text
