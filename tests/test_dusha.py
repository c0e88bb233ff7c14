"""The builder, load_dataset and the program, on a corpus of a few short clips."""

import ast
import csv
import io
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
from small_corpus import COUNTS, EMOTIONS, make_clips, write_corpus

import dusha
from dusha_ser.cli.corpus import main
from dusha_ser.cli.program import run_program
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.fingerprints import digest

PROGRAM = Path(dusha.__file__).resolve()
COLUMNS = [
    "id",
    "audio",
    "duration",
    "label",
    "answers",
    "label_probabilities",
    "votes",
    "text",
    "speaker_emotion",
    "golden_emotion",
    "source_id",
    "domain",
]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("archives"))


@pytest.fixture
def load(tmp_path):
    """Load from archives with a cache of the test's own."""

    def load(name, archives, **options):
        options = {"cache_dir": str(tmp_path / "cache"), "quiet": True} | options
        return dusha.load_dataset(name, data_dir=str(archives), **options)

    return load


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


@pytest.fixture
def complain(tmp_path, monkeypatch, capsys):
    """Run the program in this process, in a folder of its own; return status and complaint."""

    def complain(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["dusha.py", *map(str, arguments), "--quiet"])
        with pytest.raises(SystemExit) as ended:
            run_program(main)
        return ended.value.code, capsys.readouterr().err

    return complain


def rows(dataset):
    return {split: list(part) for split, part in dataset.items()}


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [("crowd", 24, 8), ("podcast", 12, 8), ("all", 36, 16)],
)
def test_load_dataset_when_aggregated(name, train, test, load, archives):
    dataset = load(name, archives)
    assert {split: len(part) for split, part in dataset.items()} == {"train": train, "test": test}
    assert dataset["train"].column_names == COLUMNS
    truth = {clip["id"]: EMOTIONS.index(clip["emotion"]) for clip in make_clips()}
    for part in dataset.values():
        assert [truth[name] for name in part["id"]] == part["label"]
        assert np.allclose(np.sum(part["label_probabilities"], axis=1), 1)
        assert (np.sum(part["votes"], axis=1) == 5).all()


def test_load_dataset_when_columns_are_read(load, archives):
    crowd = load("crowd", archives)["train"]
    assert crowd.features["label"].names == list(EMOTIONS)
    clip = make_clips()[3]
    row = crowd[3]
    assert row["audio"] == {"bytes": clip["wav"], "path": f"{clip['id']}.wav"}
    samples, sampling_rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
    assert len(samples) / sampling_rate == pytest.approx(row["duration"])
    assert row["text"] == "да"
    assert row["speaker_emotion"] == clip["emotion"]
    assert row["golden_emotion"] is None
    assert row["source_id"] == clip["source"]
    assert row["domain"] == "crowd"
    podcast = load("podcast", archives)["test"][0]
    assert podcast["audio"] is None
    assert podcast["text"] is None
    assert podcast["domain"] == "podcast"


def test_load_dataset_when_raw(load, archives):
    raw = load("raw", archives)
    assert len(raw["train"]) == 5 * (COUNTS["crowd_train"] + COUNTS["podcast_train"])
    assert len(raw["test"]) == 5 * (COUNTS["crowd_test"] + COUNTS["podcast_test"])
    answers = [tuple(answer) for answer in make_clips()[0]["answers"]]
    first = raw["train"][:5]
    assert list(zip(first["annotator_id"], first["annotator_emotion"], strict=True)) == answers
    assert first["domain"] == ["crowd"] * 5


def test_load_dataset_when_one_split_is_asked_for(load, archives):
    assert len(load("crowd", archives, split="test")) == COUNTS["crowd_test"]


@pytest.mark.parametrize("name", ["crowd", "podcast", "raw", "dusha_large"])
def test_load_dataset_when_streaming(name, load, archives):
    streamed = load(name, archives, streaming=True)
    assert rows(streamed) == rows(load(name, archives))


def test_load_dataset_when_several_processes(load, archives):
    alone = rows(load("all", archives))
    together = load("all", archives, num_proc=3, cache_dir=str(archives / "other-cache"))
    assert rows(together) == alone
    assert len(together["train"].cache_files) == 3


