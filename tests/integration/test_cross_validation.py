"""Folds and searches, killed and started again, end as an undisturbed run does."""

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
from dusha_ser.storage import read_json


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


@pytest.mark.timeout(900)
def test_search_interrupted_and_killed_and_started_again_chooses_as_undisturbed(tmp_path):
    pytest.importorskip("optuna")
    table = write_recordings(tmp_path / "own", speakers=4)
    model = save_model(tmp_path / "model")
    (tmp_path / "space.yaml").write_text("learning_rate: {low: 0.0001, high: 0.1, log: true}\n")

    def command(name):
        program = [sys.executable, "-m", "dusha_ser", "cross-validate", str(table)]
        options = ["--num_train_epochs", "2", "--per_device_train_batch_size", "8", "--folds", "2"]
        options += ["--search", "3", "--search_folds", "1", "--search_space", "space.yaml"]
        options += ["--model_name_or_path", model, "--metric_for_best_model", "loss"]
        return [*program, "--output_dir", str(tmp_path / name), *options]

    def chosen(name):
        return {
            path.parent.name: read_json(path)
            for path in tmp_path.glob(f"{name}/search/*/chosen.json")
        }

    def stop(number, when):
        """End the program by a signal, once a file of its own is there."""
        program = subprocess.Popen(
            command("stopped"), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 300
        while not when():
            assert time.monotonic() < deadline and program.poll() is None
            time.sleep(0.05)
        program.send_signal(number)
        return program.wait(), program.stderr.read().decode()

    def ended_trials():
        log = tmp_path / "stopped" / "search" / "1" / "trials.log"
        return log.read_text().count('"state":1') if log.is_file() else 0

    subprocess.run(command("undisturbed"), check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    status, message = stop(signal.SIGINT, lambda: ended_trials() >= 1)
    assert status == 130 and "the same command resumes" in message.splitlines()[-1]
    assert not chosen("stopped")
    before = ended_trials()
    status, _ = stop(signal.SIGKILL, lambda: ended_trials() > before)
    assert status == -signal.SIGKILL
    subprocess.run(command("stopped"), check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    assert chosen("stopped") == chosen("undisturbed")
    assert len(chosen("stopped")) == 2
    first, second = (
        read_predictions(next((tmp_path / name / "predictions").iterdir()))
        for name in ("undisturbed", "stopped")
    )
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-5)
