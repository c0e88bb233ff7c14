"""Answers to clips: one row for each clip, its votes and the probability of each label."""

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock
from tqdm.auto import tqdm

from dusha_ser.archives.find import cache_folder
from dusha_ser.archives.members import Members
from dusha_ser.corpus.configurations import LIKELIHOODS, METADATA
from dusha_ser.corpus.options import CorpusOptions
from dusha_ser.errors import WrongUseError
from dusha_ser.fingerprints import code_digest, digest
from dusha_ser.labels.aggregation import aggregate
from dusha_ser.labels.answers import code_answers, plain_text, read_answers
from dusha_ser.labels.crowd_answers import Posteriors
from dusha_ser.labels.dawid_skene import DawidSkene
from dusha_ser.labels.likelihoods import answer_log_likelihoods
from dusha_ser.labels.regularised import regularised_dawid_skene
from dusha_ser.processes import Mapper
from dusha_ser.storage import replacing
from dusha_ser.vocabulary import PARTS, REGULARISED

# Part of the names of cached files: what older versions of this code made is never read.
FORM = 3
# Modules whose code decides the labels.
CODE = ("dusha_ser.labels", "dusha_ser.corpus.clips")
# How often a bar of waiting is drawn, and from when on a bar is worth drawing, in seconds.
TICK = 0.5
PATIENCE = 2
# These lie in a compressed archive; the time of their unpacked copy in the cache says nothing.
UNPACKED = "paper_setups/"
# Columns of a clip that come from its first row.
FIRST_ROW_COLUMNS = ("id", "part", "audio_path", "duration", *METADATA)


def make_clips(answers: pa.Table, options: CorpusOptions, quiet: bool = True) -> pa.Table:
    """Aggregate all answers at once and keep one row per clip, its first.

    Section 4.1 of the Dusha paper; the threshold is applied later, when rows are picked.

    Args:
        answers: one row per answer, as `labels.answers.read_answers` returns them.
        options: the method and its options.
        quiet: no progress bar.

    Returns:
        One row per clip in the order of first answers: FIRST_ROW_COLUMNS, label_probabilities,
        votes and, where they are asked for, log_likelihoods, vectors of one number per label, and
        `answers`, the labels in that order, which are in the metadata of these fields, too.
    """
    crowd = code_answers(answers, options.labels)
    asked = crowd if options.golden else crowd.with_truth(None)
    iterations, tolerance = options.iterations, options.tolerance
    found = aggregate(
        asked, options.method, iterations=iterations, tolerance=tolerance, quiet=quiet
    )
    clips = answers.select(FIRST_ROW_COLUMNS).take(pa.array(crowd.first_answers()))
    clips = pa.table([plain_text(column) for column in clips.columns], FIRST_ROW_COLUMNS)
    names = {"labels": json.dumps(found.labels)}
    vectors = {"label_probabilities": found.probabilities, "votes": crowd.votes().astype(np.int32)}
    if options.log_likelihoods:
        # Confusions of few answers each: those of plain Dawid-Skene are far too sure.
        judged = found
        if options.method != REGULARISED:
            judged = regularised_dawid_skene(asked, iterations, tolerance, quiet)
        vectors[LIKELIHOODS] = answer_log_likelihoods(asked, cast(DawidSkene, judged))
    for name, values in vectors.items():
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        clips = clips.append_column(pa.field(name, column.type, metadata=names), column)
    answers = pa.array(list(found.labels) * len(clips), pa.string())
    column = pa.FixedSizeListArray.from_arrays(answers, len(found.labels))
    return clips.append_column("answers", column)


def posteriors(clips: pa.Table) -> Posteriors:
    """Return the labels and probabilities of clips that `make_clips` made."""
    field = clips.schema.field("label_probabilities")
    flat = pc.list_flatten(clips[field.name]).to_numpy()
    labels = tuple(json.loads(field.metadata[b"labels"]))
    return Posteriors(labels, flat.reshape(len(clips), len(labels)))


def content_key(members: Members, matters: Callable[[str], bool], quiet: bool = True) -> str:
    """Return a name for the state of the files whose names matter, wherever they lie.

    It changes where a file is added, removed, resized or rewritten, and stays where an archive is
    moved to another folder.
    """
    states: dict[str, list] = {}
    listed: list[list] = []
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
    members: Members, options: CorpusOptions, quiet: bool = False, mapper: Mapper = map
) -> tuple[pa.Table, list[dict]]:
    """Read the answers of the parts that the options name.

    Returns:
        One row per answer, and the skipped rows with file, line, field and value.

    Raises:
        WrongUseError: a row is bad and bad rows are errors, or there are no answers.
        MissingInputError: a part has no file of answers.
    """
    answers, bad_rows = read_answers(
        members, options.parts, options.labels, options.bad_rows, quiet, mapper
    )
    if not len(answers):
        raise WrongUseError(
            f"there is no answer in {', '.join(options.parts)}: the files raw_*.jsonl or "
            "raw_*.tsv are empty; fetch the archives again"
        )
    return answers, [dataclasses.asdict(row) for row in bad_rows]


def cached_clips(
    members: Members,
    options: CorpusOptions,
    cache_dir: str | None,
    quiet: bool = False,
    mapper: Mapper = map,
) -> tuple[pa.Table, list[dict]]:
    """Aggregate once for all configurations: later calls read what the first one found.

    Returns clips as `make_clips` does, and the skipped rows; raises as `read_raw`. They are kept
    in cache_dir, or in `dusha` in the Hugging Face cache.
    """
    matter = (
        *("method", "iterations", "tolerance", "golden", "labels", "parts", "bad_rows"),
        LIKELIHOODS,
    )
    made_of = {name: value for name, value in options.as_dict().items() if name in matter}
    prefixes = raw_prefixes(options.parts)
    state = content_key(members, lambda name: name.startswith(prefixes))
    key = digest(FORM, code_digest(*CODE), made_of, state)
    folder = cache_folder(cache_dir) / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key}.parquet"
    # A second process waits and reads, instead of doing the same work.
    with FileLock(f"{path}.lock"):
        if (found := read_kept(path)) is not None:
            return found
        answers, bad_rows = read_raw(members, options, quiet, mapper)
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
    """Show how long a step has taken so far, for steps that do not know how far they are."""
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
