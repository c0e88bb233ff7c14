"""Answers of a crowd to labels: Dawid-Skene, its alternatives, single and multiple labels.

Everything here is a function of arrays. An answer is a triple of integers (task, annotator,
label); a task is whatever was shown to the annotators, in Dusha a clip.

Rules that hold for every method:

- a task that nobody answered gets the same probability for each label, and teaches nothing;
- a label that nobody gave, and that is no known truth, has probability 0 in every answered task;
- a task with a known truth has probability 1 for it, whatever was answered.

The rules that turn probabilities to labels stand in `single_labels` and `multi_labels`.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import scipy.sparse

from command_line_dusha import WrongUseError

# The published labels of Dusha: probability from which a clip's label is kept.
THRESHOLD = 0.9
ITERATIONS = 100
# Crowd-kit stops where its loss rises by less than this, also when told to take 100 iterations.
TOLERANCE = 1e-5
# Smallest count and smallest probability of a class, as in crowd-kit; their logarithms stay finite.
SMALLEST = 1e-10

# Aggregators that are taken from crowd-kit, by the name of their class there.
CROWD_KIT_CLASSES = {
    "one_coin_dawid_skene": "OneCoinDawidSkene",
    "mace": "MACE",
    "glad": "GLAD",
    "wawa": "Wawa",
    "zero_based_skill": "ZeroBasedSkill",
}
METHODS = ("dawid_skene", "majority_vote", *CROWD_KIT_CLASSES)


@dataclass(frozen=True)
class DawidSkene:
    """What the Dawid-Skene algorithm found.

    Attributes:
        probabilities: float64 (tasks, labels), probability of each label being the true one; rows
            sum to 1.
        confusion: float64 (annotators, labels, labels), probability that an annotator answers the
            label of the last axis where the truth is the label of the middle axis; 0 throughout
            for an annotator without answers and for a truth that is never possible.
        prior: float64 (labels,), share of each label among the answered tasks; sums to 1.
        iterations: how many expectation steps were taken.
        log_likelihood: natural logarithm of the probability of all answers under the estimates
            that the last expectation step started from.
    """

    probabilities: np.ndarray
    confusion: np.ndarray
    prior: np.ndarray
    iterations: int
    log_likelihood: float


@dataclass(frozen=True)
class AnswerTable:
    """Answers as both steps of the algorithm read them.

    A pair is one label of one annotator that gave it at least once; pairs are ordered by
    annotator, then by label. Columns of probabilities are the labels in use only.

    Attributes:
        answered: int (answered tasks,), the tasks that have an answer: rows of all that follows.
        matrix: sparse float64 (answered tasks, pairs), how often a pair was the answer to a task.
        pair_annotator: int (pairs,), the annotator of a pair.
        pair_label: int (pairs,), the label of a pair.
        pair_start: int (annotators that answered,), the first pair of each.
        in_use: int (labels in use,), the labels that were given or are a known truth.
        known_row: int (known tasks,), the rows whose truth is known.
        known_column: int (known tasks,), the truth as a column of probabilities.
    """

    answered: np.ndarray
    matrix: scipy.sparse.csr_matrix
    pair_annotator: np.ndarray
    pair_label: np.ndarray
    pair_start: np.ndarray
    in_use: np.ndarray
    known_row: np.ndarray
    known_column: np.ndarray


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


def check_truth(truth: np.ndarray | None, task_count: int, label_count: int) -> np.ndarray:
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
    (shifted,) = check_indices(**{"truth + 1": (np.asarray(truth) + 1, label_count + 1)})
    if len(shifted) != task_count:
        raise ValueError(
            f"truth has {len(shifted)} entries for {task_count} tasks: "
            "give one for each task, -1 where it is not known"
        )
    return shifted - 1


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
    """Bring answers into the form that the algorithm reads again and again.

    Args:
        task: int (answers,), which task was answered.
        annotator: int (answers,), who answered.
        label: int (answers,), what was answered.
        task_count: number of tasks.
        annotator_count: number of annotators.
        label_count: number of labels.
        truth: int (tasks,), known labels, -1 where unknown; None: none is known.

    Returns:
        The table.

    Raises:
        ValueError: if an array has another length than it should or holds numbers out of range.
    """
    task, annotator, label = check_indices(
        task=(task, task_count), annotator=(annotator, annotator_count), label=(label, label_count)
    )
    truth = check_truth(truth, task_count, label_count)
    pair = annotator * label_count + label
    is_used = np.bincount(pair, minlength=annotator_count * label_count) > 0
    pair_annotator, pair_label = np.divmod(np.flatnonzero(is_used), label_count)
    is_answered = np.bincount(task, minlength=task_count) > 0
    answered = np.flatnonzero(is_answered)
    row = (np.cumsum(is_answered) - 1)[task]
    column = (np.cumsum(is_used) - 1)[pair]
    truth = truth[answered]
    known_row = np.flatnonzero(truth >= 0)
    in_use = np.union1d(pair_label, truth[known_row])
    return AnswerTable(
        answered=answered,
        matrix=scipy.sparse.csr_matrix(
            (np.ones(len(task)), (row, column)), shape=(len(answered), len(pair_label))
        ),
        pair_annotator=pair_annotator,
        pair_label=pair_label,
        pair_start=np.flatnonzero(np.diff(pair_annotator, prepend=-1)),
        in_use=in_use,
        known_row=known_row,
        known_column=np.searchsorted(in_use, truth[known_row]),
    )


def vote_shares(table: AnswerTable) -> np.ndarray:
    """Compute each label's share of the answers to a task, where the algorithm starts.

    Args:
        table: the answers.

    Returns:
        float64 (answered tasks, labels in use), from 0 to 1; known truths are 1.
    """
    votes = table.matrix @ (table.pair_label[:, None] == table.in_use).astype(float)
    return fix_known(votes / sum_columns(votes)[:, None], table)


def fix_known(probabilities: np.ndarray, table: AnswerTable) -> np.ndarray:
    """Set the rows whose truth is known, in place.

    Args:
        probabilities: float64 (answered tasks, labels in use).
        table: the answers.

    Returns:
        The same array.
    """
    probabilities[table.known_row] = 0
    probabilities[table.known_row, table.known_column] = 1
    return probabilities


def sum_columns(values: np.ndarray) -> np.ndarray:
    """Add up the few columns of a long array: several times as fast as `sum(axis=1)`.

    Args:
        values: float (rows, columns).

    Returns:
        float (rows,).
    """
    return reduce(np.add, values.T)


def e_step(
    matrix: scipy.sparse.csr_matrix, prior: np.ndarray, confusion: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the true labels of tasks from what is believed of annotators and classes.

    The product over a task's answers is taken as a sum of logarithms, shifted so that the
    largest is 0: products of many probabilities would vanish.

    Args:
        matrix: sparse (answered tasks, pairs), as in `AnswerTable`.
        prior: float64 (labels in use,), above 0.
        confusion: float64 (pairs, labels in use), probability of the pair's label if its
            annotator sees a task of that true label; above 0.

    Returns:
        Probabilities, float64 (answered tasks, labels in use), and the natural logarithm of the
        probability of each task's answers, float64 (answered tasks,).
    """
    values = matrix @ np.log(confusion)
    values += np.log(prior)
    largest = reduce(np.maximum, values.T)
    values -= largest[:, None]
    np.exp(values, out=values)
    total = sum_columns(values)
    values /= total[:, None]
    return values, largest + np.log(total)


