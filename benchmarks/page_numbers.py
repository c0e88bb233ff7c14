"""Write the numbers of README.md, docs/ and benchmarks/ again from the files that programs wrote.

A page marks what is taken from where:

    <!-- table: benchmarks/results/ravdess.json -->
    (a table)
    <!-- end -->

    <!-- number: benchmarks/results/speed.json#clips/ours ,.0f -->1,234<!-- end --> clips a second

A table has `columns` (names) and `rows`, and several make one. Where a table or a number is inside
of its file, the keys that lead to it follow a #. Paths begin at the repository. A number that is
null was not measured, and the page says so. What no measurement gave, but a setting, a test's bound
or somebody else, names its file or address:

    <!-- known: tests/test_modeling_dusha.py -->1e-4<!-- end -->
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dusha_ser.cli.program import run_program
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.evaluation.results import PUBLISHED, write_table
from dusha_ser.evaluation.ser.ser import SCORES
from dusha_ser.storage import read_json, write_text
from dusha_ser.tables import markdown_table

REPOSITORY = Path(__file__).resolve().parent.parent
COMMAND = "python -m benchmarks.page_numbers"
PUBLISHED_FILE = "benchmarks/results/published.json"
TABLE = re.compile(r"(<!-- table: ([^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
NUMBER = re.compile(r"(<!-- number: ([^#>]+)#([^>]+?) (\S+) -->).*?(<!-- end -->)", re.DOTALL)
# What a test or a reader of the source wants to know; the page does not show it.
ASIDE = re.compile(r"<!-- not run: .*?-->", re.DOTALL)
KNOWN = re.compile(r"<!-- known: (\S+) -->.*?<!-- end -->", re.DOTALL)
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
# What is no measurement: names and versions in backquotes, addresses, defaults with their option
# behind, as in 30 s (`--whole`), and 0.
UNMEASURED = re.compile(
    r"\d[\d,.]*(?: ?%| \w+)? \(`--\w+`\)|`[^`\n]+`|\]\([^)\s]+\)|(?<![\d.,])0 ?(?:%|[^\W\d]\w*)"
)
# Who names a test says what holds the number.
TESTED = re.compile(r"`tests/\w+(?:/\w+)*\.py::\w+`")
# What a measurement gives, or a limit, a format, somebody else: scores, small numbers, spreads, and
# amounts with a unit of time, speed or memory. Gigabytes are the published corpus', or arithmetic.
UNITS = (
    "clips a second|clips per second|clips/s|times as|times faster|times slower|points of"
    "|ns|µs|ms|s|seconds|minutes|hours|days|kB|MB|dB|nats"
)
WORDS = "two|three|four|five|six|seven|eight|nine|ten|twelve|twenty"
MEASURED = re.compile(
    r"(?<![\d.])0\.\d\d+"
    rf"|(?<![\w.])\d[\d,.]*(?:e-\d| ± ?\d| ?%| ?×|-fold| (?:{UNITS})\b)"
    rf"|\b(?:twice|(?:{WORDS}) times) as (?:fast|slow)"
    rf"|\b(?:{WORDS}) points of|\bone in (?:{WORDS})\b"
)


def rewrite(text: str, folder: Path | None = None) -> str:
    """Put the files' numbers into a page.

    Args:
        text: of the page, in Markdown.
        folder: where the files' paths begin; None: the repository.

    Returns:
        the page with what stands between its marks written again.

    Raises:
        MissingInputError: if a file is not there.
        WrongUseError: if a file has no table, or no such number.
    """
    folder = folder or REPOSITORY
    text = TABLE.sub(lambda mark: mark[1] + table_text(mark[2].split(), folder) + mark[3], text)
    return NUMBER.sub(
        lambda mark: mark[1] + number_text(mark[2], mark[3], mark[4], folder) + mark[5], text
    )


def table_text(names: Sequence[str], folder: Path) -> str:
    """The table of one file or of several with the same columns."""
    table: list[list[str]] = []
    for name in names:
        file, _, keys = name.partition("#")
        content = find_value(file, keys, folder)
        if not isinstance(content, dict) or not {"columns", "rows"} <= set(content):
            raise WrongUseError(f"{name} is not a table; it needs columns and rows")
        columns = [str(column) for column in content["columns"]]
        if table and table[0] != columns:
            raise WrongUseError(
                f"{name} has the columns {', '.join(columns)}, and {names[0]} "
                f"{', '.join(table[0])}; one table needs the same"
            )
        table = table or [columns]
        for row in content["rows"]:
            if len(row) != len(columns):
                raise WrongUseError(f"{name} has a row of {len(row)} cells: {row}")
            table.append([cell_text(cell) for cell in row])
    return markdown_table(table)


def cell_text(cell: object) -> str:
    """A cell of a table: text as it is, numbers as people read them."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def number_text(name: str, keys: str, form: str, folder: Path) -> str:
    """A number of a file in a form such as .3f."""
    value = find_value(name, keys, folder)
    if value is None:
        return "not measured"
    try:
        return format(value, form)
    except (ValueError, TypeError) as error:
        raise WrongUseError(
            f"{name}#{keys} is {value!r}, not a number of the form {form}"
        ) from error


