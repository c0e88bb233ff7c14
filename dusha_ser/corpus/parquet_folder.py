"""The dataset folder: Parquet shards of each configuration, written so that no work is lost.

A configuration grows in a hidden folder, one finished shard after the other, and takes its place
when all are there. What it was made of stands in the footer of each shard, so the folder tells by
itself what it holds, and a run that was stopped goes on with the shards that lack.
"""

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from tqdm.auto import tqdm

from dusha_ser.corpus.columns import cut_rows, read_tables, row_bytes
from dusha_ser.corpus.missing import write_lists
from dusha_ser.corpus.splits import Plan
from dusha_ser.errors import WrongUseError
from dusha_ser.processes import SPAWN, WorkerPool
from dusha_ser.storage import replace_folder, replacing

# Files of the Hub's data sets have at most 500 MB; half of that lets processes share the work.
SHARD_BYTES = 250 * 10**6
# Our entry in a shard's footer.
FOOTER = b"dusha"
# How often the progress bar looks at what the workers have done, in seconds.
LOOK_EVERY = 0.2


@dataclass(frozen=True)
class Shard:
    """A piece of a split.

    Args:
        file_name: of the Parquet file.
        split: which split.
        start: its first row in the plan of the split.
        stop: the row after its last one.
    """

    file_name: str
    split: str
    start: int
    stop: int


def write_configuration(
    output_dir: str | os.PathLike,
    name: str,
    content_id: str,
    make_plan: Callable[[], Plan],
    features: datasets.Features,
    facts: dict,
    num_proc: int | None = None,
    quiet: bool = False,
) -> bool:
    """Write a configuration into a dataset folder, unless the same one is there already.

    Args:
        output_dir: the dataset folder, which is made where it is not there.
        name: of the configuration, and of the folder in the dataset folder.
        content_id: differs wherever the result could.
        make_plan: tells what the configuration holds; called only if there is work.
        features: its columns.
        facts: kept in the footers for the dataset card, fit for JSON.
        num_proc: number of processes; None: one.
        quiet: no progress bar.

    Returns:
        Whether anything was written.

    Raises:
        WrongUseError: from make_plan, or the place is taken by something else.
        WorkFailedError: an archive cannot be read.
    """
    folder = Path(output_dir)
    if is_complete(folder / name, content_id):
        return False
    refuse_foreign(folder / name)
    plan = make_plan()
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        if is_complete(folder / name, content_id):
            return False  # Another process has done it while we waited.
        # Not a `replacing_folder`: finished shards must outlive a killed run, so that the next one
        # need not write them again.
        unfinished = folder / f".{name}.{content_id}.incomplete"
        for leftover in folder.glob(f".{name}.*"):
            # Work for other options or other archives is of no use now.
            if leftover != unfinished:
                shutil.rmtree(leftover)
        unfinished.mkdir(exist_ok=True)
        shards = cut_shards(plan, "input_features" in features)
        footer = facts | {
            "content_id": content_id,
            "files": [shard.file_name for shard in shards],
            "counts": plan.counts,
            "shared_sources": plan.shared_sources,
        }
        total = sum(len(rows) for rows in plan.splits.values())
        with tqdm(total=total, unit=" rows", desc=f"Writing {name}", disable=quiet) as bar:
            write_shards(unfinished, shards, plan, features, footer, num_proc, bar)
        missing = [
            clip
            for shard in shards
            for clip in read_footer(unfinished / shard.file_name)["missing"]
        ]
        write_lists(unfinished, plan.missing + missing, plan.bad_rows)
        replace_folder(unfinished, folder / name)
    return True


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Wait until no other process writes into a dataset folder, and keep others waiting."""
    with FileLock(folder / ".lock"):
        yield


def read_footer(path: Path) -> dict:
    """Read our entry in a shard's footer."""
    return json.loads(pq.read_metadata(path).metadata[FOOTER])


def is_complete(folder: Path, content_id: str) -> bool:
    """Tell whether a configuration's folder holds all shards of a content."""
    paths = sorted(folder.glob("*.parquet"))
    footer = first_footer(paths)
    return (
        footer is not None
        and footer["content_id"] == content_id
        and sorted(footer["files"]) == [path.name for path in paths]
    )


def first_footer(paths: list[Path]) -> dict | None:
    """Read our entry in the first of some shards; None where there is no shard of ours."""
    try:
        return read_footer(paths[0])
    except (IndexError, OSError, KeyError, TypeError, pa.ArrowInvalid):
        # None; just being replaced by another process; somebody else's; no Parquet at all.
        return None


def refuse_foreign(folder: Path) -> None:
    """Raise a WrongUseError if a folder that is about to be replaced is not our work."""
    is_used = folder.exists() and any(folder.iterdir())
    if is_used and first_footer(sorted(folder.glob("*.parquet"))) is None:
        raise WrongUseError(
            f"{folder} holds files that are no prepared corpus and would be replaced: choose "
            "another --output_dir, or move them away"
        )


def cut_shards(plan: Plan, input_features: bool) -> list[Shard]:
    """Decide which rows each Parquet file holds.

    Args:
        plan: of the configuration.
        input_features: whether rows have features.

    Returns:
        Shards of at most 500 MB each, the same for the same plan.
    """
    shards = []
    for split, rows in plan.splits.items():
        runs = cut_rows(row_bytes(rows, input_features), SHARD_BYTES)
        shards += [
            Shard(f"{split}-{number:05d}-of-{len(runs):05d}.parquet", split, start, stop)
            for number, (start, stop) in enumerate(runs)
        ]
    return shards


