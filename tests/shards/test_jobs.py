"""Jobs: each shard a part, whole, once, by one program or several, and after any of them."""

import os
import re
import signal
import subprocess
import sys
import time

import fsspec
import pyarrow
import pyarrow.parquet as pq
import pytest
from shard_work import CountBytes, begin_job

from dusha_ser.errors import WrongUseError
from dusha_ser.shards.jobs import part_name, run_job
from dusha_ser.shards.options import ShardOptions, Share
from dusha_ser.shards.stores import Store


def write_input(path, count, empty=()):
    """Rows of Parquet whose audio has as many bytes as their numbers say."""
    audio = [bytes(0 if number in empty else number + 1) for number in range(count)]
    ids = [f"r{number:03d}" for number in range(count)]
    pq.write_table(pyarrow.table({"id": ids, "audio": audio}), path, row_group_size=2)
    return path


def rows_of(place):
    """The rows of all parts, in order."""
    store = Store(str(place))
    names = [name for name in store.names() if name.startswith("part-")]
    tables = [pq.read_table(pyarrow.BufferReader(store.read(name))) for name in names]
    return pyarrow.concat_tables(tables).to_pylist()


def contents(place):
    return {path.name: path.read_bytes() for path in sorted(place.glob("part-*"))}


def test_each_shard_becomes_a_part(tmp_path):
    job = begin_job([write_input(tmp_path / "in.parquet", 7, {3})], tmp_path / "out")
    outcome = run_job(job, CountBytes(), quiet=True)
    assert (outcome.parts, outcome.rows, outcome.failed) == ([0, 1, 2, 3], 7, 1)
    assert outcome.errors == {"r003": "is empty"}
    names = sorted(path.name for path in (tmp_path / "out").glob("[!.]*"))
    assert names == ["_job.json", *map(part_name, range(4))]
    assert not list((tmp_path / "out" / ".claims").iterdir())
    assert [row["size"] for row in rows_of(tmp_path / "out")] == [1, 2, 3, 0, 5, 6, 7]
    # What is done is not done again; a part that is missing is, with the same bytes.
    before = contents(tmp_path / "out")
    assert run_job(job, CountBytes(), quiet=True).parts == []
    (tmp_path / "out" / part_name(2)).unlink()
    assert run_job(job, CountBytes(), quiet=True).parts == [2]
    assert contents(tmp_path / "out") == before


def test_shares_of_an_array_make_the_whole(tmp_path):
    given = write_input(tmp_path / "in.parquet", 9)
    parts = []
    for index in (2, 0, 1):
        job = begin_job([given], tmp_path / "out")
        parts.append(run_job(job, CountBytes(), Share(index, 3), quiet=True).parts)
    assert parts == [[2], [0, 3], [1, 4]]
    assert [row["size"] for row in rows_of(tmp_path / "out")] == list(range(1, 10))


def test_several_processes_write_the_same_parts(tmp_path):
    given = write_input(tmp_path / "in.parquet", 9, {0})
    run_job(begin_job([given], tmp_path / "one"), CountBytes(), quiet=True)
    outcome = run_job(begin_job([given], tmp_path / "two"), CountBytes(), num_proc=2, quiet=True)
    assert sorted(outcome.parts) == list(range(5))
    assert outcome.failed == 1
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_jobs_lie_in_object_stores_too(tmp_path):
    fsspec.filesystem("memory").store.clear()
    given = write_input(tmp_path / "in.parquet", 5)
    job = begin_job([given], "memory://bucket/out")
    assert run_job(job, CountBytes(), quiet=True).parts == [0, 1, 2]
    assert [row["size"] for row in rows_of("memory://bucket/out")] == [1, 2, 3, 4, 5]
    assert run_job(begin_job([given], "memory://bucket/out"), CountBytes(), quiet=True).rows == 0


@pytest.mark.parametrize("change", [{"model": "another"}, {"size": 3}, {"inputs": True}])
def test_a_job_of_something_else_is_refused(change, tmp_path):
    given = write_input(tmp_path / "in.parquet", 5)
    begin_job([given], tmp_path / "out", model="one")
    inputs = [given, given] if change.pop("inputs", False) else [given]
    with pytest.raises(WrongUseError, match="was begun with another (model|shard_size|inputs);"):
        begin_job(inputs, tmp_path / "out", **({"model": "one"} | change))


@pytest.mark.parametrize("kind", ["parquet", "list", "url"])
def test_a_file_that_changed_is_refused_and_not_mixed_with_old_rows(kind, tmp_path):
    given = write_input(tmp_path / "in.parquet", 5)
    if kind == "list":
        given = tmp_path / "a.wav"
        given.write_bytes(b"12")
    elif kind == "url":
        fsspec.filesystem("memory").store.clear()
        fsspec.filesystem("memory").pipe_file("/calls/in.parquet", given.read_bytes())
        given = "memory://calls/in.parquet"
    job = begin_job([given], tmp_path / "out")
    run_job(job, CountBytes(), Share(0, 3), quiet=True)
    assert begin_job([given], tmp_path / "out").shards == job.shards
    before = contents(tmp_path / "out")
    # Of the same size, another time or tag tells.
    if kind == "url":
        content = fsspec.filesystem("memory").cat_file("/calls/in.parquet")
        fsspec.filesystem("memory").pipe_file("/calls/in.parquet", content)
    else:
        os.utime(given, (1, 1))
    with pytest.raises(WrongUseError, match=f"{re.escape(str(given))} has changed since this job"):
        begin_job([given], tmp_path / "out")
    if kind != "list":
        # Also while a program is at it.
        with pytest.raises(WrongUseError, match="has changed since this job"):
            run_job(job, CountBytes(), quiet=True)
    assert contents(tmp_path / "out") == before


