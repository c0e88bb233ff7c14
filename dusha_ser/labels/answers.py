"""The answers of the crowd, and the manifests of the published experiments, as Arrow tables.

A part of the corpus holds its answers in one file of `rows`, PART/raw_PART with the first of
SUFFIXES that is there. An annotator who answered a clip twice counts twice, as published.

Manifests (paper_setups/NAME.jsonl, maybe with .gz) have one row per clip: id, tensor (the path of
its features, of which only the stem matters and is the id), wav_length (seconds), label, emotion.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from dusha_ser.archives.members import Member
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.labels.rows import BadRow, Column, join_tables, read_rows
from dusha_ser.processes import Mapper
from dusha_ser.vocabulary import ANSWERS, BAD_ROWS, EMOTIONS, PARTS, check_labels

SUFFIXES = (".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz")


def answer_columns(labels: Iterable[str]) -> tuple[Column, ...]:
    """Return the columns of a table of answers, without part, which no file has."""
    labels = tuple(labels)
    return (
        Column("hash_id", "id", required=True, identifier=True),  # the clip
        Column("audio_path", "audio_path"),
        Column("duration", "duration", required=True, number=True),  # in seconds
        Column("annotator_emo", "annotator_emotion", required=True, allowed=labels),  # the answer
        Column("golden_emo", "golden_emotion", allowed=labels),  # known, of a control task
        Column("speaker_text", "text"),
        Column("speaker_emo", "speaker_emotion"),  # what the speaker was asked to act
        Column("source_id", "source_id", identifier=True),  # speaker or podcast
        Column("annotator_id", "annotator_id", required=True, identifier=True),
    )


def read_answers(
    members: Mapping[str, Member],
    parts: Iterable[str] = PARTS,
    labels: Iterable[str] = ANSWERS,
    bad_rows: str = "error",
    quiet: bool = False,
    mapper: Mapper = map,
) -> tuple[pa.Table, list[BadRow]]:
    """Read the answers of some parts of the corpus.

    Args:
        members: all files of the corpus.
        parts: which to read, in this order.
        labels: the answers that annotators could give.
        bad_rows: "error" to stop at the first bad row, "skip" to leave bad rows out and list them.
        quiet: no progress bar.
        mapper: parses the blocks of lines, here or on other machines.

    Returns:
        One row per answer, in the order of parts and rows: part, id, audio_path, duration (float64,
        seconds), annotator_emotion, golden_emotion, text, speaker_emotion, source_id and
        annotator_id, text as dictionary<int32, string>, missing values as null; and the bad rows.

    Raises:
        WrongUseError: labels, parts or bad_rows are not allowed.
        MissingInputError: a part has no file of answers.
        WorkFailedError: a row is bad and bad_rows is "error", or a file is empty or damaged.
    """
    parts, labels = tuple(parts), check_labels(labels)
    if not parts:
        raise WrongUseError(f"`parts` is empty: take one or more of {', '.join(PARTS)}")
    if bad_rows not in BAD_ROWS:
        raise WrongUseError(f"`bad_rows` is {bad_rows!r}: take one of {', '.join(BAD_ROWS)}")
    files = [find_answers(members, part) for part in parts]
    columns = answer_columns(labels)
    tables, bad = [], []
    size = sum(member.size for member in files)
    with tqdm(total=size, unit="B", unit_scale=True, desc="answers", disable=quiet, delay=1) as bar:
        for part, member in zip(parts, files, strict=True):
            table, found = read_rows(member, columns, bad_rows, bar, mapper)
            name = pa.DictionaryArray.from_arrays(np.zeros(len(table), np.int32), [part])
            tables.append(table.add_column(0, "part", name))
            bad.extend(found)
    del table, name
    return join_tables(tables), bad


def find_answers(members: Mapping[str, Member], part: str) -> Member:
    """Find the file that holds the answers of a part, or raise a MissingInputError."""
    names = [f"{part}/raw_{part}{suffix}" for suffix in SUFFIXES]
    for name in names:
        if name in members:
            return members[name]
    raise MissingInputError(
        f"no answers of {part}: none of the files {', '.join(names)} is there; add the archive "
        f"{part.split('_')[0]}.tar, or give as `parts` those that you have"
    )


def read_manifest(members: Mapping[str, Member], name: str) -> pa.Table:
    """Read which clips a published experiment used, and their labels.

    Args:
        members: all files of the corpus.
        name: crowd_large, test/crowd_test and so on.

    Returns:
        One row per clip: id (string), duration (float64, seconds; null where absent), label (int64,
        the place in EMOTIONS) and emotion (string).

    Raises:
        MissingInputError: there is no such manifest.
        WorkFailedError: a row is bad, or its label and emotion differ.
    """
    names = [f"paper_setups/{name}{suffix}" for suffix in SUFFIXES[:2]]
    found = [members[own] for own in names if own in members]
    if not found:
        known = sorted(
            own.removeprefix("paper_setups/").partition(".")[0]
            for own in members
            if own.startswith("paper_setups/")
        )
        raise MissingInputError(
            f"no manifest {name}: there is no file {names[0]}; "
            f"there are {', '.join(known) or 'none'}: add the archive paper_setups.tgz"
        )
    columns = (
        Column("id", "id", required=True),
        Column("wav_length", "duration", number=True),
        Column("label", "label", number=True),
        Column("emotion", "emotion", required=True, allowed=EMOTIONS),
    )
    table, _ = read_rows(found[0], columns)
    label = pc.index_in(plain_text(table["emotion"]), value_set=pa.array(EMOTIONS))
    wrong = pc.fill_null(pc.not_equal(table["label"], label.cast(pa.float64())), False)
    if pc.any(wrong).as_py():
        row = table.filter(wrong).slice(0, 1).to_pylist()[0]
        raise WorkFailedError(
            f"{found[0].name}: clip {row['id']} has label {row['label']:g} and emotion "
            f"{row['emotion']}, which has the number {EMOTIONS.index(row['emotion'])}; "
            "correct the row"
        )
    table = table.set_column(2, "label", label.cast(pa.int64()))
    return pa.table([plain_text(column) for column in table.columns], table.column_names)


def plain_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with its dictionary coding, if any, undone."""
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def code_answers(answers: pa.Table, labels: Sequence[str] = ANSWERS) -> CrowdAnswers:
    """Number the answers; the known answers to control tasks are the known truth.

    Args:
        answers: one row per answer, as `read_answers` returns them.
        labels: the answers that annotators could give; their order gives the numbers.

    Raises:
        ValueError: an answer is not one of the labels.
    """
    return CrowdAnswers.from_columns(
        tasks=answers["id"],
        annotators=answers["annotator_id"],
        labels=answers["annotator_emotion"],
        label_names=labels,
        truth=answers["golden_emotion"],
    )
