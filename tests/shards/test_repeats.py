"""Ids that come again: the same recording has one row, and others that share its id an error."""

import io
import tarfile

import pyarrow
import pyarrow.parquet as pq
import pytest
from shard_work import CountBytes, begin_job

from dusha_ser.shards import repeats
from dusha_ser.shards.jobs import part_name, run_job
from dusha_ser.shards.repeats import CHECKED, CLASH, Unique, part_files, replace_rows, settle_ids
from dusha_ser.shards.stores import Store


def write_clips(path, clips, row_group_size=2):
    """Parquet of clips, given as pairs of an id and the number of bytes of its audio."""
    ids, sizes = zip(*clips, strict=True)
    audio = [bytes([1]) * size for size in sizes]
    pq.write_table(pyarrow.table({"id": ids, "audio": audio}), path, row_group_size=row_group_size)
    return path


def rows_of(place):
    """(id, size, error) of all rows, sorted."""
    tables = [pq.read_table(path) for path in sorted(place.glob("[!.]*.parquet"))]
    rows = pyarrow.concat_tables(tables).to_pylist()
    return sorted((row["id"], row["size"], row["error"]) for row in rows)


def write_rows(folder, **files):
    """Parts of rows: of each file (id, size, error)."""
    folder.mkdir(exist_ok=True)
    schema = CountBytes().schema
    for name, rows in files.items():
        cells = [dict(zip(schema.names, row, strict=True)) for row in rows]
        pq.write_table(pyarrow.Table.from_pylist(cells, schema), folder / f"{name}.parquet")
    return Store(str(folder))


def test_a_recording_comes_once_and_ids_of_several_are_noted():
    unique = Unique()
    given = [("a", b"1"), ("b", b"2"), ("a", b"1"), ("b", b"3"), ("c", "x.wav"), ("c", "x.wav")]
    assert [*unique([*given, ("d", None), ("d", None)])] == [
        *[("a", b"1"), ("b", b"2"), ("c", "x.wav"), ("d", None)]
    ]
    assert unique.clashes == {"b": CLASH}


@pytest.mark.parametrize("size", [2, 100], ids=["in several shards", "in one shard"])
def test_ids_that_come_again_in_parquet(size, tmp_path):
    clips = [("a", 1), ("b", 2), ("c", 3), ("a", 1), ("d", 4), ("b", 5), ("a", 1), ("b", 2)]
    job = begin_job([write_clips(tmp_path / "in.parquet", clips)], tmp_path / "out", size)
    outcome = run_job(job, CountBytes(), quiet=True)
    expected = [("a", 1, None), ("b", None, CLASH), ("c", 3, None), ("d", 4, None)]
    assert rows_of(tmp_path / "out") == expected
    assert outcome.errors == {"b": CLASH}
    assert outcome.failed == 1
    # It is done.
    assert run_job(job, CountBytes(), quiet=True).failed == 0
    assert rows_of(tmp_path / "out") == expected


def test_ids_that_come_again_in_inputs_of_several_kinds(tmp_path):
    (tmp_path / "wavs").mkdir()
    for name in ("x", "y"):
        (tmp_path / "wavs" / f"{name}.wav").write_bytes(b"123")
    (tmp_path / "list.csv").write_text("path\nwavs/x.wav\nwavs/y.wav\nwavs/x.wav\n")
    for number in range(2):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as archive:
            for name, content in (("k", b"12"), ("m", b"1" * (number + 1)), ("k", b"12")):
                member = tarfile.TarInfo(f"{name}.wav")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    write_clips(tmp_path / "in.parquet", [("k", 2), ("z", 9)])
    # A file that is named by a folder, by itself and by a table twice is one.
    named = [tmp_path / "wavs", tmp_path / "wavs" / "x.wav", tmp_path / "list.csv"]
    shards = [tmp_path / name for name in ("0.tar", "1.tar", "in.parquet")]
    run_job(begin_job([*named, *shards], tmp_path / "out", 1), CountBytes(), quiet=True)
    rows = rows_of(tmp_path / "out")
    ids = [row[0] for row in rows]
    assert len(ids) == len(set(ids))
    assert [row for row in rows if row[0] in "kmz"] == [
        *[("k", 2, None), ("m", None, CLASH), ("z", 9, None)]
    ]
    # Of wavs, the folder's name and the table's name are two ids.
    assert [one.rpartition("/")[2] for one in ids if "/" in one] == ["x.wav", "y.wav"] * 2


