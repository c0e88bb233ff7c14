"""How well annotators answer and agree."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from dusha_ser.errors import WrongUseError
from dusha_ser.labels.annotator_quality import (
    information,
    krippendorff_alpha,
    rate_annotators,
    wilson_interval,
)
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.labels.regularised import regularised_dawid_skene
from tests.crowds import crowd_of, crowd_of_speech, random_crowd


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 500), share=st.floats(0, 1))
def test_wilson_interval_as_scipy(count, share):
    right = round(share * count)
    low, high = wilson_interval([right], [count])
    expected = binomtest(right, count).proportion_ci(method="wilson")
    np.testing.assert_allclose([low[0], high[0]], [expected.low, expected.high], atol=1e-12)


def test_wilson_interval_when_there_was_no_trial():
    np.testing.assert_array_equal(wilson_interval([0], [0]), [[0], [1]])


def test_information_when_answers_tell_all_some_or_nothing():
    prior = np.array([0.5, 0.25, 0.25])
    confusion = np.stack(
        [np.eye(3), np.eye(3)[[1, 2, 0]], np.full((3, 3), 1 / 3), np.tile([1, 0, 0], (3, 1))]
    )
    np.testing.assert_allclose(information(confusion, prior), [1.5, 1.5, 0, 0], atol=1e-12)
    half = information(np.array([[[0.9, 0.1], [0.1, 0.9]]]), np.array([0.5, 0.5]))
    assert half == pytest.approx(1 + 0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))


def test_rate_annotators_by_hand():
    # Task 0 is a control task of label 1; nobody else answers task 2.
    crowd = crowd_of(
        [0, 0, 0, 1, 1, 2],
        [0, 1, 3, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
        task_count=3,
        annotator_count=4,
        label_count=2,
        truth=[1, -1, -1],
    )
    fitted = replace(
        regularised_dawid_skene(crowd),
        confusion=np.tile([[0.8, 0.2], [0.4, 0.6]], (4, 1, 1)),
        prior=np.array([0.25, 0.75]),
    )
    found = rate_annotators(crowd, fitted, consensus=[1, 0, -1])
    np.testing.assert_array_equal(found.answers, [3, 2, 0, 1])
    np.testing.assert_array_equal(found.control_answers, [1, 1, 0, 1])
    np.testing.assert_array_equal(found.control_right, [1, 1, 0, 0])
    np.testing.assert_array_equal(found.control_accuracy, [1, 1, np.nan, 0])
    np.testing.assert_array_equal(found.control_low[2:], 0)
    np.testing.assert_array_equal(found.control_high[:3], 1)
    # Annotator 0: one of two others says the same of task 0, none of one of task 1.
    np.testing.assert_array_equal(found.agreement, [0.25, 0.25, np.nan, 0])
    # The consensus of task 2 is not known.
    np.testing.assert_array_equal(found.consensus, [1, 0.5, np.nan, 0])
    np.testing.assert_allclose(found.expected_accuracy, 0.65)
    # All inform alike: agreement decides, then the number; who never answered counts as 0.
    np.testing.assert_array_equal(found.ranking(), [0, 1, 2, 3])


def test_rate_annotators_on_answers_about_speech_puts_random_ones_last(shared):
    crowd = crowd_of_speech(shared)
    answers = crowd_of(*crowd["answers"], **crowd["counts"])
    fitted = regularised_dawid_skene(answers)
    found = rate_annotators(answers.with_truth(crowd["golden"]), fitted)
    kinds = crowd["kinds"][found.ranking()]
    assert (kinds == "random").sum() == 8
    assert set(kinds[-8:]) == {"random"}
    assert set(kinds[:40]) == {"careful"}
    annotator, truth = crowd["answers"][1], crowd["golden"][crowd["answers"][0]]
    for kind in ("careful", "hasty", "random"):
        of_kind = (crowd["kinds"] == kind)[annotator] & (truth >= 0)
        right = (crowd["answers"][2] == truth)[of_kind].mean()
        totals = [
            field[crowd["kinds"] == kind].sum()
            for field in (found.control_right, found.control_answers)
        ]
        assert totals[0] / totals[1] == pytest.approx(right)


@pytest.mark.parametrize("favourite", [None, 2])
def test_rate_annotators_on_a_simulated_crowd_puts_guessers_last(favourite):
    (task, annotator, label), counts, _ = random_crowd(
        0, tasks=800, annotators=30, answers=6, care=0.75
    )
    guesses = np.random.default_rng(1).integers(0, 5, len(label))
    guessing = np.isin(annotator, [3, 11, 27])
    label = np.where(guessing, guesses if favourite is None else favourite, label)
    crowd = crowd_of(task, annotator, label, **counts)
    found = rate_annotators(crowd, regularised_dawid_skene(crowd))
    assert set(found.ranking()[-3:]) == {3, 11, 27}
    assert found.control_answers.sum() == 0
    assert np.isnan(found.consensus).all()  # none was given
    assert found.answers.sum() == len(task)


def test_krippendorff_alpha_as_published():
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", part C: 0.743.
    ratings = """
        1 2 3 3 2 1 4 1 2 . . .
        1 2 3 3 2 2 4 1 2 5 . 3
        . 3 3 3 2 3 4 2 2 5 1 .
        1 2 3 3 2 4 4 1 2 5 1 ."""
    rows = np.array([line.split() for line in ratings.strip().splitlines()])
    _, task = np.nonzero(rows != ".")
    label = rows[rows != "."].astype(int) - 1
    crowd = CrowdAnswers.from_columns(task, np.zeros_like(task), label)
    votes = crowd.votes()
    assert votes.shape == (12, 5)
    assert krippendorff_alpha(votes) == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize("care", [0.2, 0.9])
def test_krippendorff_alpha_when_a_crowd_guesses_or_knows(care):
    answers, counts, _ = random_crowd(2, tasks=500, care=care)
    label, votes = answers[2], crowd_of(*answers, **counts).votes()
    agreement = krippendorff_alpha(votes)
    assert 0.5 < agreement < 1 if care > 0.5 else -0.1 < agreement < 0.3
    assert krippendorff_alpha(np.eye(5, dtype=int)[label[:50]] * 2) == 1


@pytest.mark.parametrize("votes", [np.zeros((0, 3)), [[1, 0], [0, 1]], [[3, 0], [2, 0]]])
def test_krippendorff_alpha_when_it_is_undefined(votes):
    assert np.isnan(krippendorff_alpha(votes))


def test_krippendorff_alpha_when_the_library_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "krippendorff", None)
    with pytest.raises(WrongUseError, match=r'pip install "dusha-ser\[report\]"'):
        krippendorff_alpha([[2, 0], [0, 2]])
