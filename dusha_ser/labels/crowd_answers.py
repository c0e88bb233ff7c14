"""The answers of a crowd, the table of them that aggregation reads, and what it finds.

An answer is a triple of integers (task, annotator, label), each with the names of what it numbers;
a task is whatever was shown to the annotators, in Dusha a clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import scipy.sparse

# A column of a table: text (rows,), null or None where nothing is known.
TextColumn: TypeAlias = pa.ChunkedArray | pa.Array | Sequence


@dataclass(frozen=True, eq=False)
class CrowdAnswers:
    """Who answered what to which task.

    Args:
        task: int (answers,), which task was answered, its place in `tasks`.
        annotator: int (answers,), who answered, the place in `annotators`.
        label: int (answers,), what was answered, the place in `labels`.
        tasks: names of the tasks; one may have no answer.
        annotators: names of the annotators.
        labels: names of the answers that annotators could give.
        truth: int (tasks,), the known label of each task, -1 where unknown; empty: none is known.

    Raises:
        ValueError: an array has another length than it should, or holds numbers out of range.

    Examples:
        >>> answers = CrowdAnswers.from_columns(
        ...     tasks=["clip b", "clip a", "clip b"],
        ...     annotators=["x", "x", "y"],
        ...     labels=["sad", "angry", "sad"],
        ... )
        >>> answers.tasks, answers.labels
        (('clip b', 'clip a'), ('angry', 'sad'))
        >>> answers.votes()
        array([[0, 2],
               [1, 0]])
    """

    task: np.ndarray
    annotator: np.ndarray
    label: np.ndarray
    tasks: Sequence
    annotators: Sequence
    labels: Sequence[str]
    truth: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        names = {"task": self.tasks, "annotator": self.annotators, "label": self.labels}
        for name, own in names.items():
            array = _check_indices(name, getattr(self, name), len(own))
            if len(array) != len(self.task):
                raise ValueError(
                    f"{name} has {len(array)} entries and task {len(self.task)}: "
                    "there must be one of each for an answer"
                )
            object.__setattr__(self, name, array)
        truth = np.asarray(self.truth) if len(self.truth) else np.full(len(self.tasks), -1)
        truth = _check_indices("truth + 1", truth + 1, len(self.labels) + 1) - 1
        if len(truth) != len(self.tasks):
            raise ValueError(
                f"truth has {len(truth)} entries for {len(self.tasks)} tasks: "
                "give one for each task, -1 where it is not known"
            )
        object.__setattr__(self, "truth", truth)

    @classmethod
    def from_columns(
        cls,
        tasks: TextColumn,
        annotators: TextColumn,
        labels: TextColumn,
        label_names: Sequence[str] | None = None,
        truth: TextColumn | None = None,
    ) -> "CrowdAnswers":
        """Number names, tasks and annotators in the order in which they first appear.

        Args:
            tasks: text (answers,), the task of each answer.
            annotators: text (answers,), who gave it.
            labels: text (answers,), the answer.
            label_names: the answers that annotators could give, in the order of their numbers;
                None: those that they gave, sorted.
            truth: text (answers,), the known label of the answer's task, null where it is not
                known; where the answers to a task have several, the first counts. None: none.

        Raises:
            ValueError: an answer is not one of the labels, or the columns differ in length.
        """
        task, task_names = number_by_appearance(tasks)
        annotator, annotator_names = number_by_appearance(annotators)
        given, given_names = number_by_appearance(labels)
        known_labels = tuple(sorted(given_names) if label_names is None else label_names)
        unknown = [name for name in given_names if name not in known_labels]
        if unknown:
            allowed = ", ".join(known_labels)
            raise ValueError(f"answers hold {unknown[0]!r}; allowed are {allowed}")
        label = _places(given_names, known_labels)[given]
        known = np.full(len(task_names), -1)
        if truth is not None:
            coded, truth_names = number_by_appearance(truth)
            answer_truth = _places(truth_names, known_labels)[coded]
            answers = np.flatnonzero(answer_truth >= 0)[::-1]  # so that the first one stays
            known[task[answers]] = answer_truth[answers]
        return cls(task, annotator, label, task_names, annotator_names, known_labels, known)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of tasks, of annotators and of labels."""
        return len(self.tasks), len(self.annotators), len(self.labels)

    def with_truth(self, truth: np.ndarray | None) -> "CrowdAnswers":
        """Return the same answers with other known labels, int (tasks,); None: none is known."""
        return replace(self, truth=np.empty(0, np.int64) if truth is None else truth)

    def first_answers(self) -> np.ndarray:
        """Return the place of the first answer to each task, int64 (tasks,), -1 where none is."""
        first = np.full(len(self.tasks), -1)
        # Of several assignments to one place the last one holds: backwards, that is the first.
        first[self.task[::-1]] = np.arange(len(self.task))[::-1]
        return first

    def votes(self) -> np.ndarray:
        """Count the answers to each task, int64 (tasks, labels)."""
        tasks, _, labels = self.shape
        votes = np.bincount(self.task * labels + self.label, minlength=tasks * labels)
        return votes.reshape(tasks, labels)

    def table(self) -> "AnswerTable":
        """Bring the answers into the form that the algorithms read; without any it is empty."""
        tasks, annotators, labels = self.shape
        pair = self.annotator * labels + self.label
        is_pair = np.bincount(pair, minlength=annotators * labels) > 0
        is_answered = np.bincount(self.task, minlength=tasks) > 0
        pair_annotator, pair_label = np.divmod(np.flatnonzero(is_pair), labels)
        row_task = np.flatnonzero(is_answered)
        row = (np.cumsum(is_answered) - 1)[self.task]
        column = (np.cumsum(is_pair) - 1)[pair]
        row_truth = self.truth[row_task]
        column_label = np.union1d(pair_label, row_truth[row_truth >= 0])
        return AnswerTable(
            answers=self,
            matrix=scipy.sparse.csr_matrix(
                (np.ones(len(row)), (row, column)), shape=(len(row_task), len(pair_label))
            ),
            row_task=row_task,
            column_label=column_label,
            pair_annotator=pair_annotator,
            pair_column=np.searchsorted(column_label, pair_label),
            pair_start=np.flatnonzero(np.diff(pair_annotator, prepend=-1)),
        )


