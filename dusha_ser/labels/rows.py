"""Rows of jsonl and tsv files as Arrow tables, and what makes a row valid.

- jsonl: one object per line; NaN is allowed as in Python's json, other fields are ignored.
- tsv: the first line names the columns; nothing is quoted, so that a quotation mark is a letter
  like any other and no text holds a tab.
- Missing are null, NaN, an absent field and the texts "", "nan" and "NaN".
- Line ends of Windows, a byte order mark, empty lines and a last line without an end are allowed.
- Integers may stand for text: some corpora number their annotators. Text may stand for a number,
  as in tsv it always does.

A file is read in blocks of lines, each parsed to rows and then checked column by column. Where all
values of a column have one type, only the different ones are checked.
"""

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import pyarrow as pa
from tqdm import tqdm

from dusha_ser.archives.members import Member
from dusha_ser.errors import WorkFailedError
from dusha_ser.vocabulary import MISSING_TEXTS

# Bytes of a block. The rows of a larger one no longer fit a processor's cache.
BLOCK_SIZE = 2**18
# Blocks repeat each other's texts and leave holes in the memory; they are joined when they have
# more rows than this, and than a quarter of what is joined already.
JOINED_ROWS = 100_000
# A file without line ends is not a file of rows; it must not fill the memory.
LONGEST_LINE = 2**26
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Where one object ends and another begins in one line.
TWO_OBJECTS = re.compile(r"\}[ \t\r]*,[ \t\r]*\{")
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

    def in_row(self, file: str, line: int) -> BadRow:
        """Return the bad row that holds the value."""
        shown = self.value if isinstance(self.value, str) else repr(self.value)
        # Half characters cannot be written anywhere.
        shown = shown[:SHOWN_VALUE].encode("utf-8", "backslashreplace").decode()
        return BadRow(file, line, self.field, shown, self.problem)


def read_rows(
    member: Member, columns: Iterable[Column], bad_rows: str = "error", bar: tqdm | None = None
) -> tuple[pa.Table, list[BadRow]]:
    """Read a file of rows.

    Args:
        member: a file whose name ends in .jsonl, .tsv, .jsonl.gz or .tsv.gz.
        columns: what to read.
        bad_rows: "error" to stop at the first bad row, "skip" to list it instead.
        bar: progress bar to move on by the bytes read.

    Returns:
        A row for each valid row, in the file's order: text as dictionary<int32, string>, numbers
        as float64, missing values as null; and the bad rows.

    Raises:
        WorkFailedError: a row is bad and bad_rows is "error"; the file is damaged, holds no good
            row, or is a tsv without a required column.
    """
    columns = tuple(columns)
    header, line, waiting = None, 1, 0
    tables, bad = [parse_block(member.name, b"", line, columns, header)[0]], []
    for block in read_blocks(member, bar):
        if header is None and ".tsv" in member.name:
            first, _, block = block.partition(b"\n")
            header, line = parse_header(member.name, first.removesuffix(b"\r"), columns), 2
        table, found = parse_block(member.name, block, line, columns, header)
        if found and bad_rows == "error":
            raise WorkFailedError(
                f"{found[0]}; correct the row, or leave such rows out with `bad_rows=skip`"
            )
        tables.append(table)
        bad.extend(found)
        line += block.count(b"\n")
        waiting += len(table)
        if waiting > max(JOINED_ROWS, len(tables[0]) / 4):
            tables, waiting = [join_tables(tables)], 0
    table = join_tables(tables)
    if not len(table):
        # Leaving rows out must not leave a whole file out, in another code or with other line ends.
        what = f"holds no row that can be used ({bad[0]})" if bad else "is empty"
        raise WorkFailedError(f"{member.name} {what}; fetch the archive that holds it again")
    return table, bad


def read_blocks(member: Member, bar: tqdm | None) -> Iterator[bytes]:
    """Yield the lines of a file in blocks, without a byte order mark, and move the bar on."""
    is_compressed = member.name.endswith(".gz")
    with member.open() as raw, gzip.GzipFile(fileobj=raw) if is_compressed else raw as file:
        mark, position = BYTE_ORDER_MARK, 0
        while True:
            try:
                block = file.read(BLOCK_SIZE)
                rest = b"" if block.endswith(b"\n") else file.readline(LONGEST_LINE)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise WorkFailedError(
                    f"{member.name} is damaged or cut short ({error}); fetch it again"
                ) from error
            if len(rest) == LONGEST_LINE:
                raise WorkFailedError(
                    f"{member.name} has a line of more than {LONGEST_LINE} bytes; a file of "
                    "answers has one row per line: fetch it again"
                )
            block, mark = (block + rest).removeprefix(mark), b""
            if not block:
                return
            yield block
            if bar is not None:
                bar.update(raw.tell() - position)
            position = raw.tell()


def parse_header(file: str, line: bytes, columns: tuple[Column, ...]) -> list[str]:
    """Return the names of the fields of a tsv; WorkFailedError where they cannot be right."""
    header = line.decode(errors="backslashreplace").split("\t")
    if header == [""]:
        raise WorkFailedError(f"{file} is empty or starts with an empty line; fetch it again")
    missing = [column.field for column in columns if column.required and column.field not in header]
    if missing or len(set(header)) < len(header):
        fault = f"does not name {', '.join(missing)}" if missing else "names a column twice"
        raise WorkFailedError(
            f"{file}: the header {' '.join(header)[:200]!r} {fault}; the first line of a tsv file "
            "names its columns, with tabs between them"
        )
    return header


