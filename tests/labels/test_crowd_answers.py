"""Answers as arrays and as a table."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dusha_ser.labels.crowd_answers import CrowdAnswers, combine_columns, number_by_appearance
from tests.crowds import crowd_of, random_crowd


def test_votes_when_answers_repeat():
    crowd = crowd_of(
        [2, 0, 2, 2], [0] * 4, [1, 0, 1, 2], task_count=3, annotator_count=1, label_count=3
    )
    np.testing.assert_array_equal(crowd.votes(), [[1, 0, 0], [0, 0, 0], [0, 2, 1]])
    assert crowd.votes().dtype == np.int64
    assert crowd.first_answers().tolist() == [1, -1, 0]


def test_votes_when_there_are_none():
    crowd = crowd_of([], [], [], task_count=2, annotator_count=0, label_count=2)
    np.testing.assert_array_equal(crowd.votes(), np.zeros((2, 2)))
    assert crowd.shape == (2, 0, 2)


def test_from_columns_when_truth_is_known_of_some_tasks_takes_the_first():
    crowd = CrowdAnswers.from_columns(
        tasks=["b", "a", "b", "c", "b"],
        annotators=[7, 7, 8, 8, 9],
        labels=pa.array(["sad", "angry", "sad", "other", "sad"]).dictionary_encode(),
        label_names=("sad", "other", "angry"),
        truth=[None, "sad", "angry", float("nan"), "sad"],
    )
    assert (crowd.tasks, crowd.annotators) == (("b", "a", "c"), (7, 8, 9))
    assert crowd.labels == ("sad", "other", "angry")
    np.testing.assert_array_equal(crowd.task, [0, 1, 0, 2, 0])
    np.testing.assert_array_equal(crowd.annotator, [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(crowd.label, [0, 2, 0, 1, 0])
    np.testing.assert_array_equal(crowd.truth, [2, 0, -1])
    np.testing.assert_array_equal(crowd.with_truth(None).truth, [-1, -1, -1])


def test_from_columns_when_there_is_no_answer():
    crowd = CrowdAnswers.from_columns([], [], [], ("a", "b"))
    assert crowd.shape == (0, 0, 2) and crowd.votes().shape == (0, 2)


def test_from_columns_when_an_answer_is_unknown_or_missing_refuses():
    with pytest.raises(ValueError, match="answers hold 'happy'; allowed are sad, angry"):
        CrowdAnswers.from_columns(["c"], ["a"], ["happy"], ("sad", "angry"))
    with pytest.raises(ValueError, match="answers hold None; allowed are sad, angry"):
        CrowdAnswers.from_columns(["c", "d"], ["a", "b"], ["sad", None], ("sad", "angry"))
    with pytest.raises(ValueError, match="annotator has 1 entries and task 2"):
        CrowdAnswers.from_columns(["c", "d"], ["a"], ["sad", "sad"])


columns = st.lists(st.sampled_from(["a", "b", "c", "", None]), max_size=12)


@settings(deadline=None, max_examples=150)
@given(columns, columns, st.booleans(), st.integers(0, 3))
def test_number_by_appearance_when_any_column_numbers_by_first_row(first, second, code, skip):
    column = pa.chunked_array([pa.array(first, pa.string()), pa.array(second, pa.string())])
    if code:
        # Dictionaries that differ from chunk to chunk, in an order other than that of the rows.
        column = pa.chunked_array(
            [
                pa.array(chunk, pa.string()).dictionary_encode()
                for chunk in (column.chunk(1), column.chunk(0))
            ],
            pa.dictionary(pa.int32(), pa.string()),
        )
    column = column.slice(skip)
    numbers, values = number_by_appearance(column)
    expected = list(dict.fromkeys(column.to_pylist()))
    assert list(values) == expected
    assert numbers.dtype == np.int64
    assert [expected[number] for number in numbers] == column.to_pylist()


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
def test_crowd_answers_when_arrays_are_wrong(task, annotator, label, message):
    with pytest.raises(ValueError, match=message):
        crowd_of(task, annotator, label, task_count=3, annotator_count=2, label_count=2)


@pytest.mark.parametrize(
    ("truth", "message"),
    [([0, 1], "truth has 2 entries for 3 tasks"), ([0, 2, -1], "must be between 0 and 2")],
)
def test_crowd_answers_when_the_truth_is_wrong(truth, message):
    with pytest.raises(ValueError, match=message):
        crowd_of([0], [0], [0], task_count=3, annotator_count=1, label_count=2, truth=truth)


def test_table_when_tasks_annotators_and_labels_have_gaps():
    table = crowd_of(
        [3, 1, 3, 3],
        [4, 2, 2, 2],
        [5, 0, 5, 5],
        task_count=5,
        annotator_count=6,
        label_count=6,
        truth=[2, 3, -1, -1, -1],
    ).table()
    np.testing.assert_array_equal(table.row_task, [1, 3])
    # Label 3 is the truth of an answered task; label 2 is that of a task nobody answered.
    np.testing.assert_array_equal(table.column_label, [0, 3, 5])
    np.testing.assert_array_equal(table.pair_annotator, [2, 2, 4])
    np.testing.assert_array_equal(table.pair_column, [0, 2, 2])
    np.testing.assert_array_equal(table.pair_start, [0, 2])
    np.testing.assert_array_equal(table.matrix.toarray(), [[1, 0, 0], [0, 2, 1]])
    np.testing.assert_array_equal(table.pair_indicator(), [[1, 0, 0], [0, 0, 1], [0, 0, 1]])


def test_table_counts_what_was_answered():
    answers, counts, _ = random_crowd(0)
    crowd = crowd_of(*answers, **counts)
    table = crowd.table()
    np.testing.assert_array_equal(table.votes(), crowd.votes()[:, table.column_label])


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_combine_columns_as_numpy(columns):
    values = np.random.default_rng(0).normal(size=(7, columns))
    np.testing.assert_allclose(combine_columns(np.add, values), values.sum(axis=1))
    np.testing.assert_array_equal(combine_columns(np.maximum, values), values.max(axis=1))


def test_vote_shares_when_a_truth_is_known():
    table = crowd_of(
        [0, 0, 0, 1],
        [0, 1, 2, 0],
        [1, 1, 0, 0],
        task_count=2,
        annotator_count=3,
        label_count=3,
        truth=[-1, 2],
    ).table()
    np.testing.assert_allclose(table.vote_shares(), [[1 / 3, 2 / 3, 0], [0, 0, 1]])


def test_fix_known_in_place():
    table = crowd_of(
        [0, 1], [0, 0], [0, 1], task_count=2, annotator_count=1, label_count=2, truth=[1, -1]
    ).table()
    probabilities = np.full((2, 2), 0.5)
    assert table.fix_known(probabilities) is probabilities
    np.testing.assert_array_equal(probabilities, [[0, 1], [0.5, 0.5]])


def test_spread_when_tasks_are_unanswered_and_labels_unused():
    table = crowd_of(
        [1, 1],
        [0, 1],
        [3, 0],
        task_count=4,
        annotator_count=2,
        label_count=4,
        truth=[-1, -1, 2, -1],
    ).table()
    np.testing.assert_array_equal(
        table.spread(np.array([[0.25, 0.75]])),
        [[0.25] * 4, [0.25, 0, 0, 0.75], [0, 0, 1, 0], [0.25] * 4],
    )
