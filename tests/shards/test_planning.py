"""Inputs cut into shards: each recording in one of them, read from where the shard begins."""

import io
import tarfile
from dataclasses import replace

import fsspec
import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest

from dusha_ser.audio.finding import list_audio_files
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.shards import planning
from dusha_ser.shards.planning import plan_shards
from dusha_ser.shards.reading import DamagedShardError, read_shard
from dusha_ser.shards.sources import PARQUET, TAR, Shard
from dusha_ser.shards.stores import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "job"))


def read_all(inputs, store, size=3, path_column="path"):
    """The recordings of each shard."""
    shards = plan_shards([str(one) for one in inputs], size, path_column, store)
    assert shards == plan_shards([str(one) for one in inputs], size, path_column, store)
    return [list(read_shard(shard, store, path_column)) for shard in shards]


def write_tar(path, names, mode="w"):
    """A tar of WebDataset: for each name a .wav, which here holds text, and a .json."""
    with tarfile.open(path, mode) as archive:
        for name in names:
            for suffix in (".json", ".wav"):
                member = tarfile.TarInfo(name + suffix)
                member.size = len(name)
                archive.addfile(member, io.BytesIO(name.encode()))
    return path


@pytest.mark.parametrize("rows_of_a_group", [1, 2, 5, 11])
@pytest.mark.parametrize("form", ["struct", "bytes", "path"])
def test_parquet_is_cut_at_row_groups_and_in_large_ones(form, rows_of_a_group, store, tmp_path):
    contents = [f"audio {number}".encode() for number in range(11)]
    if form == "struct":
        audio = {"audio": [{"bytes": one, "path": "x.wav"} for one in contents]}
    elif form == "bytes":
        audio = {"audio": contents}
    else:
        audio = {"path": [f"clips/{number}.wav" for number in range(11)]}
        contents = [str(tmp_path / path) for path in audio["path"]]
    table = pyarrow.table({"id": np.arange(11), "other": np.arange(11)} | audio)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=rows_of_a_group)
    shards = read_all([tmp_path / "a.parquet"], store)
    assert sum(shards, []) == [(str(number), one) for number, one in enumerate(contents)]
    assert all(1 <= len(shard) <= 3 for shard in shards)


def test_parquet_without_ids_is_named_by_path_or_row(store, tmp_path):
    rows = [{"bytes": b"a", "path": "one.wav"}, {"bytes": b"b", "path": None}]
    pq.write_table(pyarrow.table({"audio": rows}), tmp_path / "a.parquet")
    place = str(tmp_path / "a.parquet")
    assert read_all([place], store) == [[("one.wav", b"a"), (f"{place}#1", b"b")]]


def test_tars_are_cut_by_members(store, tmp_path):
    names = [f"set/{number:04d}" for number in range(7)] + ["long " * 40 + "name"]
    place = write_tar(tmp_path / "a.tar", names)
    shards = read_all([place], store)
    assert [len(shard) for shard in shards] == [3, 3, 2]
    assert sum(shards, []) == [(name, name.encode()) for name in names]
    # What is compressed can only be read from its beginning.
    whole = read_all([write_tar(tmp_path / "a.tar.gz", names, "w:gz")], store)
    assert whole == [sum(shards, [])]


def test_large_tables_are_cut_by_bytes_and_read_as_small_ones(store, tmp_path, monkeypatch):
    names = ["a.wav", "б.wav", 'with "quotes", and\nlines.wav', "/at/the/root.wav", "e.wav"]
    rows = "".join(
        f'{n},"{name.replace(chr(34), 2 * chr(34))}"\r\n' for n, name in enumerate(names)
    )
    table = tmp_path / "list.csv"
    table.write_bytes(("\ufeffnumber,file\r\n" + rows).encode())
    expected = [(one.name, one.path) for one in list_audio_files([str(table)], "file")]
    small = read_all([table], store, 2, "file")
    monkeypatch.setattr(planning, "WHOLE_TABLE", 0)
    large = read_all([table], store, 2, "file")
    assert [len(shard) for shard in large] == [2, 2, 1]
    assert sum(small, []) == sum(large, []) == expected
    with pytest.raises(WrongUseError, match="columns number, file and not 'path'"):
        read_all([table], store)
    table.write_bytes("number,path\n1,б\n".encode("cp1251"))
    with pytest.raises(WrongUseError, match="is not in UTF-8"):
        read_all([table], store)


