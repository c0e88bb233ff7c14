"""The measurement of many answers: what it reports of few, and what it derives from sizes."""

import json
import subprocess
import sys

import pytest

from benchmarks.aggregation_scale import METHODS, extrapolate, make_table, part_difference, simulate


def test_simulated_crowd_has_the_shares_of_dusha():
    crowd = simulate(17_153)
    assert len(crowd.answers.task) == 17_153
    assert crowd.answers.shape == (3040, 80, 5)


def test_parts_of_the_tasks_add_up_to_the_whole():
    assert part_difference(simulate(20_000)) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_method_runs_in_a_process_of_its_own(method):
    command = [sys.executable, "-m", "benchmarks.aggregation_scale", "--here", "20000", method]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert found["right"] > 0.9
    assert found["memory"] > 20_000 * 24  # three columns of 8 bytes
    assert found["iterations"] >= 1


def test_extrapolation_is_a_straight_line_through_the_memory():
    sizes = {
        n * 10**6: {"memory": 10**9 + n * 10**8, "processor_seconds": 36.0 * n, "iterations": 10}
        for n in (1, 5)
    }
    found = extrapolate(sizes)
    assert found["bytes_an_answer"] == 100
    assert found["growth_of_an_iteration"] == 1
    assert found["wanted_gigabytes"] == 11
    assert found["wanted_hours"] == 10  # a hundred iterations in place of ten
    assert make_table({"votes": {"sizes": sizes}})["rows"][1] == [
        *("votes", "5 million", "1.50 GB", "180 s", "10"),
    ]