def m_step(matrix: scipy.sparse.csr_matrix, probabilities: np.ndarray) -> np.ndarray:
    """Count each annotator's answers by the true labels that are believed in.

    Args:
        matrix: sparse (answered tasks, pairs), as in `AnswerTable`.
        probabilities: float64 (answered tasks, labels in use).

    Returns:
        float64 (pairs, labels in use), expected number of times that the pair's label was given
        to a task of each true label.
    """
    return matrix.T @ probabilities


def normalise_counts(counts: np.ndarray, pair_start: np.ndarray) -> np.ndarray:
    """Turn expected counts to confusion probabilities, each annotator by itself.

    Args:
        counts: float64 (pairs, labels in use), as `m_step` returns them.
        pair_start: int (annotators that answered,), the first pair of each.

    Returns:
        float64 (pairs, labels in use), above 0; over the pairs of an annotator each column adds
        up to 1. A true label that the annotator never met is answered with any label that the
        annotator uses, all alike.
    """
    counts = np.maximum(counts, SMALLEST)
    totals = np.add.reduceat(counts, pair_start, axis=0)
    return counts / np.repeat(totals, np.diff(pair_start, append=len(counts)), axis=0)


def loss_per_answer(
    counts: np.ndarray, confusion: np.ndarray, prior: np.ndarray, probabilities: np.ndarray
) -> float:
    """Compute the quantity whose rise decides when to stop, as crowd-kit does.

    It is close to the evidence lower bound divided by the number of answers; but the prior of a
    task counts once for each of its answers. We need it as it is to stop at the same iteration.

    Args:
        counts: float64 (pairs, labels in use), from `m_step`.
        confusion: float64 (pairs, labels in use), from the counts.
        prior: float64 (labels in use,).
        probabilities: float64 (answered tasks, labels in use).

    Returns:
        The loss in nats.
    """
    expectation = np.vdot(counts, np.log(confusion)) + counts.sum(axis=0) @ np.log(prior)
    clipped = np.maximum(probabilities, SMALLEST)
    entropy = -np.vdot(clipped, np.log(clipped))
    return (expectation + entropy) / counts.sum()


