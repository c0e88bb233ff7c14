"""A cluster of three Ray nodes on the loopback address, whose nodes and job are killed."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import fake_corpora
import psutil
import pytest
from small_models import PITCHES, save_model

from dusha_ser.storage import write_csv

pytest.importorskip("ray", reason="the extra ray is not installed")


REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(600)
def test_killed_nodes_and_a_killed_job_lose_nothing_and_write_nothing_twice(tmp_path):
    words = ["--count", "300", "--shard_size", "5", "--rounds", "0", "--sizes"]
    program = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.ray_cluster", *words, "--output_file", "found.json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
    )
    try:
        assert program.wait(timeout=550) == 0
    finally:
        # Whatever happened, no node is left.
        if program.poll() is None:
            for process in [*psutil.Process(program.pid).children(recursive=True), program]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            program.wait()
    found = json.loads((tmp_path / "found.json").read_text())
    # One shard of five clips is damaged: a row of its error in place of five rows. Of the two clips
    # that come again one is another: a row of its error in place of its prediction.
    assert found["rows"] == 296
    killed = found["killed"]
    assert killed["same_rows"]
    assert killed["ids_twice"] == 0
    assert killed["rows_of_errors"] == 2
    first, second, job = killed["parts_at_kills"]
    assert 1 <= first <= second <= job < killed["parts"] == 60


@pytest.mark.timeout(600)
def test_pseudo_labels_on_ray_are_those_of_this_program(tmp_path):
    model = save_model(tmp_path / "model")
    rows = []
    for number, pitch in enumerate([*PITCHES.values()] * 3):
        tone = fake_corpora.tone(pitch * (1 + number / 50), 0.15)
        fake_corpora.write(tmp_path / f"clips/wavs/{number}.wav", tone)
        rows.append({"id": f"clip{number:02d}", "path": f"wavs/{number}.wav"})
    write_csv(tmp_path / "clips" / "clips.csv", ["id", "path"], rows)
    found = []
    for more in ([], ["--engine", "ray"]):
        place = tmp_path / ("ray" if more else "here")
        words = ["collect", "pseudo-label", str(tmp_path / "clips"), "--model", str(model)]
        words += ["--number", "6", "--output_file", str(place / "picked.csv"), "--shard_size", "4"]
        words += ["--output_shards", str(place / "parts"), "--device", "cpu", *more]
        done = subprocess.run(
            [sys.executable, "-m", "dusha_ser", *words],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
            stdin=subprocess.DEVNULL,
            timeout=280,
        )
        assert done.returncode == 0
        parts = [path.read_bytes() for path in sorted((place / "parts").glob("part-*.parquet"))]
        assert len(parts) == 3
        found.append([(place / "picked.csv").read_bytes(), *parts])
    assert found[0] == found[1]
