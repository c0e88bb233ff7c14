"""Answers of a crowd as arrays, and the table of them that the aggregation algorithms read.

An answer is a triple of integers (task, annotator, label); a task is whatever was shown to the
annotators, in Dusha a clip.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse


@dataclass(frozen=True)
class AnswerTable:
    """Answers as the algorithms read them again and again.

    Rows are the tasks that have an answer, columns of probabilities are the labels in use. A pair
    is one label of one annotator that gave it at least once; pairs are ordered by annotator, then
    by label.

    Attributes:
        shape: number of tasks, of annotators and of labels.
        truth: int64 (tasks,), label of each task, -1 where it is not known.
        matrix: sparse float64 (rows, pairs), how often a pair was the answer to a task.
        row_task: int (rows,), the task of a row.
        column_label: int (columns,), the labels that were given or are the truth of a row.
        pair_annotator: int (pairs,), the annotator of a pair.
        pair_column: int (pairs,), the label of a pair as a column of probabilities.
        pair_start: int (annotators that answered,), the first pair of each.
    """

    shape: tuple[int, int, int]
    truth: np.ndarray
    matrix: scipy.sparse.csr_matrix
    row_task: np.ndarray
    column_label: np.ndarray
    pair_annotator: np.ndarray
    pair_column: np.ndarray
    pair_start: np.ndarray


def check_indices(**arrays: tuple[np.ndarray, int]) -> list[np.ndarray]:
    """Return integer arrays of one length as int64.

    Args:
        arrays: for each name an int array (answers,) and the number that its values stay below.

    Returns:
        The arrays, in the order given.

    Raises:
        ValueError: naming the array that is not integer, of another length or out of range.
    """
    checked = []
    for name, (values, count) in arrays.items():
        values = np.asarray(values)
        if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
            raise ValueError(
                f"{name} must be a one-dimensional integer array, "
                f"not {values.dtype} of shape {values.shape}"
            )
        if checked and len(values) != len(checked[0]):
            raise ValueError(
                f"{name} has {len(values)} entries and {next(iter(arrays))} {len(checked[0])}: "
                "there must be one of each for an answer"
            )
        if values.size and not 0 <= values.min() <= values.max() < count:
            raise ValueError(
                f"{name} must be between 0 and {count - 1}, "
                f"not between {values.min()} and {values.max()}"
            )
        checked.append(values.astype(np.int64))
    return checked


def check_truth(truth: np.ndarray | None, *, task_count: int, label_count: int) -> np.ndarray:
    """Return known labels as int64.

    Args:
        truth: int (tasks,), label of each task, -1 where it is not known; None: none is known.
        task_count: number of tasks.
        label_count: number of labels.

    Returns:
        int64 (tasks,).

    Raises:
        ValueError: if there is not one for each task, or a number is out of range.
    """
    if truth is None:
        return np.full(task_count, -1)
    (next_label,) = check_indices(**{"truth + 1": (np.asarray(truth) + 1, label_count + 1)})
    if len(next_label) != task_count:
        raise ValueError(
            f"truth has {len(next_label)} entries for {task_count} tasks: "
            "give one for each task, -1 where it is not known"
        )
    return next_label - 1


def count_votes(
    task: np.ndarray, label: np.ndarray, *, task_count: int, label_count: int
) -> np.ndarray:
    """Count the answers to each task.

    Args:
        task: int (answers,), which task was answered, from 0 to task_count - 1.
        label: int (answers,), what was answered, from 0 to label_count - 1.
        task_count: number of tasks.
        label_count: number of labels.

    Returns:
        int64 (tasks, labels).

    Raises:
        ValueError: if the arrays differ in length or hold numbers out of range.

    Example:
        >>> count_votes([0, 0, 1], [2, 2, 0], task_count=2, label_count=3)
        array([[0, 0, 2],
               [1, 0, 0]])
    """
    task, label = check_indices(task=(task, task_count), label=(label, label_count))
    votes = np.bincount(task * label_count + label, minlength=task_count * label_count)
    return votes.reshape(task_count, label_count)


def tabulate_answers(
    task: np.ndarray,
    annotator: np.ndarray,
    label: np.ndarray,
    *,
    task_count: int,
    annotator_count: int,
    label_count: int,
    truth: np.ndarray | None = None,
) -> AnswerTable:
    """Bring answers into the form that the algorithms read.

    Args:
        task: int (answers,), which task was answered, from 0 to task_count - 1.
        annotator: int (answers,), who answered, from 0 to annotator_count - 1.
        label: int (answers,), what was answered, from 0 to label_count - 1.
        task_count: number of tasks.
        annotator_count: number of annotators.
        label_count: number of labels.
        truth: int (tasks,), known labels, -1 where unknown; None: none is known.

    Returns:
        The table; with no answers it has no rows, pairs and columns.

    Raises:
        ValueError: if an array has another length than it should or holds numbers out of range.
    """
    task, annotator, label = check_indices(
        task=(task, task_count), annotator=(annotator, annotator_count), label=(label, label_count)
    )
    truth = check_truth(truth, task_count=task_count, label_count=label_count)
    pair = annotator * label_count + label
    is_pair = np.bincount(pair, minlength=annotator_count * label_count) > 0
    is_answered = np.bincount(task, minlength=task_count) > 0
    pair_annotator, pair_label = np.divmod(np.flatnonzero(is_pair), label_count)
    row_task = np.flatnonzero(is_answered)
    row = (np.cumsum(is_answered) - 1)[task]
    column = (np.cumsum(is_pair) - 1)[pair]
    row_truth = truth[row_task]
    column_label = np.union1d(pair_label, row_truth[row_truth >= 0])
    return AnswerTable(
        shape=(task_count, annotator_count, label_count),
        truth=truth,
        matrix=scipy.sparse.csr_matrix(
            (np.ones(len(task)), (row, column)), shape=(len(row_task), len(pair_label))
        ),
        row_task=row_task,
        column_label=column_label,
        pair_annotator=pair_annotator,
        pair_column=np.searchsorted(column_label, pair_label),
        pair_start=np.flatnonzero(np.diff(pair_annotator, prepend=-1)),
    )


def pair_indicator(table: AnswerTable) -> np.ndarray:
    """Mark the label of each pair.

    Args:
        table: the answers.

    Returns:
        float64 (pairs, columns), 1 in the column of the pair's label, 0 elsewhere.
    """
    return np.eye(len(table.column_label))[table.pair_column]


def combine_columns(operation: np.ufunc, values: np.ndarray) -> np.ndarray:
    """Reduce the few columns of a long array: several times as fast as an axis of NumPy.

    Args:
        operation: np.add or np.maximum.
        values: float (rows, columns), at least one column.

    Returns:
        float (rows,).

    Example:
        >>> combine_columns(np.maximum, np.array([[1.0, 2.0], [4.0, 3.0]]))
        array([2., 4.])
    """
    result = values[:, 0].copy()
    for column in values.T[1:]:
        operation(result, column, out=result)
    return result


def vote_shares(table: AnswerTable) -> np.ndarray:
    """Compute each label's share of the answers to a task.

    Args:
        table: the answers.

    Returns:
        float64 (rows, columns), from 0 to 1; a known truth has 1.
    """
    votes = table.matrix @ pair_indicator(table)
    if len(votes):
        votes /= combine_columns(np.add, votes)[:, None]
    return fix_known(votes, table)


def fix_known(probabilities: np.ndarray, table: AnswerTable) -> np.ndarray:
    """Give the known truths their probability of 1, in place.

    Args:
        probabilities: float64 (rows, columns).
        table: the answers.

    Returns:
        The same array.
    """
    truth = table.truth[table.row_task]
    known = np.flatnonzero(truth >= 0)
    probabilities[known] = 0
    probabilities[known, np.searchsorted(table.column_label, truth[known])] = 1
    return probabilities


def spread(probabilities: np.ndarray, table: AnswerTable) -> np.ndarray:
    """Bring probabilities of rows and columns to all tasks and labels.

    Args:
        probabilities: float64 (rows, columns).
        table: the answers.

    Returns:
        float64 (tasks, labels). A task without an answer has the same probability for each
        label, a label that is no column has 0 in answered tasks, a known truth has 1.
    """
    task_count, _, label_count = table.shape
    result = np.full((task_count, label_count), 1 / label_count)
    result[table.row_task] = 0
    result[table.row_task[:, None], table.column_label] = probabilities
    known = np.flatnonzero(table.truth >= 0)
    result[known] = 0
    result[known, table.truth[known]] = 1
    return result