def dawid_skene(
    task: np.ndarray,
    annotator: np.ndarray,
    label: np.ndarray,
    *,
    task_count: int,
    annotator_count: int,
    label_count: int,
    iterations: int = ITERATIONS,
    tolerance: float | None = None,
    truth: np.ndarray | None = None,
) -> DawidSkene:
    """Estimate true labels and annotators' confusion matrices by expectation maximisation.

    The algorithm of Dawid and Skene, "Maximum likelihood estimation of observer error-rates using
    the EM algorithm", Applied Statistics 28 (1979), section 2. It starts from the shares of votes
    and gives the posteriors of crowd-kit's `DawidSkene(n_iter=iterations, tol=tolerance)`.

    Args:
        task: int (answers,), which task was answered, from 0 to task_count - 1.
        annotator: int (answers,), who answered, from 0 to annotator_count - 1.
        label: int (answers,), what was answered, from 0 to label_count - 1.
        task_count: number of tasks.
        annotator_count: number of annotators.
        label_count: number of labels.
        iterations: most expectation steps to take; 0 leaves the shares of votes.
        tolerance: stop where crowd-kit's loss (nats an answer) rises by less than this; 0 takes
            all iterations; None is crowd-kit's own 1e-5.
        truth: int (tasks,), known labels, which stay as they are, -1 where unknown; None: none.

    Returns:
        What was found; the rules at the top of this module hold for its probabilities.

    Raises:
        ValueError: if an array has another length than it should or holds numbers out of range.
        WrongUseError: if iterations or tolerance is negative.

    Example:
        >>> found = dawid_skene(
        ...     [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [1, 1, 0, 0, 0, 0],
        ...     task_count=2, annotator_count=3, label_count=2,
        ... )
        >>> found.probabilities.round(2)
        array([[0., 1.],
               [1., 0.]])
    """
    tolerance = TOLERANCE if tolerance is None else tolerance
    if iterations < 0 or tolerance < 0:
        raise WrongUseError(
            f"iterations is {iterations} and tolerance {tolerance}: neither may be negative"
        )
    table = tabulate_answers(
        task,
        annotator,
        label,
        task_count=task_count,
        annotator_count=annotator_count,
        label_count=label_count,
        truth=truth,
    )
    confusion = np.zeros((annotator_count, label_count, label_count))
    prior = np.full(label_count, 1 / label_count)
    if not len(table.answered):
        probabilities = spread(np.empty((0, 0)), table, task_count, label_count, truth)
        return DawidSkene(probabilities, confusion, prior, 0, 0.0)

    probabilities = vote_shares(table)
    steps, log_likelihood, loss, rise = 0, -np.inf, -np.inf, np.inf
    while True:
        column_prior = np.maximum(probabilities.mean(axis=0), SMALLEST)
        counts = m_step(table.matrix, probabilities)
        pair_confusion = normalise_counts(counts, table.pair_start)
        if steps:
            new_loss = loss_per_answer(counts, pair_confusion, column_prior, probabilities)
            rise, loss = new_loss - loss, new_loss
        if steps == iterations or (tolerance and rise < tolerance):
            break
        probabilities, log_evidence = e_step(table.matrix, column_prior, pair_confusion)
        probabilities = fix_known(probabilities, table)
        log_likelihood = float(log_evidence.sum())
        steps += 1

    confusion[table.pair_annotator[:, None], table.in_use, table.pair_label[:, None]] = (
        pair_confusion
    )
    prior[:] = 0
    prior[table.in_use] = probabilities.mean(axis=0)
    probabilities = spread(probabilities, table, task_count, label_count, truth)
    return DawidSkene(probabilities, confusion, prior, steps, log_likelihood)


