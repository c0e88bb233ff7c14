"""The Hub goes down while a corpus or a model is pushed: nothing is lost, the push is repeated."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from own_recordings import write_recordings
from small_corpus import COUNTS, make_clips, write_corpus

REPOSITORY = Path(__file__).resolve().parent.parent.parent
NAME = "newcomer/dusha"
MANY = 999


@pytest.fixture
def run(hub, tmp_path):
    """Run a program that takes the stand-in for the Hub; return its status and its last line."""

    def run(*command, **variables):
        ended = subprocess.run(
            list(map(str, command)),
            cwd=tmp_path,
            env=hub.environment(tmp_path / "home") | {"OMP_NUM_THREADS": "1"} | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended.returncode, (ended.stderr.strip().splitlines() or [""])[-1]

    return run


def pushed(hub, kind):
    """Names of the files that the Hub has of the repository."""
    return set(hub.repositories.visible(kind, NAME, "newcomer").resolve("main").files)


def test_corpus_when_the_hub_goes_down_stays_on_disk_and_is_pushed_again(hub, run, tmp_path):
    write_corpus(tmp_path / "archives", make_clips(dict.fromkeys(COUNTS, 4)))
    command = [sys.executable, "-m", "dusha_ser", "corpus", "crowd", "--data_dir", "archives"]
    command += ["--push_to_hub", NAME, "--quiet"]
    hub.fail_next("/commit/", 500, times=MANY)
    status, complaint = run(*command)
    assert status == 1
    assert f"pushing to {NAME} failed" in complaint
    folder = tmp_path / "dusha"
    shards = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    assert len(shards) == 2
    hub.work_again()
    assert run(*command)[0] == 0
    assert {path: path.read_bytes() for path in folder.rglob("*.parquet")} == shards
    names = pushed(hub, "dataset")
    assert "README.md" in names and sum(name.endswith(".parquet") for name in names) == 2


def test_corpus_when_there_is_no_network_stays_on_disk_and_is_pushed_later(hub, run, tmp_path):
    write_corpus(tmp_path / "archives", make_clips(dict.fromkeys(COUNTS, 4)))
    command = [sys.executable, "-m", "dusha_ser", "corpus", "crowd", "--data_dir", "archives"]
    command += ["--push_to_hub", NAME, "--quiet"]
    status, complaint = run(*command, HF_ENDPOINT="http://127.0.0.1:9")
    assert status == 1
    assert f"pushing to {NAME} failed" in complaint
    assert (tmp_path / "dusha" / "README.md").is_file()
    assert run(*command)[0] == 0
    assert "README.md" in pushed(hub, "dataset")


def test_model_when_the_hub_goes_down_is_safe_on_disk_and_is_pushed_again(
    hub, run, small_model, tmp_path
):
    write_recordings(tmp_path / "sounds", ("angry", "sad", "neutral", "positive"))
    command = [sys.executable, "-m", "dusha_ser", "train", "--train_file", "sounds/clips.csv"]
    command += ["--validation", "0", "--model_name_or_path", small_model, "--max_steps", "1"]
    command += ["--per_device_train_batch_size", "2", "--output_dir", "run", "--use_cpu"]
    command += ["--quiet", "--push_to_hub", "--hub_model_id", NAME]
    hub.fail_next("/commit/", 500, times=MANY)
    status, complaint = run(*command)
    assert status == 1
    assert f"{NAME} cannot be pushed to the Hub" in complaint
    assert "The model is complete in run" in complaint
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    came_to = run(sys.executable, "-m", "dusha_ser", "predict", "run", "sounds", "--quiet")
    assert came_to[0] == 0
    hub.work_again()
    again = shlex.split(complaint.partition("to push it later: ")[2])
    assert again[:2] == ["hf", "upload"]
    assert run(Path(sys.executable).with_name("hf"), *again[1:])[0] == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights
    names = pushed(hub, "model")
    assert {"model.safetensors", "config.json", "README.md"} <= names
    assert not any(name.startswith("checkpoint-") for name in names)


def test_training_when_the_hub_is_down_says_so_before_it_begins(hub, run, small_model, tmp_path):
    write_recordings(tmp_path / "sounds", ("angry", "sad", "neutral", "positive"))
    hub.fail_next(".", 500, times=MANY)
    status, complaint = run(
        *(sys.executable, "-m", "dusha_ser", "train", "--train_file", "sounds/clips.csv"),
        *("--model_name_or_path", small_model, "--output_dir", "run", "--max_steps", "1"),
        *("--validation", "0", "--quiet", "--use_cpu", "--push_to_hub", "--hub_model_id", NAME),
    )
    assert status == 1
    assert f"{NAME} cannot be pushed to the Hub" in complaint
    assert not list((tmp_path / "run").glob("*.safetensors"))