def test_load_dataset_when_default_is_crowd(archives, tmp_path):
    default = dusha.load_dataset(data_dir=str(archives), cache_dir=str(tmp_path), quiet=True)
    assert set(default["train"]["domain"]) == {"crowd"}


def test_load_dataset_when_folders_are_unpacked(load, archives, tmp_path):
    folder = tmp_path / "unpacked"
    for name in ("crowd.tar", "podcast.tar"):
        shutil.unpack_archive(archives / name, folder)
    assert rows(load("all", folder)) == rows(load("all", archives))


@pytest.mark.parametrize("packed", [False, True])
def test_load_dataset_when_users_have_podcast_audio(packed, load, archives, tmp_path):
    folder = shutil.copytree(archives, tmp_path / "archives")
    (folder / "wavs").mkdir()
    clip = make_clips()[0]
    (folder / "wavs" / "podcast_train0002.wav").write_bytes(clip["wav"])
    (folder / "wavs" / "podcast_train0003.wav").write_bytes(b"no sound")
    if packed:
        with tarfile.open(folder / "collected.tar", "w") as archive:
            archive.add(folder / "wavs", "./podcast/wavs")
        shutil.rmtree(folder / "wavs")
    podcast = load("podcast", folder)["train"]
    assert len(podcast) == COUNTS["podcast_train"]
    audio = dict(zip(podcast["id"], podcast["audio"], strict=True))
    assert audio["podcast_train0002"]["bytes"] == clip["wav"]
    assert all(audio[name] is None for name in audio if name != "podcast_train0002")


def test_load_dataset_when_options_or_archives_change(load, archives, tmp_path):
    folder = shutil.copytree(archives, tmp_path / "archives")
    first = load("crowd", folder)
    assert load("crowd", folder)["train"]._fingerprint == first["train"]._fingerprint
    assert load("crowd", folder, keep_other=True)["train"]._fingerprint != (
        first["train"]._fingerprint
    )
    moved = folder.rename(tmp_path / "moved")
    assert load("crowd", moved)["train"]._fingerprint == first["train"]._fingerprint
    clips = make_clips()
    clips[0]["answers"] = [(annotator, "sad") for annotator, _ in clips[0]["answers"]]
    write_corpus(moved, clips)
    changed = load("crowd", moved)
    assert changed["train"]._fingerprint != first["train"]._fingerprint
    assert (first["train"][0]["label"], changed["train"][0]["label"]) == (0, 1)