def spread(
    probabilities: np.ndarray,
    table: AnswerTable,
    task_count: int,
    label_count: int,
    truth: np.ndarray | None,
) -> np.ndarray:
    """Bring probabilities of answered tasks and labels in use to all tasks and labels.

    Args:
        probabilities: float64 (answered tasks, labels in use).
        table: the answers.
        task_count: number of tasks.
        label_count: number of labels.
        truth: int (tasks,), known labels, -1 where unknown; None: none is known.

    Returns:
        float64 (tasks, labels); the rules at the top of this module hold.
    """
    result = np.full((task_count, label_count), 1 / label_count)
    result[table.answered] = 0
    result[table.answered[:, None], table.in_use] = probabilities
    truth = check_truth(truth, task_count, label_count)
    known = np.flatnonzero(truth >= 0)
    result[known] = 0
    result[known, truth[known]] = 1
    return result


def crowd_kit(table: AnswerTable, method: str, iterations: int, seed: int) -> np.ndarray:
    """Aggregate with a method of crowd-kit.

    Args:
        table: the answers.
        method: a name in CROWD_KIT_CLASSES.
        iterations: most iterations to take, where the method takes any.
        seed: start of the random numbers, where the method takes any.

    Returns:
        float64 (answered tasks, labels in use).

    Raises:
        WrongUseError: if crowd-kit is not installed.
    """
    try:
        import crowdkit.aggregation
        import pandas
    except ImportError as error:
        raise WrongUseError(
            f"the method {method} needs crowd-kit, which is not installed ({error}): "
            'pip install "dusha-ser[aggregators]", or take one of '
            f"{', '.join(sorted(set(METHODS) - set(CROWD_KIT_CLASSES)))}"
        ) from error
    aggregator = getattr(crowdkit.aggregation, CROWD_KIT_CLASSES[method])()
    for option, value in {"n_iter": iterations, "random_state": seed}.items():
        if hasattr(aggregator, option):
            setattr(aggregator, option, value)
    answers = table.matrix.tocoo()
    repeats = answers.data.astype(int)
    data = pandas.DataFrame(
        {
            "task": np.repeat(answers.row, repeats),
            "worker": np.repeat(table.pair_annotator[answers.col], repeats),
            "label": np.repeat(table.pair_label[answers.col], repeats),
        }
    )
    found = aggregator.fit_predict_proba(data)
    return found.reindex(
        index=range(len(table.answered)), columns=table.in_use, fill_value=0
    ).to_numpy(dtype=float)


