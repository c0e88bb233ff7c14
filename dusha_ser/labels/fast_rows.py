"""Blocks of jsonl and tsv lines parsed by Arrow, a hundred times as fast as line by line.

Nothing is decided here: what Arrow cannot read, or what might be a bad row, is refused and left
to `exact_rows`. What is not refused gives the same table as there.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from dusha_ser.labels.exact_rows import MISSING_TEXTS, NUMBER, TEXT, Column, schema_of

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Arrow's own blocks, which fit a processor's cache; longer lines are left to Python.
BLOCK_SIZE = 2**20


class NotPlainError(ValueError):
    """A block is not for Arrow, or holds a bad row."""


def parse_json(block: bytes, columns: tuple[Column, ...]) -> pa.Table:
    """Parse jsonl lines with Arrow.

    Args:
        block: whole lines.
        columns: what to read.

    Returns:
        Text as string, numbers as float64; a row for each line.

    Raises:
        NotPlainError: lines and objects are not one to one.
        pa.ArrowInvalid: Arrow cannot read them.
    """
    text = np.frombuffer(bytearray(_plain_lines(block)), np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    # Arrow takes objects one after another and cares little for line ends. No line end between
    # these two can lie within an object.
    if (
        text[0] != ord("{")
        or np.any(text[ends - 1] != ord("}"))
        or np.any(text[ends[:-1] + 1] != ord("{"))
    ):
        raise NotPlainError
    _blank_nan(text)
    schema = pa.schema([(c.field, NUMBER if c.number else pa.string()) for c in columns])
    table = pyarrow.json.read_json(
        pa.BufferReader(pa.py_buffer(text)),
        pyarrow.json.ReadOptions(use_threads=False, block_size=BLOCK_SIZE),
        pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    return _checked_length(table, len(ends))


def parse_tsv(block: bytes, columns: tuple[Column, ...], header: list[str]) -> pa.Table:
    """Parse tsv lines with Arrow; arguments, result and errors as for parse_json.

    Args:
        block: whole lines without the header.
        columns: what to read.
        header: names of the fields.

    Returns:
        Text as string, numbers as float64; a row for each line.

    Raises:
        NotPlainError: there are empty lines, or line ends within lines.
        pa.ArrowInvalid: Arrow cannot read them.
    """
    text = _plain_lines(block)
    types = {c.field: NUMBER if c.number else pa.string() for c in columns if c.field in header}
    table = pyarrow.csv.read_csv(
        pa.BufferReader(text),
        pyarrow.csv.ReadOptions(column_names=header, use_threads=False, block_size=BLOCK_SIZE),
        pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False, double_quote=False),
        pyarrow.csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=MISSING_TEXTS,
            strings_can_be_null=True,
        ),
    )
    for column in columns:
        if column.field not in header:
            kind = NUMBER if column.number else pa.string()
            table = table.append_column(column.field, pa.nulls(len(table), kind))
    return _checked_length(table, text.count(b"\n"))


def _plain_lines(block: bytes) -> bytes:
    """Return lines of UTF-8 that all end in one "\\n"; not plain is what could mean two things."""
    size = len(block).to_bytes(8, "little")
    buffers = [None, pa.py_buffer(bytes(8) + size), pa.py_buffer(block)]
    pa.Array.from_buffers(pa.large_string(), 1, buffers).validate(full=True)
    # Arrow leaves the mark out wherever a block begins; only a file's own first one is none of
    # its text.
    if block.startswith(BYTE_ORDER_MARK):
        raise NotPlainError
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
        if b"\r" in block:
            raise NotPlainError
    # The end of a file may lack its line end or have several; any other block is not copied.
    if not block.endswith(b"\n") or block.endswith(b"\n\n"):
        block = block.rstrip(b"\n") + b"\n"
    if block == b"\n":
        raise NotPlainError
    return block


def _checked_length(table: pa.Table, lines: int) -> pa.Table:
    if len(table) != lines:
        raise NotPlainError
    return table


def _blank_nan(text: np.ndarray) -> None:
    """Replace NaN, which Arrow takes for a number, by "" in place, uint8 (bytes,).

    Only what follows `WORD": ` or `WORD":` is replaced. A quotation mark after a letter, digit or
    underscore ends a string; so what is replaced never lies within one, and it is the value of
    a field in any valid line. What is no valid line stays none.
    """
    places = np.flatnonzero(text == ord("N"))
    places = places[(places >= 4) & (places < len(text) - 2)]
    places = places[(text[places + 1] == ord("a")) & (text[places + 2] == ord("N"))]
    colons = places - 1 - (text[places - 1] == ord(" "))
    named = (text[colons] == ord(":")) & (text[colons - 1] == ord('"')) & _WORD[text[colons - 2]]
    places = places[named]
    text[places] = text[places + 1] = ord('"')
    text[places + 2] = ord(" ")


_WORD = np.array([chr(code).isalnum() and code < 128 or code == ord("_") for code in range(256)])


def check_table(table: pa.Table, columns: tuple[Column, ...]) -> pa.Table:
    """Bring a table that Arrow parsed to its final form and check it.

    Args:
        table: columns by field name, text as string, numbers as float64.
        columns: what they must be.

    Returns:
        The table with its final names and types.

    Raises:
        NotPlainError: a row is bad.
    """
    finished = []
    for column in columns:
        values = table[column.field]
        if column.number:
            values = _check_numbers(values, column)
        else:
            values = _check_texts(values.dictionary_encode().combine_chunks(), column)
        finished.append(values)
    return pa.table(finished, schema_of(columns))


def _check_numbers(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    numbers = values.drop_null().to_numpy()
    if column.required and len(numbers) < len(values):
        raise NotPlainError
    if len(numbers) and not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise NotPlainError
    return values


def _check_texts(values: pa.DictionaryArray, column: Column) -> pa.DictionaryArray:
    if isinstance(values, pa.ChunkedArray):  # of no chunks
        values = pa.array([], TEXT)
    missing = pc.is_in(values.dictionary, pa.array(MISSING_TEXTS)).to_numpy(False)
    if missing.any():
        numbers = pa.array(np.cumsum(~missing, dtype=np.int32) - 1, mask=missing)
        values = pa.DictionaryArray.from_arrays(
            numbers.take(values.indices), values.dictionary.filter(pa.array(~missing))
        )
    if column.required and values.indices.null_count:
        raise NotPlainError
    if column.allowed is not None and len(values.dictionary):
        allowed = pc.is_in(values.dictionary, pa.array(column.allowed, pa.string()))
        if not pc.all(allowed).as_py():
            raise NotPlainError
    return values
