"""Answers as arrays and as a table."""

import numpy as np
import pytest

from dusha_ser.labels.crowd_answers import (
    combine_columns,
    count_votes,
    fix_known,
    pair_indicator,
    spread,
    tabulate_answers,
    vote_shares,
)
from tests.crowds import random_crowd


def test_count_votes_when_answers_repeat():
    votes = count_votes([2, 0, 2, 2], [1, 0, 1, 2], task_count=3, label_count=3)
    np.testing.assert_array_equal(votes, [[1, 0, 0], [0, 0, 0], [0, 2, 1]])
    assert votes.dtype == np.int64


def test_count_votes_when_there_are_none():
    np.testing.assert_array_equal(
        count_votes([], [], task_count=2, label_count=2), np.zeros((2, 2))
    )


@pytest.mark.parametrize(
    ("task", "annotator", "label", "message"),
    [
        ([0, 3], [0, 0], [0, 0], "task must be between 0 and 2, not between 0 and 3"),
        ([0, 1], [0, -1], [0, 0], "annotator must be between 0 and 1, not between -1 and 0"),
        ([0, 1], [0, 0], [0, 9], "label must be between 0 and 1, not between 0 and 9"),
        ([0, 1], [0], [0, 0], "annotator has 1 entries and task 2"),
        ([0.5, 1], [0, 0], [0, 0], "task must be a one-dimensional integer array, not float64"),
        ([[0, 1]], [0, 0], [0, 0], "task must be a one-dimensional integer array, not int64 of"),
    ],
)
def test_tabulate_answers_when_arrays_are_wrong(task, annotator, label, message):
    with pytest.raises(ValueError, match=message):
        tabulate_answers(task, annotator, label, task_count=3, annotator_count=2, label_count=2)


@pytest.mark.parametrize(
    ("truth", "message"),
    [([0, 1], "truth has 2 entries for 3 tasks"), ([0, 2, -1], "must be between 0 and 2")],
)
def test_tabulate_answers_when_the_truth_is_wrong(truth, message):
    with pytest.raises(ValueError, match=message):
        tabulate_answers([0], [0], [0], task_count=3, annotator_count=1, label_count=2, truth=truth)


def test_tabulate_answers_when_tasks_annotators_and_labels_have_gaps():
    table = tabulate_answers(
        [3, 1, 3, 3],
        [4, 2, 2, 2],
        [5, 0, 5, 5],
        task_count=5,
        annotator_count=6,
        label_count=6,
        truth=[2, 3, -1, -1, -1],
    )
    np.testing.assert_array_equal(table.row_task, [1, 3])
    # Label 3 is the truth of an answered task; label 2 is that of a task nobody answered.
    np.testing.assert_array_equal(table.column_label, [0, 3, 5])
    np.testing.assert_array_equal(table.pair_annotator, [2, 2, 4])
    np.testing.assert_array_equal(table.pair_column, [0, 2, 2])
    np.testing.assert_array_equal(table.pair_start, [0, 2])
    np.testing.assert_array_equal(table.matrix.toarray(), [[1, 0, 0], [0, 2, 1]])
    np.testing.assert_array_equal(pair_indicator(table), [[1, 0, 0], [0, 0, 1], [0, 0, 1]])


def test_tabulate_answers_counts_what_was_answered():
    (task, annotator, label), counts, _ = random_crowd(0)
    table = tabulate_answers(task, annotator, label, **counts)
    votes = table.matrix @ pair_indicator(table)
    expected = count_votes(task, label, task_count=200, label_count=5)
    np.testing.assert_array_equal(votes, expected[:, table.column_label])


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_combine_columns_as_numpy(columns):
    values = np.random.default_rng(0).normal(size=(7, columns))
    np.testing.assert_allclose(combine_columns(np.add, values), values.sum(axis=1))
    np.testing.assert_array_equal(combine_columns(np.maximum, values), values.max(axis=1))


def test_vote_shares_when_a_truth_is_known():
    table = tabulate_answers(
        [0, 0, 0, 1],
        [0, 1, 2, 0],
        [1, 1, 0, 0],
        task_count=2,
        annotator_count=3,
        label_count=3,
        truth=[-1, 2],
    )
    np.testing.assert_allclose(vote_shares(table), [[1 / 3, 2 / 3, 0], [0, 0, 1]])


def test_fix_known_in_place():
    table = tabulate_answers(
        [0, 1], [0, 0], [0, 1], task_count=2, annotator_count=1, label_count=2, truth=[1, -1]
    )
    probabilities = np.full((2, 2), 0.5)
    assert fix_known(probabilities, table) is probabilities
    np.testing.assert_array_equal(probabilities, [[0, 1], [0.5, 0.5]])


def test_spread_when_tasks_are_unanswered_and_labels_unused():
    table = tabulate_answers(
        [1, 1],
        [0, 1],
        [3, 0],
        task_count=4,
        annotator_count=2,
        label_count=4,
        truth=[-1, -1, 2, -1],
    )
    np.testing.assert_array_equal(
        spread(np.array([[0.25, 0.75]]), table),
        [[0.25] * 4, [0.25, 0, 0, 0.75], [0, 0, 1, 0], [0.25] * 4],
    )