def aggregate(
    task: np.ndarray,
    annotator: np.ndarray,
    label: np.ndarray,
    *,
    task_count: int,
    annotator_count: int,
    label_count: int,
    method: str = "dawid_skene",
    iterations: int = ITERATIONS,
    tolerance: float | None = None,
    truth: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Estimate the probability of each label being the true one, by a method of a given name.

    Args:
        task: int (answers,), which task was answered, from 0 to task_count - 1.
        annotator: int (answers,), who answered, from 0 to annotator_count - 1.
        label: int (answers,), what was answered, from 0 to label_count - 1.
        task_count: number of tasks.
        annotator_count: number of annotators.
        label_count: number of labels.
        method: a name in METHODS; those in CROWD_KIT_CLASSES need crowd-kit.
        iterations: most iterations to take; majority_vote and wawa take none.
        tolerance: as in `dawid_skene`; the methods of crowd-kit keep their own.
        truth: int (tasks,), known labels, -1 where unknown; None: none is known. The methods of
            crowd-kit don't learn from them.
        seed: start of the random numbers of mace.

    Returns:
        float64 (tasks, labels); rows sum to 1, the rules at the top of this module hold.

    Raises:
        ValueError: if an array has another length than it should or holds numbers out of range.
        WrongUseError: if there is no such method, or crowd-kit is needed and not installed.

    Example:
        >>> aggregate(
        ...     [0, 0, 0, 1], [0, 1, 2, 0], [1, 1, 0, 0],
        ...     task_count=2, annotator_count=3, label_count=2, method="majority_vote",
        ... ).round(2)
        array([[0.33, 0.67],
               [1.  , 0.  ]])
    """
    if method not in METHODS:
        raise WrongUseError(f"there is no method {method!r}: take one of {', '.join(METHODS)}")
    counts = {
        "task_count": task_count,
        "annotator_count": annotator_count,
        "label_count": label_count,
    }
    options = {"iterations": iterations, "tolerance": tolerance}
    if method == "dawid_skene":
        return dawid_skene(task, annotator, label, **counts, **options, truth=truth).probabilities
    table = tabulate_answers(task, annotator, label, **counts, truth=truth)
    if method == "majority_vote" or not len(table.answered):
        probabilities = vote_shares(table)
    else:
        probabilities = crowd_kit(table, method, iterations, seed)
    return spread(probabilities, table, task_count, label_count, truth)


def single_labels(probabilities: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Choose the most probable label of each task that is sure enough.

    A probability equal to the threshold is enough. Among labels of equal probability the one of
    the lowest number wins.

    Args:
        probabilities: float (tasks, labels), from 0 to 1.
        threshold: least probability, above 0 and at most 1.

    Returns:
        int64 (tasks,); -1 where no label is probable enough.

    Raises:
        WrongUseError: if the threshold is out of range.

    Example:
        >>> single_labels([[0.1, 0.9], [0.5, 0.5], [0.2, 0.8]], threshold=0.9)
        array([ 1, -1, -1])
    """
    probabilities = check_probabilities(probabilities, threshold)
    if not probabilities.size:
        return np.full(len(probabilities), -1)
    # argmax takes the first of equals.
    return np.where(probabilities.max(axis=1) >= threshold, probabilities.argmax(axis=1), -1)


def multi_labels(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Choose all labels of each task that are sure enough: several, one or none.

    A probability equal to the threshold is enough, so labels of equal probability are chosen
    together or not at all.

    Args:
        probabilities: float (tasks, labels), from 0 to 1; probabilities, or shares of votes.
        threshold: least probability, above 0 and at most 1.

    Returns:
        bool (tasks, labels).

    Raises:
        WrongUseError: if the threshold is out of range.

    Example:
        >>> multi_labels([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]], threshold=0.5)
        array([[ True,  True, False],
               [False, False,  True]])
    """
    return check_probabilities(probabilities, threshold) >= threshold


def check_probabilities(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Refuse a threshold that would keep everything or nothing.

    Args:
        probabilities: float (tasks, labels).
        threshold: to be above 0 and at most 1.

    Returns:
        The probabilities as an array.

    Raises:
        WrongUseError: if the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise WrongUseError(f"threshold is {threshold}: give a number above 0 and at most 1")
    return np.asarray(probabilities)
