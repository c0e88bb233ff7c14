"""Tables: read from files of users, and written for pages and screens."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from dusha_ser.errors import MissingInputError, WrongUseError

TABLES = {".csv": ",", ".tsv": "\t"}


def number_cell(value: float | None) -> str:
    """Return three decimals, or a dash for None and NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def count_columns(table: Sequence[Sequence[str]]) -> list[bool]:
    """Say of each column, below its head, whether it holds counts only, which are aligned right."""
    return [not "".join(column[1:]).strip("0123456789,") for column in zip(*table, strict=True)]


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
    head, *rows = [[cell.replace("\n", " ") for cell in row] for row in table]
    sides = ["right" if counts else "left" for counts in count_columns(table)]
    return tabulate(rows, head, form, colalign=sides, disable_numparse=True) + "\n"


CLIPS_FILE = "clips.csv"


def read_table(
    path: Path, needed: Sequence[str], advice: str = "add it", filled: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Read a table of text.

    Args:
        path: .csv with commas or .tsv with tabulators, UTF-8, the first line naming the columns.
        needed: columns that must be there.
        advice: what to do if one is not.
        filled: those of them that have a value in each row.

    Returns:
        The rows, each by column; what is missing in a short line is "".

    Raises:
        MissingInputError: if there is no such file.
        WrongUseError: if it is not such a table, has no rows, or a value is missing.
    """
    if not path.is_file():
        raise MissingInputError(f"no file {path}; give a table (.csv or .tsv)")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = TABLES.get(path.suffix.lower(), ",")
            reader = csv.DictReader(file, delimiter=delimiter, restval="")
            header = list(reader.fieldnames or [])
            for column in needed:
                if column not in header:
                    raise WrongUseError(
                        f"{path} has the columns {', '.join(header) or '(none)'} and not "
                        f"{column!r}; {advice}"
                    )
            rows = []
            for row in reader:
                for column in filled:
                    if not row[column]:
                        raise WrongUseError(
                            f"{path}, line {reader.line_num} has no {column}; fill it in"
                        )
                rows.append(row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise WrongUseError(f"{path} is not a table in UTF-8: {error}") from error
    if not rows:
        raise WrongUseError(f"{path} has no rows below its header; add some")
    return rows


def find_clips_table(source: Path) -> Path:
    """The table of clips that a user means by a folder or by the table itself."""
    return source / CLIPS_FILE if source.is_dir() else source
