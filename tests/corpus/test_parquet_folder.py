"""The dataset folder: shards below a size, finished ones kept, unfinished ones replaced."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_corpus import make_clips, write_corpus

from dusha_ser import storage
from dusha_ser.archives.find import open_members
from dusha_ser.corpus import parquet_folder
from dusha_ser.corpus.columns import corpus_features
from dusha_ser.corpus.options import CorpusOptions
from dusha_ser.corpus.parquet_folder import (
    Content,
    first_footer,
    is_complete,
    parquet_options,
    read_footer,
    write_configuration,
)
from dusha_ser.corpus.splits import make_plan
from dusha_ser.errors import WorkFailedError, WrongUseError

FEATURES = corpus_features("crowd", CorpusOptions())


@pytest.fixture
def plan(tmp_path):
    folder = write_corpus(tmp_path / "archives")
    members = open_members([folder], tmp_path / "index", quiet=True)
    return make_plan("crowd", members, CorpusOptions(), tmp_path / "cache", quiet=True)


@pytest.fixture
def write(tmp_path, plan):
    """Write the plan into tmp_path/dusha; returns whether anything was written."""

    def write(content_id="id", num_proc=None, overwrite=False, **options):
        return write_configuration(
            tmp_path / "dusha",
            Content(
                "crowd",
                content_id,
                lambda: plan,
                FEATURES,
                {"options": {"threshold": 0.9} | options},
            ),
            num_proc,
            quiet=True,
            overwrite=overwrite,
        )

    return write


def shards(folder):
    return {path.name: path.stat().st_ino for path in sorted(folder.glob("[!.]*.parquet"))}


def read(folder, split):
    return pa.concat_tables(
        pq.read_table(path) for path in sorted(folder.glob(f"{split}-*.parquet"))
    )


@pytest.mark.parametrize("num_proc", [None, 2])
def test_write_configuration_when_shards_are_small(num_proc, write, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_folder, "SHARD_BYTES", 30_000)
    assert write(num_proc=num_proc)
    folder = tmp_path / "dusha" / "crowd"
    names = [path.name for path in sorted(folder.iterdir())]
    count = sum(name.startswith("train") for name in names)
    assert count > 3
    assert names[-count:] == [f"train-{i:05d}-of-{count:05d}.parquet" for i in range(count)]
    # The footer, which the estimate leaves out, weighs in shards as small as these.
    assert all(path.stat().st_size < 30_000 + 15_000 for path in folder.iterdir())
    for split, rows in plan.splits.items():
        assert read(folder, split)["id"].equals(rows["id"])
    clips = {clip["id"]: clip["wav"] for clip in make_clips()}
    for row in read(folder, "train").select(["id", "audio"]).to_pylist():
        assert row["audio"]["bytes"] == clips[row["id"]]
    assert not list((tmp_path / "dusha").glob(".crowd*"))


def test_write_configuration_when_it_is_there(write, tmp_path):
    assert write()
    before = shards(tmp_path / "dusha" / "crowd")
    assert not write()
    assert shards(tmp_path / "dusha" / "crowd") == before
    with pytest.raises(WrongUseError, match=r"crowd, made of other archives; .*`overwrite=True`"):
        write("another id")
    with pytest.raises(WrongUseError, match="crowd, made with another threshold, method;"):
        write("another id", threshold=0.8, method="bcc")
    assert shards(tmp_path / "dusha" / "crowd") == before
    assert write("another id", overwrite=True)
    after = shards(tmp_path / "dusha" / "crowd")
    assert after != before
    assert write("another id", overwrite=True)
    assert shards(tmp_path / "dusha" / "crowd") != after
    (tmp_path / "dusha" / "crowd" / "notes.txt").touch()
    with pytest.raises(WrongUseError, match=r"holds notes\.txt, which this program did not"):
        write("another id", overwrite=True)


def test_write_configuration_when_a_shard_is_gone(write, tmp_path):
    write()
    next((tmp_path / "dusha" / "crowd").glob("train-*")).unlink()
    assert write()
    assert is_complete(tmp_path / "dusha" / "crowd", "id")


def test_write_configuration_when_it_was_stopped(write, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_folder, "SHARD_BYTES", 30_000)
    real, calls = parquet_folder.write_shard, []

    def stop_at_third(path, *arguments):
        calls.append(path.name)
        if len(calls) == 3:
            path.with_name(".shard.1.unfinished.parquet").write_bytes(b"half a shard")
            raise KeyboardInterrupt
        return real(path, *arguments)

    monkeypatch.setattr(parquet_folder, "write_shard", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        write()
    unfinished = tmp_path / "dusha" / ".crowd.id.incomplete"
    kept = shards(unfinished)
    assert sorted(kept) == sorted(calls[:2])
    assert not (tmp_path / "dusha" / "crowd").exists()
    storage._remove_leftovers.cache_clear()  # a program looks for them once, and this is the next
    assert write()
    finished = shards(tmp_path / "dusha" / "crowd")
    assert kept.items() <= finished.items(), "finished shards are not written again"
    assert calls[3:] == [name for name in calls[3:] if name not in kept]
    assert not list(tmp_path.glob("dusha/**/*unfinished*"))


def test_write_configuration_when_leftovers_are_of_other_options(write, tmp_path):
    leftover = tmp_path / "dusha" / ".crowd.other-id.incomplete"
    leftover.mkdir(parents=True)
    (leftover / "train-00000-of-00001.parquet").write_bytes(b"old")
    write()
    assert not leftover.exists()


def test_write_configuration_when_clips_are_broken(tmp_path, write, plan):
    rows = plan.splits["train"]
    files = rows["wav"].to_pylist()
    files[0]["size"] = 44  # no more than the header
    place = rows.column_names.index("wav")
    plan.splits["train"] = rows.set_column(place, "wav", pa.array(files, rows["wav"].type))
    write()
    folder = tmp_path / "dusha" / "crowd"
    assert read(folder, "train")["id"].equals(rows["id"].slice(1))
    listed = (folder / "missing_audio.csv").read_text().splitlines()
    assert listed == ["id,split,domain,reason", "crowd_train0000,train,crowd,empty wav"]


def test_read_footer_when_facts_are_kept(write, tmp_path):
    write()
    footer = read_footer(tmp_path / "dusha" / "crowd" / "test-00000-of-00001.parquet")
    assert footer["options"] == {"threshold": 0.9}
    assert footer["files"] == ["train-00000-of-00001.parquet", "test-00000-of-00001.parquet"]
    assert footer["counts"]["clips"] == 32
    assert footer["missing"] == []


def test_parquet_options_when_audio_is_not_packed(write, tmp_path):
    write()
    metadata = pq.read_metadata(next((tmp_path / "dusha" / "crowd").glob("train-*")))
    found = {}
    for index in range(metadata.num_columns):
        column = metadata.row_group(0).column(index)
        found[column.path_in_schema] = column.compression
    assert found["audio.bytes"] == "UNCOMPRESSED"
    assert found["votes.list.element"] == found["text"] == "SNAPPY"
    schema = corpus_features("crowd", CorpusOptions(input_features=True)).arrow_schema
    assert parquet_options(schema)["compression"]["input_features.list.element.list.element"]


def test_is_complete_when_nothing_is_there(tmp_path):
    assert not is_complete(tmp_path / "nothing", "id")


@pytest.mark.parametrize("content", [b"", b"PAR1 not really PAR1"])
def test_write_configuration_when_the_place_is_taken(content, write, tmp_path):
    theirs = tmp_path / "dusha" / "crowd" / "thesis.parquet"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(content)
    with pytest.raises(WrongUseError, match=r"holds thesis\.parquet, which this program did not"):
        write()
    assert theirs.read_bytes() == content


def test_first_footer_when_the_file_is_gone(tmp_path):
    assert first_footer([]) is None
    assert first_footer([tmp_path / "gone.parquet"]) is None
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    assert first_footer([tmp_path / "other.parquet"]) is None


def test_write_configuration_when_the_archive_changes_underneath(write, tmp_path, plan):
    (tmp_path / "archives" / "crowd.tar").write_bytes(b"")
    with pytest.raises(WorkFailedError, match=r"crowd\.tar"):
        write()
    assert not (tmp_path / "dusha" / "crowd").exists()


def test_write_configuration_when_facts_are_json(write, tmp_path):
    write()
    raw = pq.read_metadata(next((tmp_path / "dusha" / "crowd").glob("test-*"))).metadata
    assert json.loads(raw[b"dusha"])["content_id"] == "id"
