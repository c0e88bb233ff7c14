"""Answers to clips: one row for each clip, its votes and the probability of each label."""

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock
from tqdm.auto import tqdm

from dusha_ser.archives.find import cache_folder
from dusha_ser.archives.members import Members
from dusha_ser.corpus.options import CorpusOptions
from dusha_ser.errors import WrongUseError
from dusha_ser.labels.aggregation import aggregate
from dusha_ser.labels.answers import (
    CodedAnswers,
    code_answers,
    first_rows,
    plain_text,
    read_answers,
)
from dusha_ser.labels.crowd_answers import count_votes
from dusha_ser.storage import digest, replacing
from dusha_ser.vocabulary import PARTS

# Part of the names of cached files: what older versions of this code made is never read.
FORM = 1
# How often a bar of waiting is drawn, and from when on a bar is worth drawing, in seconds.
TICK = 0.5
PATIENCE = 2
# These lie in a compressed archive; the time of their unpacked copy in the cache says nothing.
UNPACKED = "paper_setups/"
# Columns of a clip that come from its first row.
FIRST_ROW_COLUMNS = (
    "id",
    "part",
    "audio_path",
    "duration",
    "text",
    "speaker_emotion",
    "golden_emotion",
    "source_id",
)


def make_clips(answers: pa.Table, options: CorpusOptions, quiet: bool = True) -> pa.Table:
    """Aggregate all answers at once and keep one row a clip, its first.

    Section 4.1 of the Dusha paper; the threshold is applied later, by whoever picks rows.

    Args:
        answers: one row an answer, as `labels.answers.read_answers` returns them.
        options: the method and its options.
        quiet: no progress bar.

    Returns:
        One row a clip in the order of first answers: the columns FIRST_ROW_COLUMNS, then
        label_probabilities (float64, one for each label) and votes (int32, one for each label).
    """
    coded = code_answers(answers, options.labels)
    task_count, label_count = len(coded.task_ids), len(options.labels)
    truth = control_truth(answers, coded, options.labels) if options.golden else None
    probabilities = aggregate(
        coded.task,
        coded.annotator,
        coded.label,
        task_count=task_count,
        annotator_count=len(coded.annotator_ids),
        label_count=label_count,
        method=options.method,
        iterations=options.iterations,
        tolerance=options.tolerance,
        truth=truth,
        quiet=quiet,
    )
    votes = count_votes(coded.task, coded.label, task_count=task_count, label_count=label_count)
    clips = first_rows(answers.select(FIRST_ROW_COLUMNS))
    clips = pa.table([plain_text(column) for column in clips.columns], FIRST_ROW_COLUMNS)
    clips = clips.append_column("label_probabilities", vector_column(probabilities, pa.float64()))
    return clips.append_column("votes", vector_column(votes, pa.int32()))


def control_truth(answers: pa.Table, coded: CodedAnswers, labels: Iterable[str]) -> np.ndarray:
    """Return the known answers to control tasks.

    Args:
        answers: one row an answer, as `labels.answers.read_answers` returns them.
        coded: the same answers as numbers.
        labels: their order gives the numbers.

    Returns:
        int64 (clips,), the first known answer to each clip, -1 where there is none.
    """
    truth = np.full(len(coded.task_ids), -1)
    golden = match_labels(answers["golden_emotion"], labels)
    known = np.flatnonzero(golden >= 0)[::-1]  # so that a clip's first known answer stays
    truth[coded.task[known]] = golden[known]
    return truth


def match_labels(column: pa.ChunkedArray, labels: Iterable[str]) -> np.ndarray:
    """Turn names of labels to numbers.

    Args:
        column: text, dictionary-coded or not.
        labels: their order gives the numbers.

    Returns:
        int64 (rows,), -1 for null.
    """
    numbers = pc.index_in(plain_text(column), value_set=pa.array(list(labels), pa.string()))
    return pc.fill_null(numbers, -1).to_numpy().astype(np.int64)


