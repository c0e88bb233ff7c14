"""The reports of `dusha report`: on a corpus, its annotators or labels, or results."""

from dataclasses import dataclass
from pathlib import Path

from dusha_ser import options as shared
from dusha_ser.cli.program import command, tell
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.options import check_range, option, split_list
from dusha_ser.storage import check_folder
from dusha_ser.vocabulary import ANSWERS, PARTS


@dataclass
class CorpusReportOptions:
    """What to report on, and where to."""

    folder: Path = option("dataset folder that `dusha corpus` wrote", positional=True)
    configuration: str | None = option(
        "which to report on (default: all if it is there, else crowd and podcast, else the first)",
        None,
    )
    output_dir: Path = option("folder for corpus.md, tables and figures", Path("report"))
    overwrite: bool = shared.overwrite()
    quiet: bool = option("print nothing", False)

    def check(self) -> None:
        """Raise a WrongUseError if the page is there already, or cannot be written."""
        check_folder(self.output_dir, self.overwrite, finished=["corpus.html", "corpus.md"])


@command(
    "dusha report corpus", "dusha report corpus dusha --output_dir report", CorpusReportOptions
)
def report_corpus(options: CorpusReportOptions) -> None:
    """Write the paper's Tables 1 and 2 and Figures 1 and 2 from a prepared corpus.

    To compare with Table 1, prepare with --keep_control --keep_other.
    """
    from dusha_ser.reports.corpus import read_clips, write_report

    clips = read_clips(options.folder, options.configuration)
    write_report(clips, options.output_dir, options.overwrite)
    page = options.output_dir / "corpus.md"
    tell(options.quiet, f"{page}: {len(clips.table)} clips of {options.folder}")


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
    parts: tuple[str, ...] = option(
        f"parts to read (default: those there of {','.join(PARTS)})", (), type=split_list
    )
    labels: tuple[str, ...] = option(
        "the answers that annotators could give", ANSWERS, type=split_list
    )
    bad_rows: str = shared.bad_rows()
    cache_dir: str | None = option(
        "folder for fetched archives (default: in the Hugging Face cache)", None
    )
    overwrite: bool = shared.overwrite()
    quiet: bool = shared.quiet()

    def check(self) -> None:
        """Raise a WrongUseError if the page is there already, or cannot be written."""
        check_folder(self.output_dir, self.overwrite, finished=["annotators.*"])


@command(
    "dusha report annotators",
    "dusha report annotators archives --output_dir report",
    AnnotatorReportOptions,
)
def report_annotators(options: AnnotatorReportOptions) -> None:
    """Report how well each annotator answers, and how well the crowd agrees."""
    from dusha_ser.corpus.clips import parts_at_hand
    from dusha_ser.labels.answers import read_answers
    from dusha_ser.reports.annotators import open_source, rate_crowd, write_report

    members = open_source(options.source, options.cache_dir, options.quiet)
    parts = options.parts or parts_at_hand(members)
    if not parts:
        raise MissingInputError(
            f"{' '.join(options.source)} holds no answers: give crowd.tar or podcast.tar, or a "
            f"folder with files such as {PARTS[0]}/raw_{PARTS[0]}.jsonl"
        )
    answers, bad_rows = read_answers(
        members, parts, options.labels, options.bad_rows, options.quiet
    )
    if not len(answers):
        raise WrongUseError(f"there is no answer in {', '.join(parts)}: fetch the archives again")
    rated = rate_crowd(answers, options.labels, options.method, len(bad_rows), options.quiet)
    files = write_report(rated, options.output_dir, options.overwrite)
    tell(options.quiet, f"wrote {', '.join(files)} to {options.output_dir}")


@dataclass
class LabelReportOptions:
    """Which labels to doubt, and by whom."""

    corpus: str = option(
        "FOLDER[:CONFIGURATION[:SPLIT]] of a prepared corpus; with the configuration raw beside it "
        "the page names annotators",
        positional=True,
    )
    predictions: Path = option(
        "a model's predictions of these clips, .csv or .jsonl: best the file in predictions/ of "
        "`dusha cross-validate`, whose models never saw the clips that they tested",
        positional=True,
    )
    output_dir: Path = option("folder for the page and labels.csv", Path("report"))
    clips: int = option("number of clips on the page, with their audio", 50)
    sort: str = option(
        "what decides the order: trust, by answers and model; or the consensus of cleanlab",
        "trust",
        choices=("trust", "cleanlab"),
    )
    overwrite: bool = shared.overwrite()
    quiet: bool = option("print nothing", False)

    def check(self) -> None:
        """Raise a WrongUseError if the page is there already, or cannot be written."""
        check_range("clips", self.clips, self.clips >= 1, "at least 1")
        check_folder(self.output_dir, self.overwrite, finished=["labels.*"])


@command(
    "dusha report labels",
    "dusha report labels dusha:crowd:train runs/folds/predictions/folds--dusha.csv",
    LabelReportOptions,
)
def report_labels(options: LabelReportOptions) -> None:
    """List the clips whose label a model doubts most, to be heard again."""
    from dusha_ser.reports.labels import judge_labels, write_report

    judged = judge_labels(options.corpus, options.predictions, options.sort)
    files = write_report(
        judged, options.corpus, options.output_dir, options.clips, options.overwrite
    )
    other = int((judged.model.argmax(axis=1) != judged.label).sum())
    tell(
        options.quiet,
        f"the model prefers another label for {other} of {len(judged.ids)} clips; wrote "
        f"{', '.join(files)} to {options.output_dir}",
    )


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
    overwrite: bool = shared.overwrite()
    quiet: bool = option("print nothing", False)

    def check(self) -> None:
        """Raise a WrongUseError if the page is there already, or cannot be written."""
        check_folder(self.output_dir, self.overwrite, finished=["results.html", "results.md"])


@command(
    "dusha report results",
    "dusha report results results runs/iemocap --output_dir report",
    ResultsReportOptions,
)
def report_results(options: ResultsReportOptions) -> None:
    """Write results as a page to send to a colleague."""
    from dusha_ser.reports.results import write_report

    write_report(
        options.results, options.training, options.output_dir, options.title, options.overwrite
    )
    tell(options.quiet, f"wrote {options.output_dir / 'results.html'} and results.md")
