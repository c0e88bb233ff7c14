"""Jobs: shards that become parts, by any number of programs that may be killed at any time.

A job is a folder with _job.json, which pins what the parts are made with, and part-00000.parquet
and so on, each whole or not there. What a killed program was at is done again; nothing else is.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import astuple, dataclass, field
from functools import partial
from typing import Any, Protocol

import pyarrow
import pyarrow.parquet as pq
from tqdm import tqdm

from dusha_ser.errors import WrongUseError
from dusha_ser.processes import WorkerPool
from dusha_ser.shards.claims import Claims
from dusha_ser.shards.options import JOB_FILE, Share
from dusha_ser.shards.planning import check_inputs
from dusha_ser.shards.reading import DamagedShardError, read_shard
from dusha_ser.shards.repeats import CHECKED, Unique, replace_rows, settle_ids
from dusha_ser.shards.sources import Shard
from dusha_ser.shards.stores import Store, is_url

PART = re.compile(r"part-(\d{5,})\.parquet")
# Seconds after which it is looked again whether others are done.
LOOK_EVERY = 2.0
Recordings = Iterable[tuple[str, Any]]
# Does the shards that are left of a job's share, and says in an outcome what it did.
DoShards = Callable[["Job", "Work", Share | None, "Outcome"], None]


class Work(Protocol):
    """What turns the recordings of a shard into tables of rows with `id` and `error`.

    It is sent to other processes.
    """

    @property
    def path_column(self) -> str:
        """Column of tables that holds paths."""

    @property
    def schema(self) -> pyarrow.Schema:
        """The columns of all tables."""

    @property
    def by_content(self) -> bool:
        """Whether ids are hashes of what rows hold, rather than those of recordings."""

    def __call__(self, recordings: Recordings) -> Iterator[pyarrow.Table]:
        """Work on recordings, given as ids and the values of an audio column."""


def part_name(number: int) -> str:
    """Name the file of a part.

    Examples:
        >>> part_name(7)
        'part-00007.parquet'
    """
    return f"part-{number:05d}.parquet"


@dataclass
class Job:
    """Shards, and the folder of their parts."""

    store: Store
    shards: list[Shard]

    def done(self) -> set[int]:
        """The numbers of the parts that are there."""
        found = (PART.fullmatch(name) for name in self.store.names())
        return {int(one[1]) for one in found if one}

    def left(self, share: Share | None = None) -> list[int]:
        """The numbers of the shards, of a share or of all, whose parts are not there."""
        done = self.done()
        numbers = range(len(self.shards))
        return [n for n in numbers if n not in done and (share is None or share.has(n))]

    @property
    def is_finished(self) -> bool:
        """Whether all is there, each id once."""
        return self.store.exists(CHECKED)

    def reopen(self) -> None:
        """Note that there is something to do again."""
        self.store.remove(CHECKED)

    def finish(self, by_content: bool = False) -> dict[str, str]:
        """Leave each id in one part, unless another program does or did; returns errors by id."""
        errors: dict[str, str] = {}
        with Claims(self.store) as claims:
            while not self.is_finished:
                if not claims.take(CHECKED):
                    time.sleep(LOOK_EVERY)
                elif not self.is_finished:
                    errors = settle_ids(self.store, by_content)
                    self.store.write(CHECKED, b"each id once\n")
        return errors


def open_job(store: Store, made_with: dict[str, Any], plan: Callable[[], list[Shard]]) -> Job:
    """Begin a job, or join the one that is there.

    Args:
        store: its folder.
        made_with: JSON values that decide the parts.
        plan: cuts the inputs into shards, if nobody has yet.

    Raises:
        WrongUseError: if the folder is of others, or of a job that something else decides, or a
            file of the inputs has changed.
    """
    names = [name for name in store.names() if not name.startswith(".")]
    if JOB_FILE not in names:
        others = [name for name in names if not name.startswith("_files-")]
        if others and is_url(store.place):
            raise WrongUseError(
                f"{store} holds {others[0]}, which this program did not write; name another "
                "`output_shards`"
            )
        shards = [astuple(shard) for shard in plan()]
        content = json.dumps({"made with": made_with, "shards": shards}, ensure_ascii=False)
        store.create(JOB_FILE, f"{content}\n".encode())
    try:
        told = json.loads(store.read(JOB_FILE))
        before, shards = told["made with"], told["shards"]
    except (ValueError, KeyError, TypeError) as error:
        raise WrongUseError(
            f"{store}/{JOB_FILE} is not that of a job in shards; name another `output_shards`"
        ) from error
    now = json.loads(json.dumps(made_with))
    if other := sorted(key for key in {*now, *before} if before.get(key) != now.get(key)):
        raise WrongUseError(
            f"{store} was begun with another {', '.join(other)}; name another `output_shards`, or "
            "remove that one yourself: other machines may be writing there"
        )
    job = Job(store, [Shard(*one) for one in shards])
    if JOB_FILE in names:
        check_inputs(job.shards, store)
    return job


@dataclass
class Outcome:
    """What a program did of a job: the numbers of its parts, its rows, and its errors by id."""

    parts: list[int] = field(default_factory=list)
    rows: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    failed: int = 0

    def add(self, number: int, rows: int, errors: dict[str, str]) -> None:
        """Count a part."""
        self.parts.append(number)
        self.rows += rows
        self.failed += len(errors)
        # Examples are enough: there may be millions.
        if len(self.errors) < 10_000:
            self.errors |= errors


def do_shard(job: Job, work: Work, number: int) -> tuple[int, dict[str, str]]:
    """Do one shard, and write its part whole or not at all.

    What is damaged ends with a row of its error.

    Returns:
        The number of rows, and errors by id.
    """
    shard, count = job.shards[number], 0
    errors: dict[str, str] = {}
    damage: list[str] = []

    def recordings() -> Iterator[tuple[str, Any]]:
        try:
            yield from read_shard(shard, job.store, work.path_column)
        except DamagedShardError as error:
            damage.append(str(error))

    schema, unique = work.schema, Unique()
    with job.store.writing(part_name(number)) as path, contextlib.ExitStack() as stack:
        writer = stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))

        def write(table: pyarrow.Table) -> None:
            nonlocal count
            writer.write_table(table)
            count += len(table)
            pairs = zip(table["id"].to_pylist(), table["error"].to_pylist(), strict=True)
            errors.update({name: text for name, text in pairs if text is not None})

        given = recordings()
        for table in work(given if work.by_content else unique(given)):
            write(table)
        for text in damage:
            cells = {"id": str(shard), "error": text}
            write(pyarrow.table({one: [cells.get(one)] for one in schema.names}, schema))
        # The file is whole when its footer is written.
        stack.close()
        if unique.clashes:
            replace_rows(Store(str(path.parent)), path.name, unique.clashes)
            count = pq.read_metadata(path).num_rows
    return count, errors | unique.clashes


def run_job(
    job: Job,
    work: Work,
    share: Share | None = None,
    num_proc: int = 1,
    quiet: bool = False,
    do: DoShards | None = None,
) -> Outcome:
    """Do the shards of a job that are not done; who does the last one sees to it that ids are once.

    Args:
        job: the shards.
        work: what to do with each.
        share: which of them; None: all that nobody else works on, until all are done.
        num_proc: processes to do it with.
        quiet: no bar.
        do: does them elsewhere than here.

    Returns:
        What this program did.

    Raises:
        WorkFailedError: if a process was killed.
    """
    outcome = Outcome()
    if job.left(share):
        job.reopen()
        do = do or partial(do_here, num_proc=num_proc, quiet=quiet)
        do(job, work, share, outcome)
    if not job.left():
        errors = job.finish(work.by_content)
        outcome.failed += len(errors)
        outcome.errors |= errors
    return outcome


def do_here(
    job: Job, work: Work, share: Share | None, outcome: Outcome, num_proc: int, quiet: bool
) -> None:
    """Do shards in processes of this machine; see `run_job`."""
    with contextlib.ExitStack() as stack:
        claims = stack.enter_context(Claims(job.store))
        numbers = iter(job.left(share)) if share else _free_shards(job, claims)
        total = sum(share is None or share.has(n) for n in range(len(job.shards)))
        there = total - len(job.left(share))
        bar = stack.enter_context(
            tqdm(total=total, initial=there, unit="shard", disable=quiet or None)
        )

        def take(number: int, found: tuple[int, dict[str, str]]) -> None:
            outcome.add(number, *found)
            claims.release(str(number))
            bar.update(1)

        if num_proc == 1:
            for number in numbers:
                if number is None:
                    time.sleep(LOOK_EVERY)
                else:
                    take(number, do_shard(job, work, number))
            return
        pool = stack.enter_context(WorkerPool(num_proc, _prepare, job, work))
        running: dict[Future, int] = {}
        for number in numbers:
            if number is not None:
                running[pool.submit(_do_here, number)] = number
            elif not running:
                time.sleep(LOOK_EVERY)
            if number is None or len(running) == num_proc:
                longest = LOOK_EVERY if number is None else None
                for one in wait(running, longest, FIRST_COMPLETED).done:
                    take(running.pop(one), one.result())
        for one, number in running.items():
            take(number, one.result())


def _free_shards(job: Job, claims: Claims) -> Iterator[int | None]:
    """Claim shards until all are done; None: others are at those that are left."""
    while True:
        left = job.left()
        if not left:
            claims.clear()
            return
        taken = False
        for number in left:
            if not claims.take(str(number)):
                continue
            if job.store.exists(part_name(number)):  # written since this round began
                claims.release(str(number))
                continue
            taken = True
            yield number
        if not taken:
            yield None


_here: tuple[Job, Work]


def _prepare(job: Job, work: Work) -> None:
    global _here
    _here = job, work


def _do_here(number: int) -> tuple[int, dict[str, str]]:
    return do_shard(*_here, number)