def vector_column(values: np.ndarray, element_type: pa.DataType) -> pa.FixedSizeListArray:
    """Turn a matrix to a column of vectors.

    Args:
        values: (rows, length).
        element_type: of the vectors' elements.

    Returns:
        fixed-size lists (rows,).
    """
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), element_type)
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def content_key(members: Members, matters: Callable[[str], bool], quiet: bool = True) -> str:
    """Return a name for the state of some of the corpus' files, wherever they lie.

    Args:
        members: all files.
        matters: tells by a file's name whether it counts.
        quiet: no progress bar.

    Returns:
        16 hexadecimal digits, which change where a file is added, removed, resized or rewritten,
        and stay where an archive is moved to another folder.
    """
    states: dict[str, list] = {}
    listed = []
    names = sorted(filter(matters, members))
    for name in tqdm(names, desc="Looking at files", delay=PATIENCE, disable=quiet):
        member = members[name]
        if name.startswith(UNPACKED):
            listed.append([name, hashlib.sha256(member.read()).hexdigest()])
            continue
        if member.path not in states:
            state = os.stat(member.path)  # noqa: PTH116 - 300,000 Path objects take a second
            states[member.path] = [state.st_size, state.st_mtime_ns]
        listed.append([name, member.offset, member.size, *states[member.path]])
    return digest(listed)


def raw_prefixes(parts: Iterable[str]) -> tuple[str, ...]:
    """Return the beginnings of the names of the files that hold answers."""
    return tuple(f"{part}/raw_{part}." for part in parts)


def read_raw(
    members: Members, options: CorpusOptions, quiet: bool = False
) -> tuple[pa.Table, list[dict]]:
    """Read the answers of the parts that the options name.

    Args:
        members: all files.
        options: parts, labels and what to do with bad rows.
        quiet: no progress bar.

    Returns:
        One row an answer, and the skipped rows with file, line, field and value.

    Raises:
        WrongUseError: a row is bad and bad rows are errors, or there is no answer at all.
        MissingInputError: a part has no file of answers.
    """
    answers, bad_rows = read_answers(
        members, options.parts, options.labels, options.bad_rows, quiet=quiet
    )
    if not len(answers):
        raise WrongUseError(
            f"there is no answer in {', '.join(options.parts)}: the files raw_*.jsonl or "
            "raw_*.tsv are empty; fetch the archives again"
        )
    return answers, [dataclasses.asdict(row) for row in bad_rows]


def cached_clips(
    members: Members, options: CorpusOptions, cache_dir: str | None, quiet: bool = False
) -> tuple[pa.Table, list[dict]]:
    """Aggregate once for all configurations: later calls read what the first one found.

    Args:
        members: all files.
        options: what the labels depend on.
        cache_dir: folder to keep the result in; None: `dusha` in the Hugging Face cache.
        quiet: no progress bar.

    Returns:
        One row a clip, as `make_clips` returns them, and the skipped rows.

    Raises:
        WrongUseError: as `read_raw`.
        MissingInputError: as `read_raw`.
    """
    made_of = {
        name: value
        for name, value in options.as_dict().items()
        if name in ("method", "iterations", "tolerance", "golden", "labels", "parts", "bad_rows")
    }
    prefixes = raw_prefixes(options.parts)
    key = digest(FORM, made_of, content_key(members, lambda name: name.startswith(prefixes)))
    folder = cache_folder(cache_dir) / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key}.parquet"
    # Whoever comes second waits and reads, instead of doing the same work beside.
    with FileLock(f"{path}.lock"):
        if (found := read_kept(path)) is not None:
            return found
        answers, bad_rows = read_raw(members, options, quiet)
        with waiting(f"Aggregating {len(answers):,} answers", quiet):
            clips = make_clips(answers, options, quiet)
        kept = clips.replace_schema_metadata({"bad_rows": json.dumps(bad_rows)})
        with replacing(path) as unfinished:
            pq.write_table(kept, unfinished, write_page_checksum=True)
    return pq.read_table(path).replace_schema_metadata(None), bad_rows


def read_kept(path: Path) -> tuple[pa.Table, list[dict]] | None:
    """Read what `cached_clips` has kept; None where nothing is kept, or it is damaged."""
    try:
        clips = pq.read_table(path, page_checksum_verification=True)
        bad_rows = json.loads(clips.schema.metadata[b"bad_rows"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    return clips.replace_schema_metadata(None), bad_rows


@contextlib.contextmanager
def waiting(text: str, quiet: bool) -> Iterator[None]:
    """Show how long a step has taken so far, for steps that cannot tell how far they are.

    Args:
        text: what is being done.
        quiet: show nothing.
    """
    finished = threading.Event()

    def tick() -> None:
        with tqdm(desc=text, bar_format="{desc} {elapsed}", disable=quiet) as bar:
            while not finished.wait(TICK):
                bar.refresh()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def parts_at_hand(members: Members) -> tuple[str, ...]:
    """Return the parts of the corpus whose answers are there, in their fixed order."""
    return tuple(
        part for part in PARTS if any(name.startswith(raw_prefixes([part])) for name in members)
    )
