"""The recordings of shards as tables, which engines send from machine to machine."""

from collections.abc import Iterator
from typing import Any

import pyarrow

from dusha_ser.inference.batching import cut_groups, file_size
from dusha_ser.shards.reading import DamagedShardError, read_shard
from dusha_ser.shards.sources import Shard
from dusha_ser.shards.stores import Store

# Columns of recordings on their way: which of them are worked on together, and why a shard could
# not be read to its end.
ID, AUDIO, GROUP, PROBLEM = "id", "audio", "group", "problem"
RECORDINGS = pyarrow.schema(
    [
        (ID, pyarrow.string()),
        (AUDIO, pyarrow.struct([("bytes", pyarrow.large_binary()), ("path", pyarrow.string())])),
        (GROUP, pyarrow.int32()),
        (PROBLEM, pyarrow.string()),
    ]
)


def read_recordings(
    shard: Shard, store: Store, path_column: str, group_size: int
) -> Iterator[pyarrow.Table]:
    """Read a shard as tables of RECORDINGS, one per group; a damaged end is a row of its error."""
    problem: list[str] = []

    def recordings() -> Iterator[tuple[str, Any]]:
        try:
            yield from read_shard(shard, store, path_column)
        except DamagedShardError as error:
            problem.append(str(error))

    number = -1
    for number, group in enumerate(cut_groups(recordings(), _size, group_size)):
        rows = [
            {ID: name, AUDIO: _cell(audio), GROUP: number, PROBLEM: None} for name, audio in group
        ]
        yield pyarrow.Table.from_pylist(rows, RECORDINGS)
    if problem:
        row = {ID: str(shard), AUDIO: None, GROUP: number + 1, PROBLEM: problem[0]}
        yield pyarrow.Table.from_pylist([row], RECORDINGS)


def _size(recording: tuple[str, Any]) -> int:
    audio = recording[1]
    return file_size(audio) if isinstance(audio, str) else len(audio or b"")


def _cell(audio: bytes | str | None) -> dict[str, Any]:
    return {
        "bytes": audio if isinstance(audio, bytes) else None,
        "path": audio if isinstance(audio, str) else None,
    }