def test_many_ids_are_settled_some_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(repeats, "AT_ONCE", 2)
    rows = [(f"r{number}", number, None) for number in range(7)]
    changed = [(name, size + (size == 3), error) for name, size, error in rows]
    store = write_rows(tmp_path / "out", a=rows, b=changed, c=rows[2:5])
    assert settle_ids(store) == {"r3": CLASH}
    expected = [*rows[:3], ("r3", None, CLASH), *rows[4:]]
    assert rows_of(tmp_path / "out") == expected
    assert len(pq.read_table(tmp_path / "out" / "a.parquet")) == 7


def test_probabilities_that_differ_by_rounding_are_the_same(tmp_path):
    schema = pyarrow.schema(
        [("id", pyarrow.string()), ("share", pyarrow.float64()), ("error", pyarrow.string())]
    )
    for name, change in (("a", 2e-6), ("b", 0.0)):
        rows = [
            {"id": one, "share": share + change * sign}
            for one, share, sign in (("w", 0.25, 1), ("w", 0.5, 1), ("x", 0.25, 1e4))
        ]
        pq.write_table(pyarrow.Table.from_pylist(rows, schema), tmp_path / f"{name}.parquet")
    assert settle_ids(Store(str(tmp_path))) == {"x": CLASH}
    # The smallest stay, wherever they are.
    assert pq.read_table(tmp_path / "a.parquet")["share"].to_pylist() == [None]
    assert pq.read_table(tmp_path / "b.parquet")["share"].to_pylist() == [0.25, 0.5]


def test_hashes_are_not_compared_and_the_first_stays(tmp_path):
    store = write_rows(tmp_path / "out", a=[("h", 1, None)], b=[("h", 2, None), ("i", 3, None)])
    assert settle_ids(store, by_content=True) == {}
    assert rows_of(tmp_path / "out") == [("h", 1, None), ("i", 3, None)]


@pytest.mark.parametrize("done", [0, 1, 2])
def test_settling_that_was_stopped_is_done_again(done, tmp_path, monkeypatch):
    store = write_rows(
        tmp_path / "out",
        a=[("x", 1, None), ("y", 2, None)],
        b=[("x", 3, None), ("z", 4, None)],
        c=[("y", 2, None), ("x", 1, None), ("z", 5, None)],
    )
    written = []

    def stop(*given):
        if len(written) == done:
            raise KeyboardInterrupt
        written.append(given)
        replace_rows(*given)

    with monkeypatch.context() as patched:
        patched.setattr(repeats, "replace_rows", stop)
        with pytest.raises(KeyboardInterrupt):
            settle_ids(store)
    settle_ids(store)
    assert rows_of(tmp_path / "out") == [("x", None, CLASH), ("y", 2, None), ("z", None, CLASH)]


def test_a_part_that_is_made_again_is_settled_again(tmp_path):
    given = write_clips(tmp_path / "in.parquet", [("a", 1), ("b", 2), ("a", 1), ("c", 3)])
    job = begin_job([given], tmp_path / "out", 2)
    assert not job.is_finished
    run_job(job, CountBytes(), quiet=True)
    assert job.is_finished
    (tmp_path / "out" / part_name(1)).unlink()
    (tmp_path / "out" / ".part-00001.1.unfinished.parquet").write_bytes(b"PAR1")
    assert run_job(job, CountBytes(), quiet=True).parts == [1]
    assert rows_of(tmp_path / "out") == [("a", 1, None), ("b", 2, None), ("c", 3, None)]
    assert part_files(job.store) == [part_name(0), part_name(1)]
    assert job.store.exists(CHECKED)
