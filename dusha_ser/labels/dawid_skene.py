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

from dusha_ser.labels.crowd_answers import AnswerTable, CrowdAnswers, Posteriors, combine_columns
from dusha_ser.vocabulary import ITERATIONS, TOLERANCE, check_stop

# Smallest count and smallest probability of a class, as in crowd-kit; their logarithms stay finite.
SMALLEST = 1e-10


@dataclass(frozen=True, eq=False)
class DawidSkene(Posteriors):
    """What the algorithm found, beside the probabilities.

    Attributes:
        confusion: float64 (annotators, labels, labels), probability that an annotator answers the
            label of the last axis where the truth is the label of the middle axis; 0 throughout
            where nothing is known, as for an annotator without answers.
        prior: float64 (labels,), probability of each label before any answer; sums to 1.
        iterations: how many expectation steps were taken.
        log_likelihood: natural logarithm of the probability of all answers under the estimates
            that the last expectation step started from; -inf before the first.
        dependence: intraclass correlation of the answers to one task given its true label, from 0
            to below 1; plain Dawid-Skene takes it to be 0.
    """

    confusion: np.ndarray
    prior: np.ndarray
    iterations: int
    log_likelihood: float
    dependence: float = 0.0


def e_step(
    matrix: scipy.sparse.csr_matrix, log_prior: np.ndarray, log_confusion: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the true labels of tasks from what is believed of classes and annotators.

    Of the logarithms of the prior (columns,) and of the confusions (pairs, columns) it makes
    probabilities (rows, columns), and the logarithm of that of each task's answers, (rows,).
    """
    # Products of many probabilities would vanish, so logarithms are added, and shifted so that the
    # largest of each task is 0.
    values = matrix @ log_confusion
    values += log_prior
    largest = combine_columns(np.maximum, values)
    values -= largest[:, None]
    np.exp(values, out=values)
    total = combine_columns(np.add, values)
    values /= total[:, None]
    return values, largest + np.log(total)


def m_step(matrix: scipy.sparse.csr_matrix, probabilities: np.ndarray) -> np.ndarray:
    """Count the expected answers (pairs, columns) of each pair to tasks of each true label."""
    return matrix.T @ probabilities


def class_shares(probabilities: np.ndarray) -> np.ndarray:
    """Compute the share of each label among the tasks, (columns,), of (rows, columns)."""
    return np.einsum("rc->c", probabilities) / len(probabilities)


def normalise_counts(counts: np.ndarray, pair_start: np.ndarray) -> np.ndarray:
    """Turn expected counts (pairs, columns) to confusions: over an annotator's pairs they sum to 1.

    A true label that the annotator never met is answered with any label of theirs alike.
    """
    counts = np.maximum(counts, SMALLEST)
    totals = np.add.reduceat(counts, pair_start, axis=0)
    return counts / np.repeat(totals, np.diff(pair_start, append=len(counts)), axis=0)


def loss_per_answer(
    counts: np.ndarray, log_confusion: np.ndarray, log_prior: np.ndarray, probabilities: np.ndarray
) -> float:
    """Compute the quantity whose rise decides when to stop, as crowd-kit does.

    It is close to the evidence lower bound divided by the number of answers, in natural units; but
    the prior of a task counts once for each of its answers. We need it to stop at the same
    iteration. Counts and confusions are (pairs, columns), the prior (columns,), probabilities
    (rows, columns).
    """
    # No dot products: BLAS would start threads, which cost more than they bring here.
    expectation = np.sum(counts * log_confusion) + np.sum(counts.sum(axis=0) * log_prior)
    clipped = np.maximum(probabilities, SMALLEST)
    entropy = -np.einsum("rc,rc->", clipped, np.log(clipped))
    return (expectation + entropy) / counts.sum()


def dawid_skene(
    answers: CrowdAnswers,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    quiet: bool = True,
) -> DawidSkene:
    """Estimate true labels and annotators' confusions by expectation maximisation.

    It starts from the shares of votes and gives the posteriors of crowd-kit's
    `DawidSkene(n_iter=iterations, tol=tolerance)`.

    Args:
        answers: of the crowd; known truths stay as they are.
        iterations: most expectation steps to take; 0 leaves the shares of votes.
        tolerance: stop where crowd-kit's loss (natural units per answer) rises by less than this;
            0 takes all iterations.
        quiet: no progress bar.

    Returns:
        What was found, by the rules of `Posteriors`.

    Raises:
        WrongUseError: iterations or tolerance is negative.

    Examples:
        >>> answers = CrowdAnswers.from_columns(
        ...     tasks=["a", "a", "a", "b", "b", "b"],
        ...     annotators=["x", "y", "z", "x", "y", "z"],
        ...     labels=["sad", "sad", "angry", "angry", "angry", "angry"],
        ... )
        >>> found = dawid_skene(answers)
        >>> found.labels, found.probabilities.round(2)
        (('angry', 'sad'), array([[0., 1.],
               [1., 0.]]))
    """
    check_stop(iterations, tolerance)
    table = answers.table()
    probabilities = table.vote_shares()
    if not len(probabilities):
        return spread_found(table, probabilities)
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
        probabilities = table.fix_known(probabilities)
        log_likelihood = float(log_evidence.sum())
        step += 1
        bar.update()
    bar.close()
    confusion = np.zeros((answers.shape[1], *[len(shares)] * 2))
    confusion[table.pair_annotator, :, table.pair_column] = pair_confusion
    return spread_found(table, probabilities, confusion, shares, step, log_likelihood)


def spread_found(
    table: AnswerTable,
    probabilities: np.ndarray,
    confusion: np.ndarray | None = None,
    prior: np.ndarray | None = None,
    iterations: int = 0,
    log_likelihood: float = 0.0,
) -> DawidSkene:
    """Bring what was found for rows and columns to all tasks and labels, with 0 for the others.

    The confusions are (annotators, columns, columns), the prior (columns,); None: not known.
    """
    _, annotators, labels = table.answers.shape
    every_confusion = np.zeros((annotators, labels, labels))
    every_prior = np.full(labels, 1 / labels if prior is None else 0.0)
    if prior is not None:
        every_confusion[:, table.column_label[:, None], table.column_label] = confusion
        every_prior[table.column_label] = prior
    return DawidSkene(
        tuple(table.answers.labels),
        table.spread(probabilities),
        every_confusion,
        every_prior,
        iterations,
        log_likelihood,
    )
