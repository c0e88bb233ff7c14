"""Write the paper's Tables 1 and 2 and Figures 1 and 2 from a prepared corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dusha_ser.cli.program import Parser
from dusha_ser.options import option


@dataclass
class CorpusReportOptions:
    """What to report on, and where to."""

    folder: Path = option("dataset folder that `dusha corpus` wrote", positional=True)
    configuration: str | None = option(
        "which to report on (default: all if it is there, else crowd and podcast, else the first)",
        None,
    )
    output_dir: Path = option("folder for corpus.md, tables and figures", Path("report"))
    quiet: bool = option("print nothing", False)


def make_parser() -> Parser:
    """Make the parser of `dusha report corpus`."""
    return Parser(
        "dusha report corpus",
        f"{__doc__}\n\nTo compare with Table 1, prepare with --keep_control --keep_other.",
        "dusha report corpus dusha --output_dir report",
        CorpusReportOptions,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report on a corpus."""
    (options,) = make_parser().parse_options(arguments)
    from dusha_ser.reports.corpus import read_clips, write_report

    clips = read_clips(options.folder, options.configuration)
    write_report(clips, options.output_dir)
    if not options.quiet:
        print(f"{options.output_dir / 'corpus.md'}: {len(clips.table)} clips of {options.folder}")
