"""Rows of jsonl and tsv files as Arrow tables: fast where all is well, exact where it is not.

A file is read in blocks of whole lines. Arrow parses each block at once; where that fails, or
where a value breaks a rule, Python parses the same block line by line and names what is wrong.
Both ways give equal tables. A byte order mark is left out.
"""

import gzip
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pyarrow as pa
from tqdm import tqdm

from dusha_ser.archives.members import Member
from dusha_ser.errors import WorkFailedError
from dusha_ser.labels.exact_rows import BadRow, Column, json_row, parse_lines, schema_of, tsv_row
from dusha_ser.labels.fast_rows import (
    BYTE_ORDER_MARK,
    NotPlainError,
    check_table,
    parse_json,
    parse_tsv,
)

# Bytes of a block. Larger ones are no faster; each thread holds a few copies of one.
BLOCK_SIZE = 2**22
# Blocks name the same texts again and again, and leave holes in the memory; they are joined when
# they have more rows than this, and than a quarter of what is joined already.
JOINED_ROWS = 100_000
# A file without line ends is no file of rows; it must not fill the memory.
LONGEST_LINE = 2**26
THREADS = 8  # at most; Python's own share of the work leaves nothing to more of them


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
    tables, bad = [schema_of(columns).empty_table()], []
    waiting = 0
    with ExitStack() as stack:
        blocks = Blocks(member, stack)
        if ".jsonl" in member.name:
            fast, slow = parse_json, json_row
        else:
            header = _read_header(member.name, blocks, columns)
            fast, slow = partial(parse_tsv, header=header), partial(tsv_row, header=header)
        parse = partial(parse_block, member.name, columns=columns, fast=fast, slow=slow)
        for table, found, size in _in_order(parse, blocks, stack):
            if found and bad_rows == "error":
                raise WorkFailedError(
                    f"{found[0]}; correct the row, or leave such rows out with --bad_rows skip"
                )
            tables.append(table)
            bad.extend(found)
            waiting += len(table)
            if waiting > max(JOINED_ROWS, len(tables[0]) / 4):
                tables, waiting = [join_tables(tables)], 0
            if bar is not None:
                bar.update(size)
    table = join_tables(tables)
    if not len(table):
        # Leaving rows out must not leave a whole file out, in another code or with other line ends.
        what = f"holds no row that can be used ({bad[0]})" if bad else "is empty"
        raise WorkFailedError(f"{member.name} {what}; fetch the archive that holds it again")
    return table, bad


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
    file: str,
    block: tuple[bytes, int, int],
    columns: tuple[Column, ...],
    fast: Callable,
    slow: Callable,
) -> tuple[pa.Table, list[BadRow], int]:
    """Turn some lines into a table.

    Args:
        file: name of the file, for bad rows.
        block: whole lines, number of the first one, and bytes read from disk for them.
        columns: what to read.
        fast: parse_json or parse_tsv.
        slow: json_row or tsv_row.

    Returns:
        The table, the bad rows and the bytes read from disk.
    """
    lines, first_line, size = block
    try:
        return check_table(fast(lines, columns), columns), [], size
    except (NotPlainError, pa.ArrowInvalid):
        table, bad = parse_lines(file, lines, first_line, columns, slow)
        return table, bad, size


class Blocks:
    """The lines of a file, in blocks.

    Args:
        member: the file; where its name ends in .gz it is uncompressed while read.
        stack: what is opened is closed with it.
    """

    def __init__(self, member: Member, stack: ExitStack):
        self._member = member
        self._line, self._position = 1, 0
        self._raw = stack.enter_context(member.open())
        self._file = self._raw
        if member.name.endswith(".gz"):
            self._file = stack.enter_context(gzip.GzipFile(fileobj=self._raw))
        self._block = self._read().removeprefix(BYTE_ORDER_MARK)

    def header(self) -> bytes:
        """Take the first line."""
        header, _, self._block = self._block.partition(b"\n")
        self._block = self._block or self._read()
        self._line += 1
        return header.removesuffix(b"\r")

    def __iter__(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield whole lines, the number of the first of them, and the bytes read from disk."""
        while block := self._block:
            position = self._raw.tell()
            yield block, self._line, position - self._position
            self._position = position
            self._line += block.count(b"\n")
            self._block = self._read()

    def _read(self) -> bytes:
        try:
            block = self._file.read(BLOCK_SIZE)
            rest = b"" if block.endswith(b"\n") else self._file.readline(LONGEST_LINE)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise WorkFailedError(
                f"{self._member.name} is damaged or cut short ({error}); fetch it again"
            ) from error
        if len(rest) == LONGEST_LINE:
            raise WorkFailedError(
                f"{self._member.name} has a line of more than {LONGEST_LINE} bytes; a file of "
                "answers has one row a line: fetch it again"
            )
        return block + rest


def _read_header(file: str, blocks: Blocks, columns: tuple[Column, ...]) -> list[str]:
    header = blocks.header().decode(errors="backslashreplace").split("\t")
    if header == [""]:
        raise WorkFailedError(f"{file} is empty or starts with an empty line; fetch it again")
    lacking = [column.field for column in columns if column.required and column.field not in header]
    if lacking or len(set(header)) < len(header):
        fault = f"lacks {', '.join(lacking)}" if lacking else "names a column twice"
        raise WorkFailedError(
            f"{file}: the header {' '.join(header)[:200]!r} {fault}; the first line of a tsv file "
            "names its columns, with tabs between them"
        )
    return header


def _in_order(function: Callable, items: Iterable, stack: ExitStack) -> Iterator:
    """Yield function(item) in the order of the items, some of them computed ahead in threads."""
    threads = min(pa.cpu_count(), THREADS)
    executor = stack.enter_context(ThreadPoolExecutor(threads))
    waiting: deque[Future] = deque()
    for item in items:
        waiting.append(executor.submit(function, item))
        if len(waiting) > threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
