"""The main job, as a newcomer starts it: python train.py, from the shell, without the network."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from chance import chance_p_value

REPOSITORY = Path(__file__).resolve().parent.parent.parent
# On two cores that have nothing else to do; CI machines often have something else to do.
LIMIT = 180 * float(os.environ.get("DUSHA_TIME_FACTOR", "1"))

pytestmark = pytest.mark.timeout(4 * LIMIT)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home directory that nobody has been in."""
    return tmp_path_factory.mktemp("home")


def default_run(home, *options):
    """Run train.py in a new process with caches of its own; return its metrics and seconds."""
    environment = os.environ | {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "1",
        # Whatever would leave this machine fails at once.
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "dusha_ser", "train", *options],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr[-3000:]
    folder = home / (options[options.index("--output_dir") + 1] if options else "model")
    return json.loads((folder / "metrics.json").read_text()), seconds, done.stdout


def test_default_run_learns_within_three_minutes(home):
    metrics, seconds, output = default_run(home)
    assert metrics["test"]["balanced_accuracy"] >= 0.8
    assert seconds <= LIMIT, f"{seconds:.0f} s"
    for words in ("balanced_accuracy", "true \\ predicted", "Next:", "dusha predict"):
        assert words in output


def test_default_run_learns_nothing_from_shuffled_labels(home):
    confusions = []
    for seed in range(4):
        options = [
            "--num_train_epochs",
            "4",
            "--seed",
            str(seed),
            "--output_dir",
            f"shuffled{seed}",
        ]
        metrics, _, _ = default_run(home, "--shuffle_labels", *options, "--quiet")
        confusions.append(np.array(metrics["test"]["confusion_matrix"]))
        # log 4 = 1.386 where each answer is as probable as the next.
        assert metrics["test"]["log_loss"] > 1.25
    # Of sets of four runs that know nothing, one in a hundred fails by chance; on true labels two
    # runs are enough to fail: the first test's model is right in four clips of five.
    assert chance_p_value(confusions) > 0.01
