"""Caches that two programs fill at once, that older code has left, or that are damaged."""

import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from own_recordings import write_recordings
from small_corpus import make_clips, write_corpus
from small_network import small_classifier

import dusha
from feature_extraction_dusha import DushaFeatureExtractor

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("archives"), make_clips())


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """The command line of a training of two epochs, without its folders."""
    folder = tmp_path_factory.mktemp("training")
    table = write_recordings(folder, ["angry", "sad", "neutral", "positive"], 24, "abc")
    small_classifier(num_mel_bins=64).save_pretrained(folder / "small")
    DushaFeatureExtractor().save_pretrained(folder / "small")
    return (
        *("dusha_ser.cli.train.main", "--train_file", table, "--quiet", "--validation", "0"),
        *("--model_name_or_path", folder / "small", "--num_train_epochs", "2"),
        *("--per_device_train_batch_size", "8"),
    )


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows_of(dataset):
    return {split: list(rows) for split, rows in dataset.items()}


def load(archives, cache):
    return rows_of(
        dusha.load_dataset("crowd", data_dir=str(archives), cache_dir=str(cache), quiet=True)
    )


def together(warm, cwd, *commands):
    """Run programs at the same time; all must end well."""
    programs = [warm.start(*command, cwd=cwd) for command in commands]
    for program in programs:
        assert program.wait() == 0, program.errors
        assert "Traceback" not in program.errors


def test_cache_when_two_programs_prepare_in_it_at_once(warm, archives, tmp_path):
    for number in range(3):
        cache = tmp_path / "cache"
        together(warm, tmp_path, *[("warm_programs.load", archives, cache)] * 3)
        together(warm, tmp_path, *[("warm_programs.load", archives, cache)] * 2)
        assert load(archives, cache) == load(archives, tmp_path / "alone")
        cache.rename(tmp_path / f"filled {number}")


def test_cache_when_two_programs_compute_features_in_it_at_once(warm, training, tmp_path):
    folders = [tmp_path / name for name in ("one", "two", "three")]
    commands = [(*training, "--cache_dir", "cache", "--output_dir", folder) for folder in folders]
    together(warm, tmp_path, *commands)
    together(warm, tmp_path, (*training, "--cache_dir", "own", "--output_dir", tmp_path / "alone"))
    expected = digest(tmp_path / "alone" / "model.safetensors")
    assert [digest(folder / "model.safetensors") for folder in folders] == [expected] * 3


def test_answers_when_two_programs_write_them_at_once(warm, training, tmp_path):
    model, table = training[training.index("--model_name_or_path") + 1], training[2]
    command = ("dusha_ser.cli.predict.main", model, table.parent, "--quiet", "--output_file")
    together(warm, tmp_path, (*command, "alone.csv"))
    together(warm, tmp_path, *[(*command, "answers.csv")] * 3)
    together(warm, tmp_path, (*command, "answers.csv"))
    assert (tmp_path / "answers.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


# What older code, or a disk that failed, has left. The marks are those of forms.

OLDER = {
    "index": "dusha_ser.archives.tar_index.INDEX_FORM",
    "labels": "dusha_ser.corpus.clips.FORM",
    "features": "dusha_ser.training.features.CODE",
    "corpus": "dusha.VERSION",
}


def spoil(folder, patterns, content):
    """Replace the content of the files of a cache."""
    found = [path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()]
    assert found, f"no {patterns} in {folder}"
    for path in found:
        path.write_bytes(content(path.read_bytes()))


def test_cache_when_of_older_code_is_made_anew(warm, archives, training, tmp_path):
    older = dict.fromkeys(OLDER.values(), 0) | {"dusha.VERSION": "0.9.0"}
    older[OLDER["features"]] = ["dusha_ser.errors"]
    cache = tmp_path / "cache"
    program, status = warm.run("warm_programs.load", archives, cache, cwd=tmp_path, constants=older)
    assert status == 0, program.errors
    command = (*training, "--cache_dir", cache, "--output_dir")
    program, status = warm.run(*command, "old", cwd=tmp_path, constants=older)
    assert status == 0, program.errors
    # What that code wrote means something else today.
    spoil(cache, ["*.npz", "*.parquet", "dusha_inputs/*.arrow", "dusha/**/*.arrow"], lambda _: b"?")
    assert load(archives, cache) == load(archives, tmp_path / "fresh")
    together(warm, tmp_path, (*command, "new"))
    assert digest(tmp_path / "new" / "model.safetensors") == digest(
        tmp_path / "old" / "model.safetensors"
    )


DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_index_and_labels_when_damaged_are_made_anew(damage, archives, tmp_path):
    cache = tmp_path / "cache"
    expected = load(archives, cache)
    spoil(cache, ["*.npz", "clips/*.parquet"], DAMAGE[damage])
    assert load(archives, cache) == expected
    # Another configuration reads the labels from the cache.
    options = {"data_dir": str(archives), "quiet": True, "threshold": 0.5}
    again = dusha.load_dataset("crowd", cache_dir=str(cache), **options)
    assert rows_of(again) == rows_of(
        dusha.load_dataset("crowd", cache_dir=str(tmp_path / "fresh"), **options)
    )
    for path in (cache / "clips").glob("*.parquet"):
        pq.read_table(path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_features_when_damaged_are_computed_anew(damage, warm, training, tmp_path):
    command = (*training, "--cache_dir", "cache", "--output_dir")
    together(warm, tmp_path, (*command, "first"))
    spoil(tmp_path / "cache", ["dusha_inputs/*.arrow"], DAMAGE[damage])
    together(warm, tmp_path, (*command, "second"))
    assert digest(tmp_path / "second" / "model.safetensors") == digest(
        tmp_path / "first" / "model.safetensors"
    )
    (kept,) = (tmp_path / "cache" / "dusha_inputs").glob("*.arrow")
    assert kept.stat().st_size and np.frombuffer(kept.read_bytes(), np.uint8).any()
