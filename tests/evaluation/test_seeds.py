"""The mean over seeds: hand-worked scores, their spread, and intervals that draw speakers."""

import numpy as np
import pytest

from dusha_ser.evaluation.predictions import Predictions
from dusha_ser.evaluation.results import all_rows
from dusha_ser.evaluation.seeds import (
    noise_sentence,
    seed_metrics,
    seeds_folds_table,
)
from dusha_ser.evaluation.ser.ser import SCORES, ser_metrics

TRUTH = np.array([0, 0, 1, 1, 0, 1])
SPEAKERS = ["anna", "anna", "anna", "boris", "boris", "boris"]


def run_of(predicted, speakers=SPEAKERS, folds=None):
    """Predictions of six clips with two labels."""
    ids = [str(number) for number in range(len(predicted))]
    probabilities = np.eye(2)[np.array(predicted)]
    return Predictions(("no", "yes"), ids, TRUTH, probabilities, speakers, folds)


# Five of six are right: recalls 1 and 2/3, F1 6/7 and 4/5.
FIRST = run_of([0, 0, 0, 1, 0, 1])
# Four of six: recalls 1/3 and 1, F1 1/2 and 3/4.
SECOND = run_of([1, 1, 1, 1, 0, 1])


def test_seed_metrics_are_hand_worked_means_and_deviations():
    found = seed_metrics([FIRST, SECOND])
    pairs = {
        "accuracy": (5 / 6, 4 / 6),
        "balanced_accuracy": (5 / 6, 2 / 3),
        "f1_macro": ((6 / 7 + 4 / 5) / 2, (1 / 2 + 3 / 4) / 2),
    }
    for score, (first, second) in pairs.items():
        assert found[score] == pytest.approx((first + second) / 2)
        # Of two values the deviation with n - 1 is their distance by the square root of 2.
        deviation = found["standard_deviation"][score]
        assert deviation == pytest.approx(abs(first - second) / 2**0.5)
    assert (found["count"], found["seeds"], found["group_count"]) == (6, 2, 2)


def test_seed_metrics_draw_a_speaker_with_its_clips_of_all_seeds():
    found = seed_metrics([FIRST, SECOND])
    # Anna twice: 2/3 and 1/3 are right; Boris twice: all. Each happens in a quarter of the draws.
    assert found["intervals"]["accuracy"] == pytest.approx([0.5, 1.0])
    alone = ser_metrics(FIRST.predicted, TRUTH, groups=SPEAKERS, labels=FIRST.labels)
    twice = seed_metrics([FIRST, FIRST])
    for score in SCORES:
        assert twice["intervals"][score] == pytest.approx(alone["intervals"][score])
        assert twice["standard_deviation"][score] == 0


def test_seed_metrics_without_speakers_draw_folds_or_nothing():
    runs = [run_of(run.predicted, None, list("aabbcc")) for run in (FIRST, SECOND)]
    assert seed_metrics(runs)["groups"] == "folds"
    assert seed_metrics(runs)["group_count"] == 3
    unknown = seed_metrics([run_of(run.predicted, None) for run in (FIRST, SECOND)])
    assert unknown["groups"] is None and "intervals" not in unknown
    assert unknown["accuracy"] == pytest.approx(0.75)


def test_rows_of_means_over_seeds_show_deviation_and_interval():
    metrics = seed_metrics([FIRST, SECOND])
    metrics |= {"support": {"no": 3, "yes": 3}, "absent_classes": []}
    majority = ser_metrics(np.zeros(6, int), TRUTH, labels=FIRST.labels) | {"label": "no"}
    result = {"model": "ours", "test_set": "six", "metrics": metrics, "majority": majority}
    first, second = all_rows([result | {"groups": "speakers"}])
    assert first.cells["accuracy"] == "0.750 ± 0.118 [0.500, 1.000]"
    assert first.speakers == 2 and second.model == "always no"
    sentence = noise_sentence(metrics)
    assert "0.118 in accuracy" in sentence and "over 2 seeds" in sentence
    assert "other speakers change the mean over seeds by up to ±" in sentence


def test_table_of_folds_has_the_mean_over_seeds_of_each_fold():
    def result(*values):
        folds = {
            name: {"metrics": dict.fromkeys(SCORES, value) | {"count": 3}}
            for name, value in zip("ab", values, strict=True)
        }
        return {"folds": folds}

    table = seeds_folds_table([result(0.5, 0.9), result(0.7, 0.9)])
    assert table[0] == ["fold", "clips", *SCORES]
    assert table[1] == ["a", "3", *["0.600 ± 0.141"] * 3]
    assert table[2] == ["b", "3", *["0.900 ± 0.000"] * 3]
    # 0.6 and 0.9.
    assert table[3] == ["mean ± sd", "", *["0.750 ± 0.212"] * 3]
