"""The algorithm of Dawid and Skene: true labels and annotators' confusions from answers alone.

A. P. Dawid and A. M. Skene, "Maximum likelihood estimation of observer error-rates using the EM
algorithm", Applied Statistics 28 (1979), section 2. The letters of the paper in our words: the
probability p_j of a class is `prior`, the error rates pi_jl are `confusion`, the indicators T_ij
of true classes are `probabilities`.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from tqdm import tqdm

from dusha_ser.labels.crowd_answers import (
    combine_columns,
    fix_known,
    spread,
    tabulate_answers,
    vote_shares,
)
from dusha_ser.vocabulary import ITERATIONS, TOLERANCE, check_stop

# Smallest count and smallest probability of a class, as in crowd-kit; their logarithms stay finite.
SMALLEST = 1e-10


@dataclass(frozen=True)
class DawidSkene:
    """What the algorithm found.

    Attributes:
        probabilities: float64 (tasks, labels), probability of each label being the true one; rows
            sum to 1.
        confusion: float64 (annotators, labels, labels), probability that an annotator answers the
            label of the last axis where the truth is the label of the middle axis; 0 throughout
            where nothing is known, as for an annotator without answers.
        prior: float64 (labels,), probability of each label before any answer; sums to 1.
        iterations: how many expectation steps were taken.
        log_likelihood: natural logarithm of the probability of all answers under the estimates
            that the last expectation step started from; -inf before the first.
    """

    probabilities: np.ndarray
    confusion: np.ndarray
    prior: np.ndarray
    iterations: int
    log_likelihood: float


def e_step(
    matrix: scipy.sparse.csr_matrix, log_prior: np.ndarray, log_confusion: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the true labels of tasks from what is believed of classes and annotators.

    Products of many probabilities would vanish, so logarithms are added, and shifted so that the
    largest of each task is 0.

    Args:
        matrix: sparse (rows, pairs), as in `AnswerTable`.
        log_prior: float64 (columns,), logarithm of the probability of each label.
        log_confusion: float64 (pairs, columns), logarithm of the probability of the pair's label
            if its annotator sees a task of that true label.

    Returns:
        Probabilities, float64 (rows, columns), and the logarithm of the probability of each
        task's answers, float64 (rows,).
    """
    values = matrix @ log_confusion
    values += log_prior
    largest = combine_columns(np.maximum, values)
    values -= largest[:, None]
    np.exp(values, out=values)
    total = combine_columns(np.add, values)
    values /= total[:, None]
    return values, largest + np.log(total)


def m_step(matrix: scipy.sparse.csr_matrix, probabilities: np.ndarray) -> np.ndarray:
    """Count each annotator's answers by the true labels that are believed in.

    Args:
        matrix: sparse (rows, pairs), as in `AnswerTable`.
        probabilities: float64 (rows, columns).

    Returns:
        float64 (pairs, columns), expected number of times that the pair's label was given to a
        task of each true label.
    """
    return matrix.T @ probabilities


def class_shares(probabilities: np.ndarray) -> np.ndarray:
    """Compute the share of each label among the tasks.

    Args:
        probabilities: float64 (rows, columns).

    Returns:
        float64 (columns,); sums to 1.
    """
    return np.einsum("rc->c", probabilities) / len(probabilities)


def normalise_counts(counts: np.ndarray, pair_start: np.ndarray) -> np.ndarray:
    """Turn expected counts to confusion probabilities, each annotator by itself.

    Args:
        counts: float64 (pairs, columns), as `m_step` returns them.
        pair_start: int (annotators that answered,), the first pair of each.

    Returns:
        float64 (pairs, columns), above 0; over the pairs of an annotator each column sums to 1. A
        true label that the annotator never met is answered with any label of theirs alike.
    """
    counts = np.maximum(counts, SMALLEST)
    totals = np.add.reduceat(counts, pair_start, axis=0)
    return counts / np.repeat(totals, np.diff(pair_start, append=len(counts)), axis=0)


