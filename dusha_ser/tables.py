"""Tables: read from files of users, and written for pages and screens."""

import csv
import functools
import io
import logging
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from dusha_ser.errors import MissingInputError, WrongUseError

logger = logging.getLogger(__name__)

CLIPS_FILE = "clips.csv"
# What separates the cells of a table, most often, by the suffix of its file.
TABLES = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")
# What workbooks begin with: zip archives, and the compound files of older ones.
WORKBOOK_STARTS = (b"PK\x03\x04", bytes.fromhex("d0cf11e0a1b11ae1"))
# Longer marks first: that of UTF-32 begins as that of UTF-16 does.
BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
# What spreadsheets save as on Windows, from MS-DOS and on Unix, in Russian and in the west.
CODE_PAGES = ["cp1251", "cp866", "koi8_r", "cp1252"]
# The first line with which Excel states the separator.
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[;,\t ]*(\r\n|\r|\n)')
# No header of a table holds any of them, and that of audio does.
CONTROL = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f]")
QUOTED = re.compile(r'"(?:[^"]|"")*"')
# A number with commas between thousands.
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")


class Row(dict[str, str]):
    """A row of a table by column, and the place where users find it: "clips.csv, line 3"."""

    def __init__(self, cells: dict[str, str], place: str):
        super().__init__(cells)
        self.place = place


def number_cell(value: float | None) -> str:
    """Return three decimals, or a dash for None and NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def count_columns(table: Sequence[Sequence[str]], signs: str = "0123456789,") -> list[bool]:
    """Say of each column, below its head, whether it holds these signs only, by default counts."""
    return [not "".join(column[1:]).strip(signs) for column in zip(*table, strict=True)]


def markdown_table(table: Sequence[Sequence[str]]) -> str:
    """Format a table, rows of cells with the head first, as lines of Markdown.

    Examples:
        >>> print(markdown_table([["a", "clips"], ["x|y", "1,200"]]), end="")
        | a    |   clips |
        |:-----|--------:|
        | x\\|y |   1,200 |
    """
    return aligned_table([[cell.replace("|", "\\|") for cell in row] for row in table], "pipe")


def screen_table(table: Sequence[Sequence[str]]) -> str:
    """Format a table, rows of cells with the head first, as lines for a terminal."""
    return aligned_table(table, "simple")


def aligned_table(table: Sequence[Sequence[str]], form: str) -> str:
    """Format a table in one of tabulate's formats, one line per row."""
    # Only here: what reads tables where nothing is shown need not have it.
    from tabulate import tabulate

    head, *rows = [[cell.replace("\n", " ") for cell in row] for row in table]
    sides = ["right" if counts else "left" for counts in count_columns(table)]
    return tabulate(rows, head, form, colalign=sides, disable_numparse=True) + "\n"


def read_table(
    path: Path,
    needed: Sequence[str],
    advice: str = "add it",
    filled: Sequence[str] = (),
    exact: bool = False,
) -> list[Row]:
    """Read a table of text, as spreadsheets and other programs write it.

    The encoding is UTF-8 or UTF-16, or else what the text makes probable, with a warning. Cells are
    separated by commas, semicolons or tabs, whichever gives the needed columns. Rows without any
    value are left out.

    Args:
        path: a file whose first line names the columns.
        needed: columns that must be there.
        advice: what to do if one is not.
        filled: those of them that have a value in each row.
        exact: whether blanks around cells are part of them, as in tables of our own programs.

    Returns:
        The rows; what is missing in a short line is "".

    Raises:
        MissingInputError: if there is no such file.
        WrongUseError: if it is not such a table, has no rows, or a cell is wrong or missing.
    """
    if not path.is_file():
        raise MissingInputError(f"no file {path}; give a table (.csv or .tsv)")
    text, first_line = decode_table(path), 1
    preferred = TABLES.get(path.suffix.lower(), ",")
    separators = sorted(SEPARATORS, key=lambda separator: separator != preferred)
    if stated := SEPARATOR_LINE.match(text):
        text, separators, first_line = text[stated.end() :], [stated[1]], 2

    def records(separator: str) -> Iterator[tuple[int, list[str]]]:
        line = 1
        try:
            for line, cells in split_cells(text, separator, exact):
                yield first_line - 1 + line, cells if exact else [cell.strip() for cell in cells]
        except csv.Error as error:
            raise WrongUseError(
                f"{path}, after line {first_line - 1 + line}: {error}; write a cell that holds "
                'quotes in quotes, and each of them twice: "a ""word"" of it"'
            ) from error

    def header_of(separator: str) -> list[str]:
        try:
            return next(records(separator), (first_line, []))[1]
        except WrongUseError:
            return []  # quotes that are not those of this separator

    # The first of the best: as the suffix has it, unless another one gives more of the columns.
    separator = max(
        separators,
        key=lambda one: (set(needed) <= set(header := header_of(one)), len(header)),
    )
    found = records(separator)
    header = next(found, (first_line, []))[1]
    check_header(path, header, needed, advice)
    rows = []
    for line, cells in found:
        if not any(cells):
            continue
        place = f"{path}, line {line}"
        if any(cells[len(header) :]):
            raise WrongUseError(
                f"{place} has {len(cells)} cells, and the header names {len(header)} columns; "
                f"write cells that hold a {SEPARATORS.get(separator, separator)} in quotes"
            )
        cells += [""] * (len(header) - len(cells))
        row = Row({name: cell for name, cell in zip(header, cells, strict=False) if name}, place)
        for column, cell in row.items():
            if "\0" in cell:
                raise WrongUseError(f"{place}: {column} is {cell!r}, with a zero byte; correct it")
        for column in filled:
            if not row[column]:
                raise WrongUseError(f"{place} has no {column}; fill it in")
        rows.append(row)
    if not rows:
        raise WrongUseError(f"{path} has no rows below its header; add some")
    return rows


