"""What the paper shows of the corpus, from any prepared one: Tables 1 and 2, Figures 1 and 2."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dusha_ser.reports.corpus import read_clips, write_report


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report that the command line asks for."""
    options = make_parser().parse_args(arguments)
    clips = read_clips(options.folder, options.configuration)
    write_report(clips, options.output_dir)
    if not options.quiet:
        print(f"{options.output_dir / 'corpus.md'}: {len(clips.label)} clips of {options.folder}")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of this report's command line."""
    parser = argparse.ArgumentParser(
        prog="dusha report corpus",
        description=__doc__,
        epilog="example: dusha report corpus dusha --output_dir report. To compare with "
        "the paper's Table 1, prepare with --keep_control --keep_other.",
    )
    parser.add_argument("folder", type=Path, help="dataset folder, as dusha.py writes it")
    parser.add_argument(
        "--configuration",
        help="which to report on (default: all if it is there, else crowd and podcast, else the "
        "first)",
    )
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=Path("report"),
        help="folder for corpus.md, tables and figures (default: report)",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    return parser
