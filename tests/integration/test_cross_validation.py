"""Folds in parallel processes, killed and started again, end as an undisturbed run does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_models import save_model, write_recordings

from dusha_ser.evaluation.predictions import read_predictions


def children(process_id):
    """Numbers of the processes that a process has started, and of theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # It has ended meanwhile.
            continue
        if parent == process_id:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def is_running(process_id):
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.timeout(900)
def test_folds_killed_in_parallel_and_started_again_end_as_undisturbed(tmp_path):
    table = write_recordings(tmp_path / "own", speakers=4, of_each=2)
    model = save_model(tmp_path / "model")

    def command(name):
        program = [sys.executable, "-m", "dusha_ser", "cross-validate", str(table)]
        options = ["--num_train_epochs", "2", "--per_device_train_batch_size", "8"]
        options += ["--model_name_or_path", model, "--validation", "0.3", "--jobs", "2"]
        return [*program, "--output_dir", str(tmp_path / name), *options]

    subprocess.run(command("undisturbed"), check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    program = subprocess.Popen(command("killed"), cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "killed" / "folds").glob("*/fold.json")):
        assert time.monotonic() < deadline and program.poll() is None
        time.sleep(0.05)
    workers = children(program.pid)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    deadline = time.monotonic() + 60
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline, "workers outlive the program that needs them"
        time.sleep(0.05)
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("killed/folds/*/fold.json")}
    assert 1 <= len(done) < 4
    subprocess.run(command("killed"), check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    # What was done before was not done again.
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in done.items())
    first, second = (
        read_predictions(next((tmp_path / name / "predictions").iterdir()))
        for name in ("undisturbed", "killed")
    )
    assert first.ids == second.ids and first.folds == second.folds
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-5)
