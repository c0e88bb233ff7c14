"""Rounds in turns, ratios with their interval, and files that say how they came about."""

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import machine, measuring
from benchmarks.measuring import (
    Measurement,
    command_line,
    compare,
    has_fallen,
    measure_in_turn,
    measuring_options,
    paired_ratio,
)
from dusha_ser.errors import WorkFailedError


def test_measure_in_turn_when_there_are_two_variants_runs_them_in_turns():
    done = []
    times = measure_in_turn(
        {name: lambda name=name: done.append(name) for name in "ab"},
        2,
        before=lambda: done.append("-"),
    )
    assert "".join(done) == "-a-b" * 3
    assert times["seconds"].keys() == times["processor_seconds"].keys() == {"a", "b"}
    assert all(len(row) == 2 for kind in times.values() for row in kind.values())


def test_paired_ratio_is_of_the_same_rounds_and_its_interval_holds_the_median():
    # A machine that slows down by half slows both: the ratios stay 2.
    slow = [1, 2, 3, 4, 5, 6, 7]
    found = paired_ratio([2 * one for one in slow], slow)
    assert found == {"times_as_fast": 2, "low": 2, "high": 2, "rounds": 7}
    found = paired_ratio(range(1, 10), [1] * 9)
    assert (found["low"], found["times_as_fast"], found["high"]) == (2, 5, 8)
    assert paired_ratio([1] * 5, [1] * 5)["low"] is None


def test_compare_says_who_was_compared_by_which_clock():
    times = {
        "seconds": {"tar": [4.0] * 7, "own": [2.0] * 7},
        "processor_seconds": {"tar": [3.0] * 7, "own": [1.0] * 7},
    }
    assert compare(times, {"pair": ("tar", "own")})["pair"] == {
        "peer": "tar",
        "ours": "own",
        "clock": "wall",
        "times_as_fast": 2.0,
        "low": 2.0,
        "high": 2.0,
        "rounds": 7,
        "in_processor_time": 3.0,
    }


def test_command_line_has_all_options_and_no_folder_of_this_machine():
    parser = measuring_options("x", "y", rounds=9)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--model")
    chosen = parser.parse_args(["--clips", "/data/own/clips", "--model", "../runs/a b"])
    assert command_line("one", chosen) == (
        "python -m benchmarks.one --clips clips --model 'a b' --rounds 9"
    )


def options(folder, *words):
    return measuring_options("x", "y").parse_args(["--results_dir", str(folder), *words])


def test_measurement_when_the_machine_is_busy_refuses_or_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "busy_processors", lambda seconds: 1.2)
    with pytest.raises(WorkFailedError, match=r"1\.2 processors busy, and at most 0\.3 may be"):
        Measurement("one", options(tmp_path))
    path = Measurement("one", options(tmp_path, "--allow_load")).write({"a": 1})
    found = json.loads(path.read_text())
    assert found["beside_other_programs"] and found["busy_processors_before"] == 1.2
    assert "--allow_load" in found["command_line"]


def test_measurement_when_the_machine_is_idle_says_what_it_ran_on(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "busy_processors", lambda seconds: 0.1)
    monkeypatch.setenv(measuring.SITTING, "2026-01-02T03:04:05")
    path = Measurement("one", options(tmp_path)).write({"a": 1})
    found = json.loads(path.read_text())
    assert path == tmp_path / "one.json" and found["a"] == 1
    assert found["sitting"] == "2026-01-02T03:04:05" and not found["beside_other_programs"]
    assert found["machine"]["model"] and found["machine"]["versions"]["numpy"]
    assert found["command_line"] == "python -m benchmarks.one --rounds 7"
    assert str(tmp_path) not in path.read_text()


def test_processor_model_names_family_and_model(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(
        "processor\t: 0\nmodel name\t: X\ncpu family\t: 26\nmodel\t\t: 2\nflags\t: avx2 a\n"
    )
    assert machine.processor_model(file) == "X, cpu family 26, model 2"
    assert machine.wide_instructions(file) == ["avx2"]


def test_busy_processors_when_watched_for_a_moment_is_a_number_of_them():
    assert 0 <= machine.busy_processors(0.05) <= (machine.describe()["processors"] or 1)


def test_command_line_when_an_option_has_several_values_lists_them():
    chosen = argparse.Namespace(answers=[1, 2], rounds=7, quiet=True)
    assert command_line("x", chosen) == "python -m benchmarks.x --answers 1 2 --quiet --rounds 7"


@pytest.mark.parametrize(
    ("highs", "rounds", "fell"),
    [
        ([2.41], [7], False),
        ([2.39, 2.5], [7, 14], False),
        ([2.39, 2.39], [7, 14], True),
    ],
)
def test_fallen_when_both_intervals_lie_below_four_fifths(highs, rounds, fell):
    tried, found = [], iter(highs)

    def measure(count):
        tried.append(count)
        return {"high": next(found)}

    assert (has_fallen(measure, 3.0) is not None) == fell
    assert tried == rounds
