"""The recordings of shards as tables, which engines send from machine to machine."""

from collections.abc import Iterator
from typing import Any

import pyarrow

from dusha_ser.inference.batching import cut_groups, file_size
from dusha_ser.shards.reading import DamagedShardError, read_shard
from dusha_ser.shards.repeats import Unique
from dusha_ser.shards.sources import Shard
from dusha_ser.shards.stores import Store

# Columns of recordings on their way: which of them are worked on together, why a shard could not be
# read to its end or a recording gets no prediction, and what is unique among all shards, even where
# two have a recording of the same id.
ID, AUDIO, GROUP, PROBLEM, KEY = "id", "audio", "group", "problem", "key"
RECORDINGS = pyarrow.schema(
    [
        (ID, pyarrow.string()),
        (AUDIO, pyarrow.struct([("bytes", pyarrow.large_binary()), ("path", pyarrow.string())])),
        (GROUP, pyarrow.int32()),
        (PROBLEM, pyarrow.string()),
        (KEY, pyarrow.string()),
    ]
)


def read_recordings(
    numbered: tuple[int, Shard], store: Store, path_column: str, group_size: int
) -> Iterator[pyarrow.Table]:
    """Read a shard, which comes with its number, as tables of RECORDINGS, one per group.

    A recording that comes again is left out. A damaged end is a row of its error, as is an id of
    recordings that differ.
    """
    number, shard = numbered
    unique, problem = Unique(), list[str]()

    def recordings() -> Iterator[tuple[str, Any]]:
        try:
            yield from read_shard(shard, store, path_column)
        except DamagedShardError as error:
            problem.append(str(error))

    # Held until the end of the shard, where all problems are known; it becomes one block anyway.
    groups = [*cut_groups(unique(recordings()), _size, group_size)]
    if problem:
        groups.append([(str(shard), None)])
    problems = unique.clashes | {str(shard): one for one in problem}
    for place, group in enumerate(groups):
        rows = [
            {
                ID: name,
                AUDIO: _cell(audio),
                GROUP: place,
                PROBLEM: problems.get(name),
                KEY: make_key(number, name),
            }
            for name, audio in group
        ]
        yield pyarrow.Table.from_pylist(rows, RECORDINGS)


def make_key(number: int, name: str) -> str:
    """Name a recording of a shard by its id.

    Examples:
        >>> make_key(7, "clip")
        '7 clip'
    """
    return f"{number} {name}"


def shard_of(key: str) -> int:
    """Return the number of the shard.

    Examples:
        >>> shard_of("7 clip")
        7
    """
    return int(key.partition(" ")[0])


def _size(recording: tuple[str, Any]) -> int:
    audio = recording[1]
    return file_size(audio) if isinstance(audio, str) else len(audio or b"")


def _cell(audio: bytes | str | None) -> dict[str, Any]:
    return {
        "bytes": audio if isinstance(audio, bytes) else None,
        "path": audio if isinstance(audio, str) else None,
    }
