"""Rows with their audio and features as Arrow tables, a few megabytes at a time."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpus import make_clips, write_corpus

from dusha_ser.archives.find import open_members
from dusha_ser.corpus import columns
from dusha_ser.corpus.columns import (
    array_column,
    corpus_features,
    cut_rows,
    read_tables,
    row_bytes,
)
from dusha_ser.corpus.configurations import CONFIGURATIONS
from dusha_ser.corpus.options import CorpusOptions
from dusha_ser.corpus.splits import make_plan


@pytest.fixture
def plan(tmp_path):
    folder = write_corpus(tmp_path / "archives")
    members = open_members([folder], tmp_path / "index", quiet=True)
    return make_plan("all", members, CorpusOptions(), tmp_path / "cache", quiet=True)


def test_corpus_features_when_options_add_columns():
    plain = corpus_features("crowd", CorpusOptions())
    assert plain["audio"] == datasets.Audio(sampling_rate=16000, decode=False)
    assert not {"labels", "input_features"} & set(plain)
    full = corpus_features("crowd", CorpusOptions(multi_threshold=0.5, input_features=True))
    assert full["input_features"] == datasets.Array2D(shape=(None, 64), dtype="float32")
    assert full["labels"].feature == full["label"]
    for name in CONFIGURATIONS:
        features = corpus_features(name, CorpusOptions())
        assert datasets.Features.from_arrow_schema(features.arrow_schema) == features


@settings(deadline=None)
@given(st.lists(st.integers(1, 100), max_size=60), st.integers(1, 300))
def test_cut_rows_when_sizes_are_any(sizes, limit):
    runs = cut_rows(np.array(sizes, float), limit)
    assert [row for start, stop in runs for row in range(start, stop)] == list(range(len(sizes)))
    for start, stop in runs:
        assert sum(sizes[start:stop]) <= limit or stop == start + 1
    for (start, stop), (_, following) in zip(runs, runs[1:], strict=False):
        assert sum(sizes[start : min(stop + 1, following)]) > limit or following == stop


def test_read_tables_when_memory_is_scarce(plan, monkeypatch):
    features = corpus_features("all", CorpusOptions())
    rows = plan.splits["train"]
    (whole,) = [table for table, _ in read_tables(rows, "train", features)]
    monkeypatch.setattr(columns, "BATCH_BYTES", 20_000)
    tables = [table for table, _ in read_tables(rows, "train", features)]
    assert len(tables) > 5
    assert max(table.nbytes for table in tables) <= 20_000
    assert pa.concat_tables(tables).equals(whole)
    assert whole.schema.equals(features.arrow_schema)


def test_row_bytes_when_compared_with_what_rows_take(plan):
    features = corpus_features("all", CorpusOptions())
    for rows in plan.splits.values():
        (table,) = [table for table, _ in read_tables(rows, "train", features)]
        assert table.nbytes <= row_bytes(rows, False).sum()
    assert (row_bytes(rows, True) > row_bytes(rows, False)).all()


def test_read_tables_when_wavs_have_become_unreadable(plan, tmp_path):
    clips = make_clips()
    features = corpus_features("all", CorpusOptions())
    rows = plan.splits["test"]
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"noise")
    lost = {"name": "broken.wav", "path": str(broken), "offset": 0, "size": 5}
    files = pa.array([lost] * 2 + rows["wav"].to_pylist()[2:], rows["wav"].type)
    rows = rows.set_column(rows.column_names.index("wav"), "wav", files)
    ((table, missing),) = read_tables(rows, "test", features)
    assert len(table) == len(rows) - 2
    assert [clip["id"] for clip in missing] == [clips[24]["id"], clips[25]["id"]]
    assert all(clip["reason"].startswith("unreadable wav") for clip in missing)


@pytest.mark.parametrize("lengths", [[], [3], [1, 5, 2]])
def test_array_column_when_read_back(lengths):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((length, 64)).astype(np.float32) for length in lengths]
    column_type = datasets.Array2D(shape=(None, 64), dtype="float32")()
    column = array_column(arrays, column_type)
    assert len(column) == len(lengths)
    for value, array in zip(column.storage.to_pylist(), arrays, strict=True):
        np.testing.assert_array_equal(np.array(value, np.float32), array)