def split_cells(text: str, separator: str, exact: bool) -> Iterator[tuple[int, list[str]]]:
    """Split text into rows of cells, each with its line; csv.Error where quotes are wrong."""
    lines = re.split(r"\r\n|\r|\n", text) if separator == "\t" else []
    if lines and len({line.count("\t") for line in lines if line}) == 1:
        # Quotes at the beginnings of two cells must not make one cell of all that is between.
        for number, line in enumerate(lines, start=1):
            yield number, [unquote(cell) for cell in line.split("\t")]
        return
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        skipinitialspace=not exact,
        strict=True,  # else a quote too many makes one cell of the rest of the table
    )
    line = 1
    for cells in reader:
        yield line, cells
        line = reader.line_num + 1


def unquote(cell: str) -> str:
    """Return what a cell in quotes means; any other cell as it is.

    Examples:
        >>> unquote('"so ""it"" is"'), unquote('"so" it "is"')
        ('so "it" is', '"so" it "is"')
    """
    return cell[1:-1].replace('""', '"') if QUOTED.fullmatch(cell) else cell


def check_header(path: Path, header: Sequence[str], needed: Sequence[str], advice: str) -> None:
    """Raise a WrongUseError unless a table's columns have names of their own, the needed ones."""
    shown = ", ".join(name[:40] for name in header[:30]) or "(none)"
    for column in needed:
        if column not in header:
            raise WrongUseError(f"{path} has the columns {shown} and not {column!r}; {advice}")
    for column in filter(None, header):
        if header.count(column) > 1:
            raise WrongUseError(f"{path} names the column {column!r} twice; rename one of them")


def decode_table(path: Path) -> str:
    """Read a file of text in any encoding that spreadsheets save tables in.

    Raises:
        WrongUseError: if it is a workbook, or is not text.
    """
    content = path.read_bytes()
    if content.startswith(WORKBOOK_STARTS):
        raise WrongUseError(
            f"{path} is a workbook, not a table of text; save it as CSV UTF-8 (.csv) and give that"
        )
    text, encoding = _decode(content)
    header = next(iter(text.splitlines()), "")
    if not encoding or CONTROL.search(header):
        raise WrongUseError(
            f"{path} is not a table of text in UTF-8, UTF-16 or a code page; save it as CSV UTF-8"
        )
    if encoding in CODE_PAGES:
        words = re.findall(r"\w*[^\W\x00-\x7f]\w*", text)
        _warn_of_encoding(path, encoding, ", ".join(list(dict.fromkeys(words))[:3]))
    return text


def _decode(content: bytes) -> tuple[str, str]:
    """Decode the content of a table; also its encoding, "" where that cannot be told."""
    start = content[:4096]
    zeros = [start[first::2].count(0) for first in (0, 1)]
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)), "")
    # In UTF-16 every second byte of separators, digits and plain letters is zero.
    if not encoding and 8 * max(zeros) > len(start):
        encoding = "utf-16-le" if zeros[0] < zeros[1] else "utf-16-be"
    try:
        return content.decode(encoding or "utf-8"), encoding or "utf-8"
    except UnicodeDecodeError:
        if encoding:
            return "", ""
    # UTF-8 with a few names of files that are not: their bytes are kept, so that files are found.
    text = content.decode("utf-8", "surrogateescape")
    letters = [letter for letter in text if not letter.isascii()]
    if sum("\udc80" <= letter <= "\udcff" for letter in letters) * 4 < len(letters):
        return text, "utf-8"
    # Only here, because it is seldom needed.
    from charset_normalizer import from_bytes

    words = re.findall(rb"[A-Za-z]*[\x80-\xff][A-Za-z\x80-\xff]*", content)
    best = from_bytes(b" ".join(words[:1000]), cp_isolation=CODE_PAGES).best()
    if best is None or best.encoding not in CODE_PAGES:
        return "", ""
    return content.decode(best.encoding, "replace"), best.encoding


@functools.cache  # once per table, which several steps may read
def _warn_of_encoding(path: Path, encoding: str, shown: str) -> None:
    logger.warning(
        "%s is not in UTF-8 and is read as %s: %s; if that is wrong, save it as CSV UTF-8",
        *(path, encoding, shown),
    )


def parse_number(text: str) -> float:
    """Read a number whose decimals follow a point or, as in Russian, a comma.

    Raises:
        ValueError: if it is not a number, or may have commas between thousands.

    Examples:
        >>> parse_number("0.5"), parse_number("0,5")
        (0.5, 0.5)
    """
    if THOUSANDS.fullmatch(text):
        raise ValueError(f"{text!r} may be a decimal number or have thousands; write a point")
    return float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)


def is_table(path: Path) -> bool:
    """Tell by a file's name whether it is a table, or a workbook, which reading one refuses."""
    return path.suffix.lower() in (*TABLES, *WORKBOOKS)


def find_clips_table(source: Path) -> Path:
    """The table of clips that a user means by a folder or by the table itself."""
    return source / CLIPS_FILE if source.is_dir() else source
