"""The dataset folder: Parquet shards of each configuration, written so that no work is lost.

A configuration grows in a hidden folder, shard by shard, and takes its place when all are there.
Footers hold what it was made of, so a run that was stopped resumes with the missing shards.
"""

import functools
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import BaseFileLock, FileLock
from tqdm.auto import tqdm

from dusha_ser.corpus.columns import cut_rows, read_tables, row_bytes
from dusha_ser.corpus.missing import (
    BAD_ROWS_FILE,
    MISSING_FILE,
    count_left_out,
    write_lists,
)
from dusha_ser.corpus.splits import Plan
from dusha_ser.errors import WrongUseError
from dusha_ser.processes import SPAWN, WorkerPool
from dusha_ser.storage import foreign, in_the_way, replace_folder, replacing, restore_folder

# Files of the Hub's data sets have at most 500 MB; half of that lets processes share the work.
SHARD_BYTES = 250 * 10**6
# Our entry in a shard's footer.
FOOTER = b"dusha"
# How often the progress bar looks at what the workers have done, in seconds.
LOOK_EVERY = 0.2


_counter: Synchronized  # of rows that all workers have written; set in each worker


# Takes rows that were done; work that reports to it; and what does jobs, given how many there are.
Report = Callable[[int], object]
Job = Callable[[Report], None]
Spread = Callable[[Iterator[Job], int, Report], None]


@dataclass(frozen=True)
class Content:
    """What a configuration's folder is to hold."""

    name: str  # of the configuration, and of its folder in the dataset folder
    content_id: str  # differs wherever the result could
    make_plan: Callable[[], Plan]  # returns the rows; called only if there is work
    features: datasets.Features
    facts: dict  # kept in the footers for the dataset card, fit for JSON


@dataclass(frozen=True)
class Shard:
    """A piece of a split: the name of its Parquet file, the split's name and the plan's rows."""

    file_name: str
    split: str
    rows: pa.Table


def write_configuration(
    output_dir: str | os.PathLike,
    content: Content,
    num_proc: int | None = None,
    quiet: bool = True,
    overwrite: bool = False,
    spread: Spread | None = None,
) -> bool:
    """Write a configuration into a dataset folder, unless the same one is there already.

    Args:
        output_dir: the dataset folder, which is made if it is missing.
        content: what to write.
        num_proc: number of processes; None: one.
        quiet: no progress bar.
        overwrite: whether to write it again, and replace one of other options or archives.
        spread: writes the shards elsewhere than in processes of this machine.

    Returns:
        Whether anything was written.

    Raises:
        WrongUseError: from make_plan, or the place is taken by something else.
        WorkFailedError: an archive cannot be read.
    """
    name, content_id, features = content.name, content.content_id, content.features
    folder = Path(output_dir)
    if is_written(folder, content, overwrite):
        return False
    plan = content.make_plan()
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        if is_written(folder, content, overwrite):
            return False  # Another process has done it while we waited.
        # Not a `replacing_folder`: finished shards must outlive a killed run, so that the next one
        # need not write them again.
        unfinished = folder / f".{name}.{content_id}.incomplete"
        for leftover in folder.glob(f".{name}.*"):
            # Work for other options or other archives is useless now.
            if leftover != unfinished:
                shutil.rmtree(leftover)
        unfinished.mkdir(exist_ok=True)
        shards = cut_shards(plan, "input_features" in features)
        footer = content.facts | {
            "content_id": content_id,
            "files": [shard.file_name for shard in shards],
            "counts": plan.counts,
            "without_files": count_left_out(plan.missing),
            "bad_rows": len(plan.bad_rows),
            "shared_sources": plan.shared_sources,
        }
        total = sum(len(shard.rows) for shard in shards)
        with tqdm(total=total, unit=" rows", desc=f"Writing {name}", disable=quiet) as bar:
            spread = spread or functools.partial(run_jobs, num_proc or 1)
            write_shards(unfinished.absolute(), shards, features, footer, spread, bar)
        missing = [
            clip
            for shard in shards
            for clip in read_footer(unfinished / shard.file_name)["missing"]
        ]
        write_lists(unfinished, plan.missing + missing, plan.bad_rows)
        replace_folder(unfinished, folder / name)
    return True


def is_written(output_dir: str | os.PathLike, content: Content, overwrite: bool = False) -> bool:
    """Tell whether a configuration is in a dataset folder and need not be written again.

    Raises:
        WrongUseError: files of others are in its place, or, without `overwrite`, one of other
            options or archives.
    """
    folder, name = Path(output_dir), content.name
    restore_folder(folder / name)
    others = [
        path.name
        for path in sorted((folder / name).glob("*"))
        if path.suffix != ".parquet" and path.name not in (MISSING_FILE, BAD_ROWS_FILE)
    ]
    shards = sorted((folder / name).glob("*.parquet"))
    footer = first_footer(shards)
    if others or (shards and footer is None):
        raise WrongUseError(foreign(folder / name, (others or [shards[0].name])[0]))
    if overwrite or footer is None:
        return False
    if footer["content_id"] == content.content_id:
        return is_complete(folder / name, content.content_id)
    before, now = footer["options"], content.facts["options"]
    changed = [option for option in now if before.get(option) != now[option]]
    made = f"with another {', '.join(changed)}" if changed else "of other archives"
    raise WrongUseError(in_the_way(folder, f"{name}, made {made}"))


