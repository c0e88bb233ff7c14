"""The metrics against scikit-learn, against hand counts, and where classes are absent."""

import json
import warnings
from pathlib import Path

import evaluate
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from dusha_ser.evaluation.ser.ser import (
    LABELS,
    SCORES,
    Bootstrap,
    compare_models,
    expected_calibration_error,
    interval_warning,
    reliability,
    ser_metrics,
)

REPOSITORY = Path(__file__).resolve().parents[2]
NUMBERS = st.integers(0, 3)


def random_predictions(clips=400, right=0.7, seed=0, label_count=4):
    generator = np.random.default_rng(seed)
    references = generator.integers(0, label_count, clips)
    guesses = generator.integers(0, label_count, clips)
    predictions = np.where(generator.random(clips) < right, references, guesses)
    return predictions, references


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=30))
def test_ser_metrics_equals_scikit_learn_with_any_classes_missing(pairs):
    predictions, references = map(list, zip(*pairs, strict=True))
    ours = ser_metrics(predictions, references)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that are missing
        assert ours["accuracy"] == pytest.approx(
            sklearn.metrics.accuracy_score(references, predictions)
        )
        assert ours["balanced_accuracy"] == pytest.approx(
            sklearn.metrics.balanced_accuracy_score(references, predictions)
        )
        assert ours["f1_macro"] == pytest.approx(
            sklearn.metrics.f1_score(references, predictions, average="macro")
        )
        precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
            references, predictions, labels=range(4), zero_division=np.nan
        )
    expected = {"precision": precision, "recall": recall, "f1": f1, "support": support}
    for name, values in expected.items():
        for label, value in zip(LABELS, values, strict=True):
            if np.isnan(value):
                assert ours[name][label] is None
            else:
                assert ours[name][label] == pytest.approx(value)
    assert (
        ours["confusion_matrix"]
        == sklearn.metrics.confusion_matrix(references, predictions, labels=range(4)).tolist()
    )


