"""Write results as a page to send to a colleague."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dusha_ser.cli.program import Parser
from dusha_ser.options import option


@dataclass
class ResultsReportOptions:
    """Which results to show, and where."""

    results: list[Path] = option(
        "folders that `dusha evaluate` or `dusha cross-validate` wrote", positional=True, nargs="+"
    )
    training: list[Path] = option(
        "model folders whose training curves are shown, beside those of the results' models",
        [],
        nargs="+",
    )
    output_dir: Path = option("folder for the page", Path("report"))
    title: str = option("headline", "Speech emotion recognition: results")
    quiet: bool = option("print nothing", False)


def make_parser() -> Parser:
    """Make the parser of `dusha report results`."""
    return Parser(
        "dusha report results",
        __doc__,
        "dusha report results results runs/iemocap --output_dir report",
        ResultsReportOptions,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page of results."""
    (options,) = make_parser().parse_options(arguments)
    from dusha_ser.reports.results import write_report

    write_report(options.results, options.training, options.output_dir, options.title)
    if not options.quiet:
        print(f"wrote {options.output_dir / 'results.html'} and results.md")
