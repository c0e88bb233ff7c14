"""Dawid-Skene for small corpora: what one annotator's few answers do not show, all answers do.

Plain Dawid-Skene estimates each annotator's confusions from that annotator's answers alone. With
tens of answers it takes chance for habit, and is far too sure. Here every estimate is drawn to a
more general one, each with as much weight as the answers themselves suggest:

- how often an annotator is right about a true label: a Beta prior around the crowd's own rate;
- which wrong label an annotator then gives: a Dirichlet prior around the crowd's own choice;
- the crowd's rates and choices for one true label: a Dirichlet prior around the average label,
  with errors alike in all directions, worth POOL_WEIGHT answers, so that a rare label cannot
  collect whatever disagrees;
- classes: the prior Dirichlet(1, ..., 1).

How many answers the first two priors are worth is estimated from how much annotators differ. The
expectation step takes posterior means. In the end the probabilities are tempered, because the
answers to one task aren't independent given its label: some clips mislead everybody.
"""

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import digamma, gammaln, logsumexp
from tqdm import tqdm

from dusha_ser.labels.crowd_answers import CrowdAnswers, combine_columns
from dusha_ser.labels.dawid_skene import DawidSkene, class_shares, e_step, m_step, spread_found
from dusha_ser.vocabulary import ITERATIONS, TOLERANCE, check_stop

# A true label is judged by its own answers once it has clearly more of them than this.
POOL_WEIGHT = 100.0
# Answers that a prior is worth: where its estimation starts, and how far it may go. A thousand is
# as good as one matrix for all.
START_STRENGTH = 10.0
STRENGTHS = (1.0, 1000.0)
# Dependence is believed in if it makes the votes more probable by this much in natural units: the
# 5 % point of a likelihood ratio with one degree of freedom.
DEPENDENCE_EVIDENCE = 1.92
MOST_DEPENDENCE = 0.9


def pool_rows(counts: np.ndarray) -> np.ndarray:
    """Estimate how the crowd as a whole answers, with rare labels drawn to the average one.

    Of counts (columns true, columns answered) it makes shares, above 0, whose rows sum to 1.
    """
    size = len(counts)
    accuracy = (np.trace(counts) + 1) / (counts.sum() + size)
    average = np.full((size, size), (1 - accuracy) / (size - 1))
    np.fill_diagonal(average, accuracy)
    return (counts + POOL_WEIGHT * average) / (counts.sum(axis=1, keepdims=True) + POOL_WEIGHT)


def improve_strength(strength: float, counts: np.ndarray, mean: np.ndarray) -> float:
    """Take one step towards the strength of a Dirichlet prior that makes counts most probable.

    The fixed point of T. Minka, "Estimating a Dirichlet distribution" (2000), section on the
    Polya distribution, for the precision with the mean (columns, outcomes) held fixed; counts are
    (annotators, columns, outcomes).
    """
    prior_counts = strength * mean
    rise = np.sum(mean * (digamma(counts + prior_counts) - digamma(prior_counts)))
    fall = np.sum(digamma(counts.sum(axis=2) + strength) - digamma(strength))
    # With two labels there is one wrong answer, and any strength explains it.
    return float(np.clip(strength * rise / fall, *STRENGTHS)) if fall > 0 else strength


def estimate_confusion(
    counts: np.ndarray, right_strength: float, wrong_strength: float
) -> tuple[np.ndarray, float, float]:
    """Estimate each annotator's confusions from their own answers and from everybody's.

    Expected counts (annotators, columns true, columns answered) become posterior means, above 0,
    whose rows sum to 1; strengths, in answers that the priors of being right and of the wrong label
    are worth, become one step better.
    """
    size = counts.shape[1]
    off_diagonal = ~np.eye(size, dtype=bool)
    pooled = pool_rows(counts.sum(axis=0))
    pooled_right = np.diag(pooled)
    # Wrong answers are laid out as (annotators, columns true, the other columns in order).
    pooled_wrong = pooled[off_diagonal].reshape(size, size - 1) / (1 - pooled_right)[:, None]
    right = np.einsum("acc->ac", counts)
    wrong = counts[:, off_diagonal].reshape(-1, size, size - 1)
    wrong_total = wrong.sum(axis=2)
    right_strength = improve_strength(
        right_strength,
        np.stack([right, wrong_total], axis=2),
        np.stack([pooled_right, 1 - pooled_right], axis=1),
    )
    wrong_strength = improve_strength(wrong_strength, wrong, pooled_wrong)
    accuracy = (right + right_strength * pooled_right) / (right + wrong_total + right_strength)
    choice = (wrong + wrong_strength * pooled_wrong) / (wrong_total + wrong_strength)[:, :, None]
    confusion = np.empty_like(counts)
    confusion[:, ~off_diagonal] = accuracy
    confusion[:, off_diagonal] = ((1 - accuracy)[:, :, None] * choice).reshape(len(counts), -1)
    return confusion, right_strength, wrong_strength


