"""Rows of jsonl and tsv files as Arrow tables, and what makes a row valid.

A line of jsonl is one object; NaN is allowed as in Python's json, other fields are ignored. In tsv
the first line names the columns, a row is one line, and cells may be in quotes, as pandas writes
them. Missing are null, NaN, an absent field and MISSING_TEXTS. Integers may stand for text (some
corpora number their annotators; pandas makes 1.0 of 1 beside missing values), text for a number.
Line ends of Windows, a byte order mark, empty lines and a last line without an end are allowed.

A file is read in blocks of lines, each parsed to rows and then checked column by column. Where all
values of a column have one type, only the different ones are checked.
"""

import csv
import gzip
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
from tqdm import tqdm

from dusha_ser.archives.members import Member
from dusha_ser.errors import WorkFailedError
from dusha_ser.processes import Mapper
from dusha_ser.tables import parse_number, unquote
from dusha_ser.vocabulary import MISSING_TEXTS

# Bytes of a block. The rows of a larger one no longer fit a processor's cache.
BLOCK_SIZE = 2**18
# Blocks repeat each other's texts and leave holes in the memory; they are joined when they have
# more rows than this, and than a quarter of what is joined already.
JOINED_ROWS = 100_000
# A file without line ends is not a file of rows; it must not fill the memory.
LONGEST_LINE = 2**26
# Where one object ends and another begins in one line.
TWO_OBJECTS = re.compile(r"\}[ \t\r]*,[ \t\r]*\{")
NUMBERED = re.compile(r"\d+\.0")
HALF_CHARACTER = re.compile(r"[\ud800-\udfff]")
TEXT = pa.dictionary(pa.int32(), pa.string())
NUMBER = pa.float64()


@dataclass(frozen=True)
class Column:
    """A column of a table and the field that it comes from."""

    field: str  # its name in the file
    name: str  # its name in the table
    required: bool = False  # whether a row without it is bad
    number: bool = False  # whether it is a finite number of at least 0; else it is text
    allowed: tuple[str, ...] | None = None  # the texts that may stand there; None: any
    identifier: bool = False  # whether it names something, so that "1.0" is "1"


@dataclass(frozen=True)
class Block:
    """Whole lines of a file, the number of the first one, and what is read from them."""

    file: str
    content: bytes
    first_line: int
    columns: tuple[Column, ...]
    header: list[str] | None  # the names of the fields of a tsv; None: jsonl

    def parse(self) -> "tuple[pa.Table, list[BadRow]]":
        """Return its rows and its bad rows."""
        return parse_block(self.file, self.content, self.first_line, self.columns, self.header)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its line from 1 (in tsv, of the header), the field at fault.

    Where the whole line is at fault, the field is "". The value is at most 80 characters long.
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
        # At most 80 characters; half characters cannot be written anywhere.
        shown = shown[:80].encode("utf-8", "backslashreplace").decode()
        return BadRow(file, line, self.field, shown, self.problem)


def read_rows(
    member: Member,
    columns: Iterable[Column],
    bad_rows: str = "error",
    bar: tqdm | None = None,
    mapper: Mapper = map,
) -> tuple[pa.Table, list[BadRow]]:
    """Read a file of rows.

    Args:
        member: a file whose name ends in .jsonl, .tsv, .jsonl.gz or .tsv.gz.
        columns: what to read.
        bad_rows: "error" to stop at the first bad row, "skip" to list it instead.
        bar: progress bar to move on by the bytes read.
        mapper: parses the blocks of lines.

    Returns:
        A row for each valid row, in the file's order: text as dictionary<int32, string>, numbers
        as float64, missing values as null; and the bad rows.

    Raises:
        WorkFailedError: a row is bad and bad_rows is "error"; the file is damaged, holds no good
            row, or is a tsv without a required column.
    """
    columns = tuple(columns)
    waiting = 0
    tables, bad = [Block(member.name, b"", 1, columns, None).parse()[0]], []
    for table, found in mapper(Block.parse, number_blocks(member, columns, bar)):
        if found and bad_rows == "error":
            raise WorkFailedError(
                f"{found[0]}; correct the row, or leave such rows out with `bad_rows=skip`"
            )
        tables.append(table)
        bad.extend(found)
        waiting += len(table)
        if waiting > max(JOINED_ROWS, len(tables[0]) / 4):
            tables, waiting = [join_tables(tables)], 0
    table = join_tables(tables)
    if not len(table):
        # Leaving rows out must not leave a whole file out, in another code or with other line ends.
        what = f"holds no row that can be used ({bad[0]})" if bad else "is empty"
        raise WorkFailedError(f"{member.name} {what}; fetch the archive that holds it again")
    return table, bad


def number_blocks(member: Member, columns: tuple[Column, ...], bar: tqdm | None) -> Iterator[Block]:
    """Yield the lines of a file in blocks, without what precedes the first row."""
    header, line = None, 1
    for block in read_blocks(member, bar):
        if line == 1:
            block = block.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
        if header is None and ".tsv" in member.name:
            first, _, block = block.partition(b"\n")
            header, line = parse_header(member.name, first.removesuffix(b"\r"), columns), 2
        yield Block(member.name, block, line, columns, header)
        line += block.count(b"\n")


