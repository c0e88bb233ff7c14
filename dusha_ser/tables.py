"""Tables: read from files of users, and written for pages and screens."""

import csv
from collections.abc import Sequence
from pathlib import Path

from dusha_ser.errors import MissingInputError, WrongUseError

TABLES = {".csv": ",", ".tsv": "\t"}


def number_cell(value: float | None) -> str:
    """Three decimals, or a dash where there is no number."""
    return "–" if value is None else f"{value:.3f}"


def markdown_table(table: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Args:
        table: rows of cells, the head first.

    Returns:
        lines that end with a line end.

    Example:
        >>> print(markdown_table([["a", "b"], ["1", "x|y"]]), end="")
        | a | b |
        | --- | --- |
        | 1 | x\\|y |
    """
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in table]
    rows.insert(1, ["---"] * len(rows[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def screen_table(table: Sequence[Sequence[str]]) -> str:
    """A table with aligned columns for a terminal; lines end with a line end."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip() + "\n")
    lines.insert(1, "  ".join("-" * width for width in widths) + "\n")
    return "".join(lines)


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
