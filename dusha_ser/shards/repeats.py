"""Each id once: what comes again is left out, and an id of recordings that differ is an error.

Within a shard contents are compared, among shards the rows that were made of them. Of all ids only
hashes are held in memory, 8 bytes each; what these find is looked at again by the ids themselves.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dusha_ser.shards.stores import Store

# Notes in the folder of a job that its ids have been compared.
CHECKED = ".checked"
CLASH = "is the id of recordings that differ; give each an id of its own"
# Probabilities of PyTorch differ in the sixth decimal by which clips share a batch.
CLOSE = 1e-4
# How many of the ids that occur again are looked at together: their rows are held in memory.
AT_ONCE = 500_000


class Unique:
    """Passes each recording of a shard on once.

    Attributes:
        clashes: errors by id, of recordings that share one and differ.
    """

    def __init__(self) -> None:
        self.clashes: dict[str, str] = {}
        self._seen: dict[str, str | bytes] = {}

    def __call__(self, recordings: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Pass on those whose id is new; audio is bytes, a path or URL, or None."""
        for name, audio in recordings:
            path = isinstance(audio, str)
            content = audio if path else hashlib.blake2b(audio or b"", digest_size=16).digest()
            if name not in self._seen:
                self._seen[name] = content
                yield name, audio
            elif self._seen[name] != content:
                self.clashes[name] = CLASH


def part_files(store: Store) -> list[str]:
    """Name the Parquet files of a job, in order; what killed programs left unfinished is none."""
    return [name for name in store.names() if name.endswith(".parquet") and name[0] not in "._"]


def settle_ids(store: Store, by_content: bool = False) -> dict[str, str]:
    """Leave each id in one file of a job whose shards are all done.

    Of rows that are the same but for rounding, the smallest stay. Others become one row of an
    error. It may be stopped and done again at any time.

    Args:
        store: the job's folder.
        by_content: whether ids are hashes, so that rows of the same id are the same unseen; the
            first stay.

    Returns:
        Errors by id.
    """
    names = part_files(store)
    hashes = np.concatenate([np.empty(0, np.uint64), *(_hash(_ids(store, one)) for one in names)])
    hashes.sort()
    again = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    del hashes
    errors: dict[str, str] = {}
    for first in range(0, len(again), AT_ONCE):
        edits = _compare(store, names, again[first : first + AT_ONCE], by_content)
        # In this order: an error stands in the first file before rows of others go.
        for name in names:
            if name in edits:
                replace_rows(store, name, edits[name])
        errors |= {one: text for own in edits.values() for one, text in own.items() if text}
    return errors


def replace_rows(store: Store, name: str, edits: Mapping[str, str | None]) -> None:
    """Write a Parquet file again without the rows of some ids.

    Args:
        store: its folder.
        name: of the file.
        edits: by id the error of the row that takes their place; None: no row.
    """
    gone = pyarrow.array([*edits], pyarrow.string())
    rows = [{"id": one, "error": text} for one, text in edits.items() if text]
    with store.files.open(store.path(name), "rb") as file, store.writing(name) as path:
        table = pq.ParquetFile(file)
        with pq.ParquetWriter(path, table.schema_arrow, compression="zstd") as writer:
            for number in range(table.num_row_groups):
                group = table.read_row_group(number)
                writer.write_table(group.filter(pc.invert(pc.is_in(group["id"], value_set=gone))))
            if rows:
                writer.write_table(pyarrow.Table.from_pylist(rows, table.schema_arrow))


def _ids(store: Store, name: str) -> pyarrow.Array:
    with store.files.open(store.path(name), "rb") as file:
        return pq.ParquetFile(file).read(["id"])["id"].unique()


def _hash(ids: pyarrow.Array) -> np.ndarray:
    import pandas

    values = np.asarray(ids.to_pylist(), dtype=object)
    return pandas.util.hash_array(values, categorize=False)


def _compare(
    store: Store, names: list[str], again: np.ndarray, by_content: bool
) -> dict[str, dict[str, str | None]]:
    """Return the `replace_rows` edits of files, for ids whose hashes are given."""
    found: dict[str, list[tuple[str, Any]]] = {}
    for name in names:
        ids = _ids(store, name)
        own = ids.filter(pyarrow.array(np.isin(_hash(ids), again)))
        if len(own):
            rows = {} if by_content else _rows(store, name, own)
            for one in own.to_pylist():
                found.setdefault(one, []).append((name, rows.get(one)))
    edits: dict[str, dict[str, str | None]] = {}
    for one, places in found.items():
        (first, rows), *others = places
        same = by_content or all(_agree(rows, other) for _, other in others)
        # Not the first: engines name files as they like.
        kept = min(places, key=lambda place: place[1])[0] if same and not by_content else first
        for name, _ in places:
            if name != kept:
                edits.setdefault(name, {})[one] = None
        if not same:
            edits.setdefault(first, {})[one] = CLASH
    return edits


def _rows(store: Store, name: str, ids: pyarrow.Array) -> dict[str, tuple[list, list]]:
    """The numbers, and the errors, of the rows of some ids."""
    with store.files.open(store.path(name), "rb") as file:
        table = pq.ParquetFile(file)
        numbers = [
            one.name
            for one in table.schema_arrow
            if pyarrow.types.is_floating(one.type) or pyarrow.types.is_integer(one.type)
        ]
        rows = table.read(["id", *numbers, "error"])
    rows = rows.filter(pc.is_in(rows["id"], value_set=ids))
    found: dict[str, tuple[list, list]] = {}
    columns = [rows[one].to_pylist() for one in ("id", "error", *numbers)]
    for one, error, *values in zip(*columns, strict=True):
        own = found.setdefault(one, ([], []))
        own[0].append(values)
        own[1].append(error)
    return found


def _agree(some: Any, others: Any) -> bool:
    if some[1] != others[1]:
        return False
    here, there = (np.array(one[0], np.float64) for one in (some, others))
    return bool(np.allclose(here, there, rtol=0, atol=CLOSE, equal_nan=True))
