"""`dusha predict` in shards: the rows of one file, by machines that share a list."""

import csv
import io

import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest
import soundfile
from small_network import save_small_classifier

from dusha_ser.cli.main import main as dusha
from dusha_ser.errors import WorkFailedError, WrongUseError

COUNT = 11


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_classifier(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        samples = 0.1 * generator.standard_normal(3000 + 1700 * (number * 3 % 7))
        soundfile.write(folder / f"{number:02d}.wav", samples, (16000, 22050)[number % 2])
    return folder


def predict(*words):
    return dusha(["predict", *map(str, words), "--device", "cpu", "--quiet"])


def sorted_csv(place):
    """The rows of parts as the CSV of `dusha predict`, sorted by id."""
    parts = sorted(place.glob("part-*.parquet"))
    rows = pyarrow.concat_tables(map(pq.read_table, parts)).sort_by("id").to_pylist()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.fixture(scope="module")
def expected(model, clips, tmp_path_factory):
    """The rows of one run into one file, sorted by id."""
    output = tmp_path_factory.mktemp("expected") / "rows.csv"
    predict(model, clips, "--output_file", output, "--batch_size", "1")
    header, *lines = output.read_text().splitlines(keepends=True)
    return "".join([header, *sorted(lines)])


def test_machines_of_an_array_write_the_rows_of_one_file(model, clips, expected, tmp_path):
    command = model, clips, "--output_shards", tmp_path / "out", "--batch_size", "1"
    for index in (2, 0, 1):
        predict(*command, "--shard", f"{index}/3", "--shard_size", "2")
    assert len(list((tmp_path / "out").glob("part-*"))) == 6
    assert sorted_csv(tmp_path / "out") == expected


def test_shards_of_64_are_classified_as_lists_are(model, clips, tmp_path):
    predict(model, clips, "--output_file", tmp_path / "rows.csv")
    predict(model, clips, "--output_shards", tmp_path / "out", "--num_proc", "2")
    header, *lines = (tmp_path / "rows.csv").read_text().splitlines(keepends=True)
    assert sorted_csv(tmp_path / "out") == "".join([header, *sorted(lines)])


def test_audio_in_parquet_gives_the_same_rows(model, clips, expected, tmp_path):
    paths = sorted(clips.iterdir())
    audio = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    table = pyarrow.table({"id": [str(path) for path in paths], "audio": audio})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=4)
    command = model, tmp_path / "in.parquet", "--output_shards", tmp_path / "out"
    predict(*command, "--shard_size", "3", "--batch_size", "1")
    assert sorted_csv(tmp_path / "out") == expected


def test_clips_that_cannot_be_read_are_rows_and_the_program_ends_with_1(model, clips, tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.wav").write_bytes((clips / "00.wav").read_bytes())
    (tmp_path / "2.wav").write_bytes(b"")
    with pytest.raises(WorkFailedError, match=r'1 of 3 rows hold errors: 1 x "is empty \(0 bytes'):
        predict(model, tmp_path, "--output_shards", tmp_path / "out", "--shard_size", "2")
    rows = pq.read_table(tmp_path / "out" / "part-00001.parquet").to_pylist()
    assert [(row["error"], row["prediction"]) for row in rows] == [("is empty (0 bytes)", None)]


def test_another_model_or_setting_into_the_same_folder_is_refused(model, clips, tmp_path):
    other = save_small_classifier(tmp_path / "other")
    command = clips, "--output_shards", tmp_path / "out"
    predict(model, *command, "--shard", "0/2", "--shard_size", "6")
    content = {path: path.read_bytes() for path in (tmp_path / "out").glob("*")}
    for words, said in (
        ([model, *command, "--shard_size", "6", "--timeline"], "another timeline"),
        ([other, *command, "--shard_size", "6"], "another model;"),
        ([model, *command], "another shard_size;"),
        ([model, *command, "--overwrite"], "--overwrite would remove shards that other machines"),
    ):
        with pytest.raises(WrongUseError, match=said):
            predict(*words)
    assert {path: path.read_bytes() for path in (tmp_path / "out").glob("*")} == content


@pytest.mark.parametrize(
    "others",
    [["--output_file", "a.csv"], ["--timeline", "--export", "srt"]],
    ids=lambda one: one[0],
)
def test_outputs_of_other_kinds_are_refused(others, model, clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WrongUseError, match="do not go together"):
        predict(model, clips, "--output_shards", "out", *others)
    assert not list(tmp_path.iterdir())