def loss_per_answer(
    counts: np.ndarray, log_confusion: np.ndarray, log_prior: np.ndarray, probabilities: np.ndarray
) -> float:
    """Compute the quantity whose rise decides when to stop, as crowd-kit does.

    It is close to the evidence lower bound divided by the number of answers; but the prior of a
    task counts once for each of its answers. We need it as it is to stop at the same iteration.

    Args:
        counts: float64 (pairs, columns), from `m_step`.
        log_confusion: float64 (pairs, columns), from the counts.
        log_prior: float64 (columns,).
        probabilities: float64 (rows, columns).

    Returns:
        The loss, natural units.
    """
    # No dot products: BLAS would start threads, which cost more than they bring here.
    expectation = np.sum(counts * log_confusion) + np.sum(counts.sum(axis=0) * log_prior)
    clipped = np.maximum(probabilities, SMALLEST)
    entropy = -np.einsum("rc,rc->", clipped, np.log(clipped))
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
    tolerance: float = TOLERANCE,
    truth: np.ndarray | None = None,
    quiet: bool = True,
) -> DawidSkene:
    """Estimate true labels and annotators' confusions by expectation maximisation.

    It starts from the shares of votes and gives the posteriors of crowd-kit's
    `DawidSkene(n_iter=iterations, tol=tolerance)`.

    Args:
        task: int (answers,), which task was answered, from 0 to task_count - 1.
        annotator: int (answers,), who answered, from 0 to annotator_count - 1.
        label: int (answers,), what was answered, from 0 to label_count - 1.
        task_count: number of tasks.
        annotator_count: number of annotators.
        label_count: number of labels.
        iterations: most expectation steps to take; 0 leaves the shares of votes.
        tolerance: stop where crowd-kit's loss (natural units an answer) rises by less than this;
            0 takes all iterations; None is crowd-kit's own 1e-5.
        truth: int (tasks,), known labels, which stay as they are, -1 where unknown; None: none.
        quiet: no progress bar.

    Returns:
        What was found. A task without an answer has the same probability for each label, a label
        that nobody gave has 0 in answered tasks, a known truth has 1.

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
    check_stop(iterations, tolerance)
    table = tabulate_answers(
        task,
        annotator,
        label,
        task_count=task_count,
        annotator_count=annotator_count,
        label_count=label_count,
        truth=truth,
    )
    probabilities = vote_shares(table)
    confusion = np.zeros((annotator_count, label_count, label_count))
    prior = np.full(label_count, 1 / label_count)
    if not len(probabilities):
        return DawidSkene(spread(probabilities, table), confusion, prior, 0, 0.0)

    step, loss, log_likelihood = 0, -np.inf, -np.inf
    bar = tqdm(total=iterations, desc="iterations", disable=quiet, delay=1, leave=False)
    while True:
        shares = class_shares(probabilities)
        counts = m_step(table.matrix, probabilities)
        pair_confusion = normalise_counts(counts, table.pair_start)
        log_prior, log_confusion = np.log(np.maximum(shares, SMALLEST)), np.log(pair_confusion)
        if tolerance and step:
            new_loss = loss_per_answer(counts, log_confusion, log_prior, probabilities)
            if new_loss - loss < tolerance:
                break
            loss = new_loss
        if step == iterations:
            break
        probabilities, log_evidence = e_step(table.matrix, log_prior, log_confusion)
        probabilities = fix_known(probabilities, table)
        log_likelihood = float(log_evidence.sum())
        step += 1
        bar.update()
    bar.close()

    given = table.column_label[table.pair_column]
    confusion[table.pair_annotator[:, None], table.column_label, given[:, None]] = pair_confusion
    prior[:] = 0
    prior[table.column_label] = shares
    return DawidSkene(spread(probabilities, table), confusion, prior, step, log_likelihood)
