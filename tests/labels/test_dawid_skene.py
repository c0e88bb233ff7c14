"""Dawid-Skene, with crowd-kit as the oracle of every posterior."""

import sys
import warnings

import numpy as np
import pytest
from crowdkit.aggregation import DawidSkene as CrowdKitDawidSkene
from hypothesis import given, settings
from hypothesis import strategies as st
from tqdm import tqdm

from dusha_ser.errors import WrongUseError
from dusha_ser.labels.aggregation import single_labels
from dusha_ser.labels.dawid_skene import (
    class_shares,
    dawid_skene,
    e_step,
    loss_per_answer,
    m_step,
    normalise_counts,
)
from tests.crowds import (
    by_crowd_kit,
    crowd_faces,
    crowd_of,
    crowd_of_speech,
    random_crowd,
    right_share,
)

# Two tasks; annotator 0 answers both rightly, annotator 1 answers 0 to both.
TWO = ([0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0])
TWO_COUNTS = {"task_count": 2, "annotator_count": 2, "label_count": 2}


def assert_as_crowd_kit(answers, counts, truth=None, tolerance=1e-5):
    """Posteriors within 1e-6, and the same labels wherever 1e-6 can't decide about them."""
    oracle = CrowdKitDawidSkene(n_iter=100, tol=tolerance or -np.inf)
    expected = by_crowd_kit(oracle, answers, counts, truth)
    found = dawid_skene(crowd_of(*answers, **counts, truth=truth), tolerance=tolerance)
    np.testing.assert_allclose(found.probabilities, expected, rtol=0, atol=1e-6)
    assert found.iterations == len(oracle.loss_history_)
    ordered = np.sort(np.column_stack([expected, np.zeros(len(expected))]), axis=1)
    for threshold in (0.9, 0.5):
        decided = (ordered[:, -1] - ordered[:, -2] > 1e-6) & (
            np.abs(ordered[:, -1] - threshold) > 1e-6
        )
        kept = np.where(ordered[:, -1] >= threshold, expected.argmax(axis=1), -1)
        labels = single_labels(found.probabilities, threshold)
        np.testing.assert_array_equal(labels[decided], kept[decided])
    return found


def test_e_step_multiplies_what_is_believed():
    table = crowd_of(*TWO, **TWO_COUNTS).table()
    # Pairs: annotator 0 says 0, annotator 0 says 1, annotator 1 says 0.
    confusion = np.array([[0.8, 0.3], [0.2, 0.7], [1.0, 1.0]])
    probabilities, log_evidence = e_step(table.matrix, np.log([0.6, 0.4]), np.log(confusion))
    expected = np.array([[0.6 * 0.8, 0.4 * 0.3], [0.6 * 0.2, 0.4 * 0.7]])
    np.testing.assert_allclose(log_evidence, np.log(expected.sum(axis=1)))
    np.testing.assert_allclose(probabilities, expected / expected.sum(axis=1, keepdims=True))


def test_m_step_counts_answers_by_believed_labels():
    table = crowd_of(*TWO, **TWO_COUNTS).table()
    counts = m_step(table.matrix, np.array([[0.9, 0.1], [0.2, 0.8]]))
    np.testing.assert_allclose(counts, [[0.9, 0.1], [0.2, 0.8], [1.1, 0.9]])
    np.testing.assert_allclose(
        normalise_counts(counts, table.pair_start),
        [[0.9 / 1.1, 0.1 / 0.9], [0.2 / 1.1, 0.8 / 0.9], [1, 1]],
    )


def test_class_shares_are_means_over_tasks():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=50)
    np.testing.assert_allclose(class_shares(probabilities), probabilities.mean(axis=0))


def test_loss_per_answer_as_crowd_kit():
    answers, counts, _ = random_crowd(3)
    oracle = CrowdKitDawidSkene(n_iter=1)
    by_crowd_kit(oracle, answers, counts)
    table = crowd_of(*answers, **counts).table()
    start = table.vote_shares()
    confusion = normalise_counts(m_step(table.matrix, start), table.pair_start)
    probabilities, _ = e_step(table.matrix, np.log(class_shares(start)), np.log(confusion))
    new_counts = m_step(table.matrix, probabilities)
    loss = loss_per_answer(
        new_counts,
        np.log(normalise_counts(new_counts, table.pair_start)),
        np.log(class_shares(probabilities)),
        probabilities,
    )
    assert loss == pytest.approx(oracle.loss_history_[0], rel=1e-12)