def votes_log_likelihood(votes: np.ndarray, repeats: np.ndarray, dependence: float) -> float:
    """Compute how probable votes are if the answers to a task depend on each other.

    The votes of a task of a given true label have a Dirichlet-multinomial distribution, whose
    intraclass correlation is the dependence, from 0 to below 1; annotators are not told apart, and
    true labels are found by 50 rounds of expectation maximisation. Votes are the different
    (patterns, columns), repeats how many tasks have each. It is a natural logarithm, apart from a
    constant.
    """
    answers = votes.sum(axis=1)
    probabilities = votes / answers[:, None]
    for _ in range(50):
        weighted = probabilities * repeats[:, None]
        prior = (weighted.sum(axis=0) + 1) / (repeats.sum() + votes.shape[1])
        pooled = pool_rows(weighted.T @ votes)
        if dependence > 0:
            precision = (1 - dependence) / dependence
            prior_counts = precision * pooled
            values = sum(
                gammaln(given[:, None] + row) - gammaln(row)
                for given, row in zip(votes.T, prior_counts.T, strict=True)
            )
            values -= (gammaln(answers + precision) - gammaln(precision))[:, None]
        else:
            values = votes @ np.log(pooled.T)
        values += np.log(prior)
        evidence = logsumexp(values, axis=1)
        probabilities = np.exp(values - evidence[:, None])
    return float(np.sum(evidence * repeats))


def estimate_dependence(votes: np.ndarray) -> float:
    """Estimate how far votes (rows, columns) for one task agree beyond what its label explains.

    It is the intraclass correlation, up to MOST_DEPENDENCE; 0 where the evidence is weak.
    """
    patterns, repeats = np.unique(votes, axis=0, return_counts=True)
    found = minimize_scalar(
        lambda dependence: -votes_log_likelihood(patterns, repeats, dependence),
        bounds=(0, MOST_DEPENDENCE),
        method="bounded",
        options={"xatol": 1e-3},
    )
    gain = -found.fun - votes_log_likelihood(patterns, repeats, 0.0)
    return float(found.x) if gain > DEPENDENCE_EVIDENCE else 0.0


def temper(probabilities: np.ndarray, answers: np.ndarray, dependence: float) -> np.ndarray:
    """Make probabilities as sure as dependent answers allow; no label overtakes another.

    n answers of intraclass correlation r are worth n / (1 + (n - 1) r) independent ones: the
    design effect of L. Kish, "Survey Sampling" (1965), section 5.4. Probabilities are
    (rows, columns), answers (rows,) the number of them.

    Examples:
        >>> temper(np.array([[0.9, 0.1]]), np.array([5]), 0.25).round(2)
        array([[0.75, 0.25]])
    """
    worth = 1 / (1 + (answers - 1) * dependence)
    values = probabilities ** worth[:, None]
    return values / combine_columns(np.add, values)[:, None]


def regularised_dawid_skene(
    answers: CrowdAnswers,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    quiet: bool = True,
) -> DawidSkene:
    """Estimate true labels and annotators' confusions where annotators gave few answers.

    Args:
        answers: of the crowd; known truths stay as they are.
        iterations: most expectation steps to take; 0 leaves the shares of votes.
        tolerance: stop where the log-likelihood per answer changes by less than this; 0: never.
        quiet: no progress bar.

    Returns:
        As of `dawid_skene`; confusions are posterior means: without answers, those of the crowd.

    Raises:
        WrongUseError: iterations or tolerance is negative.

    Examples:
        >>> answers = CrowdAnswers.from_columns(
        ...     tasks=["a", "a", "a", "b", "b", "b"],
        ...     annotators=["x", "y", "z", "x", "y", "z"],
        ...     labels=["sad", "sad", "angry", "angry", "angry", "angry"],
        ... )
        >>> regularised_dawid_skene(answers).probabilities.argmax(axis=1)
        array([1, 0])
    """
    check_stop(iterations, tolerance)
    table = answers.table()
    probabilities = table.vote_shares()
    row_count, column_count = probabilities.shape
    if column_count < 2:
        return spread_found(table, probabilities)
    counts = np.zeros((answers.shape[1], column_count, column_count))
    right_strength = wrong_strength = START_STRENGTH
    step, change, log_likelihood = 0, np.inf, -np.inf
    bar = tqdm(total=iterations, desc="iterations", disable=quiet, delay=1, leave=False)
    while True:
        shares = (class_shares(probabilities) * row_count + 1) / (row_count + column_count)
        counts[table.pair_annotator, :, table.pair_column] = m_step(table.matrix, probabilities)
        confusion, right_strength, wrong_strength = estimate_confusion(
            counts, right_strength, wrong_strength
        )
        if step == iterations or change < tolerance:
            break
        log_confusion = np.log(confusion[table.pair_annotator, :, table.pair_column])
        probabilities, log_evidence = e_step(table.matrix, np.log(shares), log_confusion)
        probabilities = table.fix_known(probabilities)
        change = abs(log_evidence.sum() - log_likelihood) / table.matrix.sum()
        log_likelihood = float(log_evidence.sum())
        step += 1
        bar.update()
    bar.close()
    dependence = 0.0
    if step:
        votes = table.votes()
        dependence = estimate_dependence(votes)
        probabilities = temper(probabilities, combine_columns(np.add, votes), dependence)
        probabilities = table.fix_known(probabilities)
    found = spread_found(table, probabilities, confusion, shares, step, log_likelihood)
    return replace(found, dependence=dependence)
