"""Jobs in shards on a cluster: Ray Data reads them, puts them through stages, and writes rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
import ray

from dusha_ser.engines.cluster import RETRIES, resumable
from dusha_ser.engines.reading import Shards
from dusha_ser.engines.recordings import GROUP, ID, KEY, make_key, read_recordings, shard_of
from dusha_ser.shards.jobs import Job, Outcome
from dusha_ser.shards.repeats import part_files
from dusha_ser.shards.stores import Store

# Blocks go through stages as they are; of stages that need the same machine, Ray makes one task.
WHOLE_BLOCKS: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow"}
# Of blocks, so many wait at an actor that works on another.
IN_FLIGHT = 2
# Errors of so many rows are counted by reason; there may be millions.
EXAMPLES = 10_000
# From the rows of one group to any others; sent to all machines.
Stage = Callable[[pyarrow.Table], pyarrow.Table]


@dataclass(frozen=True)
class InGroups:
    """Puts each group of a block through a stage; rows keep their keys.

    Args:
        stage: what to do with the rows of a group.
        keep: whether another stage takes them in the same groups.
    """

    stage: Stage
    keep: bool = False

    def __call__(self, block: pyarrow.Table) -> Iterator[pyarrow.Table]:
        """Yield what becomes of each group."""
        for number in block[GROUP].unique().to_pylist():
            rows = block.filter(pyarrow.compute.equal(block[GROUP], number))
            found = self.stage(rows.drop_columns([KEY]))
            shard = shard_of(rows[KEY][0].as_py())
            keys = [make_key(shard, name) for name in found[ID].to_pylist()]
            found = found.append_column(KEY, pyarrow.array(keys, pyarrow.string()))
            if self.keep:
                found = found.append_column(
                    GROUP, pyarrow.array([number] * found.num_rows, pyarrow.int32())
                )
            yield found


class Parts(ray.data.BlockBasedFileDatasink):
    """Writes blocks as Parquet without their keys, which Ray's checkpoint keeps."""

    def write_block_to_file(self, block: Any, file: Any) -> None:
        """Write a block to an open file."""
        rows = block.to_arrow().drop_columns([KEY])
        pyarrow.parquet.write_table(rows, file, compression="zstd")


class InActor:
    """A stage in an actor, which keeps its GPU for the whole job."""

    def __init__(self, stage: InGroups):
        self.stage = stage

    def __call__(self, block: pyarrow.Table) -> Iterator[pyarrow.Table]:
        """Yield what becomes of each group."""
        yield from self.stage(block)


@dataclass(frozen=True)
class RayJob:
    """What a cluster does of a job.

    Args:
        job: the shards, and the folder that gets the rows.
        stages: what recordings (RECORDINGS) go through; each is a task of one processor, or part
            of the one before it.
        group_size: as `batching.cut_groups` takes it.
        path_column: column of tables that holds paths.
        gpus: actors for the last stage, one GPU each; 0: none.
        quiet: no progress bars.
    """

    job: Job
    stages: list[Stage]
    group_size: int = field(default=1)
    path_column: str = "path"
    gpus: int = 0
    quiet: bool = False

    def run(self) -> Outcome:
        """Do what is not done yet, and count all rows that are there, each id once."""
        if not self.job.is_finished:
            read = partial(
                read_recordings,
                store=self.job.store,
                path_column=self.path_column,
                group_size=self.group_size,
            )
            source = Shards([*enumerate(self.job.shards)], read)
            store = self.job.store
            # Ray's checkpoints take URLs and absolute paths alone.
            place = str(store.folder.absolute()) if store.folder else store.place
            with resumable(KEY, place, self.quiet):
                rows = ray.data.read_datasource(source, override_num_blocks=len(source.shards))
                *before, last = self.stages
                for stage in before:
                    rows = rows.map_batches(InGroups(stage, keep=True), **WHOLE_BLOCKS)
                rows = self._last(rows, InGroups(last))
                rows.write_datasink(Parts(place, file_format="parquet"))
            self.job.finish()
        outcome = count_rows(self.job.store)
        outcome.parts = [*range(len(self.job.shards))]
        return outcome

    def _last(self, rows: ray.data.Dataset, stage: InGroups) -> ray.data.Dataset:
        """Put rows through the last stage: in actors with a GPU each, or in tasks."""
        if not self.gpus:
            return rows.map_batches(stage, **WHOLE_BLOCKS)
        return rows.map_batches(
            InActor,
            fn_constructor_args=(stage,),
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=self.gpus, max_tasks_in_flight_per_actor=IN_FLIGHT
            ),
            num_cpus=0,
            num_gpus=1,
            # An actor starts again as often as it dies, its tasks so many times.
            max_restarts=-1,
            max_task_retries=RETRIES,
            **WHOLE_BLOCKS,
        )


def count_rows(store: Store) -> Outcome:
    """Count the rows that a job of Ray has written, and those with errors."""
    outcome = Outcome()
    paths = [store.path(name) for name in part_files(store)]
    if paths:
        rows = pyarrow.dataset.dataset(paths, filesystem=store.files, format="parquet")
        outcome.rows = rows.count_rows()
        failed = ~pyarrow.dataset.field("error").is_null()
        for batch in rows.to_batches(columns=[ID, "error"], filter=failed):
            outcome.failed += batch.num_rows
            if len(outcome.errors) < EXAMPLES:
                names, errors = (batch[name].to_pylist() for name in (ID, "error"))
                outcome.errors |= zip(names, errors, strict=True)
    return outcome
