"""Reports: python tools/report.py corpus|annotators|results ..., each with a --help of its own."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

# The modules stand one folder up. This folder goes: a name in it must not hide a library's.
TOOLS = Path(__file__).resolve().parent
sys.path[:] = [str(TOOLS.parent), *(path for path in sys.path if Path(path).resolve() != TOOLS)]

from command_line_dusha import run_program  # noqa: E402

# Each is the module tools/report_NAME.py, whose main takes the arguments after the name.
REPORTS = {
    "corpus": "tables and figures of the paper from a prepared corpus",
    "annotators": "how well each annotator answers, and how well they agree",
    "results": "results of models on test sets as one page",
}


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Hand the rest of the command line to the report that its first word names."""
    parser = argparse.ArgumentParser(
        description="Write a report.",
        epilog="example: python tools/report.py corpus dusha --output_dir report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    listed = "; ".join(f"{name}: {meaning}" for name, meaning in REPORTS.items())
    parser.add_argument("report", choices=REPORTS, help=listed)
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, help="of the report; python tools/report.py REPORT -h"
    )
    chosen = parser.parse_args(arguments)
    # One report needs not what another imports.
    return importlib.import_module(f"tools.report_{chosen.report}").main(chosen.options)


if __name__ == "__main__":
    run_program(main)
