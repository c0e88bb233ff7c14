"""Slicing and picking in shards: the clips, ids and choices of one machine."""

import csv

import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest
from long_recordings import write_podcast
from small_network import save_small_classifier

from dusha_ser.cli.main import main as dusha
from dusha_ser.collecting.options import PseudoLabelOptions
from dusha_ser.collecting.picking_shards import choose_in_parts, pick_in_shards
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.shards.jobs import Job, part_name
from dusha_ser.shards.sources import LIST, Shard
from dusha_ser.shards.stores import Store

pytest.importorskip("silero_vad", reason="the extra vad is not installed")


def collect(*words):
    return dusha(["collect", *map(str, words), "--quiet"])


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two recordings of speech, and a copy of one."""
    folder = tmp_path_factory.mktemp("talks") / "recordings"
    for number in range(2):
        write_podcast(folder / f"talk{number}.wav", number, phrases=3)
    (folder / "talk2.wav").write_bytes((folder / "talk0.wav").read_bytes())
    return folder


@pytest.fixture(scope="module")
def sliced(recordings, tmp_path_factory):
    """The folder of clips that one machine makes, and the shards."""
    folder = tmp_path_factory.mktemp("sliced")
    collect("slice", recordings, "--output_dir", folder / "clips")
    collect("slice", recordings, "--output_shards", folder / "shards", "--shard_size", "2")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_classifier(tmp_path_factory.mktemp("model") / "model")


def test_shards_hold_the_clips_of_one_machine(sliced):
    parts = sorted((sliced / "shards").glob("part-*"))
    assert [part.name for part in parts] == ["part-00000.parquet", "part-00001.parquet"]
    first, second = (pq.read_table(part).to_pylist() for part in parts)
    clips = read_csv(sliced / "clips" / "clips.csv")
    assert len(clips) >= 4
    assert [
        (row["id"], row["source_id"], f"{row['start']:.5f}", f"{row['end']:.5f}") for row in first
    ] == [(row["id"], row["source_id"], row["start"], row["end"]) for row in clips]
    for row in first:
        assert row["audio"]["bytes"] == (sliced / "clips/wavs" / row["audio"]["path"]).read_bytes()
        assert row["error"] is None
    # All clips of the other shard are those of the copy, and were left out when it was done.
    assert second == []


@pytest.mark.parametrize("pick", ["balanced", "uncertain"])
def test_picked_are_those_that_one_machine_picks(pick, sliced, model, tmp_path):
    words = "--model", model, "--number", "3", "--pick", pick, "--device", "cpu"
    collect("pseudo-label", sliced / "clips", *words, "--output_file", tmp_path / "one.csv")
    collect(
        *("pseudo-label", sliced / "shards", *words, "--output_shards", tmp_path / "scores"),
        *("--shard_size", "2", "--output_file", tmp_path / "picked" / "picked.csv"),
    )
    one = sorted(read_csv(tmp_path / "one.csv"), key=lambda row: row["id"])
    picked = read_csv(tmp_path / "picked" / "picked.csv")
    assert [row["id"] for row in picked] == [row["id"] for row in one]
    for row, other in zip(picked, one, strict=True):
        wav = tmp_path / "picked" / row["path"]
        assert wav.read_bytes() == (sliced / "clips/wavs" / f"{row['id']}.wav").read_bytes()
        same = ("source_id", "prediction", "duration")
        assert [row[name] for name in same[:2]] == [other[name] for name in same[:2]]
        assert float(row["duration"]) == pytest.approx(float(other["duration"]), abs=1e-3)
    # Annotation tasks are made of it as it is.
    collect("tasks", tmp_path / "picked" / "picked.csv", "--output_dir", tmp_path / "tasks")
    assert len(list((tmp_path / "tasks" / "upload" / "wavs").iterdir())) >= 3


def test_shards_elsewhere_take_one_processor_each(sliced, model, tmp_path):
    options = PseudoLabelOptions(
        sliced / "shards",
        model,
        number=2,
        output_file=tmp_path / "picked.csv",
        output_shards=str(tmp_path / "scores"),
    )
    asked = []
    _, outcome, rows = pick_in_shards(options, lambda job, work, share, outcome: asked.append(work))
    assert asked[0].classify.threads == 1
    # Nobody did them.
    assert (outcome.parts, rows) == ([], [])


def test_nothing_is_picked_before_all_shards_are_done(sliced, model, tmp_path):
    words = (
        *("pseudo-label", sliced / "shards", "--model", model, "--number", "2", "--device", "cpu"),
        *("--output_shards", tmp_path / "scores", "--output_file", tmp_path / "picked.csv"),
        *("--shard_size", "2"),
    )
    collect(*words, "--shard", "0/2")
    assert not (tmp_path / "picked.csv").exists()
    collect(*words, "--shard", "1/2")
    before = (tmp_path / "picked.csv").read_bytes()
    collect(*words)
    assert (tmp_path / "picked.csv").read_bytes() == before
    with pytest.raises(WrongUseError, match="holds another choice of clips"):
        collect(*words, "--seed", "1", "--number", "1")
    collect(*words, "--number", "1", "--overwrite")
    assert len(read_csv(tmp_path / "picked.csv")) == 1


def test_recordings_that_cannot_be_read_are_rows(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF" + bytes(100))
    (tmp_path / "list.csv").write_text("path\nbroken.wav\nnone.wav\n")
    with pytest.raises(WorkFailedError, match="2 of 2 rows hold errors"):
        collect("slice", tmp_path / "list.csv", "--output_shards", tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()
    assert [row["id"] for row in rows] == ["broken.wav", "none.wav"]
    assert rows[1]["error"] == "there is no such file"
    assert rows[0]["audio"] is None


def test_other_limits_into_the_same_folder_are_refused(recordings, sliced):
    words = "slice", recordings, "--output_shards", sliced / "shards", "--shard_size", "2"
    with pytest.raises(WrongUseError, match="was begun with another longest;"):
        collect(*words, "--longest", "2")
    with pytest.raises(WrongUseError, match="--overwrite would remove shards"):
        collect(*words, "--overwrite")


@pytest.mark.parametrize("pick", ["balanced", "uncertain"])
@pytest.mark.parametrize("size", [7, 100])
def test_choice_is_exact_however_rows_are_cut(pick, size, tmp_path):
    """Against a sort of all rows, with equal probabilities and ids that come twice."""
    generator = np.random.default_rng(0)
    count, number = 200, 24
    scores = generator.dirichlet([8, 1, 1, 0.2], count).round(1)
    names = [f"clip {place:03d}" for place in range(count)]
    order = generator.permutation(np.repeat(np.arange(count), 2))
    store = Store(str(tmp_path / str(size)))
    labels = [f"probability_{label}" for label in "abcd"]
    for part, first in enumerate(range(0, len(order), size)):
        own = order[first : first + size]
        columns = {"id": [names[place] for place in own]}
        columns |= dict(zip(labels, scores[own].T, strict=True))
        with store.writing(part_name(part)) as path:
            pq.write_table(pyarrow.table(columns | {"error": [None] * len(own)}), path)
    job = Job(store, [Shard(LIST, "")] * (part + 1))
    options = PseudoLabelOptions(clips="", model="", number=number, pick=pick)
    chosen = [name for name, _ in choose_in_parts(job, options)]
    assert len(set(chosen)) == number
    places = [names.index(name) for name in chosen]
    if pick == "uncertain":
        expected = sorted(zip(scores.max(axis=1), names, strict=True))[:number]
        assert sorted(chosen) == sorted(name for _, name in expected)
    else:
        counts = np.bincount(scores.argmax(axis=1), minlength=4)
        taken = np.bincount(scores[places].argmax(axis=1), minlength=4)
        short = counts < number // 4
        assert taken[short].tolist() == counts[short].tolist()
        assert np.ptp(taken[~short]) <= 1
    # The same, however the rows are cut.
    assert chosen == sorted(chosen)
