"""Two models that answer together, from tables of what each predicts."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import mixed_predictions
from benchmarks.mixed_predictions import mixed
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import Predictions, write_predictions
from dusha_ser.storage import read_json, write_json

FIRST = Predictions(
    ("angry", "sad"),
    ["1", "2", "3"],
    np.array([0, 1, 1]),
    np.array([[0.4, 0.6], [0.2, 0.8], [0.9, 0.1]]),
    ["ann", "ann", "bob"],
)
# The same clips and labels in another order: clip 1 is surely angry, clip 3 hardly sad.
SECOND = Predictions(
    ("sad", "angry"),
    ["3", "1", "2"],
    np.array([0, 1, 0]),
    np.array([[0.4, 0.6], [0.1, 0.9], [0.5, 0.5]]),
)


def test_mixed_is_the_mean_of_logarithms_clip_by_clip_and_label_by_label():
    found = mixed(FIRST, SECOND)
    products = np.array([[0.4 * 0.9, 0.6 * 0.1], [0.2 * 0.5, 0.8 * 0.5], [0.9 * 0.6, 0.1 * 0.4]])
    roots = np.sqrt(products)
    np.testing.assert_allclose(found.probabilities, roots / roots.sum(1, keepdims=True))
    assert found.predicted.tolist() == [0, 1, 0] and found.speakers == FIRST.speakers


@pytest.mark.parametrize(
    "other, message",
    [
        (replace(SECOND, ids=["3", "1", "4"]), "must be the same"),
        (replace(SECOND, labels=("sad", "happy")), "must be the same"),
        (replace(SECOND, references=np.array([1, 1, 0])), "true labels of some clips differ"),
    ],
)
def test_mixed_of_other_clips_labels_or_truth_is_refused(other, message):
    with pytest.raises(WrongUseError, match=message):
        mixed(FIRST, other)


def test_main_scores_each_seed_with_the_other_model(tmp_path, monkeypatch, capsys):
    run, other = tmp_path / "run", tmp_path / "tested.csv"
    wrong = replace(FIRST, probabilities=np.array([[0.01, 0.99], [0.9, 0.1], [0.9, 0.1]]))
    write_predictions(other, SECOND)
    for seed, one in enumerate((FIRST, wrong)):
        write_predictions(run / f"predictions/{seed}.csv", one)
        write_json(run / f"metrics/{seed}.json", {"predictions": f"predictions/{seed}.csv"})
    table = tmp_path / "mixed.json"
    words = [str(run), "--beside", str(other), "--table", str(table)]
    monkeypatch.setattr(sys, "argv", ["mixed", *words])
    mixed_predictions.main()
    found = read_json(table)
    row = dict(zip(found["columns"], found["rows"][0], strict=True))
    # One seed is right in clips 1 and 2, the other in none.
    assert row["accuracy"].startswith("0.333 ± 0.471")
    assert row["balanced_accuracy"].startswith("0.375 ± 0.530")
    # Alone one of the first is right in clip 2, its other seed in none; the other model in clip 1.
    assert row["balanced_accuracy, more than the first"].startswith("+0.250 [")
    assert row["more than the other"].startswith("-0.125 [")
    assert "mean of 2 seeds" in capsys.readouterr().out
    # Another command's table stays.
    monkeypatch.setattr(sys, "argv", ["mixed", *words, "--name", "two"])
    with pytest.raises(WrongUseError, match="mixed.json"):
        mixed_predictions.main()
