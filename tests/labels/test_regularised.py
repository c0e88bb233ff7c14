"""Dawid-Skene with priors: right where answers are few, and not surer than it is right."""

import numpy as np
import pytest

from benchmarks.crowds import simulate_crowd
from dusha_ser.errors import WrongUseError
from dusha_ser.labels.aggregation import aggregate
from dusha_ser.labels.dawid_skene import dawid_skene
from dusha_ser.labels.regularised import (
    POOL_WEIGHT,
    START_STRENGTH,
    STRENGTHS,
    estimate_confusion,
    estimate_dependence,
    improve_strength,
    pool_rows,
    regularised_dawid_skene,
    temper,
    votes_log_likelihood,
)
from tests.crowds import crowd_faces, crowd_of, crowd_of_speech, log_loss, random_crowd, right_share


def assert_better(answers, counts, truth):
    """At least as right as the better of plain Dawid-Skene and votes; less wrong when sure."""
    found, plain, votes = (
        aggregate(crowd_of(*answers, **counts), method).probabilities
        for method in ("regularised_dawid_skene", "dawid_skene", "majority_vote")
    )
    others = right_share(plain, truth), right_share(votes, truth)
    assert right_share(found, truth) >= max(others)
    assert log_loss(found, truth) < min(log_loss(plain, truth), log_loss(votes, truth))


def test_pool_rows_when_a_label_is_rare():
    counts = np.array([[80_000, 10_000, 10_000], [5_000, 90_000, 5_000], [0, 1, 0]], float)
    pooled = pool_rows(counts)
    np.testing.assert_allclose(pooled.sum(axis=1), 1)
    np.testing.assert_allclose(pooled[:2], counts[:2] / 100_000, atol=1e-3)
    # One answer says nothing: the label is taken for an average one.
    np.testing.assert_allclose(pooled[2], [0.075, 0.085, 0.84], atol=0.01)
    assert POOL_WEIGHT > 1


@pytest.mark.parametrize("strength", [3.0, 30.0])
def test_improve_strength_finds_how_much_annotators_differ(strength):
    random = np.random.default_rng(0)
    mean = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    rows = np.stack([random.dirichlet(strength * own, size=2000) for own in mean], axis=1)
    counts = np.stack(
        [[random.multinomial(40, row) for row in annotator] for annotator in rows]
    ).astype(float)
    found = START_STRENGTH
    for _ in range(200):
        found = improve_strength(found, counts, mean)
    assert found == pytest.approx(strength, rel=0.1)


def test_improve_strength_when_all_annotators_are_alike():
    counts = np.tile([[70.0, 30.0], [20.0, 80.0]], (50, 1, 1))
    found = START_STRENGTH
    for _ in range(2000):
        found = improve_strength(found, counts, np.array([[0.7, 0.3], [0.2, 0.8]]))
    assert STRENGTHS[1] / 2 < found <= STRENGTHS[1]


def test_improve_strength_when_there_is_one_wrong_answer():
    assert improve_strength(7.0, np.full((4, 2, 1), 3.0), np.ones((2, 1))) == 7.0


def test_estimate_confusion_draws_to_the_crowd_what_has_few_answers():
    crowd = np.tile([[16.0, 3.0, 1.0], [2.0, 17.0, 1.0], [4.0, 0.0, 16.0]], (30, 1, 1))
    crowd[0] = [[0, 0, 2], [0, 0, 0], [0, 0, 0]]
    crowd[1] = [[0, 0, 4000], [0, 0, 4000], [0, 0, 4000]]
    confusion, *strengths = estimate_confusion(crowd, 10.0, 10.0)
    np.testing.assert_allclose(confusion.sum(axis=2), 1)
    assert (confusion > 0).all()
    pooled = pool_rows(crowd.sum(axis=0))
    # No answer to labels 1 and 2: the crowd's rows. Two to label 0: a little off them.
    np.testing.assert_allclose(confusion[0, 1:], pooled[1:])
    assert pooled[0, 2] < confusion[0, 0, 2] < 1
    # Thousands of answers stand for themselves.
    np.testing.assert_allclose(confusion[1], [[0, 0, 1]] * 3, atol=0.01)
    assert all(STRENGTHS[0] <= strength <= STRENGTHS[1] for strength in strengths)


def dependent_votes(dependence, tasks=1500, answers=8, seed=0):
    """Votes for three labels, where the answers to a task depend on each other beyond its label."""
    random = np.random.default_rng(seed)
    rows = np.array([[0.8, 0.1, 0.1], [0.15, 0.8, 0.05], [0.1, 0.2, 0.7]])
    shares = rows[random.choice(3, size=tasks, p=[0.3, 0.5, 0.2])]
    if dependence:
        precision = (1 - dependence) / dependence
        shares = np.array([random.dirichlet(precision * row) for row in shares])
    return np.array([random.multinomial(answers, row) for row in shares], float)


@pytest.mark.parametrize("dependence", [0.05, 0.2])
def test_estimate_dependence_finds_it(dependence):
    found = estimate_dependence(dependent_votes(dependence))
    assert found == pytest.approx(dependence, abs=0.03)


def test_estimate_dependence_when_there_is_none():
    assert estimate_dependence(dependent_votes(0)) < 0.01


def test_estimate_dependence_when_tasks_have_one_answer():
    votes = np.eye(3)[np.random.default_rng(0).integers(0, 3, 100)]
    assert estimate_dependence(votes) == 0


