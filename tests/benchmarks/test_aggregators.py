"""The comparison of aggregators, and that the page shows what was measured."""

import json

import numpy as np
import pytest

from benchmarks import aggregators, crowds, dawid_skene, measuring
from benchmarks.page_numbers import rewrite
from dusha_ser.errors import MissingInputError, WrongUseError
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results"


def test_score_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.0, 1.0], [0.5, 0.5]])
    found = aggregators.score(probabilities, np.array([0, 0, 0, -1]))
    assert found == {
        "accuracy": pytest.approx(1 / 3),
        "log_loss": pytest.approx(-np.log([0.9, 0.3, 1e-6]).mean()),
        "kept": pytest.approx(2 / 3),
        "accuracy_of_kept": 0.5,
    }


@pytest.mark.parametrize("kind", crowds.KINDS)
@pytest.mark.parametrize("shares", crowds.SHARES)
def test_simulate_crowd_when_many_answer(kind, shares):
    crowd = crowds.simulate_crowd(
        kind, seed=1, answers_an_annotator=20, answers_a_task=7, tasks=400, shares=shares
    )
    answers = crowd.answers
    task, annotator, label = answers.task, answers.annotator, answers.label
    assert answers.shape == (400, 140, 5)
    np.testing.assert_array_equal(np.bincount(task), 7)
    assert len(set(zip(task, annotator, strict=True))) == len(task)
    right = (label == crowd.truth[task]).mean()
    low, high = {"careful": (0.83, 0.91), "poor": (0.42, 0.58)}.get(kind, (0.65, 0.82))
    assert low < right < high
    often = np.bincount(crowd.truth, minlength=5) / 400
    np.testing.assert_allclose(often, crowds.SHARES[shares], atol=0.07)


def test_read_crowd_when_files_are_wrong(tmp_path):
    with pytest.raises(MissingInputError, match="answers.csv"):
        crowds.read_crowd(tmp_path)
    (tmp_path / "answers.csv").write_text("question,worker,answer\n7,w,1\n7,v,0\n3,w,1\n")
    (tmp_path / "truth.csv").write_text("question,truth\n3,2\n")
    crowd = crowds.read_crowd(tmp_path)
    assert crowd.answers.shape == (2, 2, 3)
    np.testing.assert_array_equal(crowd.truth, [2, -1])
    (tmp_path / "truth.csv").write_text("question,label\n3,2\n")
    with pytest.raises(WrongUseError, match="truth.csv question and truth"):
        crowds.read_crowd(tmp_path)


def test_main_when_a_page_takes_its_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(aggregators, "ANSWERS_AN_ANNOTATOR", (5,))
    options = ["--seeds", "2", "--tasks", "40", "--quiet"]
    monkeypatch.setattr("sys.argv", ["aggregators", *options])
    aggregators.main()
    mark = "<!-- table: results/aggregators.json#tables/simulated -->\n"
    text = rewrite(f"before {mark}old<!-- end --> after\n", tmp_path)
    assert text.startswith(f"before {mark}| annotators, labels ")
    assert text.endswith("|\n<!-- end --> after\n")
    assert text.count("\n|") == 2 + len(crowds.KINDS) * len(crowds.SHARES)
    written = json.loads((tmp_path / "results" / "aggregators.json").read_text())
    assert written["command"] == "python -m benchmarks.aggregators --seeds 2 --tasks 40 --quiet"
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert any(words[:3] == ["careful,", "even", "5"] for words in shown)


def test_measure_when_dawid_skene_runs_beside_crowd_kit():
    found = dawid_skene.measure(crowds.simulate_dusha(3000, 500, 40), rounds=1)
    assert found["largest_difference"] < 1e-6
    assert found["pairs"]["Dawid-Skene"]["times_as_fast"] > 1
    assert found["iterations"] > 1


def test_page_shows_what_was_measured():
    page = (REPOSITORY / "docs" / "maintainers" / "aggregators.md").read_text()
    results = json.loads((RESULTS / "aggregators.json").read_text())
    assert results["tables"] == aggregators.make_tables(results)
    for name in results["tables"]:
        assert f"<!-- table: benchmarks/results/aggregators.json#tables/{name} -->\n" in page
    assert rewrite(page) == page
    speed = json.loads((RESULTS / "dawid_skene.json").read_text())
    of_labels = (REPOSITORY / "docs" / "labels.md").read_text()
    assert "results.json#found/Dawid-Skene alone/times_as_fast" in of_labels
    pair = speed["pairs"]["Dawid-Skene"] if "pairs" in speed else speed
    assert pair["times_as_fast"] >= 20
    assert speed["largest_difference"] <= 1e-6


def test_results_when_the_regularised_method_is_compared():
    results = json.loads((RESULTS / "aggregators.json").read_text())
    for name, methods in results["real"].items():
        found, *others = (methods[method] for method in reversed(aggregators.COMPARED))
        for own in others:
            assert found["accuracy"] >= own["accuracy"], name
            assert found["log_loss"] < own["log_loss"], name
    for row in results["simulated"]:
        assert row["gain"] > -0.0015, row
        losses = {name: own["log_loss"] for name, own in row["methods"].items()}
        assert min(losses, key=losses.get) == "regularised_dawid_skene", row
