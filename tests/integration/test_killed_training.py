"""Training that is killed outright, by the signal that no program can catch, and started again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from own_recordings import write_recordings
from safetensors.torch import load_file
from small_network import small_classifier

from feature_extraction_dusha import DushaFeatureExtractor

pytestmark = pytest.mark.timeout(600)
STEPS = 24


@pytest.fixture(scope="module")
def command(repository, tmp_path_factory):
    """The command line of a run of 24 steps that keeps a checkpoint every two."""
    folder = tmp_path_factory.mktemp("killed")
    table = write_recordings(folder, ["angry", "sad", "neutral", "positive"], 48, "abcdef")
    small_classifier(num_mel_bins=64).save_pretrained(folder / "small")
    DushaFeatureExtractor().save_pretrained(folder / "small")
    return [
        *(sys.executable, "-m", "dusha_ser", "train", "--train_file", table, "--quiet"),
        *("--model_name_or_path", folder / "small", "--cache_dir", folder / "cache"),
        *("--num_train_epochs", "4", "--per_device_train_batch_size", "8"),
        *("--save_strategy", "steps", "--save_steps", "2", "--validation", "0"),
        *("--average_decay", "0.9", "--mixup", "0.4", "--resume_from_checkpoint", "auto"),
    ]


def killed_at(command, folder, step):
    """Start a run, kill it while it writes the checkpoint of a step; return whether it ended."""
    process = subprocess.Popen(
        [*command, "--output_dir", folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    checkpoint = folder / f"checkpoint-{step}"
    deadline = time.monotonic() + 250
    while process.poll() is None and time.monotonic() < deadline:
        if checkpoint.is_dir():
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.001)
    errors = process.communicate()[1].decode()
    assert process.returncode in (0, -signal.SIGKILL), errors[-3000:]
    return process.returncode == 0


def test_training_when_killed_again_and_again_ends_with_the_same_weights(command, tmp_path):
    assert killed_at(command, tmp_path / "undisturbed", step=STEPS + 1)
    for step in (2, 8, 14):
        assert not killed_at(command, tmp_path / "killed", step)
    assert killed_at(command, tmp_path / "killed", step=STEPS + 1)
    expected = load_file(tmp_path / "undisturbed" / "model.safetensors")
    found = load_file(tmp_path / "killed" / "model.safetensors")
    for name, value in expected.items():
        assert (value == found[name]).all(), name
    metrics = [
        json.loads((tmp_path / name / "metrics.json").read_text())["train"]["accuracy"]
        for name in ("undisturbed", "killed")
    ]
    assert metrics[0] == metrics[1]