def test_votes_log_likelihood_when_dependence_vanishes():
    patterns, repeats = np.unique(dependent_votes(0, tasks=200), axis=0, return_counts=True)
    none = votes_log_likelihood(patterns, repeats, 0.0)
    assert votes_log_likelihood(patterns, repeats, 1e-7) == pytest.approx(none, abs=1e-2)


def test_temper_keeps_order_and_single_answers():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(4), size=50)
    answers = np.arange(50) % 9 + 1
    tempered = temper(probabilities, answers, 0.3)
    np.testing.assert_allclose(tempered.sum(axis=1), 1)
    np.testing.assert_array_equal(tempered.argsort(axis=1), probabilities.argsort(axis=1))
    np.testing.assert_allclose(tempered[answers == 1], probabilities[answers == 1])
    assert (tempered.max(axis=1) <= probabilities.max(axis=1) + 1e-12).all()
    np.testing.assert_allclose(temper(probabilities, answers, 0.0), probabilities)


def test_regularised_dawid_skene_on_real_answers(shared):
    assert_better(*crowd_faces(shared))


def test_regularised_dawid_skene_on_answers_about_speech(shared):
    crowd = crowd_of_speech(shared)
    assert_better(crowd["answers"], crowd["counts"], crowd["truth"])


@pytest.mark.parametrize("answers_an_annotator", [5, 15, 45, 150, 500])
def test_regularised_dawid_skene_on_simulated_crowds(answers_an_annotator):
    crowds = [
        simulate_crowd("mixed", seed=seed, answers_an_annotator=answers_an_annotator)
        for seed in range(4)
    ]
    # As one table each, side by side: chance in one crowd is not what is tested.
    found = {
        method: [aggregate(crowd.answers, method).probabilities for crowd in crowds]
        for method in ("regularised_dawid_skene", "dawid_skene", "majority_vote")
    }
    truth = np.concatenate([crowd.truth for crowd in crowds])
    found = {method: np.concatenate(rows) for method, rows in found.items()}
    right = {method: right_share(rows, truth) for method, rows in found.items()}
    loss = {method: log_loss(rows, truth) for method, rows in found.items()}
    assert max(right, key=right.get) == "regularised_dawid_skene", right
    assert min(loss, key=loss.get) == "regularised_dawid_skene", loss


def test_regularised_dawid_skene_when_answers_abound():
    answers, counts, truth = random_crowd(0, tasks=4000, annotators=6, answers=5)
    found = regularised_dawid_skene(crowd_of(*answers, **counts))
    plain = dawid_skene(crowd_of(*answers, **counts))
    used = plain.prior > 0.05
    assert np.abs(found.confusion - plain.confusion)[:, used].max() < 0.02
    assert np.abs(found.prior - plain.prior).max() < 0.005
    assert (found.probabilities.argmax(1) == plain.probabilities.argmax(1)).mean() > 0.995


def test_regularised_dawid_skene_when_truth_is_known_and_labels_are_unused():
    (task, annotator, label), counts, truth = random_crowd(1, annotators=40)
    label, truth = np.where(label == 1, 0, label), np.where(truth == 1, 0, truth)
    counts["task_count"] += 1
    known = np.append(np.where(np.arange(200) % 4 == 0, truth, -1), -1)
    found = regularised_dawid_skene(crowd_of(task, annotator, label, **counts, truth=known))
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(found.probabilities[known >= 0], np.eye(5)[known[known >= 0]])
    assert (found.probabilities[:200, 1] == 0).all()
    np.testing.assert_array_equal(found.probabilities[200], 0.2)
    assert found.prior[1] == 0
    assert found.prior.sum() == pytest.approx(1)
    np.testing.assert_allclose(found.confusion[:, [0, 2, 3, 4]].sum(axis=2), 1)
    unknown = regularised_dawid_skene(crowd_of(task, annotator, label, **counts))
    rest = known[:-1] < 0
    better, without = (
        right_share(own.probabilities[:-1][rest], truth[rest]) for own in (found, unknown)
    )
    assert better >= without


@pytest.mark.parametrize(
    ("task", "annotator", "label"),
    [
        ([], [], []),
        ([0], [0], [1]),
        ([0, 0, 1], [0, 1, 0], [1, 1, 1]),
        ([0] * 4, range(4), [1, 2] * 2),
    ],
)
def test_regularised_dawid_skene_when_there_is_next_to_nothing(task, annotator, label):
    found = regularised_dawid_skene(
        crowd_of(task, annotator, label, task_count=2, annotator_count=4, label_count=3)
    )
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert np.isfinite(found.confusion).all()
    if set(label) == {1}:
        np.testing.assert_array_equal(found.probabilities[sorted(set(task))][:, 1], 1)


def test_regularised_dawid_skene_when_it_stops():
    answers, counts, _ = random_crowd(2)
    start = regularised_dawid_skene(crowd_of(*answers, **counts), iterations=0)
    votes = aggregate(crowd_of(*answers, **counts), "majority_vote").probabilities
    np.testing.assert_array_equal(start.probabilities, votes)
    assert (
        regularised_dawid_skene(crowd_of(*answers, **counts), iterations=7, tolerance=0).iterations
        == 7
    )
    assert regularised_dawid_skene(crowd_of(*answers, **counts), tolerance=1e-2).iterations < 20
    with pytest.raises(WrongUseError, match="take a number of at least 0"):
        regularised_dawid_skene(crowd_of(*answers, **counts), iterations=-1)
