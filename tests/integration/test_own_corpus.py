"""A corpus of one's own, the whole circle: long recordings of real speech, clips, a model's
guesses, annotation tasks, a simulated crowd, the raw layout, a dataset folder, a trained model."""

import csv
import json
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from archive_files import write_tar
from long_recordings import join_phrases
from small_corpus import make_clips, write_corpus

import dusha
from dusha_ser.cli.main import main as run_dusha
from dusha_ser.errors import WorkFailedError
from dusha_ser.inference.released_weights import read_checkpoint, write_model
from dusha_ser.storage import write_csv
from dusha_ser.vocabulary import ANSWERS

pytest.importorskip("silero_vad")
pytestmark = pytest.mark.timeout(900)

EMOTIONS = ("angry", "sad", "neutral", "positive")
ACTORS, OF_EACH, PICKED = 6, 3, 48
# How often an annotator is right; the last one answers without listening.
CARE = {"ann": 0.97, "ben": 0.95, "cid": 0.93, "dan": 0.9, "eve": 0.2}


def collect(arguments):
    return run_dusha(["collect", *arguments])


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """Where the user stands."""
    return tmp_path_factory.mktemp("own")


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def take_clips(shared, actor):
    """The clips of an actor, as many of each emotion."""
    folder, taken = shared / "data" / "ravdess", []
    rows = [row for row in rows_of(folder / "labels.csv") if int(row["actor"]) == actor]
    for emotion in EMOTIONS:
        taken += [row for row in rows if row["emotion"] == emotion][:OF_EACH]
    return [(folder / row["file"], row["emotion"]) for row in taken]


@pytest.fixture(scope="module")
def recordings(shared, user):
    """A long recording an actor, and what is said in it; table of clips whose answer is known."""
    truth = {}
    for actor in range(1, ACTORS + 1):
        spoken = [
            (soundfile.read(path, dtype="float32")[0], emotion)
            for path, emotion in take_clips(shared, actor)
        ]
        samples, phrases = join_phrases(spoken, pause=0.7)
        path = user / "recordings" / f"{actor}.flac"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, 16000)
        truth[path.name] = phrases
    known = [
        {"path": str(path), "label": emotion}
        for actor in (ACTORS + 1, ACTORS + 2)
        for path, emotion in take_clips(shared, actor)
    ]
    write_csv(user / "known.csv", ["path", "label"], known)
    return truth


@pytest.fixture(scope="module")
def clips(recordings, user):
    """The sliced clips with the emotion that was really acted, by id."""
    collect(["slice", str(user / "recordings"), "--output_dir", str(user / "clips"), "--quiet"])
    name = {
        row["source_id"]: Path(row["path"]).name
        for row in rows_of(user / "clips" / "recordings.csv")
    }
    truth, found = {}, set()
    for clip in rows_of(user / "clips" / "clips.csv"):
        start, end = float(clip["start"]), float(clip["end"])
        for phrase in recordings[name[clip["source_id"]]]:
            if start < phrase.end and end > phrase.start:
                assert clip["id"] not in truth, "a clip reaches from one phrase into another"
                truth[clip["id"]] = phrase.emotion
                found.add((clip["source_id"], phrase))
    # Some phrases are too faint for the detector.
    assert len(found) >= 0.9 * ACTORS * 4 * OF_EACH
    return truth


@pytest.fixture(scope="module")
def tasks(clips, shared, user):
    """The folder of tasks of clips that a real model picked."""
    checkpoint = shared / "data" / "reference" / "released_checkpoint.pt"
    write_model(read_checkpoint(checkpoint), user / "released")
    collect(
        ["pseudo-label", str(user / "clips"), "--model", str(user / "released"), "--device", "cpu"]
        + ["--number", str(PICKED), "--output_file", str(user / "picked.csv"), "--quiet"]
    )
    collect(
        ["tasks", str(user / "picked.csv"), "--known", str(user / "known.csv")]
        + ["--exam_size", "16", "--output_dir", str(user / "round1"), "--quiet"]
    )
    return user / "round1"


def test_picked_clips_are_balanced_over_what_the_model_says(tasks, user):
    everything = rows_of(user / "picked.predictions.csv")
    picked = rows_of(user / "picked.csv")
    assert len(picked) == PICKED < len(everything)
    counts = [
        [sum(row["prediction"] == emotion for row in rows) for emotion in EMOTIONS]
        for rows in (everything, picked)
    ]
    for there, taken in zip(*counts, strict=True):
        assert taken == there or taken >= max(counts[1]) - 1