def test_dawid_skene_after_no_and_one_iteration_by_hand():
    start = dawid_skene(crowd_of(*TWO, **TWO_COUNTS), iterations=0)
    assert start.iterations == 0
    assert start.log_likelihood == -np.inf
    np.testing.assert_allclose(start.probabilities, [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(start.prior, [0.75, 0.25])
    # Of annotator 0's answers 1.5 were of truth 0, 1 of them 0; 0.5 were of truth 1, all of them 1.
    np.testing.assert_allclose(start.confusion[0], [[2 / 3, 1 / 3], [0, 1]], atol=1e-9)
    np.testing.assert_allclose(start.confusion[1], [[1, 0], [1, 0]])
    once = dawid_skene(crowd_of(*TWO, **TWO_COUNTS), iterations=1)
    assert once.iterations == 1
    # Task 1: truth 0 has 3/4 * 1/3 * 1, truth 1 has 1/4 * 1 * 1, even. Task 0: only truth 0 can
    # be, with 3/4 * 2/3 * 1.
    np.testing.assert_allclose(once.probabilities, [[1, 0], [0.5, 0.5]], atol=1e-9)
    assert once.log_likelihood == pytest.approx(np.log(1 / 2) + np.log(1 / 2), abs=1e-8)


@pytest.mark.parametrize("tolerance", [1e-5, 0])
@pytest.mark.parametrize("known", [False, True])
def test_dawid_skene_on_real_answers_equals_crowd_kit(shared, tolerance, known):
    answers, counts, truth = crowd_faces(shared)
    golden = np.where(np.arange(len(truth)) % 10 == 0, truth, -1) if known else None
    found = assert_as_crowd_kit(answers, counts, golden, tolerance)
    assert found.iterations < 100 if tolerance else found.iterations == 100


@pytest.mark.parametrize("known", [False, True])
def test_dawid_skene_on_answers_about_speech_equals_crowd_kit(shared, known):
    crowd = crowd_of_speech(shared)
    golden = crowd["golden"] if known else None
    found = assert_as_crowd_kit(crowd["answers"], crowd["counts"], golden)
    right = found.probabilities.argmax(axis=1) == crowd["truth"]
    if known:
        assert right[golden >= 0].all()
        return
    assert right.mean() == pytest.approx(0.921, abs=5e-4)
    kept = single_labels(found.probabilities) >= 0
    assert kept.mean() == pytest.approx(0.92, abs=5e-3)
    assert right[kept].mean() == pytest.approx(0.956, abs=5e-4)


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    tasks=st.integers(1, 60),
    annotators=st.integers(1, 12),
    labels=st.integers(1, 6),
    share=st.floats(0.05, 1),
    known=st.booleans(),
)
def test_dawid_skene_on_random_tables_equals_crowd_kit(
    seed, tasks, annotators, labels, share, known
):
    random = np.random.default_rng(seed)
    task, annotator = np.nonzero(random.random((tasks, annotators)) <= share)
    label = random.integers(0, labels, len(task))
    if not len(task):
        return
    truth = np.where(random.random(tasks) < 0.3, random.choice(label, tasks), -1)
    truth = truth if known else None
    counts = {"task_count": tasks, "annotator_count": annotators, "label_count": labels}
    expected = by_crowd_kit(CrowdKitDawidSkene(n_iter=100), (task, annotator, label), counts, truth)
    found = dawid_skene(crowd_of(task, annotator, label, **counts, truth=truth)).probabilities
    answered = np.bincount(task, minlength=tasks) > 0
    np.testing.assert_allclose(found[answered], expected[answered], rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=10)
@given(label=st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_dawid_skene_when_there_is_one_annotator(label):
    counts = {"task_count": len(label), "annotator_count": 1, "label_count": 4}
    task = np.arange(len(label))
    found = assert_as_crowd_kit((task, np.zeros_like(task), np.array(label)), counts)
    np.testing.assert_array_equal(found.probabilities.argmax(axis=1), label)


@settings(deadline=None, max_examples=10)
@given(label=st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_dawid_skene_when_there_is_one_task(label):
    counts = {"task_count": 1, "annotator_count": len(label), "label_count": 4}
    annotator = np.arange(len(label))
    assert_as_crowd_kit((np.zeros_like(annotator), annotator, np.array(label)), counts)


@settings(deadline=None, max_examples=10)
@given(truth=st.lists(st.integers(0, 3), min_size=1, max_size=20), annotators=st.integers(1, 9))
def test_dawid_skene_when_all_agree(truth, annotators):
    task = np.repeat(np.arange(len(truth)), annotators)
    annotator = np.tile(np.arange(annotators), len(truth))
    counts = {"task_count": len(truth), "annotator_count": annotators, "label_count": 4}
    found = assert_as_crowd_kit((task, annotator, np.array(truth)[task]), counts)
    np.testing.assert_array_equal(single_labels(found.probabilities, 0.999), truth)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), unused=st.integers(0, 5))
def test_dawid_skene_when_a_label_is_never_given(seed, unused):
    (task, annotator, label), counts, _ = random_crowd(seed, tasks=40, annotators=8, answers=3)
    label = label + (label >= unused)
    counts["label_count"] = 6
    found = assert_as_crowd_kit((task, annotator, label), counts)
    assert (found.probabilities[:, unused] == 0).all()
    assert (found.confusion[:, :, unused] == 0).all()
    assert found.prior[unused] == 0


def test_dawid_skene_when_a_task_has_ten_thousand_answers():
    random = np.random.default_rng(0)
    label = np.concatenate([np.where(random.random(10_000) < 0.6, 2, 0), [0, 1, 2, 2]])
    task = np.concatenate([np.zeros(10_000, int), [1, 1, 2, 2]])
    annotator = np.concatenate([np.arange(10_000), [0, 1, 0, 1]])
    counts = {"task_count": 3, "annotator_count": 10_000, "label_count": 3}
    with warnings.catch_warnings(action="error", category=RuntimeWarning):
        found = assert_as_crowd_kit((task, annotator, label), counts)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)