def test_ser_metrics_when_a_class_is_absent_names_it_and_leaves_it_out_of_the_mean():
    results = ser_metrics(predictions=[0, 1, 2, 1], references=[0, 1, 2, 2])
    assert results["absent_classes"] == ["positive"]
    assert results["unpredicted_classes"] == ["positive"]
    assert results["recall"]["positive"] is None
    assert results["precision"]["positive"] is None
    assert results["f1"]["positive"] is None
    assert results["support"]["positive"] == 0
    assert results["balanced_accuracy"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert results["f1_macro"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_ser_metrics_when_an_absent_class_is_predicted_counts_its_f1_as_zero():
    results = ser_metrics(predictions=[0, 3], references=[0, 0])
    assert results["recall"] == {"angry": 0.5, "sad": None, "neutral": None, "positive": None}
    assert results["precision"] == {"angry": 1.0, "sad": None, "neutral": None, "positive": 0.0}
    assert results["balanced_accuracy"] == 0.5
    assert results["f1_macro"] == pytest.approx((2 / 3 + 0) / 2)
    assert results["absent_classes"] == ["sad", "neutral", "positive"]
    assert results["unpredicted_classes"] == ["sad", "neutral"]


def test_ser_metrics_gives_plain_python_values():
    predictions, references = random_predictions()
    probabilities = np.random.default_rng(1).dirichlet(np.ones(4), 400)
    results = ser_metrics(predictions, references, probabilities, groups=np.arange(400) % 20)
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_ser_metrics_with_probabilities_equals_scikit_learns_log_loss():
    predictions, references = random_predictions()
    references[references == 3] = 0
    probabilities = np.random.default_rng(1).dirichlet(np.ones(4), 400)
    results = ser_metrics(predictions, references, probabilities.astype(np.float32))
    expected = -np.log(probabilities[np.arange(400), references]).mean()
    assert results["log_loss"] == pytest.approx(expected, abs=1e-5)
    assert results["log_loss"] == pytest.approx(
        sklearn.metrics.log_loss(references, probabilities, labels=range(4)), abs=1e-5
    )


def test_ser_metrics_with_probabilities_has_the_brier_score():
    # By hand: (0.2, -0.2), (-0.6, 0.6) and (0, 0), squared and summed.
    results = ser_metrics(
        [0, 0, 1], [0, 1, 1], [[0.8, 0.2], [0.6, 0.4], [0.0, 1.0]], labels=["no", "yes"]
    )
    assert results["brier_score"] == pytest.approx((0.08 + 0.72 + 0) / 3)


def test_ser_metrics_with_a_certain_mistake_has_a_finite_log_loss():
    results = ser_metrics([0], [1], [[1.0, 0.0, 0.0, 0.0]])
    assert 30 < results["log_loss"] < 1000


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_ser_metrics_with_groups_covers_the_truth_as_often_as_it_says(spread):
    # Speakers differ much in how well they are understood; 40 speakers of 10 clips a study.
    generator = np.random.default_rng(0)
    covered = 0
    studies = 200
    for study in range(studies):
        skill = 1 / (1 + np.exp(-generator.normal(0, spread, 40)))
        right = generator.random((40, 10)) < skill[:, None]
        predictions = np.where(right, 0, 1).ravel()
        results = ser_metrics(
            predictions,
            np.zeros(400, int),
            groups=np.repeat(np.arange(40), 10),
            bootstrap=Bootstrap(resamples=300, seed=study),
        )
        low, high = results["intervals"]["accuracy"]
        covered += low <= 0.5 <= high  # the mean of a symmetric distribution of skill
    assert 0.89 <= covered / studies <= 0.99


def test_ser_metrics_resamples_speakers_and_not_clips():
    # Half of the speakers are always right, half never: 400 clips tell no more than 8 speakers.
    groups = np.repeat(np.arange(8), 50)
    predictions = (groups % 2).astype(int)
    references = np.zeros(400, int)
    by_speaker = ser_metrics(predictions, references, groups=groups)["intervals"]["accuracy"]
    by_clip = ser_metrics(predictions, references, groups=range(400))["intervals"]["accuracy"]
    assert by_speaker[1] - by_speaker[0] > 4 * (by_clip[1] - by_clip[0])
    # A share of 8 fair draws: the binomial distribution's 2.5 % points are 1 and 7 of 8.
    assert by_speaker == pytest.approx([1 / 8, 7 / 8])


def test_ser_metrics_intervals_hold_the_value_and_repeat_with_the_seed():
    predictions, references = random_predictions()
    groups = [f"speaker {i % 17}" for i in range(400)]
    results = ser_metrics(predictions, references, groups=groups)
    for name in SCORES:
        low, high = results["intervals"][name]
        assert 0 <= low < results[name] < high <= 1
    again = ser_metrics(predictions, references, groups=groups)
    other = ser_metrics(predictions, references, groups=groups, bootstrap=Bootstrap(seed=1))
    narrow = ser_metrics(
        predictions, references, groups=groups, bootstrap=Bootstrap(confidence_level=0.5)
    )
    assert again == results
    assert other["intervals"] != results["intervals"]
    assert narrow["intervals"]["accuracy"][0] > results["intervals"]["accuracy"][0]


def test_ser_metrics_with_one_group_says_that_there_is_no_interval():
    results = ser_metrics([0, 1], [0, 1], groups=["anna", "anna"])
    assert results["group_count"] == 1
    assert results["intervals"] == dict.fromkeys(SCORES)


def test_ser_metrics_without_a_mistake_has_an_interval_of_no_width():
    predictions, _ = random_predictions()
    results = ser_metrics(predictions, predictions, groups=np.arange(400) % 9)
    assert results["intervals"]["f1_macro"] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predictions": [], "references": []}, "shape"),
        ({"predictions": [0], "references": [0, 1]}, "1 predictions came for 2 references"),
        ({"predictions": [4], "references": [0]}, "label 4; 4 labels allow 0 to 3"),
        ({"predictions": [0], "references": [-1]}, "label -1"),
        ({"predictions": [0.5], "references": [0]}, "integers from 0 to 3"),
        ({"predictions": ["sad"], "references": [0]}, "integers from 0 to 3"),
        ({"predictions": [0], "references": [0], "labels": ["a", "a"]}, "each name must differ"),
        ({"predictions": [0], "references": [0], "probabilities": [[1, 0]]}, "shape"),
        ({"predictions": [0], "references": [0], "probabilities": [[2, -1, 0, 0]]}, "logits"),
        (
            {"predictions": [0], "references": [0], "probabilities": [[float("nan"), 0, 0, 0]]},
            "sum to 1",
        ),
        ({"predictions": [0], "references": [0], "groups": ["a", "b"]}, "2 groups came for 1"),
        ({"predictions": [0], "references": [0], "groups": [None]}, "no value for clip 0"),
        ({"predictions": [0], "references": [0], "groups": [float("nan")]}, "no value for clip 0"),
    ],
)
def test_ser_metrics_refuses_what_it_cannot_count(arguments, message):
    with pytest.raises(ValueError, match=message):
        ser_metrics(**arguments)


