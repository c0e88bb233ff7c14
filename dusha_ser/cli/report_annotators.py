"""How well each annotator answers: dusha report annotators SOURCE ..."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dusha_ser.corpus.clips import parts_at_hand
from dusha_ser.corpus.options import split_list
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.labels.answers import BAD_ROWS, read_answers
from dusha_ser.reports.annotators import (
    ARCHIVES,
    METHODS,
    NAME,
    make_blocks,
    open_source,
    rate_crowd,
    write_csv,
)
from dusha_ser.reports.page import write_page
from dusha_ser.vocabulary import ANSWERS, PARTS


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report that the command line asks for."""
    options = make_parser().parse_args(arguments)
    labels = split_list(options.labels)
    members = open_source(options.source, options.cache_dir, options.quiet)
    parts = split_list(options.parts) if options.parts else parts_at_hand(members)
    if not parts:
        raise MissingInputError(
            f"{' '.join(options.source)} holds no answers: give {' or '.join(ARCHIVES)}, or a "
            f"folder with files such as {PARTS[0]}/raw_{PARTS[0]}.jsonl"
        )
    answers, bad_rows = read_answers(members, parts, labels, options.bad_rows, options.quiet)
    if not len(answers):
        raise WrongUseError(f"there is no answer in {', '.join(parts)}: fetch the archives again")
    rated = rate_crowd(answers, labels, options.method, len(bad_rows), options.quiet)
    write_csv(options.output_dir / f"{NAME}.csv", rated)
    write_page("Annotators", make_blocks(rated), options.output_dir, NAME)
    if not options.quiet:
        written = ", ".join(f"{NAME}.{suffix}" for suffix in ("html", "md", "csv"))
        print(f"wrote {written} to {options.output_dir}")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of this report's command line."""
    parser = argparse.ArgumentParser(
        prog="dusha report annotators",
        description="Report how well each annotator answers, and how well the crowd agrees.",
        epilog="example: dusha report annotators archives --output_dir report",
    )
    parser.add_argument(
        "source",
        nargs="+",
        help=f"folders or archives with the answers ({', '.join(ARCHIVES)}, packed or not), or "
        "addresses to fetch them from, tried in order",
    )
    parser.add_argument(
        "--output_dir", type=Path, default=Path("report"), help="folder for the report (report)"
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default=next(iter(METHODS)),
        help="how confusion matrices are found; the regularised one (default) does not take the "
        "chance in few answers for habit",
    )
    parser.add_argument(
        "--parts", help=f"parts to read, with commas (default: those there of {','.join(PARTS)})"
    )
    parser.add_argument(
        "--labels",
        default=",".join(ANSWERS),
        help=f"the answers that annotators could give, with commas (default {','.join(ANSWERS)})",
    )
    parser.add_argument(
        "--bad_rows",
        choices=BAD_ROWS,
        default=BAD_ROWS[0],
        help="stop at a row that cannot be read, or skip and count it",
    )
    parser.add_argument(
        "--cache_dir", help="folder for fetched archives (default: in the Hugging Face cache)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars, print nothing")
    return parser
