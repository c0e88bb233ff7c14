"""Reports on the corpus, its annotators and the results of models."""

import argparse
import contextlib
import importlib
from collections.abc import Callable, Sequence

# Each is the module cli/report_NAME.py, whose main takes the arguments after the name.
REPORTS = {
    "corpus": "tables and figures of the paper from a prepared corpus",
    "annotators": "how well each annotator answers, and how well they agree",
    "results": "results of models on test sets as one page",
}


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Hand the rest of the command line to the report that its first word names."""
    parser = argparse.ArgumentParser(
        description="Write a report; each takes options of its own.",
        epilog="example: dusha report corpus dusha --output_dir report",
        add_help=False,
    )
    parser.add_argument("-h", "--help", action=AllHelp, nargs=0, help="describe all reports")
    listed = "; ".join(f"{name}: {meaning}" for name, meaning in REPORTS.items())
    parser.add_argument("report", choices=REPORTS, help=listed)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of the report")
    chosen = parser.parse_args(arguments)
    return find_report(chosen.report)(chosen.options)


class AllHelp(argparse.Action):
    """Show the help of this program and of each report."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Print the helps and leave, as argparse's own action does."""
        parser.print_help()
        for name in REPORTS:
            print()
            with contextlib.suppress(SystemExit):
                find_report(name)(["--help"])
        parser.exit()


def find_report(name: str) -> Callable[[Sequence[str]], int | None]:
    """Return the main function of a report; what other reports need is not imported."""
    return importlib.import_module(f"dusha_ser.cli.report_{name}").main
