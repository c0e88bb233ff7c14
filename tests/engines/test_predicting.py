"""The stages that a cluster puts shards through, without a cluster."""

import io
import pickle

import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest
import soundfile
from small_models import save_model

from dusha_ser.engines.predicting import Prepare
from dusha_ser.engines.recordings import GROUP, PROBLEM, RECORDINGS, read_recordings
from dusha_ser.inference.batch_classifier import ClassifyBatch, ClassifyPrepared, PrepareBatch
from dusha_ser.inference.settings import Settings
from dusha_ser.shards.sources import PARQUET, Shard
from dusha_ser.shards.stores import Store


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A shard of 70 clips in seven groups of rows, and one that is cut off."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    audio = []
    for number in range(70):
        content = io.BytesIO()
        samples = 0.1 * rng.standard_normal(2000 + 100 * (number % 9))
        soundfile.write(content, samples, 16000, format="WAV")
        audio.append(content.getvalue())
    table = pyarrow.table({"id": [f"clip{number:02d}" for number in range(70)], "audio": audio})
    pq.write_table(table, folder / "whole.parquet", row_group_size=10)
    content = (folder / "whole.parquet").read_bytes()
    (folder / "damaged.parquet").write_bytes(content[: len(content) // 2])
    return folder


def read(clips, name, group_size=1):
    shard = Shard(PARQUET, str(clips / name))
    return list(read_recordings((3, shard), Store(str(clips)), "path", group_size))


def test_recordings_come_in_the_groups_of_predict(clips):
    tables = read(clips, "whole.parquet")
    assert [table.num_rows for table in tables] == [64, 6]
    assert [set(table[GROUP].to_pylist()) for table in tables] == [{0}, {1}]
    assert all(table.schema == RECORDINGS for table in tables)
    # Batches of 32 clips make them larger.
    assert [table.num_rows for table in read(clips, "whole.parquet", 32)] == [70]


def test_damaged_shard_is_a_row_of_its_error(model, clips):
    (table,) = read(clips, "damaged.parquet")
    assert table["id"].to_pylist() == [str(clips / "damaged.parquet")]
    problem = table[PROBLEM].to_pylist()[0]
    assert problem.startswith("cannot be read: ")
    settings = Settings(model)
    prepared = Prepare(PrepareBatch(settings))(table)
    (row,) = ClassifyPrepared(settings, device="cpu")(prepared).to_pylist()
    assert row["error"] == problem
    assert [value for name, value in row.items() if name not in ("id", "error")] == [None] * 6


def test_stages_give_the_rows_of_one_call(model, clips):
    settings = Settings(model)
    stages = [Prepare(PrepareBatch(settings)), ClassifyPrepared(settings, device="cpu")]
    assert len(pickle.dumps(stages)) < 2000
    for table in read(clips, "whole.parquet"):
        rows = table
        for stage in stages:
            rows = stage(rows)
        assert rows.equals(ClassifyBatch(settings, "cpu")(table))


def test_groups_stay_together_when_a_block_is_joined_or_cut(clips):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from dusha_ser.engines.jobs import InGroups

    block = pyarrow.concat_tables(read(clips, "whole.parquet"))
    groups = list(InGroups(lambda rows: rows.select(["id"]), keep=True)(block))
    assert [one.num_rows for one in groups] == [64, 6]
    assert [one[GROUP].to_pylist()[0] for one in groups] == [0, 1]
    # What an earlier run has written is left out, and the groups stay as they were.
    rest = list(InGroups(lambda rows: rows)(block.slice(60)))
    assert [one.num_rows for one in rest] == [4, 6]