@pytest.fixture(scope="module")
def archives(tasks, clips, user):
    """The raw layout, made of what the crowd answered: half in a table, half by Label Studio."""
    rng = np.random.default_rng(0)
    upload, table, export = tasks / "upload", [], []
    key = {row["task"]: row for row in rows_of(tasks / "key.csv")}
    for place, (name, care) in enumerate(CARE.items()):
        for part in ("exam", "tasks"):
            for shown in rows_of(upload / f"{part}.csv"):
                row = key[shown["task"]]
                truth = row["label"] or clips[row["id"]]
                others = [label for label in ANSWERS if label != truth]
                answer = truth if rng.random() < care else str(rng.choice(others))
                if place % 2:
                    table.append({"task": shown["audio"], "annotator": name, "answer": answer})
                    continue
                choice = {"from_name": "emotion", "to_name": "audio", "type": "choices"}
                export.append(
                    {
                        "data": shown,
                        "annotations": [
                            {
                                "completed_by": {"id": place, "email": f"{name}@a.example"},
                                "result": [choice | {"value": {"choices": [answer]}}],
                                "was_cancelled": False,
                            }
                        ],
                    }
                )
    write_csv(user / "answers.csv", list(table[0]), table)
    (user / "export.json").write_text(json.dumps(export))
    collect(
        ["answers", str(tasks), str(user / "answers.csv"), str(user / "export.json")]
        + ["--output_dir", str(user / "archives"), "--quiet"]
    )
    return user / "archives"


def test_only_who_answers_without_listening_fails_the_exam(archives):
    passed = {row["name"]: row["passed"] for row in rows_of(archives / "annotators.csv")}
    assert passed == {
        "ann@a.example": "yes",
        "ben": "yes",
        "cid@a.example": "yes",
        "dan": "yes",
        "eve@a.example": "no",
    }
    raw = [json.loads(line) for path in archives.rglob("*.jsonl") for line in path.open()]
    assert len({row["annotator_id"] for row in raw}) == 4
    assert len({row["hash_id"] for row in raw if row["golden_emo"] == row["golden_emo"]}) == 6


@pytest.fixture(scope="module")
def corpus(archives, repository, shell, user, tmp_path_factory):
    """The dataset folder, as the stock `datasets` reads it."""
    shell(
        *("-m", "dusha_ser", "corpus", "crowd", "--data_dir", "archives", "--output_dir", "corpus"),
        *("--parts", "crowd_train,crowd_test", "--method", "regularised_dawid_skene"),
        *("--cache_dir", tmp_path_factory.mktemp("cache"), "--quiet"),
        cwd=user,
    )
    return datasets.load_dataset(str(user / "corpus"), "crowd")


def test_labels_of_the_crowd_are_what_was_acted(corpus, clips, user):
    rows = [
        row
        for part in corpus.values()
        for row in part.cast_column("audio", datasets.Audio(decode=False))
    ]
    names = corpus["train"].features["label"].names
    assert len(rows) >= 0.75 * PICKED
    right = sum(names[row["label"]] == clips[row["id"]] for row in rows)
    assert right / len(rows) > 0.95
    assert not set(corpus["train"]["source_id"]) & set(corpus["test"]["source_id"])
    for row in rows:
        path = user / "clips" / "wavs" / f"{row['id']}.wav"
        assert row["audio"]["bytes"] == path.read_bytes()


def test_model_trains_on_the_corpus(corpus, repository, shell, user):
    shell(
        *("-m", "dusha_ser", "train", "--dataset", "corpus", "--model_name_or_path", "released"),
        *("--num_train_epochs", 1, "--per_device_train_batch_size", 8, "--validation", 0.2),
        *("--learning_rate", 1e-4, "--output_dir", "model", "--quiet"),
        cwd=user,
        timeout=800,
    )
    metrics = json.loads((user / "model" / "metrics.json").read_text())["test"]
    matrix = np.array(metrics["confusion_matrix"])
    assert matrix.sum() == len(corpus["test"])
    assert metrics["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())
    assert (user / "model" / "model.safetensors").is_file()


def test_dushas_podcasts_get_their_audio_from_files_that_the_user_has(recordings, user):
    clips = make_clips()
    write_corpus(user / "published", clips)
    podcast, names = [clip for clip in clips if clip["part"].startswith("podcast")], "12"
    timings = ["hash_id\tlink\tstart\tend"]
    for number, clip in enumerate(podcast):
        # Each clip comes from somewhere in one of two recordings; the last one's is not there.
        link = f"https://feed.example/{names[number % 2]}.mp3" if number < 19 else "https://a/lost"
        start = 0.5 + number
        timings.append(f"{clip['id']}\t{link}\t{start}\t{start + len(clip['samples']) / 16000}")
    text = ("\n".join(timings) + "\n").encode()
    metadata = write_tar(user / "links.tar", {"podcast_metadata.tsv": text})
    with pytest.raises(WorkFailedError, match="1 clips are missing"):
        collect(
            ["podcast", str(metadata), str(user / "recordings"), "--quiet"]
            + ["--output_dir", str(user / "published" / "podcast_audio")]
        )
    rows = dusha.load_dataset(
        "podcast", data_dir=str(user / "published"), cache_dir=str(user / "cache"), quiet=True
    )
    heard = [
        row["id"]
        for part in rows.values()
        for row in part
        if row["audio"] and row["audio"]["bytes"]
    ]
    assert sorted(heard) == sorted(clip["id"] for clip in podcast[:19])
