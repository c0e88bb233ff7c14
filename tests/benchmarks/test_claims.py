"""Rows of the table: of one sitting on an idle machine, reached by an interval's lower end."""

import argparse
import json

import pytest

from benchmarks import __main__ as program
from benchmarks.claims import CLAIMS, COLUMNS, Claim, collect, read_sitting
from dusha_ser.errors import WrongUseError

FIRST, SECOND = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"
SPEED = Claim("job", "work", ("pairs", "work"), 2, usual="usual", reason="the disk")


def results(low=2.1, rounds=7, **more):
    pair = {"peer": "tar", "times_as_fast": 2.5, "low": low, "high": 3.0, "rounds": rounds}
    usual = {"peer": "by hand", "times_as_fast": 9.0}
    own = {"sitting": SECOND, "minutes": 2.0, "machine": {"model": "X", "processors": 2}}
    return own | {"pairs": {"work": pair, "usual": usual}, "beside_other_programs": False} | more


def test_row_when_the_lower_end_reaches_the_goal():
    assert SPEED.row(results()) == [
        *("work", "tar", "at least 2", "2.50", "2.10 to 3.00", "yes", "by hand", "9.00", None),
    ]


def test_row_when_only_the_median_reaches_the_goal_says_no_with_the_limit():
    assert SPEED.row(results(low=1.9))[5:] == ["no", "by hand", "9.00", "the disk"]
    limited = Claim("job", "work", ("pairs", "work"), 2, limit=("most",), reason="the disk")
    assert limited.row(results(low=1.9, most=2.04))[-1] == "at most 2.0: the disk"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "not measured"),
        ({"times_as_fast": 3.0}, "not measured"),
        (results(beside_other_programs=True), "machine was busy"),
        (results(rounds=5), "too few rounds: 5"),
    ],
)
def test_row_when_results_do_not_count_says_why(found, said):
    row = SPEED.row(found)
    assert row[5] == said and len(row) == len(COLUMNS)


@pytest.mark.parametrize(("value", "said"), [(0.2, "yes"), (0.21, "no"), (None, "not measured")])
def test_row_when_a_number_may_be_so_large_at_most(value, said):
    claim = Claim("job", "memory", ("share",), 0.2, at_most=True)
    assert claim.row(results(share=value))[5] == said


def write(folder, **contents):
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def test_collect_takes_the_last_sitting_alone(tmp_path):
    folder = tmp_path / "results"
    pair = {"Dawid-Skene": results()["pairs"]["work"] | {"low": 21.0}}
    write(
        folder,
        dawid_skene=results(pairs=pair),
        first_answer=results(sitting=FIRST, pairs={"ours": pair["Dawid-Skene"]}),
        log_mel={"times_as_fast": 3.0},
    )
    assert read_sitting(folder)[0] == SECOND and set(read_sitting(folder)[1]) == {"dawid_skene"}
    reached = {row[0]: row[5] for row in collect(folder)}
    assert reached.pop("Dawid-Skene alone") == "yes"
    assert set(reached.values()) == {"not measured"}
    tables = json.loads((tmp_path / "results.json").read_text())
    assert tables["sitting"] == SECOND and tables["found"]["Dawid-Skene alone"]["low"] == 21.0
    assert ["processor", "X, 2 cores"] in tables["machine"]["rows"]
    assert all(len(row) == 2 for row in tables["limits"]["rows"])


def test_claims_are_each_of_another_thing():
    assert len({claim.what for claim in CLAIMS}) == len(CLAIMS)
    asked = {claim.what: claim.asked for claim in CLAIMS}
    assert asked["answers to labels, 1.7 M answers"] == 15
    assert asked["files to labels, int8"] == 5 and asked["first answer after start"] == 1.3


def chosen(folder, *words):
    return program.options().parse_args(["--results_dir", str(folder), *words])


def test_run_all_when_it_resumes_leaves_out_what_the_sitting_has(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "results"
    write(folder, dawid_skene=results())
    monkeypatch.setattr(program, "describe", lambda: {"model": "X"})
    monkeypatch.setattr(program, "command_of", lambda name, chosen: ["false"])
    options = chosen(folder, "--resume", "--minutes", "3")
    assert program.run_all(["dawid_skene", "limits"], options) == ["limits: exit status 1"]
    assert "dawid_skene: measured in this sitting" in capsys.readouterr().out
    options = chosen(folder, "--resume", "--minutes", "2")
    assert program.run_all(["limits"], options) == ["limits: no time left"]


def test_run_all_when_it_cannot_resume_says_why(tmp_path, monkeypatch):
    with pytest.raises(WrongUseError, match="holds no sitting"):
        program.run_all(["limits"], chosen(tmp_path, "--resume"))
    write(tmp_path / "results", dawid_skene=results())
    monkeypatch.setattr(program, "describe", lambda: {"model": "Y"})
    with pytest.raises(WrongUseError, match="measured on X, and this is Y"):
        program.run_all(["limits"], chosen(tmp_path / "results", "--resume"))


def test_command_of_gives_each_program_what_it_takes(tmp_path):
    options = chosen(tmp_path, "--clips", "/data/a", "--model", "/data/b", "--small")
    assert isinstance(options, argparse.Namespace)
    command = program.command_of("log_mel", options)
    assert command[1:5] == ["-m", "benchmarks.log_mel", "--results_dir", str(tmp_path)]
    assert command[5:] == ["--limit", "8", "--clips", "/data/a", "--model", "/data/b"]
    assert "--clips" not in program.command_of("dawid_skene", options)
    assert set(program.SMALL) <= set(program.PROGRAMS)