def test_compare_models_draws_the_same_speakers_for_both():
    # The second model differs from the first in one right clip a speaker: the difference is
    # the same in every draw, although the speakers differ much.
    groups = np.repeat(np.arange(10), 10)
    references = np.zeros(100, int)
    first = ((groups + np.arange(100) % 10) >= 9).astype(int)
    first[::10] = 1
    second = first.copy()
    second[::10] = 0
    accuracy = compare_models(first, second, references, groups)["accuracy"]
    assert accuracy["difference"] == pytest.approx(0.1)
    assert accuracy["interval"] == pytest.approx([0.1, 0.1])
    assert accuracy["p_value"] < 0.01
    alone = ser_metrics(first, references, groups=groups)["intervals"]["accuracy"]
    assert alone[1] - alone[0] > 0.2


def test_compare_models_of_equal_skill_is_rarely_significant():
    generator = np.random.default_rng(0)
    significant = 0
    for study in range(100):
        references = generator.integers(0, 4, 300)
        first, second = (
            np.where(generator.random(300) < 0.7, references, (references + 1) % 4)
            for _ in range(2)
        )
        groups = np.repeat(np.arange(30), 10)
        result = compare_models(
            first, second, references, groups, bootstrap=Bootstrap(resamples=400, seed=study)
        )
        significant += result["accuracy"]["p_value"] < 0.05
    assert significant <= 12


def test_compare_models_with_itself_finds_nothing():
    predictions, references = random_predictions()
    result = compare_models(predictions, predictions, references, np.arange(400) % 7)
    assert result["f1_macro"]["difference"] == 0
    assert result["f1_macro"]["interval"] == [0, 0]
    assert result["f1_macro"]["p_value"] == 1


@pytest.mark.parametrize("speakers", [2, 3, 5])
def test_compare_models_when_speakers_cannot_give_significance_has_no_p(speakers):
    # All clips of one model are right, none of the other's: a bootstrap would say p < 0.001.
    clips = np.zeros(30 * speakers, int)
    result = compare_models(clips + 1, clips, clips, np.arange(30 * speakers) % speakers)
    for values in result.values():
        assert values["difference"] > 0 and values["interval"] is not None
        assert values["p_value"] is None and values["group_count"] == speakers