def test_content_id_when_the_version_the_code_or_an_archive_changes(
    archives, tmp_path, monkeypatch
):
    folder = shutil.copytree(archives, tmp_path / "archives")

    def content_ids():
        places = {"data_dir": str(folder), "archive_dir": str(tmp_path), "cache_dir": str(tmp_path)}
        options = [{}, {"input_features": True}, {"threshold": 0.5}]
        made = [dusha.Dusha(config_name="crowd", **places, **one) for one in options]
        return [builder.content_id() for builder in made]

    first = content_ids()
    assert len(set(first)) == 3 and content_ids() == first
    with monkeypatch.context() as patch:
        patch.setattr(dusha, "FEATURES_CODE", ("dusha_ser.errors",))
        assert [one == two for one, two in zip(content_ids(), first, strict=True)] == [1, 0, 1]
        patch.setattr(dusha, "VERSION", "0.9.0")
        assert not set(content_ids()) & set(first)
    state = (folder / "crowd.tar").stat()
    os.utime(folder / "crowd.tar", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert not set(content_ids()) & set(first)


# Of the rows below. Where it changes, raise dusha.VERSION: nobody may get rows of older code.
PREPARED = {"1.1.0": "98a0d3ff35a6f8c2"}


def test_version_stands_for_the_rows_that_are_prepared(load, archives):
    def rounded(value):
        if isinstance(value, list):
            return [rounded(one) for one in value]
        return round(value, 6) if isinstance(value, float) else value

    rows = {
        f"{name} {split}": [
            {key: rounded(row[key]) for key in row if key != "audio"} for row in part
        ]
        for name in ("crowd", "podcast", "all", "raw")
        for split, part in load(name, archives).items()
    }
    assert {dusha.VERSION: digest(rows)} == PREPARED


def test_load_dataset_when_wavs_are_broken(load, tmp_path, caplog):
    clips = make_clips()
    clips[1]["wav"], clips[2]["wav"], clips[3]["wav"] = None, b"", b"RIFF no sound at all"
    folder = write_corpus(tmp_path / "archives", clips)
    with caplog.at_level(logging.WARNING):
        dataset = load("crowd", folder)
    gone = {clip["id"] for clip in clips[1:4]}
    assert len(dataset["train"]) == COUNTS["crowd_train"] - 3
    assert not gone & set(dataset["train"]["id"])
    assert "3 clips" in caplog.text
    listed = Path(dataset["train"].cache_files[0]["filename"]).with_name("missing_audio.csv")
    with listed.open(newline="") as file:
        reasons = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == gone
    assert reasons[clips[1]["id"]] == "no wav"
    assert reasons[clips[2]["id"]] == "empty wav"
    assert reasons[clips[3]["id"]].startswith("unreadable wav")
    assert rows(load("crowd", folder, streaming=True)) == rows(dataset)


def test_load_dataset_when_control_and_other_are_kept(load, tmp_path):
    clips = make_clips()
    clips[0]["golden"] = clips[0]["emotion"]
    clips[1]["answers"] = [(annotator, "other") for annotator, _ in clips[1]["answers"]]
    folder = write_corpus(tmp_path / "archives", clips)
    assert {"crowd_train0000", "crowd_train0001"}.isdisjoint(load("crowd", folder)["train"]["id"])
    kept = load("crowd", folder, keep_control=True, keep_other=True)["train"]
    assert kept["id"][:2] == ["crowd_train0000", "crowd_train0001"]
    assert kept["golden_emotion"][0] == clips[0]["emotion"]
    assert kept.features["label"].names == [*EMOTIONS, "other"]
    assert kept["label"][:2] == [0, 4]


def test_load_dataset_when_multi_labels_are_asked_for(load, archives):
    dataset = load("crowd", archives, method="majority_vote", threshold=0.5, multi_threshold=0.2)
    row = dataset["train"][0]
    assert row["labels"] == [0, 1]
    assert dataset["train"].features["labels"].feature.names == list(EMOTIONS)


def test_load_dataset_when_labels_are_others(load, tmp_path):
    clips = make_clips()
    names = dict(zip(EMOTIONS, ("fear", "joy", "other", "calm"), strict=True))
    for clip in clips:
        clip["emotion"] = names[clip["emotion"]]
        clip["answers"] = [(annotator, names[answer]) for annotator, answer in clip["answers"]]
    folder = write_corpus_of_others(tmp_path / "archives", clips)
    train = load("crowd", folder, labels="fear,joy,other,calm")["train"]
    assert train.features["label"].names == ["fear", "joy", "calm"]
    truth = {clip["id"]: clip["emotion"] for clip in clips}
    assert [train.features["label"].int2str(label) for label in train["label"]] == [
        truth[name] for name in train["id"]
    ]
    assert len(train) == COUNTS["crowd_train"] * 3 // 4


def write_corpus_of_others(folder, clips):
    """Corpora of others come without the paper's manifests."""
    write_corpus(folder, [clip | {"emotion": EMOTIONS[0]} for clip in clips])
    (folder / "paper_setups.tgz").unlink()
    return folder


def test_load_dataset_when_only_some_parts_are_there(load, archives, tmp_path):
    (tmp_path / "archives").mkdir()
    shutil.copy(archives / "podcast.tar", tmp_path / "archives")
    with pytest.raises(MissingInputError, match=r"crowd\.tar"):
        load("podcast", tmp_path / "archives")
    podcast = load("podcast", tmp_path / "archives", parts=["podcast_train", "podcast_test"])
    assert len(podcast["train"]) == COUNTS["podcast_train"]


@pytest.mark.parametrize("name", ["crowd_large", "crowd_small", "podcast_large", "dusha_large"])
def test_load_dataset_when_a_manifest_decides(name, load, tmp_path):
    clips = make_clips()
    for clip in clips:  # whatever the annotators said
        clip["answers"] = [(annotator, "sad") for annotator, _ in clip["answers"]]
    folder = write_corpus(tmp_path / "archives", clips)
    dataset = load(name, folder)
    truth = {clip["id"]: clip for clip in clips}
    for part in dataset.values():
        for row in part:
            clip = truth[row["id"]]
            assert row["label"] == EMOTIONS.index(clip["emotion"])
            assert row["source_id"] == clip["source"]
            assert np.argmax(row["votes"]) == 1
            assert (row["audio"] or {}).get("bytes") == clip["wav"]
    counts = {"crowd_large": 24, "crowd_small": 6, "podcast_large": 12, "dusha_large": 36}
    assert len(dataset["train"]) == counts[name]
    assert len(dataset["test"]) == {"c": 8, "p": 8, "d": 16}[name[0]]


def test_load_dataset_when_a_manifest_is_all_there_is(load, archives, tmp_path):
    (tmp_path / "archives").mkdir()
    shutil.copy(archives / "paper_setups.tgz", tmp_path / "archives")
    row = load("dusha_large", tmp_path / "archives")["train"][0]
    null = [
        "audio",
        "answers",
        "label_probabilities",
        "votes",
        "text",
        "source_id",
        "golden_emotion",
    ]
    assert all(row[column] is None for column in null)
    assert row["duration"] > 0


def test_load_dataset_when_validation_is_carved(load, archives):
    dataset = load("all", archives, validation=0.2)
    assert list(dataset) == ["train", "validation", "test"]
    sources = {split: set(part["source_id"]) for split, part in dataset.items()}
    assert not sources["train"] & sources["validation"]
    whole = load("all", archives)
    assert len(dataset["train"]) + len(dataset["validation"]) == len(whole["train"])
    assert 0.1 < len(dataset["validation"]) / len(whole["train"]) < 0.3
    assert rows({"test": dataset["test"]}) == rows({"test": whole["test"]})


def test_load_dataset_when_speakers_are_in_both_splits(load, tmp_path, caplog):
    clips = make_clips()
    for clip in clips:
        clip["source"] = clip["source"].replace("crowd_test", "crowd_train")
    with caplog.at_level(logging.WARNING):
        load("crowd", write_corpus(tmp_path / "archives", clips))
    assert "2 speakers or podcasts (source_id) are in both train and test" in caplog.text


def test_load_dataset_when_features_are_there_or_computed(load, tmp_path):
    from feature_extraction_dusha import DushaFeatureExtractor

    clips = make_clips({"crowd_train": 4, "crowd_test": 2, "podcast_train": 2, "podcast_test": 2})
    folder = write_corpus(tmp_path / "computed", clips)
    computed = load("crowd", folder, input_features=True)
    extractor = DushaFeatureExtractor()
    for clip in clips:
        samples = soundfile.read(io.BytesIO(clip["wav"]))[0] if clip["wav"] else clip["samples"]
        features = np.asarray(extractor(samples, 16000)["input_features"][0])
        clip["features"] = features.T[None]
    published = load("all", write_corpus(tmp_path / "published", clips), input_features=True)
    for split in ("train", "test"):
        found = {row["id"]: np.array(row["input_features"]) for row in published[split]}
        assert all(
            found[clip["id"]].shape == clip["features"].T.shape[:2]
            for clip in clips
            if clip["id"] in found
        )
        for row in computed[split]:
            np.testing.assert_allclose(np.array(row["input_features"]), found[row["id"]], atol=1e-3)
    assert published["train"].features["input_features"].shape == (None, 64)


def test_write_folder_when_features_are_in_it(archives, tmp_path):
    options = {"data_dir": str(archives), "input_features": True, "quiet": True}
    dusha.write_folder(["crowd"], str(tmp_path / "dusha"), **options)
    stock = datasets.load_dataset(str(tmp_path / "dusha"), cache_dir=str(tmp_path / "stock"))
    direct = dusha.load_dataset("crowd", cache_dir=str(tmp_path / "cache"), **options)
    assert rows(stock) == rows(direct)
    assert stock["train"].features == direct["train"].features
    features = stock["train"].with_format("numpy")[0]["input_features"]
    assert features.shape == (6, 64)


def test_load_dataset_when_features_are_wrong(load, tmp_path):
    clips = make_clips({"crowd_train": 4, "crowd_test": 2, "podcast_train": 3, "podcast_test": 2})
    for clip in clips:
        clip["features"] = np.zeros((1, 64, 5), np.float32)
    clips[-3]["features"] = np.zeros((1, 32, 5), np.float32)
    clips[-4]["features"] = np.array([{"a": "pickle"}], dtype=object)
    folder = write_corpus(tmp_path / "archives", clips)
    train = load("podcast", folder, input_features=True)["train"]
    assert train["id"] == [clips[-5]["id"]]
    listed = Path(train.cache_files[0]["filename"]).with_name("missing_audio.csv").read_text()
    assert "float32 (1, 32, 5), not float32 (1, 64, frames)" in listed
    assert "unreadable features" in listed


def test_load_dataset_when_asked_wrongly(load, archives, tmp_path):
    with pytest.raises(WrongUseError, match="no configuration 'croud': take one of crowd, "):
        load("croud", archives)
    with pytest.raises(WrongUseError, match="no option 'tresh': take those of bad_rows, "):
        load("crowd", archives, tresh=0.5)
    with pytest.raises(WrongUseError, match="`threshold` is 2: take a number above 0 and up to 1"):
        load("crowd", archives, threshold=2)
    with pytest.raises(WrongUseError, match="`num_proc` is 0: take an integer of at least 1"):
        load("crowd", archives, num_proc=0)
    with pytest.raises(MissingInputError, match="no-such-folder"):
        load("crowd", tmp_path / "no-such-folder")


def test_load_dataset_when_a_split_would_be_empty(load, tmp_path):
    clips = make_clips()
    for clip in clips:
        if clip["part"] == "crowd_test":
            clip["golden"] = clip["emotion"]
    folder = write_corpus(tmp_path / "archives", clips)
    with pytest.raises(WrongUseError, match="split test of configuration crowd would be empty"):
        load("crowd", folder)


def test_builder_when_used_as_any_other(archives, tmp_path):
    builder = dusha.Dusha(
        cache_dir=str(tmp_path), config_name="podcast", data_dir=str(archives), threshold=0.8
    )
    builder.download_and_prepare()
    assert len(builder.as_dataset("train")) == COUNTS["podcast_train"]
    assert builder.info.splits["test"].num_examples == COUNTS["podcast_test"]
    with pytest.raises(ValueError, match="'croud' not found"):
        dusha.Dusha(cache_dir=str(tmp_path), config_name="croud")


def test_program_when_the_stock_loader_reads_its_folder(archives, tmp_path, monkeypatch):
    done = run("crowd", "podcast", "--data_dir", archives, "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "dusha: crowd, podcast written\n"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "dusha").rglob("*.parquet")}
    again = run("crowd", "raw", "--data_dir", archives, "--quiet", cwd=tmp_path)
    assert again.stdout == "dusha: raw written\n"
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    monkeypatch.chdir(tmp_path)
    direct = {
        name: dusha.load_dataset(
            name, data_dir=str(archives), cache_dir=str(tmp_path / "cache"), quiet=True
        )
        for name in ("crowd", "podcast", "raw")
    }
    cache = str(tmp_path / "stock")
    assert rows(datasets.load_dataset("dusha", cache_dir=cache)) == rows(direct["crowd"])
    for name, dataset in direct.items():
        stock = datasets.load_dataset("dusha", name, cache_dir=cache)
        assert rows(stock) == rows(dataset)
        assert stock["train"].features == dataset["train"].features
        assert rows(datasets.load_dataset("dusha", name, streaming=True)) == rows(dataset)


def test_program_when_one_of_several_fails(archives, complain, tmp_path):
    alone = ["--parts", "crowd_train,crowd_test"]
    status, complaint = complain("crowd", "podcast", "--data_dir", archives, *alone)
    assert status == 2
    assert "configuration podcast holds none of the parts" in complaint
    assert datasets.get_dataset_config_names(str(tmp_path / "dusha")) == ["crowd"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["croud"], "no configuration 'croud': take one of crowd, podcast, all, raw,"),
        (["--data_dir", "nowhere"], "nowhere"),
        (["--threshold", "0"], "--threshold is 0.0: take a number above 0 and up to 1"),
        (["--parts", "crowd_dev"], "--parts is crowd_dev: take one or more of crowd_train,"),
        (["--labels", "angry"], "--labels are 'angry'; give at least two, each once, none of them"),
        (["--labels", "nan,sad"], "--labels are 'nan', 'sad'; give at least two, each once"),
        (["--num_proc", "-1"], "--num_proc is -1: take an integer of at least 1"),
        (["--checksum", f"crowd.tra={'0' * 32}"], "`checksums` has crowd.tra, and there is"),
        (["--private"], "give --push_to_hub USER/NAME with it"),
        (["--keep_control", "--validation", "0.0001"], "no choice of whole speakers comes near"),
    ],
)
def test_program_when_used_wrongly(arguments, expected, archives, complain, tmp_path):
    source = [] if "--data_dir" in arguments else ["--data_dir", archives]
    status, complaint = complain(*arguments, *source)
    assert status == 2
    assert len(complaint.splitlines()) == 1
    assert expected in complaint
    assert not (tmp_path / "dusha").exists()


