"""Temperature, risk and coverage, against values worked out by hand and simulated models."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax, logit, softmax

from dusha_ser.evaluation.calibration import (
    FEWEST_CLIPS,
    at_coverage,
    fit_temperature,
    measure_confidence,
    risk_coverage,
    without_temperature,
)


def simulated(clips, temperature, seed=0, multi_label=False):
    """Logits that are `temperature` times those that the labels are drawn by, and the labels."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (clips, 4))
    if multi_label:
        # Exactly one label is true, so the true sigmoids are those of its share.
        logits = logit(softmax(logits, axis=1))
        shares = expit(logits)
    else:
        shares = softmax(logits, axis=1)
    labels = np.array([generator.choice(4, p=row / row.sum()) for row in shares])
    return temperature * logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("multi_label", [False, True])
def test_fit_finds_the_temperature_that_labels_were_drawn_by(temperature, multi_label):
    logits, labels = simulated(4000, temperature, multi_label=multi_label)
    fit = fit_temperature(logits, labels, multi_label)
    assert fit.temperature == pytest.approx(temperature, rel=0.06)
    assert (fit.clips, fit.problem) == (4000, "")


def test_fit_is_where_no_other_temperature_is_likelier():
    logits, labels = simulated(200, 1.8, seed=1)

    def loss(temperature):
        return -log_softmax(logits / temperature, axis=1)[np.arange(200), labels].mean()

    found = fit_temperature(logits, labels).temperature
    assert all(loss(found) < loss(found * other) for other in (0.3, 0.9, 0.99, 1.01, 1.1, 3))


def test_fit_of_logits_learnt_for_other_shares_finds_the_same_temperature():
    logits, labels = simulated(4000, 1.7)
    offset = np.log([0.1, 0.1, 0.7, 0.1])
    # What a network learns whose logits were adjusted by the offset.
    fit = fit_temperature(logits - 1.7 * offset, labels, offset=offset)
    assert fit.temperature == pytest.approx(1.7, rel=0.06)


def test_fit_by_hand_of_two_levels():
    # 80 of 100 predictions are right with a distance of 4: log(0.8 / 0.2) = 4 / temperature.
    logits = np.array([[4.0, 0.0]] * 50 + [[0.0, 4.0]] * 50)
    labels = np.array([0] * 40 + [1] * 10 + [1] * 40 + [0] * 10)
    assert fit_temperature(logits, labels).temperature == pytest.approx(4 / np.log(4), rel=1e-4)


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (np.zeros((0, 4)), np.zeros(0, int), "0 validation clips are too few"),
        (np.eye(2)[[0, 1] * 20], np.array([0, 1] * 20), "40 validation clips are too few"),
        (np.eye(2)[[0, 1] * 40], np.zeros(80, int), "same label"),
        (np.eye(2)[[0, 1] * 40], np.array([0, 1] * 40), "every one is right"),
        (np.eye(2)[[0, 1] * 40], np.array([1, 0] * 40), "fits the validation clips best"),
        (np.zeros((80, 2)), np.array([0, 1] * 40), "fits the validation clips best"),
    ],
)
def test_fit_when_clips_do_not_tell_is_1_and_says_why(logits, labels, words):
    fit = fit_temperature(100 * logits, labels)
    assert fit.temperature == 1
    assert words in fit.problem


def test_fit_of_so_few_clips_as_are_taken_seldom_harms():
    def loss(logits, labels):
        return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()

    changes = []
    for seed in range(40):
        logits, labels = simulated(FEWEST_CLIPS, 1.0, seed)
        fit = fit_temperature(logits, labels)
        others, truth = simulated(1000, 1.0, 1000 + seed)
        changes.append(loss(others / fit.temperature, truth) - loss(others, truth))
    assert np.mean(changes) < 0.02


@pytest.mark.parametrize("multi_label", [False, True])
def test_probabilities_without_temperature_are_those_of_the_logits(multi_label):
    logits = np.random.default_rng(0).normal(0, 3, (50, 4))
    turn = expit if multi_label else lambda values: softmax(values, axis=1)
    found = without_temperature(turn(logits / 1.7), 1.7, multi_label)
    np.testing.assert_allclose(found, turn(logits), atol=1e-12)
    # Some of a model's labels, whose probabilities were made to sum to 1.
    if not multi_label:
        part = turn(logits / 1.7)[:, :2]
        found = without_temperature(part / part.sum(1, keepdims=True), 1.7)
        np.testing.assert_allclose(found, turn(logits[:, :2]), atol=1e-12)


def test_risk_by_hand():
    confidence = np.array([0.5, 0.9, 0.7, 0.8])
    right = np.array([False, True, True, False])
    np.testing.assert_allclose(risk_coverage(confidence, right), [0, 1 / 2, 1 / 3, 2 / 4])
    measured = measure_confidence(confidence, right)
    assert measured["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert at_coverage(measured["curve"], 0.5) == {
        "coverage": 0.5, "accuracy": 0.5, "least_confidence": 0.8
    }  # fmt: skip
    # 51 percent of four clips are three.
    assert at_coverage(measured["curve"], 0.51)["accuracy"] == pytest.approx(2 / 3)
    assert at_coverage(measured["curve"], 0.01)["accuracy"] == 1
    assert at_coverage(measured["curve"], 1)["accuracy"] == 0.5


def test_risk_of_equal_confidence_does_not_depend_on_the_order():
    confidence = np.array([0.9, 0.6, 0.6, 0.6, 0.6])
    right = np.array([False, True, True, False, False])
    # Two of the four are wrong: of the first k of them, half.
    expected = [1, 1.5 / 2, 2 / 3, 2.5 / 4, 3 / 5]
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 1, 3]):
        np.testing.assert_allclose(risk_coverage(confidence[order], right[order]), expected)


def test_least_confidence_of_the_curve_keeps_its_coverage():
    generator = np.random.default_rng(0)
    confidence, right = generator.random(1000), generator.random(1000) < 0.6
    for one in measure_confidence(confidence, right)["curve"]:
        kept = confidence >= one["least_confidence"]
        assert kept.mean() == pytest.approx(one["coverage"])
        assert right[kept].mean() == pytest.approx(one["accuracy"])