def read_blocks(member: Member, bar: tqdm | None) -> Iterator[bytes]:
    """Yield the lines of a file in blocks, and move the bar on by the bytes read."""
    is_compressed = member.name.endswith(".gz")
    with member.open() as raw, gzip.GzipFile(fileobj=raw) if is_compressed else raw as file:
        position = 0
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
            if not block:
                return
            yield block + rest
            if bar is not None:
                bar.update(raw.tell() - position)
            position = raw.tell()


def parse_header(file: str, line: bytes, columns: tuple[Column, ...]) -> list[str]:
    """Return the names of the fields of a tsv; WorkFailedError where they cannot be right."""
    header = [unquote(name) for name in line.decode(errors="backslashreplace").split("\t")]
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
    """Join tables of one schema so that each column is one array, each of its texts kept once.

    The list is emptied, so that memory can be given back while they are joined.
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
    """Turn whole lines into a table and its bad rows; without a header they are jsonl."""
    faults: dict[int, BadValueError] = {}  # by line
    objects = parse_objects(block) if header is None else None
    rows = dict(enumerate(objects or (), first_line))
    if objects is None:
        for number, line in enumerate(block.split(b"\n"), first_line):
            try:
                if (row := parse_line(line, header)) is not None:
                    rows[number] = row
            except BadValueError as error:
                faults[number] = error
    lines, arrays = list(rows), []
    for column in columns:
        array, wrong = check_column(column, [row.get(column.field) for row in rows.values()])
        arrays.append(array)
        faults = {lines[place]: error for place, error in wrong.items()} | faults
    table = pa.table(arrays, [column.name for column in columns])
    if faults:
        table = table.filter(pa.array([line not in faults for line in lines], pa.bool_()))
    return table, [faults[line].in_row(file, line) for line in sorted(faults)]


def parse_objects(block: bytes) -> list[dict] | None:
    """Parse jsonl lines at once, in half the time; None where they are not plainly objects."""
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


def parse_line(line: bytes, header: list[str] | None) -> dict | None:
    """Parse a line of tsv, without a header of jsonl; None if empty, BadValueError if not a row."""
    line = line.removesuffix(b"\r")
    if not (line.strip(b" \t\r") if header is None else line):
        return None
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        shown = line.decode(errors="backslashreplace")
        raise BadValueError("", shown, f"byte {error.start + 1} is not UTF-8") from error
    if header is not None:
        values = split_line(text, len(header)) if '"' in text else text.split("\t")
        if len(values) == len(header):
            return dict(zip(header, values, strict=True))
        problem = f"{len(values)} columns, the header has {len(header)}"
        if text.count('"') % 2:
            problem += "; a cell in quotes must end in its line, take line ends out of texts"
        raise BadValueError("", text, problem)
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


def split_line(text: str, count: int) -> list[str]:
    """Split a line of tsv with quotes in it into cells, of which `count` are expected."""
    values = text.split("\t")
    if len(values) == count:
        return [unquote(value) for value in values]
    try:
        quoted = next(csv.reader([text], delimiter="\t", strict=True))
    except csv.Error:
        return values
    return quoted if len(quoted) == count else values


def check_column(column: Column, values: list) -> tuple[pa.Array, dict[int, BadValueError]]:
    """Return the values, TEXT or NUMBER, null where missing or bad, and the faults by place."""
    faults: dict[int, BadValueError] = {}
    kind = NUMBER if column.number else pa.string()
    try:
        # Arrow takes NaN for null, and refuses values of several types, but truth beside numbers.
        coded = pa.array(values, from_pandas=True).dictionary_encode()
        if not pa.types.is_string(coded.type.value_type) and bool in map(type, values):
            raise BadValueError(column.field, True, "is neither text nor a number")
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
    """Return text, a number of at least 0, or None if missing; raise BadValueError if it is bad."""
    if value is None or value != value or value in MISSING_TEXTS:
        if not column.required:
            return None
        value, problem = "missing" if value is None else value, "each row needs it"
    elif column.number:
        number = _to_number(value)
        if 0 <= number < math.inf:
            return number
        is_number = not math.isnan(number)
        problem = "must be finite and at least 0" if is_number else "must be a number"
    elif (text := _to_text(value)) is None:
        problem = "must be text"
    else:
        value = text.removesuffix(".0") if column.identifier and NUMBERED.fullmatch(text) else text
        if HALF_CHARACTER.search(value):
            problem = "holds half a character"
        elif column.allowed is None or value in column.allowed:
            return value
        else:
            problem = f"must be one of {', '.join(column.allowed)}"
    raise BadValueError(column.field, value, problem)


def _to_text(value: object) -> str | None:
    # Other people's corpora number their annotators.
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return str(value) if isinstance(value, str) or type(value) is int else None


def _to_number(value: object) -> float:
    # Python also takes digits of other scripts and 1_000, which no other reader does.
    is_plain = isinstance(value, str) and value.isascii() and "_" not in value
    if not is_plain and type(value) not in (int, float):
        return math.nan
    try:
        return parse_number(value) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    except ValueError:
        return math.nan
    except OverflowError:
        return math.inf
