"""How probable answers are under each label: all that they say of a clip."""

import math

import numpy as np
import pytest
import scipy.special

from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.labels.dawid_skene import DawidSkene, dawid_skene, e_step
from dusha_ser.labels.likelihoods import answer_log_likelihoods
from dusha_ser.labels.regularised import regularised_dawid_skene, temper
from tests.crowds import crowd_of, random_crowd


@pytest.fixture(scope="module")
def crowd():
    answers, counts, _ = random_crowd(1, answers=4)
    return crowd_of(*answers, **counts)


@pytest.mark.parametrize("aggregate", [dawid_skene, regularised_dawid_skene])
def test_log_likelihoods_are_those_of_the_answers_one_by_one(crowd, aggregate):
    found = aggregate(crowd)
    values = answer_log_likelihoods(crowd, found)
    counts = np.bincount(crowd.task)
    for task in range(0, len(counts), 20):
        worth = 1 / (1 + (counts[task] - 1) * found.dependence)
        expected = [
            worth
            * math.fsum(
                math.log(max(found.confusion[annotator, true, label], 1e-10))
                for annotator, label in zip(
                    crowd.annotator[crowd.task == task],
                    crowd.label[crowd.task == task],
                    strict=True,
                )
            )
            for true in range(5)
        ]
        np.testing.assert_allclose(values[task], np.subtract(expected, max(expected)), atol=1e-9)
    assert (values.max(axis=1) == 0).all()


def test_log_likelihoods_and_the_prior_are_the_posterior_of_dawid_skene(crowd):
    found = dawid_skene(crowd)
    table = crowd.table()
    pairs = found.confusion[table.pair_annotator, :, table.pair_column]
    posterior, _ = e_step(table.matrix, np.log(found.prior), np.log(pairs))
    values = answer_log_likelihoods(crowd, found) + np.log(found.prior)
    np.testing.assert_allclose(scipy.special.softmax(values, axis=1), posterior, atol=1e-9)


def test_log_likelihoods_of_dependent_answers_are_as_sure_as_tempered_probabilities(crowd):
    found = regularised_dawid_skene(crowd)
    independent = DawidSkene(**vars(found) | {"dependence": 0.0})
    dependent = DawidSkene(**vars(found) | {"dependence": 0.25})
    sure = scipy.special.softmax(answer_log_likelihoods(crowd, independent), axis=1)
    less = scipy.special.softmax(answer_log_likelihoods(crowd, dependent), axis=1)
    np.testing.assert_allclose(less, temper(sure, np.bincount(crowd.task), 0.25), atol=1e-9)


def test_log_likelihoods_when_an_annotator_answers_at_random_are_of_the_others():
    sharp, random = [[0.8, 0.2], [0.3, 0.7]], [[0.4, 0.6], [0.4, 0.6]]
    found = DawidSkene(("a", "b"), np.eye(2), np.array([sharp, random]), np.ones(2) / 2, 1, 0)
    both = CrowdAnswers.from_columns(list("uuv"), list("xyx"), list("abb"))
    alone = CrowdAnswers.from_columns(list("uv"), list("xx"), list("ab"))
    values = answer_log_likelihoods(both, found)
    np.testing.assert_allclose(values, answer_log_likelihoods(alone, found), atol=1e-12)


def test_log_likelihoods_of_known_truths_and_of_tasks_without_answers():
    answers = CrowdAnswers(
        np.array([0, 1]), np.array([0, 0]), np.array([0, 0]),
        tasks="abc", annotators="x", labels=("a", "b"), truth=np.array([-1, 1, -1]),
    )  # fmt: skip
    values = answer_log_likelihoods(answers, regularised_dawid_skene(answers))
    # Who answers a where the truth is b says b by a.
    assert values[0, 0] < 0 == values[0, 1]
    np.testing.assert_allclose(values[1], [math.log(1e-10), 0])
    assert values[2].tolist() == [0, 0]
