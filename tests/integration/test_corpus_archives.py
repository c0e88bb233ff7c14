"""The corpus from archives of real speech: the oracle's labels, every way in, both features."""

import csv
import io
import json
import shutil
import subprocess
import sys
import tarfile

import datasets
import numpy as np
import pandas
import pytest
import soundfile
from crowdkit.aggregation import DawidSkene
from file_server import FileServer

import dusha
from dusha_ser.vocabulary import ANSWERS, PARTS

CLIPS = 864


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def load(ravdess_archives, cache):
    def load(name, archives=ravdess_archives, **options):
        return dusha.load_dataset(
            name, data_dir=str(archives), cache_dir=cache, quiet=True, **options
        )

    return load


@pytest.fixture(scope="module")
def answers(ravdess_archives):
    """All answers as crowd-kit wants them, read without our code."""
    rows = []
    for domain in ("crowd", "podcast"):
        with tarfile.open(ravdess_archives / f"{domain}.tar") as archive:
            for part in (part for part in PARTS if part.startswith(domain)):
                file = archive.extractfile(f"{part}/raw_{part}.jsonl")
                rows += [json.loads(line) | {"part": part} for line in file]
    names = {"hash_id": "task", "annotator_id": "worker", "annotator_emo": "label"}
    return pandas.DataFrame(rows).rename(columns=names)


def ids(dataset):
    return {split: list(part["id"]) for split, part in dataset.items()}


def test_labels_when_the_oracle_makes_them(load, answers, ravdess_archives):
    posteriors = DawidSkene(n_iter=100).fit_predict_proba(answers[["task", "worker", "label"]])
    posteriors = posteriors.reindex(columns=list(ANSWERS), fill_value=0)
    dataset = load("all", keep_control=True, keep_other=True)
    rows = [row for part in dataset.values() for row in part.remove_columns("audio")]
    sure = posteriors[posteriors.max(axis=1) >= 0.9]
    assert {row["id"] for row in rows} == set(sure.index)
    assert len(rows) == 796
    with (ravdess_archives / "truth.csv").open(newline="") as file:
        truth = {row["hash_id"]: row["emotion"] for row in csv.DictReader(file)}
    right = 0
    for row in rows:
        np.testing.assert_allclose(row["label_probabilities"], posteriors.loc[row["id"]], atol=1e-6)
        assert ANSWERS[row["label"]] == posteriors.loc[row["id"]].idxmax()
        right += ANSWERS[row["label"]] == truth[row["id"]]
    # Known of these archives and the published recipe.
    assert right / len(rows) == pytest.approx(0.956, abs=0.001)


def test_splits_when_control_tasks_and_other_are_out(load, answers):
    first = answers.drop_duplicates("task").set_index("task")
    dataset = load("all")
    for split, part in dataset.items():
        rows = first.loc[part["id"]]
        assert rows["golden_emo"].isna().all()
        assert rows["part"].str.endswith(split).all()
        assert rows["source_id"].tolist() == part["source_id"]
        assert rows["duration"].tolist() == part["duration"]
        assert "other" not in part.features["label"].names
    assert not set(dataset["train"]["source_id"]) & set(dataset["test"]["source_id"])
    crowd, podcast = load("crowd"), load("podcast")
    for split, part in dataset.items():
        assert list(part["id"]) == [*crowd[split]["id"], *podcast[split]["id"]]


def test_raw_when_every_answer_is_a_row(load, answers):
    raw = load("raw")
    assert sum(len(part) for part in raw.values()) == len(answers)
    train = answers[answers["part"].str.endswith("train")]
    assert raw["train"]["annotator_id"] == train["worker"].tolist()
    assert raw["train"]["annotator_emotion"] == train["label"].tolist()


