"""Results as a page to send to a colleague: dusha report results RESULTS_DIR ..."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dusha_ser.errors import MissingInputError
from dusha_ser.evaluation.results import all_rows, read_results, results_table
from dusha_ser.reports.page import Block, Heading, Table, Text, write_page
from dusha_ser.reports.results import (
    HISTORY_FILES,
    NAMES,
    comparison_blocks,
    curves_of,
    result_blocks,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    options = parse_options(arguments)
    pairs = [(result, folder) for folder in options.results for result in read_results(folder)]
    blocks: list[Block] = [
        Table("All models and test sets", results_table(all_rows(result for result, _ in pairs))),
        Text(NAMES),
        *comparison_blocks(options.results),
    ]
    for result, folder in sorted(pairs, key=lambda pair: -pair[0]["metrics"]["f1_macro"]):
        blocks += result_blocks(result, folder)
    for folder in options.training:
        found = list(curves_of(folder, folder.name))
        if not found:
            raise MissingInputError(
                f"{folder} holds no log of a training run; it would be in one of "
                f"{', '.join(HISTORY_FILES)}"
            )
        blocks += [Heading(f"Training of {folder.name}"), *found]
    write_page(options.title, blocks, options.output_dir, "results")
    if not options.quiet:
        print(f"wrote {options.output_dir / 'results.html'} and results.md")


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line after `results`."""
    parser = argparse.ArgumentParser(
        prog="dusha report results",
        description="Write results as a page to send to a colleague.",
        epilog="example: dusha report results results runs/iemocap --output_dir report",
    )
    parser.add_argument(
        "results",
        nargs="+",
        type=Path,
        help="folders that dusha evaluate or dusha cross-validate wrote",
    )
    parser.add_argument(
        "--training",
        nargs="+",
        type=Path,
        default=[],
        help="model folders whose training curves are shown, beside those of the results' models",
    )
    parser.add_argument(
        "--output_dir", type=Path, default=Path("report"), help="folder for the page (report)"
    )
    parser.add_argument("--title", default="Speech emotion recognition: results", help="headline")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    return parser.parse_args(arguments)