@pytest.mark.parametrize(
    ("better", "exchanges"),
    # Of 2 ** 6 exchanges of six speakers, as many have a gain at least as large: worked by hand for
    # gains of 1 clip in each of the first speakers and of -1 in the others.
    [(6, 1), (5, 7), (4, 22), (3, 42)],
)
def test_compare_models_counts_all_exchanges_of_few_speakers(better, exchanges):
    truth = np.zeros(12, int)
    first, second = truth.copy(), truth.copy()
    first[0 : 2 * better : 2] = 1
    second[2 * better :: 2] = 1
    accuracy = compare_models(first, second, truth, np.arange(12) // 2)["accuracy"]
    assert accuracy["difference"] == pytest.approx((2 * better - 6) / 12)
    assert accuracy["p_value"] == min(1, 2 * exchanges / 2**6)


def test_compare_models_when_random_exchanges_are_drawn_agrees_with_all():
    # Gains of one clip: the sum of signs is binomial, so that p is known.
    truth = np.zeros(60, int)
    first, second = truth.copy(), truth.copy()
    first[:40:2] = 1
    second[40::2] = 1
    result = compare_models(first, second, truth, np.arange(60) // 2)
    exact = scipy.stats.binomtest(20, 30).pvalue
    assert result["accuracy"]["p_value"] == pytest.approx(exact, abs=0.01)
    again = compare_models(first, second, truth, np.arange(60) // 2)
    assert again == result
    other = compare_models(first, second, truth, np.arange(60) // 2, bootstrap=Bootstrap(seed=5))
    assert other["accuracy"]["p_value"] != result["accuracy"]["p_value"]


def test_compare_models_p_value_is_symmetric_and_never_zero():
    generator = np.random.default_rng(1)
    references, groups = generator.integers(0, 4, 2000), np.arange(2000) % 200
    worse = np.where(generator.random(2000) < 0.5, references, (references + 1) % 4)
    forward = compare_models(worse, references, references, groups)
    backward = compare_models(references, worse, references, groups)
    for name in SCORES:
        # The random ones and the data at hand: 2 of 10,000.
        assert forward[name]["p_value"] == backward[name]["p_value"] == pytest.approx(2e-4)
        assert forward[name]["difference"] == pytest.approx(-backward[name]["difference"])


@pytest.mark.parametrize(
    ("speakers", "warning"),
    [(1, None), (2, "intervals over only 2 groups are too narrow"), (10, None)],
)
def test_ser_metrics_of_fewer_than_ten_groups_warns_beside_their_intervals(speakers, warning):
    predictions, references = random_predictions()
    results = ser_metrics(predictions, references, groups=np.arange(400) % speakers)
    assert results["interval_warning"] == warning
    assert "interval_warning" not in ser_metrics(predictions, references)


def test_interval_warning_names_what_the_groups_are():
    assert interval_warning(9, "speakers") == "intervals over only 9 speakers are too narrow"
    assert interval_warning(None) is None


def test_compare_models_with_one_group_asks_for_speakers():
    with pytest.raises(ValueError, match="give the speaker of each clip"):
        compare_models([0, 1], [0, 0], [0, 1], ["anna", "anna"])


def test_reliability_puts_an_edge_into_the_lower_bin():
    bins = reliability([0, 0, 0], [0, 1, 0], [[0.5, 0.5], [0.6, 0.4], [1.0, 0.0]], bins=2)
    assert [one["count"] for one in bins] == [1, 2]
    assert bins[0]["accuracy"] == 1.0
    assert bins[1]["confidence"] == pytest.approx(0.8)
    assert bins[1]["accuracy"] == 0.5


def test_reliability_of_an_empty_bin_is_none():
    bins = reliability([0], [0], [[1.0, 0.0]], bins=3)
    assert [one["confidence"] for one in bins] == [None, None, 1.0]
    assert [one["count"] for one in bins] == [0, 0, 1]


def test_reliability_takes_the_probability_of_the_prediction_that_was_made():
    bins = reliability([1], [1], [[0.9, 0.1]], bins=10)
    assert bins[0]["confidence"] == pytest.approx(0.1)


def test_expected_calibration_error_of_a_calibrated_model_is_small():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4) / 2, 20_000)
    references = np.array([generator.choice(4, p=row) for row in probabilities])
    bins = reliability(probabilities.argmax(1), references, probabilities)
    assert expected_calibration_error(bins) < 0.02
    # Sharpened by squaring, the same answers are overconfident.
    sharp = probabilities**2 / (probabilities**2).sum(1, keepdims=True)
    overconfident = reliability(sharp.argmax(1), references, sharp)
    assert 0.05 < expected_calibration_error(overconfident) < 0.3
    by_hand = sum(
        abs(one["accuracy"] - one["confidence"]) * one["count"] / 20_000
        for one in overconfident
        if one["count"]
    )
    assert expected_calibration_error(overconfident) == pytest.approx(by_hand)


@pytest.fixture(scope="module")
def metric():
    return evaluate.load(str(REPOSITORY / "dusha_ser" / "evaluation" / "ser"))


def test_metric_loaded_by_evaluate_gives_what_the_function_gives(metric):
    predictions, references = random_predictions()
    probabilities = np.random.default_rng(1).dirichlet(np.ones(4), 400)
    groups = [f"speaker {i % 7}" for i in range(400)]
    results = metric.compute(
        predictions=predictions, references=references, probabilities=probabilities, groups=groups
    )
    assert results == ser_metrics(predictions, references, probabilities, groups)
    few = metric.compute(
        predictions=predictions, references=references, groups=groups, resamples=50, seed=3
    )
    bootstrap = Bootstrap(resamples=50, seed=3)
    assert few == ser_metrics(predictions, references, groups=groups, bootstrap=bootstrap)


def test_metric_takes_batches_and_names_of_labels(metric):
    metric.add_batch(predictions=[0, 1], references=[0, 1])
    metric.add_batch(predictions=[1], references=[0])
    results = metric.compute(labels=["calm", "excited"])
    assert results["accuracy"] == pytest.approx(2 / 3)
    assert results["recall"] == {"calm": 0.5, "excited": 1.0}