def test_archives_when_tsv_or_unpacked_or_mixed(load, shared, tmp_path):
    script = shared / "tools" / "ravdess_as_dusha.py"
    subprocess.run([sys.executable, script, tmp_path / "tsv", "--tsv"], check=True)
    published = load("all")
    tsv = load("all", tmp_path / "tsv")
    for split, part in published.items():
        without = [name for name in part.column_names if name != "audio"]
        for ours, theirs in zip(
            part.select_columns(without), tsv[split].select_columns(without), strict=True
        ):
            assert ours == theirs
    mixed = tmp_path / "mixed"
    shutil.unpack_archive(tmp_path / "tsv" / "crowd.tar", mixed / "crowd")
    shutil.copy(tmp_path / "tsv" / "podcast.tar", mixed)
    assert ids(load("all", mixed)) == ids(published)
    assert load("all", mixed)["test"][0] == published["test"][0]


def test_features_when_published_or_computed(load, ravdess_archives, tmp_path):
    published = load("crowd", input_features=True)
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("crowd.tar", "podcast.tar"):
        (bare / name).symlink_to(ravdess_archives / name)
    computed = load("crowd", bare, input_features=True, num_proc=2)
    assert ids(computed) == ids(published)
    # Single precision rounds by parts of a frame's loudest bands, so quiet ones show it more.
    worst, worst_of_loud = 0.0, 0.0
    for split, part in published.items():
        ours = computed[split].with_format("numpy")["input_features"]
        theirs = part.with_format("numpy")["input_features"]
        for one, other in zip(ours, theirs, strict=True):
            assert one.shape == other.shape
            difference = np.abs(one - other)
            loud = other > other.max(1, keepdims=True) - 40
            worst = max(worst, float(difference.max()))
            worst_of_loud = max(worst_of_loud, float(difference[loud].max()))
    assert worst_of_loud < 1e-3
    assert worst < 1e-2
    podcast = load("podcast", input_features=True)["test"][0]
    assert podcast["audio"] is None
    frames = np.array(podcast["input_features"])
    assert frames.shape == (1 + int(podcast["duration"] * 16000) // 160, 64)
    assert frames.max() == 0


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("crowd_large", 432, 108),
        ("crowd_medium", 216, 108),
        ("crowd_small", 108, 108),
        ("crowd_unconfident", 216, 108),
        ("podcast_large", 216, 108),
        ("dusha_large", 648, 216),
    ],
)
def test_manifests_when_they_decide(name, train, test, load):
    dataset = load(name)
    assert {split: len(part) for split, part in dataset.items()} == {"train": train, "test": test}
    for part in dataset.values():
        # In these archives a speaker acted what the manifest says.
        acted = [
            (label, emotion)
            for label, emotion in zip(part["label"], part["speaker_emotion"], strict=True)
            if emotion is not None
        ]
        assert all(part.features["label"].int2str(label) == emotion for label, emotion in acted)
        assert len(acted) == sum(domain == "crowd" for domain in part["domain"])


def test_folder_when_fetched_over_http(ravdess_archives, repository, shell, tmp_path, monkeypatch):
    with FileServer(ravdess_archives) as server:
        shell(
            *("-m", "dusha_ser", "corpus", "crowd", "podcast", "dusha_large", "--num_proc", 2),
            *("--base_url", f"{server.url}/nowhere", "--base_url", server.url, "--quiet"),
            *("--cache_dir", tmp_path / "cache", "--export", "csv", "--export_audio"),
            cwd=tmp_path,
        )
    monkeypatch.chdir(tmp_path)
    for name in ("crowd", "podcast", "dusha_large"):
        stock = datasets.load_dataset("dusha", name, cache_dir=str(tmp_path / "stock"))
        direct = dusha.load_dataset(
            name, data_dir=str(ravdess_archives), cache_dir=str(tmp_path / "direct"), quiet=True
        )
        assert ids(stock) == ids(direct)
        assert stock["test"][3] == direct["test"][3]
    with (tmp_path / "dusha" / "exports" / "crowd" / "test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        path = tmp_path / "dusha" / "exports" / "crowd" / row["wav"]
        assert soundfile.info(io.BytesIO(path.read_bytes())).duration == pytest.approx(
            float(row["duration"])
        )