def write_shards(
    folder: Path,
    shards: list[Shard],
    plan: Plan,
    features: datasets.Features,
    footer: dict,
    num_proc: int | None,
    bar: tqdm,
) -> None:
    """Write the shards that a folder lacks.

    Args:
        folder: where to.
        shards: all of them.
        plan: the rows.
        features: the columns.
        footer: entry of each footer.
        num_proc: number of processes; None: one.
        bar: counts rows.
    """
    left = [shard for shard in shards if not (folder / shard.file_name).exists()]
    bar.update(sum(shard.stop - shard.start for shard in set(shards) - set(left)))
    jobs = (
        functools.partial(
            write_shard,
            folder / shard.file_name,
            # Taken, not sliced: what goes to a worker then holds no other rows.
            plan.splits[shard.split].take(pa.array(range(shard.start, shard.stop))),
            shard.split,
            features,
            footer,
        )
        for shard in left
    )
    if (num_proc or 1) > 1 and len(left) > 1:
        run_jobs(jobs, min(num_proc, len(left)), bar.update)
    else:
        for job in jobs:
            job(bar.update)


def run_jobs(jobs: Iterator[Callable], num_proc: int, report: Callable[[int], object]) -> None:
    """Run jobs in processes of their own, no more of them prepared than run.

    Args:
        jobs: called with a function that takes the number of rows done.
        num_proc: number of processes.
        report: called here with the rows that were done since its last call.
    """
    counter = SPAWN.Value("q", 0)
    reported = 0
    with WorkerPool(num_proc, take_counter, counter) as pool:
        running: set[Future] = set()
        for job in jobs:
            running.add(pool.submit(run_job, job))
            while len(running) >= num_proc + 1:
                running = finish_some(running)
                reported = report_rest(counter, reported, report)
        while running:
            running = finish_some(running)
            reported = report_rest(counter, reported, report)


def finish_some(running: set[Future]) -> set[Future]:
    """Wait a moment for jobs, raise what they raised, and return those that still run."""
    finished, running = wait(running, LOOK_EVERY, FIRST_COMPLETED)
    for future in finished:
        future.result()
    return running


def report_rest(counter, reported: int, report: Callable[[int], object]) -> int:
    """Report the rows done since the last report and return the number of all so far."""
    now = counter.value
    report(now - reported)
    return now


def take_counter(counter) -> None:
    """Keep the counter of rows in a worker process."""
    global _counter
    _counter = counter


def run_job(job: Callable) -> None:
    """Run a job in a worker process."""
    job(count_rows)


def count_rows(rows: int) -> None:
    """Add to the number of rows that all workers have done."""
    with _counter.get_lock():
        _counter.value += rows


def write_shard(
    path: Path,
    rows: pa.Table,
    split: str,
    features: datasets.Features,
    footer: dict,
    report: Callable[[int], object],
) -> None:
    """Write one Parquet file, all of it or nothing.

    Args:
        path: the file.
        rows: of the plan.
        split: their split.
        features: the columns.
        footer: our entry of the footer; the clips that were left out are added.
        report: called with the number of rows of each step.
    """
    schema = features.arrow_schema
    missing, size = [], 0
    with (
        replacing(path) as unfinished,
        pq.ParquetWriter(unfinished, schema, **parquet_options(schema)) as writer,
    ):
        for table, broken in read_tables(rows, split, features):
            if len(table):
                writer.write_table(table, row_group_size=len(table))
            missing += broken
            size += table.nbytes
            report(len(table) + len(broken))
        entry = json.dumps(footer | {"missing": missing, "bytes": size}, ensure_ascii=False)
        writer.add_key_value_metadata({FOOTER.decode(): entry})


def parquet_options(schema: pa.Schema) -> dict:
    """Choose how columns are packed: sound is not, it would take long and gain nothing.

    Args:
        schema: of the file.

    Returns:
        Arguments of pyarrow's ParquetWriter.
    """
    leaves = [leaf for field in schema for leaf in leaf_paths(field.name, field.type)]
    return {
        "compression": {leaf: "none" if leaf.startswith("audio.") else "snappy" for leaf in leaves},
        "use_dictionary": [leaf for leaf in leaves if not leaf.startswith("audio.")],
        "write_statistics": [leaf for leaf in leaves if leaf != "audio.bytes"],
        "write_page_index": True,
    }


def leaf_paths(path: str, column_type: pa.DataType) -> list[str]:
    """Name the columns that Parquet makes of a nested one.

    Args:
        path: of the column.
        column_type: its type.

    Returns:
        Paths such as "audio.bytes" and "votes.list.element".
    """
    if isinstance(column_type, pa.BaseExtensionType):
        column_type = column_type.storage_type
    if pa.types.is_struct(column_type):
        return [
            leaf for field in column_type for leaf in leaf_paths(f"{path}.{field.name}", field.type)
        ]
    if hasattr(column_type, "value_type") and not pa.types.is_dictionary(column_type):
        return leaf_paths(f"{path}.list.element", column_type.value_type)
    return [path]
