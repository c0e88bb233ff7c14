"""Programs that are killed twenty times, each at a moment of its own, and started again.

Half of the kills come at a random time; the other half in front of a random change of a file: a
file opened to be written, renamed or removed, a folder made. What comes out is compared with
what an undisturbed run writes, byte for byte; of trained models, the weights and scores.
"""

import hashlib
import json
import random
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from archive_server import ArchiveServer
from own_recordings import write_recordings
from small_corpus import make_clips, write_corpus
from small_network import small_classifier

from feature_extraction_dusha import DushaFeatureExtractor

pytestmark = pytest.mark.timeout(900)
KILLS = 20
# What a run that came to its end has no use for.
UNFINISHED = (".incomplete", ".tmp", ".part", ".unfinished", ".replaced")


def contents(folder):
    """The files that a result consists of, by their names."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.suffix != ".lock"
    }


def kill_again_and_again(start, folder, contents=contents):
    """Kill a program until it has been killed twenty times, start it again, look at the result.

    Args:
        start: starts it, with the folder of its result and the options of WarmPrograms.start.
        folder: for all results.
        contents: what is compared of a result.
    """
    choose = random.Random(folder.name)
    begin = time.monotonic()
    undisturbed = start(folder / "undisturbed")
    assert undisturbed.wait() == 0, undisturbed.errors
    seconds = time.monotonic() - begin
    expected = contents(folder / "undisturbed")
    kills, ends = 0, 0
    while True:
        result = folder / f"killed{ends}"
        status = None
        while status != 0:
            kill_at = choose.randrange(undisturbed.changes) if kills % 2 else None
            program = start(result, kill_at=kill_at if kills < KILLS else None)
            if kills % 2 == 0 and kills < KILLS:
                time.sleep(choose.uniform(0, seconds))
                program.kill()
            status = program.wait()
            assert status in (0, -9), program.errors
            kills += status == -9
        ends += 1
        assert contents(result) == expected
        left = [path for path in result.rglob("*") if set(UNFINISHED) & set(path.suffixes)]
        assert not left
        if kills >= KILLS:
            return
        assert ends < 10 * KILLS, "it is too fast to be killed"


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    counts = {"crowd_train": 60, "crowd_test": 20, "podcast_train": 8, "podcast_test": 8}
    return write_corpus(tmp_path_factory.mktemp("archives"), make_clips(counts))


def test_download_when_killed_twenty_times(warm, tmp_path):
    content = random.Random(0).randbytes(400_000)
    slow = ("plain", None, True, True, None, 0.03)
    with ArchiveServer({"crowd.tar": content}, [slow] * 1000) as server:

        def start(result, **options):
            return warm.start("warm_programs.fetch", server.url, result, cwd=tmp_path, **options)

        kill_again_and_again(start, tmp_path / "download")
    assert any(server.ranges), "no run went on from what another had left"
    for result in (tmp_path / "download").iterdir():
        (fetched,) = result.rglob("crowd.tar")
        assert fetched.read_bytes() == content


def test_dataset_folder_when_killed_twenty_times(warm, archives, tmp_path):
    def start(result, **options):
        return warm.start(
            *(
                "dusha_ser.cli.corpus.main",
                "crowd",
                "--data_dir",
                archives,
                "--output_dir",
                result / "dusha",
            ),
            *("--cache_dir", result.parent / f"{result.name} cache", "--export", "emobox"),
            *("--export", "csv", "--export_audio", "--quiet"),
            cwd=tmp_path,
            constants={"dusha_ser.corpus.parquet_folder.SHARD_BYTES": 2e5},
            **options,
        )

    kill_again_and_again(start, tmp_path / "folder")
    names = [path.name for path in (tmp_path / "folder" / "killed0" / "dusha" / "crowd").iterdir()]
    assert len(names) > 4, "it took one shard, and so had nothing to go on with"


def test_prepared_cache_when_killed_twenty_times(warm, archives, tmp_path):
    def start(result, **options):
        return warm.start("warm_programs.load", archives, result, cwd=tmp_path, **options)

    kill_again_and_again(
        start,
        tmp_path / "cache",
        lambda result: {
            # Indexes hold the time when they were made.
            name: digest
            for name, digest in contents(result).items()
            if not name.startswith("index/")
        },
    )


def start_prediction(warm, tmp_path, output):
    """Make clips and a model; returns what starts a prediction with the options of its output."""
    rng = np.random.default_rng(0)
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(150):
        samples = 0.1 * rng.standard_normal(1600 + 50 * (number % 20))
        soundfile.write(clips / f"{number}.wav", samples, 16000)
    small_classifier(num_mel_bins=64).save_pretrained(tmp_path / "small")
    DushaFeatureExtractor().save_pretrained(tmp_path / "small")

    def start(result, **options):
        return warm.start(
            *("dusha_ser.cli.predict.main", tmp_path / "small", clips, "--quiet"),
            *output(result),
            cwd=tmp_path,
            constants={"dusha_ser.inference.batching.GROUP_FILES": 8},
            **options,
        )

    return start


def test_prediction_when_killed_twenty_times(warm, tmp_path):
    start = start_prediction(
        warm, tmp_path, lambda result: ("--output_file", result / "answers.csv")
    )
    kill_again_and_again(
        start, tmp_path / "prediction", lambda result: (result / "answers.csv").read_bytes()
    )
    answers = (tmp_path / "prediction" / "undisturbed" / "answers.csv").read_text()
    assert answers.count("\n") == 151


def test_shards_when_killed_twenty_times(warm, tmp_path):
    start = start_prediction(
        warm, tmp_path, lambda result: ("--output_shards", result, "--shard_size", "8")
    )
    kill_again_and_again(start, tmp_path / "shards")
    undisturbed = tmp_path / "shards" / "undisturbed"
    parts = [pq.read_table(part) for part in sorted(undisturbed.glob("part-*"))]
    assert [len(part) for part in parts] == [8] * 18 + [6]


def test_training_when_killed_twenty_times(warm, tmp_path):
    table = write_recordings(tmp_path, ["angry", "sad", "neutral", "positive"], 48, "abcdef")
    small_classifier(num_mel_bins=64).save_pretrained(tmp_path / "small")
    DushaFeatureExtractor().save_pretrained(tmp_path / "small")

    def start(result, **options):
        return warm.start(
            *("dusha_ser.cli.train.main", "--train_file", table, "--quiet", "--validation", "0"),
            *("--model_name_or_path", tmp_path / "small", "--output_dir", result / "model"),
            *("--cache_dir", result / "cache", "--per_device_train_batch_size", "8"),
            *("--num_train_epochs", "3", "--save_strategy", "steps", "--save_steps", "3"),
            *("--average_decay", "0.9", "--mixup", "0.4", "--resume_from_checkpoint", "auto"),
            cwd=tmp_path,
            **options,
        )

    def outcome(result):
        weights = hashlib.sha256((result / "model" / "model.safetensors").read_bytes()).hexdigest()
        return weights, json.loads((result / "model" / "metrics.json").read_text())["train"]

    kill_again_and_again(start, tmp_path / "training", outcome)