def test_program_when_the_folder_is_somebody_elses(archives, complain, tmp_path):
    (tmp_path / "README.md").write_text("my project")
    status, complaint = complain("crowd", "--data_dir", archives, "--output_dir", ".")
    assert status == 2
    assert ". holds README.md, which this program did not write; name another" in complaint
    assert (tmp_path / "README.md").read_text() == "my project"
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_program_when_an_archive_is_missing(archives, complain, tmp_path):
    shutil.copy(archives / "crowd.tar", tmp_path)
    status, complaint = complain("crowd", "--data_dir", tmp_path)
    assert status == 2
    assert len(complaint.splitlines()) == 1
    assert "podcast.tar" in complaint


def test_program_when_started_as_one(archives, tmp_path):
    done = run("croud", "--data_dir", archives, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("dusha corpus: there is no configuration 'croud'")


def test_builder_imports_nothing_above_the_corpus():
    tree = ast.parse(PROGRAM.read_text(encoding="utf-8"))
    # The guard at the end, `python dusha.py`, may call the command.
    body = [node for node in tree.body if not isinstance(node, ast.If)]
    modules = [
        module.split(".")
        for node in ast.walk(ast.Module(body, []))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for module in (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    ]
    ours = [module[1] for module in modules if module[0] == "dusha_ser"]
    assert set(ours) <= {
        "corpus",
        "archives",
        "errors",
        "options",
        "storage",
        "processes",
        "files",
        "fingerprints",
    }
    assert "corpus" in ours
    assert not any(module[0].endswith("_dusha") for module in modules)


IMPORTS = """
    import importlib, importlib.machinery, pkgutil

    # What the environment of the last `datasets` with loading scripts does not bring.
    absent = {"torch", "transformers", "tabulate", "jinja2", "sklearn", "evaluate"}
    find = importlib.machinery.PathFinder.find_spec
    importlib.machinery.PathFinder.find_spec = staticmethod(
        lambda name, *rest: None if name.partition(".")[0] in absent else find(name, *rest)
    )
    import dusha

    absent = {"torch", "transformers"}
    for stage in ("archives", "audio", "corpus", "labels"):
        package = importlib.import_module(f"dusha_ser.{stage}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
            print(module.name)
"""


def test_import_of_corpus_and_below_when_there_is_no_pytorch():
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IMPORTS)],
        capture_output=True,
        text=True,
        cwd=PROGRAM.parent,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    assert {"dusha_ser.corpus.sample", "dusha_ser.audio.voice_activity"} <= set(
        process.stdout.split()
    )