def test_dawid_skene_when_an_annotator_answers_a_task_twice():
    answers, counts, _ = random_crowd(5, tasks=30, annotators=6, answers=4)
    twice = tuple(np.concatenate([values, values[:40]]) for values in answers)
    found = dawid_skene(crowd_of(*twice, **counts), iterations=7, tolerance=0)
    # Crowd-kit's loss can't be computed then, so the steps are compared one by one.
    table = crowd_of(*twice, **counts).table()
    probabilities = table.vote_shares()
    for _ in range(7):
        confusion = normalise_counts(m_step(table.matrix, probabilities), table.pair_start)
        log_prior = np.log(class_shares(probabilities))
        probabilities, _ = e_step(table.matrix, log_prior, np.log(confusion))
    np.testing.assert_allclose(found.probabilities[:, table.column_label], probabilities)
    assert table.matrix.sum() == 160


def test_dawid_skene_when_nobody_answered():
    found = dawid_skene(
        crowd_of([], [], [], task_count=2, annotator_count=1, label_count=4, truth=[-1, 3])
    )
    np.testing.assert_array_equal(found.probabilities, [[0.25] * 4, [0, 0, 0, 1]])
    assert found.iterations == 0


def test_dawid_skene_when_some_tasks_are_unanswered():
    answers, counts, _ = random_crowd(1)
    alone = dawid_skene(crowd_of(*answers, **counts))
    counts["task_count"] += 10
    found = dawid_skene(crowd_of(*answers, **counts))
    np.testing.assert_array_equal(found.probabilities[:-10], alone.probabilities)
    np.testing.assert_array_equal(found.probabilities[-10:], 1 / 5)
    np.testing.assert_array_equal(found.prior, alone.prior)


def test_dawid_skene_when_answers_come_in_another_order():
    answers, counts, _ = random_crowd(2)
    order = np.random.default_rng(0).permutation(len(answers[0]))
    found = dawid_skene(crowd_of(*(values[order] for values in answers), **counts))
    np.testing.assert_allclose(
        found.probabilities, dawid_skene(crowd_of(*answers, **counts)).probabilities, atol=1e-9
    )


def test_dawid_skene_finds_how_annotators_err():
    answers, counts, truth = random_crowd(4, tasks=3000, annotators=6, answers=5)
    found = dawid_skene(crowd_of(*answers, **counts))
    assert right_share(found.probabilities, truth) > 0.97
    np.testing.assert_allclose(found.confusion.sum(axis=2), 1)
    task, annotator, label = answers
    expected = np.zeros_like(found.confusion)
    np.add.at(expected, (annotator, truth[task], label), 1)
    expected /= expected.sum(axis=2, keepdims=True)
    assert np.abs(found.confusion - expected)[:, found.prior > 0.05].max() < 0.05


def test_dawid_skene_raises_the_likelihood():
    answers, counts, _ = random_crowd(6)
    likelihoods = [
        dawid_skene(crowd_of(*answers, **counts), iterations=n, tolerance=0).log_likelihood
        for n in range(1, 30)
    ]
    assert (np.diff(likelihoods) > -1e-9).all()


@pytest.mark.parametrize("quiet", [True, False])
def test_dawid_skene_shows_how_far_it_is(quiet, capsys, monkeypatch):
    at_once = {"delay": 0, "mininterval": 0}
    monkeypatch.setattr(
        sys.modules["dusha_ser.labels.dawid_skene"],
        "tqdm",
        lambda **own: tqdm(**{**own, **at_once}),
    )
    dawid_skene(crowd_of(*TWO, **TWO_COUNTS), iterations=3, tolerance=0, quiet=quiet)
    shown = capsys.readouterr().err
    assert shown == "" if quiet else "3/3" in shown


@pytest.mark.parametrize("options", [{"iterations": -1}, {"tolerance": -1e-3}])
def test_dawid_skene_when_asked_to_stop_before_it_starts(options):
    with pytest.raises(WrongUseError, match="take a number of at least 0"):
        dawid_skene(crowd_of(*TWO, **TWO_COUNTS), **options)