def test_a_file_that_is_missing_has_not_changed(tmp_path):
    given = write_input(tmp_path / "in.parquet", 2)
    begin_job([given], tmp_path / "out")
    given.unlink()
    run_job(begin_job([given], tmp_path / "out"), CountBytes(), quiet=True)
    assert rows_of(tmp_path / "out")[0]["error"] == f"there is no {given}"


def test_folders_of_others_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WrongUseError, match=r"holds notes\.txt, which this program did not write"):
        ShardOptions(output_shards=str(tmp_path)).check()
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pipe_file("/bucket/notes.txt", b"mine")
    with pytest.raises(WrongUseError, match=r"holds notes\.txt, which this program did not write"):
        begin_job([], "memory://bucket")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_job.json").write_text("{}")
    with pytest.raises(WrongUseError, match="is not that of a job in shards"):
        begin_job([], tmp_path / "out")


@pytest.mark.parametrize("text", ["8/8", "1", "-1/2", "a/b", "1/0"])
def test_shares_that_do_not_count_from_0_are_refused(text):
    with pytest.raises(WrongUseError, match="0/8 to 7/8"):
        ShardOptions(output_shards="s3://a/b", shard=text).check()


def test_options_of_shards_need_a_place():
    with pytest.raises(WrongUseError, match="give `output_shards`"):
        ShardOptions(shard="0/2").check()
    with pytest.raises(WrongUseError, match="shard_size.*at least 1"):
        ShardOptions(output_shards="out", shard_size=0).check()


def test_damaged_shards_are_rows_of_errors(tmp_path):
    given = write_input(tmp_path / "in.parquet", 6)
    (tmp_path / "bad.parquet").write_bytes(given.read_bytes()[:-9])
    job = begin_job([tmp_path / "bad.parquet", given], tmp_path / "out")
    outcome = run_job(job, CountBytes(), quiet=True)
    first, *others = rows_of(tmp_path / "out")
    assert first["id"] == str(tmp_path / "bad.parquet")
    assert first["error"].startswith("cannot be read: ")
    assert [row["size"] for row in others] == [1, 2, 3, 4, 5, 6]
    assert outcome.failed == 1


def start(tmp_path, notes, seconds):
    program = sys.modules["shard_work"].__file__
    words = [sys.executable, program, "in.parquet", "out", tmp_path / notes, seconds]
    return subprocess.Popen(
        [str(word) for word in words],
        cwd=tmp_path,
        # Tests may run in the background, where the shell lets programs ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_a_part(program, tmp_path):
    deadline = time.monotonic() + 200
    while not list((tmp_path / "out").glob("part-*")):
        assert time.monotonic() < deadline
        assert program.poll() is None
        time.sleep(0.01)


def test_two_programs_take_each_shard_once(tmp_path):
    write_input(tmp_path / "in.parquet", 40)
    both = [start(tmp_path, f"notes{number}", 0.02) for number in range(2)]
    assert [program.wait(timeout=200) for program in both] == [0, 0]
    notes = [path.read_text().split() for path in sorted(tmp_path.glob("notes*"))]
    # Both may end before the other has begun; what counts is that nothing was done twice.
    assert sorted(sum(notes, [])) == [f"r{number:03d}" for number in range(40)]
    assert [row["size"] for row in rows_of(tmp_path / "out")] == list(range(1, 41))


def test_a_program_that_was_killed_repeats_at_most_a_shard(tmp_path):
    write_input(tmp_path / "in.parquet", 30)
    program = start(tmp_path, "notes", 0.05)
    wait_for_a_part(program, tmp_path)
    program.send_signal(signal.SIGKILL)
    program.wait()
    there = contents(tmp_path / "out")
    assert 0 < len(there) < 15, "it was killed too late to tell anything"
    assert start(tmp_path, "notes", 0).wait(timeout=200) == 0
    assert [row["size"] for row in rows_of(tmp_path / "out")] == list(range(1, 31))
    assert there.items() <= contents(tmp_path / "out").items()
    notes = (tmp_path / "notes").read_text().split()
    assert len(notes) - len(set(notes)) <= 2


def test_a_program_that_was_interrupted_leaves_whole_parts_and_no_claims(tmp_path):
    write_input(tmp_path / "in.parquet", 30)
    program = start(tmp_path, "notes", 0.5)
    wait_for_a_part(program, tmp_path)
    program.send_signal(signal.SIGINT)
    assert program.wait(timeout=200) == 130
    there = contents(tmp_path / "out")
    assert 0 < len(there) < 15
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"_job.json", ".claims", *there}
    assert not list((tmp_path / "out" / ".claims").iterdir())
    assert start(tmp_path, "notes", 0).wait(timeout=200) == 0
    assert [row["size"] for row in rows_of(tmp_path / "out")] == list(range(1, 31))
    assert there.items() <= contents(tmp_path / "out").items()
