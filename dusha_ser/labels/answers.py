"""The answers of the crowd, and the manifests of the published experiments, as Arrow tables.

A part of the corpus holds its answers in one file, PART/raw_PART, in one of two published forms:

- .jsonl: an object a line, missing values are NaN;
- .tsv: a header, then a line an answer with tabs between the values, missing values are empty.

Both may be compressed (.jsonl.gz, .tsv.gz); where a part has several files, the first of .jsonl,
.jsonl.gz, .tsv and .tsv.gz is read. A row is one answer: hash_id (the clip), audio_path,
duration (seconds), annotator_emo (the answer), golden_emo (the known answer to a control task),
speaker_text, speaker_emo (what the speaker was asked to act), source_id (speaker or podcast),
annotator_id. An answer needs hash_id, duration, annotator_emo and annotator_id. Missing may be
written as null, NaN, nan or nothing, or the field may be absent; see `rows`.
An annotator who answered the same clip twice counts twice, as published.

Manifests (paper_setups/NAME.jsonl, maybe with .gz) have a row a clip: id, tensor (the path of
its features, of which only the stem matters and is the id), wav_length (seconds), label, emotion.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from dusha_ser.archives.members import Member
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.labels.rows import BadRow, Column, join_tables, read_rows
from dusha_ser.vocabulary import ANSWERS, BAD_ROWS, EMOTIONS, PARTS, check_labels

SUFFIXES = (".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz")


class CodedAnswers(NamedTuple):
    """Answers as numbers, the form that `aggregation` reads.

    Args:
        task: int64 (answers,), the clip, from 0 in the order of first appearance.
        annotator: int64 (answers,), likewise.
        label: int64 (answers,), the place of the answer among the labels.
        task_ids: string (clips,), the clips' ids in the order of their numbers.
        annotator_ids: string (annotators,), likewise.
    """

    task: np.ndarray
    annotator: np.ndarray
    label: np.ndarray
    task_ids: pa.StringArray
    annotator_ids: pa.StringArray


def answer_columns(labels: Iterable[str]) -> tuple[Column, ...]:
    """Return the columns of a table of answers.

    Args:
        labels: the answers that annotators could give.

    Returns:
        In the order of the table, without part, which no file has.
    """
    labels = tuple(labels)
    return (
        Column("hash_id", "id", required=True),
        Column("audio_path", "audio_path"),
        Column("duration", "duration", required=True, number=True),
        Column("annotator_emo", "annotator_emotion", required=True, allowed=labels),
        Column("golden_emo", "golden_emotion", allowed=labels),
        Column("speaker_text", "text"),
        Column("speaker_emo", "speaker_emotion"),
        Column("source_id", "source_id"),
        Column("annotator_id", "annotator_id", required=True),
    )


def read_answers(
    members: Mapping[str, Member],
    parts: Iterable[str] = PARTS,
    labels: Iterable[str] = ANSWERS,
    bad_rows: str = "error",
    quiet: bool = False,
) -> tuple[pa.Table, list[BadRow]]:
    """Read the answers of some parts of the corpus.

    Args:
        members: all files of the corpus.
        parts: which to read, in this order.
        labels: the answers that annotators could give.
        bad_rows: "error" to stop at the first bad row, "skip" to leave bad rows out and list them.
        quiet: no progress bar.

    Returns:
        One row an answer, in the order of parts and rows: part, id, audio_path, duration (float64,
        seconds), annotator_emotion, golden_emotion, text, speaker_emotion, source_id and
        annotator_id, text as dictionary<int32, string>, missing values as null; and the bad rows.

    Raises:
        WrongUseError: labels, parts or bad_rows are not allowed.
        MissingInputError: a part has no file of answers.
        WorkFailedError: a row is bad and bad_rows is "error" (the message has file, line, field
            and value), or a file is empty or damaged.
    """
    parts, labels = tuple(parts), check_labels(labels)
    if not parts:
        raise WrongUseError(f"no parts given; allowed are {', '.join(PARTS)}")
    if bad_rows not in BAD_ROWS:
        raise WrongUseError(f"bad_rows is {bad_rows!r}; allowed are {', '.join(BAD_ROWS)}")
    files = [find_answers(members, part) for part in parts]
    columns = answer_columns(labels)
    tables, bad = [], []
    size = sum(member.size for member in files)
    with tqdm(total=size, unit="B", unit_scale=True, desc="answers", disable=quiet, delay=1) as bar:
        for part, member in zip(parts, files, strict=True):
            table, found = read_rows(member, columns, bad_rows, bar)
            name = pa.DictionaryArray.from_arrays(np.zeros(len(table), np.int32), [part])
            tables.append(table.add_column(0, "part", name))
            bad.extend(found)
    del table, name
    return join_tables(tables), bad


def find_answers(members: Mapping[str, Member], part: str) -> Member:
    """Find the file that holds the answers of a part.

    Args:
        members: all files of the corpus.
        part: name of the part.

    Returns:
        The file.

    Raises:
        MissingInputError: there is none.
    """
    names = [f"{part}/raw_{part}{suffix}" for suffix in SUFFIXES]
    for name in names:
        if name in members:
            return members[name]
    raise MissingInputError(
        f"no answers of {part}: none of the files {', '.join(names)} is there; add the archive "
        f"{part.split('_')[0]}.tar, or name the parts that you have"
    )


def read_manifest(members: Mapping[str, Member], name: str) -> pa.Table:
    """Read which clips a published experiment used, and their labels.

    Args:
        members: all files of the corpus.
        name: crowd_large, test/crowd_test and so on.

    Returns:
        One row a clip: id (string), duration (float64, seconds; null where absent), label (int64,
        the place in EMOTIONS) and emotion (string).

    Raises:
        MissingInputError: there is no such manifest.
        WorkFailedError: a row is bad, or its label and emotion differ.
    """
    names = [f"paper_setups/{name}{suffix}" for suffix in (".jsonl", ".jsonl.gz")]
    found = [members[own] for own in names if own in members]
    if not found:
        known = sorted(
            own.removeprefix("paper_setups/").removesuffix(".gz").removesuffix(".jsonl")
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
    return pa.table(
        {
            "id": plain_text(table["id"]),
            "duration": table["duration"],
            "label": label.cast(pa.int64()),
            "emotion": plain_text(table["emotion"]),
        }
    )


def plain_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with its dictionary coding, if any, undone."""
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def code_answers(answers: pa.Table, labels: Iterable[str] = ANSWERS) -> CodedAnswers:
    """Turn answers to numbers.

    Args:
        answers: one row an answer, as read_answers returns them.
        labels: the answers that annotators could give; their order gives the numbers.

    Returns:
        CodedAnswers.

    Raises:
        ValueError: an answer is none of the labels.

    Example:
        >>> coded = code_answers(
        ...     pa.table(
        ...         {
        ...             "id": ["clip b", "clip a", "clip b"],
        ...             "annotator_id": ["x", "x", "y"],
        ...             "annotator_emotion": ["sad", "angry", "sad"],
        ...         }
        ...     )
        ... )
        >>> coded.task, coded.annotator, coded.label, coded.task_ids.to_pylist()
        (array([0, 1, 0]), array([0, 0, 1]), array([1, 0, 1]), ['clip b', 'clip a'])
    """
    task, task_ids = number_by_appearance(answers["id"])
    annotator, annotator_ids = number_by_appearance(answers["annotator_id"])
    given, names = number_by_appearance(answers["annotator_emotion"])
    labels = list(labels)
    unknown = [name for name in names.to_pylist() if name not in labels]
    if unknown:
        raise ValueError(f"answers hold {unknown[0]!r}; allowed are {', '.join(labels)}")
    numbers = np.array([labels.index(name) for name in names.to_pylist()], np.int64)
    return CodedAnswers(task, annotator, numbers[given], task_ids, annotator_ids)


