"""Shards as a source of Ray Data: one task and one block for each."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pyarrow
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

# Reads a shard, whatever that is, as tables of equal columns; importable on every machine.
ReadShard = Callable[[Any], Iterable[pyarrow.Table]]


class Shards(Datasource):
    """What a function reads of each shard.

    Ray's own `read_parquet` ends the job at a damaged file, and makes one block of several small
    files; here the function says what becomes of a damaged one, and a shard stays a block.

    Args:
        shards: whatever the function takes, a few bytes each.
        read: reads a shard.
    """

    def __init__(self, shards: Sequence[Any], read: ReadShard):
        super().__init__()
        self.shards, self.read = shards, read

    def estimate_inmemory_data_size(self) -> int | None:
        """It is not known before shards are read."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """One task per shard, whatever the parallelism."""
        unknown = BlockMetadata(None, None, None, None)
        return [
            ReadTask(partial(_read_whole, self.read, shard), unknown, None, per_task_row_limit)
            for shard in self.shards
        ]


def _read_whole(read: ReadShard, shard: Any) -> list[pyarrow.Table]:
    tables = list(read(shard))
    return [pyarrow.concat_tables(tables, promote_options="permissive")] if tables else []