def lock_folder(folder: Path) -> BaseFileLock:
    """Return a lock for `with`, in which no other process writes into a dataset folder."""
    return FileLock(folder / ".lock")


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
    """Read our entry in the first of some shards; None if none of them is ours."""
    try:
        return read_footer(paths[0])
    except (IndexError, OSError, KeyError, TypeError, pa.ArrowInvalid):
        # No shard; just being replaced by another process; somebody else's; not Parquet at all.
        return None


def cut_shards(plan: Plan, input_features: bool) -> list[Shard]:
    """Decide which rows each Parquet file holds: at most 500 MB, the same for the same plan."""
    shards = []
    for split, rows in plan.splits.items():
        runs = cut_rows(row_bytes(rows, input_features), SHARD_BYTES)
        for number, (start, stop) in enumerate(runs):
            name = f"{split}-{number:05d}-of-{len(runs):05d}.parquet"
            shards.append(Shard(name, split, rows.slice(start, stop - start)))
    return shards


def write_shards(
    folder: Path,
    shards: list[Shard],
    features: datasets.Features,
    footer: dict,
    spread: Spread,
    bar: tqdm,
) -> None:
    """Write the shards that are missing in a folder; the bar counts rows."""
    left = []
    for shard in shards:
        if (folder / shard.file_name).exists():
            bar.update(len(shard.rows))
        else:
            left.append(shard)
    jobs = (
        functools.partial(
            write_shard,
            folder / shard.file_name,
            # Copied: a slice would take all rows of its split to a worker.
            replace(shard, rows=shard.rows.take(pa.array(range(len(shard.rows))))),
            features,
            footer,
        )
        for shard in left
    )
    spread(jobs, len(left), bar.update)


def run_jobs(num_proc: int, jobs: Iterator[Job], count: int, report: Report) -> None:
    """Run `count` jobs here, or in processes of their own, preparing no more of them than run.

    Each is called with a function that takes the number of rows done; `report` is called here with
    the rows that were done since its last call.
    """
    num_proc = min(num_proc, count)
    if num_proc <= 1:
        for job in jobs:
            job(report)
        return
    counter = SPAWN.Value("q", 0)
    reported = 0
    with WorkerPool(num_proc, take_counter, counter) as pool:
        running: set[Future] = set()
        while True:
            places = num_proc + 1 - len(running)
            running |= {pool.submit(run_job, job) for job in itertools.islice(jobs, places)}
            if not running:
                return
            finished, running = wait(running, LOOK_EVERY, FIRST_COMPLETED)
            for future in finished:
                future.result()
            now = counter.value
            report(now - reported)
            reported = now


def take_counter(counter: Synchronized) -> None:
    """Keep the counter of rows in a worker process."""
    global _counter
    _counter = counter


def run_job(job: Job) -> None:
    """Run a job in a worker process, which adds to the rows that all workers have done."""

    def count(rows: int) -> None:
        with _counter.get_lock():
            _counter.value += rows

    job(count)


def write_shard(
    path: Path,
    shard: Shard,
    features: datasets.Features,
    footer: dict,
    report: Report,
) -> None:
    """Write one Parquet file, all of it or nothing.

    The clips that were left out are added to the footer; `report` takes the rows of each step.
    """
    schema = features.arrow_schema
    missing, size = [], 0
    with (
        replacing(path) as unfinished,
        pq.ParquetWriter(unfinished, schema, **parquet_options(schema)) as writer,
    ):
        for table, broken in read_tables(shard.rows, shard.split, features):
            if len(table):
                writer.write_table(table, row_group_size=len(table))
            missing += broken
            size += table.nbytes
            report(len(table) + len(broken))
        entry = json.dumps(footer | {"missing": missing, "bytes": size}, ensure_ascii=False)
        writer.add_key_value_metadata({FOOTER.decode(): entry})


def parquet_options(schema: pa.Schema) -> dict:
    """Choose how ParquetWriter compresses: not the audio, it would take long and gain nothing."""
    empty = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), empty)
    parquet = pq.ParquetFile(pa.BufferReader(empty.getvalue())).schema
    leaves = [parquet.column(number).path for number in range(len(parquet))]
    return {
        "compression": {leaf: "none" if leaf.startswith("audio.") else "snappy" for leaf in leaves},
        "use_dictionary": [leaf for leaf in leaves if not leaf.startswith("audio.")],
        "write_statistics": [leaf for leaf in leaves if leaf != "audio.bytes"],
        "write_page_index": True,
    }