@dataclass(frozen=True, eq=False)
class AnswerTable:
    """Answers as the algorithms read them again and again.

    Rows are the tasks that have an answer, columns of probabilities are the labels in use. A pair
    is one label of one annotator that gave it at least once; pairs are ordered by annotator, then
    by label.
    """

    answers: CrowdAnswers
    matrix: scipy.sparse.csr_matrix  # (rows, pairs), how often a pair was the answer to a task
    row_task: np.ndarray  # int (rows,), the task of a row
    column_label: np.ndarray  # int (columns,), labels that were given or are the truth of a row
    pair_annotator: np.ndarray  # int (pairs,), the annotator of a pair
    pair_column: np.ndarray  # int (pairs,), the label of a pair as a column of probabilities
    pair_start: np.ndarray  # int (annotators that answered,), the first pair of each

    def pair_indicator(self) -> np.ndarray:
        """Return float64 (pairs, columns), 1 in the column of a pair's label, 0 elsewhere."""
        return np.eye(len(self.column_label))[self.pair_column]

    def votes(self) -> np.ndarray:
        """Count the answers to each task, float64 (rows, columns)."""
        return self.matrix @ self.pair_indicator()

    def vote_shares(self) -> np.ndarray:
        """Compute each label's share of the answers to a task, (rows, columns); a truth has 1."""
        votes = self.votes()
        if len(votes):
            votes /= combine_columns(np.add, votes)[:, None]
        return self.fix_known(votes)

    def fix_known(self, probabilities: np.ndarray) -> np.ndarray:
        """Give the known truths their probability of 1, in place, in (rows, columns)."""
        truth = self.answers.truth[self.row_task]
        known = np.flatnonzero(truth >= 0)
        probabilities[known] = 0
        probabilities[known, np.searchsorted(self.column_label, truth[known])] = 1
        return probabilities

    def spread(self, probabilities: np.ndarray) -> np.ndarray:
        """Bring probabilities (rows, columns) to all (tasks, labels), as in `Posteriors`."""
        tasks, _, labels = self.answers.shape
        result = np.full((tasks, labels), 1 / labels)
        result[self.row_task] = 0
        result[self.row_task[:, None], self.column_label] = probabilities
        known = np.flatnonzero(self.answers.truth >= 0)
        result[known] = 0
        result[known, self.answers.truth[known]] = 1
        return result


@dataclass(frozen=True, eq=False)
class Posteriors:
    """How probable each label is to be the true one.

    By any method, a task that nobody answered has the same probability for each label and teaches
    nothing, a label that nobody gave and that is no known truth has 0 in every answered task, and a
    task with a known truth has 1 for it, whatever was answered.

    Attributes:
        labels: names of the columns.
        probabilities: float64 (tasks, labels), from 0 to 1; rows sum to 1.
    """

    labels: tuple[str, ...]
    probabilities: np.ndarray


def combine_columns(operation: np.ufunc, values: np.ndarray) -> np.ndarray:
    """Reduce the few columns of a long array: several times as fast as an axis of NumPy.

    Examples:
        >>> combine_columns(np.maximum, np.array([[1.0, 2.0], [4.0, 3.0]]))
        array([2., 4.])
    """
    result = values[:, 0].copy()
    for column in values.T[1:]:
        operation(result, column, out=result)
    return result


def number_by_appearance(column: TextColumn) -> tuple[np.ndarray, tuple]:
    """Number the values of a column, null included, in the order in which they first appear.

    Examples:
        >>> number_by_appearance(["b", "a", "b"])
        (array([0, 1, 0]), ('b', 'a'))
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks()
    elif not isinstance(column, pa.Array):
        column = pa.array(column, from_pandas=True)
    # The values of a coded column are in an order of its own, so its codes are coded again.
    is_coded = pa.types.is_dictionary(column.type)
    found = (column.indices if is_coded else column).dictionary_encode(null_encoding="encode")
    values = column.dictionary.take(found.dictionary) if is_coded else found.dictionary
    return found.indices.to_numpy().astype(np.int64), tuple(values.to_pylist())


def _places(names: Sequence, labels: Sequence[str]) -> np.ndarray:
    """Return the place of each name among the labels, int64 (names,), -1 where there is none."""
    return np.array([labels.index(own) if own in labels else -1 for own in names], np.int64)


def _check_indices(name: str, values: np.ndarray, count: int) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} must be a one-dimensional integer array, "
            f"not {values.dtype} of shape {values.shape}"
        )
    if values.size and not 0 <= values.min() <= values.max() < count:
        raise ValueError(
            f"{name} must be between 0 and {count - 1}, "
            f"not between {values.min()} and {values.max()}"
        )
    return values.astype(np.int64, copy=False)