def join_tables(tables: list[pa.Table]) -> pa.Table:
    """Join tables so that each column is one array, each of its texts kept once.

    Args:
        tables: of one schema; the list is emptied, so that memory can be given back while they
            are joined.

    Returns:
        All their rows; dictionaries in the order in which the tables' own have their texts.
    """
    table = pa.concat_tables(tables)
    tables.clear()
    schema, joined = table.schema, []
    for name in schema.names:
        column = table[name]
        table = table.drop_columns(name)
        joined.append(column.unify_dictionaries().combine_chunks())
    # Of a hundred megabytes, what follows would find little use for the pieces.
    pa.default_memory_pool().release_unused()
    return pa.table(joined, schema)


def parse_block(
    file: str, block: bytes, first_line: int, columns: tuple[Column, ...], header: list[str] | None
) -> tuple[pa.Table, list[BadRow]]:
    """Turn lines into a table.

    Args:
        file: name of the file, for bad rows.
        block: whole lines.
        first_line: number of the first one.
        columns: what to read.
        header: names of the fields of a tsv; None: the lines are jsonl.

    Returns:
        The table, as `read_rows` describes it, and the bad rows in the order of lines.
    """
    faults: dict[int, BadValueError] = {}  # by line
    rows = parse_objects(block) if header is None else None
    lines: Sequence[int] = range(first_line, first_line + len(rows or ()))
    if rows is None:
        rows, lines = [], []
        for number, line in enumerate(block.split(b"\n"), first_line):
            line = line.removesuffix(b"\r")
            try:
                row = json_row(line) if header is None else tsv_row(line, header)
            except BadValueError as error:
                faults[number] = error
            else:
                if row is not None:
                    rows.append(row)
                    lines.append(number)
    arrays = []
    for column in columns:
        array, wrong = check_column(column, [row.get(column.field) for row in rows])
        arrays.append(array)
        faults = {lines[place]: error for place, error in wrong.items()} | faults
    table = pa.table(arrays, [column.name for column in columns])
    if faults:
        table = table.filter(pa.array([line not in faults for line in lines], pa.bool_()))
    return table, [faults[line].in_row(file, line) for line in sorted(faults)]


def parse_objects(block: bytes) -> list[dict] | None:
    """Parse jsonl lines at once, which takes half the time of one by one.

    Args:
        block: whole lines.

    Returns:
        One object for each line; None where the block is not plainly one object per line.
    """
    try:
        text = block.decode().rstrip(" \t\r\n")
        if not text:
            return []
        rows = json.loads("[" + text.replace("\n", ",") + "]")
    except (ValueError, RecursionError):
        return None
    # As many objects as lines, and none begins within a line where another ends: so each is a line.
    is_plain = all(type(row) is dict for row in rows) and not TWO_OBJECTS.search(text)
    return rows if is_plain and len(rows) == text.count("\n") + 1 else None


def json_row(line: bytes) -> dict | None:
    """Parse a line of jsonl; None where it is empty, BadValueError where it is not an object."""
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
        raise BadValueError("", shown, f"byte {error.start + 1} is not UTF-8") from error


def check_column(column: Column, values: list) -> tuple[pa.Array, dict[int, BadValueError]]:
    """Check the values of a column.

    Args:
        column: what they must be.
        values: as parsed, one per row, None where the field is absent.

    Returns:
        The values, TEXT or NUMBER (rows,), null where they are missing or bad; and what is wrong
        with which rows.
    """
    faults: dict[int, BadValueError] = {}
    kind = NUMBER if column.number else pa.string()
    try:
        # Arrow takes NaN for null, and refuses values of several types, but for truth as a number.
        if column.number and bool in map(type, values):
            raise BadValueError(column.field, True, "must be a number")
        coded = pa.array(values, from_pandas=True).dictionary_encode()
        if column.required and coded.null_count:
            raise BadValueError(column.field, None, "each row needs it")
        different = [check_value(column, value) for value in coded.dictionary.to_pylist()]
        array = pa.array(different, kind).take(coded.indices)
    except (BadValueError, pa.ArrowException, UnicodeError, OverflowError):
        checked: list[str | float | None] = []
        for place, value in enumerate(values):
            try:
                checked.append(check_value(column, value))
            except BadValueError as error:
                checked.append(None)
                faults[place] = error
        array = pa.array(checked, kind)
    return array if column.number else array.dictionary_encode(), faults


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

    def refuse(problem: str, shown: object = value) -> NoReturn:
        raise BadValueError(column.field, shown, problem)

    if value is None or value != value or value in MISSING_TEXTS:
        if column.required:
            refuse("each row needs it", "missing" if value is None else value)
        return None
    if column.number:
        number = _to_number(value)
        if math.isnan(number):
            refuse("must be a number")
        if math.isinf(number) or number < 0:
            refuse("must be finite and at least 0")
        return number
    # Other people's corpora number their annotators.
    text = str(value) if type(value) is int else value
    if not isinstance(text, str):
        refuse("must be text")
    try:
        text.encode()
    except UnicodeEncodeError:
        refuse("holds half a character")
    if column.allowed is not None and text not in column.allowed:
        refuse(f"must be one of {', '.join(column.allowed)}", text)
    return text


def _to_number(value: object) -> float:
    # Python also takes digits of other scripts and 1_000, which no other reader does.
    is_plain = isinstance(value, str) and value.isascii() and "_" not in value
    if not is_plain and type(value) not in (int, float):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]  # it is text or a number
    except ValueError:
        return math.nan
    except OverflowError:
        return math.inf
