"""How well each annotator answers, and how well a crowd agrees, as a page and a table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from dusha_ser.archives.find import find_archives, open_members
from dusha_ser.archives.members import Members
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.labels.aggregation import single_labels
from dusha_ser.labels.annotator_quality import AnnotatorQuality, krippendorff_alpha, rate_annotators
from dusha_ser.labels.answers import code_answers
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.labels.dawid_skene import dawid_skene
from dusha_ser.labels.regularised import regularised_dawid_skene
from dusha_ser.options import split_list
from dusha_ser.reports.figures import draw_annotators
from dusha_ser.reports.page import Block, Heading, Plot, Table, Text, write_page
from dusha_ser.storage import replacing_folder, write_text
from dusha_ser.tables import number_cell

# What is worked out from; features and manifests aren't needed.
ARCHIVES = ("crowd.tar", "podcast.tar")
METHODS = {one.__name__: one for one in (regularised_dawid_skene, dawid_skene)}
NAME = "annotators"
# Rows of the page's tables of the best and the last; the CSV file has all.
SHOWN = 20
EXPLANATION = (
    "Annotators are ranked by information, from the confusion matrix that {method} found for each. "
    "The matrix does not use the known answers to control tasks, so the two check each other."
)
# The columns of the tables of annotators that need an explanation.
COLUMNS = {
    "information, bits": "what one answer says about the true label; next to none if answers are "
    "given without listening, at random or always the same; after few answers, taken to be much "
    "like that of the others",
    "expected accuracy": "probability of a right answer, by the confusion matrix",
    "agreement with others": "mean share of the other answers to a clip that are the same",
    "agreement with consensus": "share of answers that are the most probable label of all answers "
    "together, the annotator's own among them",
    "control tasks right": "right answers to control tasks, whose truth is known, of all to them",
    "control accuracy": "share of right answers to control tasks",
    "95 % interval": "of the control accuracy, Wilson's",
}
RARE = (
    "Read the rows of rare labels with care: where few clips are believed to have a label, its row "
    "is mostly what is known of the other labels."
)


@dataclass(frozen=True)
class Rated:
    """A crowd and what is known of its annotators."""

    crowd: CrowdAnswers  # clips with a known truth are control tasks
    confusion: np.ndarray  # float64 (annotators, labels, labels)
    quality: AnnotatorQuality
    bad_rows: int  # number of rows that were skipped
    method: str  # which found the confusions


def open_source(source: Sequence[str], cache_dir: str | None, quiet: bool) -> Members:
    """Open folders and archives, or fetch archives from addresses, which are tried in order.

    Raises:
        MissingInputError: a path is not there.
        WrongUseError: paths and addresses are mixed.
        WorkFailedError: an archive can't be fetched or read.
    """
    source = [one for given in source for one in (split_list(given) if "://" in given else [given])]
    addresses = [one for one in source if "://" in one]
    if addresses and len(addresses) < len(source):
        raise WrongUseError(
            f"{' '.join(source)} mixes paths and addresses: fetch the archives first, or give "
            "addresses only"
        )
    if addresses:
        return find_archives(ARCHIVES, None, addresses, cache_dir, required=(), quiet=quiet)
    missing = [one for one in source if not Path(one).exists()]
    if missing:
        raise MissingInputError(f"there is no file or folder {missing[0]}: give one with answers")
    return open_members(source, cache_dir, quiet)


def rate_crowd(
    answers: pa.Table, labels: tuple[str, ...], method: str, bad_rows: int, quiet: bool
) -> Rated:
    """Aggregate answers, as `read_answers` returns them, by a method and rate who gave them."""
    crowd = code_answers(answers, labels)
    found = METHODS[method](crowd.with_truth(None), quiet=quiet)
    # Whatever is most probable, however unsure: a probability is never below one in the labels.
    consensus = single_labels(found.probabilities, threshold=1 / (len(labels) + 1))
    quality = rate_annotators(crowd, found, consensus)
    return Rated(crowd, found.confusion, quality, bad_rows, method)


def annotators_frame(rated: Rated) -> pd.DataFrame:
    """Return all that is known of each annotator, the best first; TRUE_as_GIVEN are confusions."""
    labels = rated.crowd.labels
    frame = pd.DataFrame({"annotator_id": list(rated.crowd.annotators), **asdict(rated.quality)})
    for i, true in enumerate(labels):
        for j, given in enumerate(labels):
            frame[f"{true}_as_{given}"] = rated.confusion[:, i, j]
    frame = frame.iloc[rated.quality.ranking()]
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    return frame.rename(
        columns={"agreement": "agreement_with_others", "consensus": "agreement_with_consensus"}
    )


def write_report(rated: Rated, output_dir: Path, overwrite: bool = False) -> list[str]:
    """Write the page on annotators and the table of all of them; return the files' names.

    Raises:
        WrongUseError: if one of them is there and may not be replaced.
    """
    frame = annotators_frame(rated)
    text = frame.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    with replacing_folder(output_dir, overwrite=overwrite, merge=True) as folder:
        write_text(folder / f"{NAME}.csv", text)
        write_page("Annotators", make_blocks(rated, frame), folder, NAME)
    return [f"{NAME}.{suffix}" for suffix in ("html", "md", "csv")]


def make_blocks(rated: Rated, frame: pd.DataFrame) -> list[Block]:
    """Return what the page shows, from top to bottom."""
    best, last = frame[:SHOWN], frame[SHOWN:][-SHOWN:]
    blocks: list[Block] = [
        Table("The crowd", crowd_table(rated)),
        Text(EXPLANATION.format(method=rated.method.replace("_", " "))),
        Plot(
            "Each annotator is a dot",
            "information and control accuracy of annotators",
            draw_annotators(rated.quality),
        ),
        Heading("How the crowd takes one label for another"),
        Table(
            "Share of the answers given to clips of each true label, all annotators together",
            confusion_table(rated),
        ),
        Text(RARE),
        Heading("Annotators, the best first"),
        Table("What the columns mean", [["column", "meaning"], *map(list, COLUMNS.items())]),
        Table(f"The first {len(best)} of {len(frame)}", annotators_table(best)),
    ]
    if len(last):
        caption = f"The last {len(last)}, the last of all at the end"
        blocks.append(Table(caption, annotators_table(last)))
    blocks.append(Text(f"All annotators and their confusion matrices are in {NAME}.csv."))
    return blocks


def crowd_table(rated: Rated) -> list[list[str]]:
    """Return the numbers of the crowd as rows of cells."""
    quality, votes = rated.quality, rated.crowd.votes()
    answered = votes.sum(axis=1)
    control = int(quality.control_answers.sum())
    rows = [
        ["what", "number"],
        ["answers", f"{answered.sum():,}"],
        ["clips", f"{len(answered):,}"],
        ["annotators", f"{len(quality.answers):,}"],
        ["answers per clip, median", f"{np.median(answered):.0f}"],
        ["answers per annotator, median", f"{np.median(quality.answers):.0f}"],
        ["control tasks", f"{np.sum(rated.crowd.truth >= 0):,}"],
        ["answers to control tasks", f"{control:,}"],
    ]
    if control:
        rows.append(["right of these", f"{quality.control_right.sum() / control:.3f}"])
    if rated.bad_rows:
        rows.append(["rows that could not be read", f"{rated.bad_rows:,}"])
    rows.append(["Krippendorff's alpha, nominal", number_cell(krippendorff_alpha(votes))])
    return rows


def confusion_table(rated: Rated) -> list[list[str]]:
    """Return the mean confusion matrix as cells; each annotator weighs as much as they answered."""
    weights = rated.quality.answers / rated.quality.answers.sum()
    matrix = np.einsum("a,acl->cl", weights, rated.confusion)
    rows = [
        [label, *map(number_cell, row)]
        for label, row in zip(rated.crowd.labels, matrix, strict=True)
        if row.any()
    ]
    return [["true label", *rated.crowd.labels], *rows]


def annotators_table(annotators: pd.DataFrame) -> list[list[str]]:
    """Return rows of `annotators_frame` as cells, the head first."""
    rows = [["rank", "annotator", "answers", *COLUMNS]]
    shares = ("information", "expected_accuracy", "agreement_with_others")
    for one in annotators.to_dict("records"):
        right = interval = "–"
        if one["control_answers"]:
            right = f"{one['control_right']} of {one['control_answers']}"
            interval = f"{one['control_low']:.3f}–{one['control_high']:.3f}"
        cells = [number_cell(one[name]) for name in (*shares, "agreement_with_consensus")]
        answers = [f"{one['rank']}", one["annotator_id"], f"{one['answers']:,}"]
        rows.append([*answers, *cells, right, number_cell(one["control_accuracy"]), interval])
    return rows