def number_by_appearance(column: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Number the values of a column from 0 in the order in which they first appear.

    Args:
        column: text (rows,), dictionary-coded or not; null counts as a value.

    Returns:
        The number of each row's value, int64 (rows,), and the values in the order of numbers.

    Example:
        >>> numbers, values = number_by_appearance(pa.array(["b", "a", "b"]))
        >>> numbers, values.to_pylist()
        (array([0, 1, 0]), ['b', 'a'])
    """
    if not isinstance(column, pa.ChunkedArray):
        column = pa.chunked_array([column])
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    coded = column.unify_dictionaries().combine_chunks()
    if isinstance(coded, pa.ChunkedArray):  # of no chunks
        return np.zeros(0, np.int64), pa.array([], column.type.value_type)
    codes, values = coded.indices, coded.dictionary
    if codes.null_count:
        codes = codes.fill_null(len(values))
        values = pa.concat_arrays([values, pa.nulls(1, values.type)])
    codes = codes.to_numpy(zero_copy_only=False).astype(np.int64)
    # Of several assignments to one place the last one holds: backwards, that is the first row.
    first = np.full(len(values), len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(codes))]
    number = np.full(len(values), -1)
    number[order] = np.arange(len(order))
    return number[codes], values.take(pa.array(order))


def first_rows(answers: pa.Table) -> pa.Table:
    """Return one row a clip, its first.

    Args:
        answers: one row an answer, as read_answers returns them.

    Returns:
        The same columns, a row for each clip in the order of first appearance.
    """
    task, ids = number_by_appearance(answers["id"])
    first = np.empty(len(ids), np.int64)
    first[task[::-1]] = np.arange(len(task))[::-1]
    return answers.take(pa.array(first))
