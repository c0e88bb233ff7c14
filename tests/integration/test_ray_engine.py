"""A cluster of three Ray nodes on the loopback address, whose nodes and job are killed."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

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
    # One shard of five clips is damaged: a row of its error in place of five rows.
    assert found["rows"] == 296
    killed = found["killed"]
    assert killed["same_rows"]
    assert killed["ids_twice"] == 0
    assert killed["rows_of_errors"] == 1
    first, second, job = killed["parts_at_kills"]
    assert 1 <= first <= second <= job < killed["parts"] == 60