def test_folders_hold_shards_and_single_files(store, tmp_path, monkeypatch):
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.wav").write_bytes(b"wav")
    write_tar(folder / "b" / "x.tar", ["t"])
    pq.write_table(pyarrow.table({"id": ["p"], "audio": [b"p"]}), folder / "b" / "x.parquet")
    monkeypatch.chdir(tmp_path)
    shards = read_all(["in", "in/2.wav"], store)
    # Names as `dusha predict` has them; places that any machine of this disk finds.
    assert shards == [
        [(f"in/{number}.wav", str(folder / f"{number}.wav")) for number in range(3)],
        [("in/3.wav", str(folder / "3.wav"))],
        [("p", b"p")],
        [("t", b"t")],
    ]
    assert read_all(["in/b/*.tar"], store) == [[("t", b"t")]]


def test_inputs_of_an_object_store(store, tmp_path):
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pipe_file("/bucket/b.wav", b"wav")
    files.pipe_file("/bucket/notes.md", b"text")
    files.pipe_file("/bucket/list.csv", b"path\nb.wav\nfar/c.wav\n")
    files.pipe_file("/bucket/set/x.tar", write_tar(tmp_path / "x.tar", ["t"]).read_bytes())
    assert read_all(["memory://bucket"], store) == [
        [("memory://bucket/b.wav", "memory://bucket/b.wav")],
        [("t", b"t")],
    ]
    assert read_all(["memory://bucket/list.csv"], store) == [
        [("b.wav", "memory://bucket/b.wav"), ("far/c.wav", "memory://bucket/far/c.wav")]
    ]
    assert read_all(["memory://bucket/*/*.tar"], store) == [[("t", b"t")]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("missing.parquet", "no such file: missing.parquet"),
        ("missing.tar", "no such file: missing.tar"),
        ("missing.wav", "no such file or folder: missing.wav"),
        ("no*thing", "nothing matches"),
        ("memory://nothing/there/*.tar", "leads to no file"),
        ("memory://nothing/list.csv", "no such file"),
    ],
)
def test_inputs_that_lead_to_nothing_are_refused(given, said, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingInputError, match=said):
        plan_shards([given], 3, "path", store)


def test_standard_input_is_refused(store):
    with pytest.raises(WrongUseError, match="standard input"):
        plan_shards(["-"], 3, "path", store)


def test_what_is_damaged_is_one_shard_that_says_so(store, tmp_path):
    table = pyarrow.table({"id": [str(n) for n in range(9)], "audio": [bytes(100)] * 9})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3, compression="none")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[:-20])
    tar = write_tar(tmp_path / "a.tar", ["one", "two", "three"]).read_bytes()
    (tmp_path / "cut.tar").write_bytes(tar[:1600])
    (tmp_path / "none.tar").write_bytes(b"text" * 300)
    # The header of "two.json".
    (tmp_path / "hit.tar").write_bytes(tar[:2048] + b"\x01" * 512 + tar[2560:])
    for name in ("cut.parquet", "cut.tar", "none.tar", "hit.tar"):
        place = str(tmp_path / name)
        (shard,) = plan_shards([place], 3, "path", store)
        assert shard.state
        assert replace(shard, state="") == Shard(
            PARQUET if name.endswith("parquet") else TAR, place
        )
        with pytest.raises(DamagedShardError, match="cannot be read"):
            list(read_shard(shard, store))
    # Damage behind the footer's back is found where it is.
    hit = bytearray(content)
    hit[4:60] = bytes(56)
    (tmp_path / "hit.parquet").write_bytes(hit)
    shards = plan_shards([str(tmp_path / "hit.parquet")], 3, "path", store)
    assert len(shards) == 3
    with pytest.raises(DamagedShardError, match="cannot be read"):
        list(read_shard(shards[0], store))
    assert len(list(read_shard(shards[2], store))) == 3
    (tmp_path / "hit.parquet").unlink()
    with pytest.raises(DamagedShardError, match="there is no"):
        list(read_shard(shards[2], store))


def test_parquet_without_audio_is_refused(store, tmp_path):
    pq.write_table(pyarrow.table({"id": ["a"], "file": ["b"]}), tmp_path / "a.parquet")
    (shard,) = plan_shards([str(tmp_path / "a.parquet")], 3, "path", store)
    with pytest.raises(WrongUseError, match="columns id, file and neither 'audio' nor 'path'"):
        list(read_shard(shard, store))
    assert list(read_shard(shard, store, "file")) == [("a", str(tmp_path / "b"))]