def find_value(name: str, keys: str, folder: Path) -> Any:
    """What a file holds at some keys, such as clips/ours; all of it without keys."""
    value: Any = read_json(folder / name)
    for key in keys.split("/") if keys else ():
        if value is None:
            return None  # not measured, and so nothing in it
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise WrongUseError(f"{name} has no {keys!r}: there is no {key!r} in it") from error
    return value


def write_published() -> None:
    """Write the table of results that others published, which pages show beside ours."""
    ordered = sorted(PUBLISHED, key=lambda one: (one.test_set, -one.scores["f1_macro"]))
    rows = [[one.test_set, one.model, *one.cells.values(), one.source] for one in ordered]
    head = ["test set", "model", *SCORES, "source"]
    write_table(REPOSITORY / PUBLISHED_FILE, COMMAND, [head, *rows])


def sources(text: str) -> list[str]:
    """Files that a page takes its numbers from, each once."""
    names = [name.partition("#")[0] for mark in TABLE.finditer(text) for name in mark[2].split()]
    return list(dict.fromkeys([*names, *(mark[2] for mark in NUMBER.finditer(text))]))


def unmarked_numbers(text: str) -> list[str]:
    """Lines of a page with numbers, as measurements give them, that no mark says the source of.

    Examples:
        >>> unmarked_numbers("Reaches 0.83.\\n<!-- number: a.json#b .2f -->0.83<!-- end -->")
        ['Reaches 0.83.']
    """
    for pattern in (FENCE, TABLE, NUMBER, KNOWN, ASIDE):
        text = pattern.sub("", text)
    lines = [line for line in text.splitlines() if not TESTED.search(line)]
    return [line for line in lines if MEASURED.search(UNMEASURED.sub("", line))]


def pages() -> list[Path]:
    """README.md, the pages of docs/ and of benchmarks/."""
    found = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    return [path for path in [*found, REPOSITORY / "benchmarks" / "README.md"] if path.is_file()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pages again, or only check that they are up to date."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python -m benchmarks.page_numbers",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "pages", nargs="*", type=Path, help="pages (default: README.md, docs/, benchmarks/)"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it would")
    options = parser.parse_args(arguments)
    if not options.check:
        write_published()
    old = []
    for path in options.pages or pages():
        text = path.read_text(encoding="utf-8")
        if (new := rewrite(text)) != text:
            old.append(str(path))
            if not options.check:
                write_text(path, new)
    if options.check and old:
        raise WorkFailedError(
            f"{', '.join(old)}: numbers differ from their files; "
            "run python -m benchmarks.page_numbers"
        )
    print(f"{'rewritten' if old else 'up to date'}: {', '.join(old) or 'all pages'}")


if __name__ == "__main__":
    run_program(main)
