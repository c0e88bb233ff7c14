"""Report how well each annotator answers, and how well the crowd agrees."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dusha_ser.cli.program import Parser
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.options import option
from dusha_ser.vocabulary import ANSWERS, BAD_ROWS, PARTS


@dataclass
class AnnotatorReportOptions:
    """Whose answers to report on, and how."""

    source: list[str] = option(
        "folders or archives with the answers (crowd.tar, podcast.tar, packed or "
        "not), or addresses to fetch them from, tried in order",
        positional=True,
        nargs="+",
    )
    output_dir: Path = option("folder for the page and annotators.csv", Path("report"))
    method: str = option(
        "how confusion matrices are estimated; the regularised one does not take the "
        "chance in few answers for habit",
        "regularised_dawid_skene",
        choices=("regularised_dawid_skene", "dawid_skene"),
    )
    parts: str | None = option(
        f"parts to read, with commas (default: those there of {','.join(PARTS)})", None
    )
    labels: str = option("the answers that annotators could give, with commas", ",".join(ANSWERS))
    bad_rows: str = option(
        "stop at a row that cannot be read, or skip and count it", BAD_ROWS[0], choices=BAD_ROWS
    )
    cache_dir: str | None = option(
        "folder for fetched archives (default: in the Hugging Face cache)", None
    )
    quiet: bool = option("show no progress, print nothing", False)


def make_parser() -> Parser:
    """Make the parser of `dusha report annotators`."""
    return Parser(
        "dusha report annotators",
        __doc__,
        "dusha report annotators archives --output_dir report",
        AnnotatorReportOptions,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report on annotators."""
    (options,) = make_parser().parse_options(arguments)
    from dusha_ser.corpus.clips import parts_at_hand
    from dusha_ser.corpus.options import split_list
    from dusha_ser.labels.answers import read_answers
    from dusha_ser.reports.annotators import open_source, rate_crowd, write_report

    labels = split_list(options.labels)
    members = open_source(options.source, options.cache_dir, options.quiet)
    parts = split_list(options.parts) if options.parts else parts_at_hand(members)
    if not parts:
        raise MissingInputError(
            f"{' '.join(options.source)} holds no answers: give crowd.tar or podcast.tar, or a "
            f"folder with files such as {PARTS[0]}/raw_{PARTS[0]}.jsonl"
        )
    answers, bad_rows = read_answers(members, parts, labels, options.bad_rows, options.quiet)
    if not len(answers):
        raise WrongUseError(f"there is no answer in {', '.join(parts)}: fetch the archives again")
    rated = rate_crowd(answers, labels, options.method, len(bad_rows), options.quiet)
    files = write_report(rated, options.output_dir)
    if not options.quiet:
        print(f"wrote {', '.join(files)} to {options.output_dir}")
