"""How well each annotator answers, and how well a crowd agrees.

Annotators are ranked by information: how many bits about the truth one of their answers gives, by
their confusion matrix. It is 0 for anyone who answers without looking, whether at random or always
the same, where accuracy would reward a favourite answer that is often true. The idea is that of
V. C. Raykar and S. Yu, "Eliminating spammers and ranking annotators for crowdsourced labeling
tasks", JMLR 13 (2012), section 2: a spammer's answers don't depend on the truth.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, rel_entr

from dusha_ser.errors import WrongUseError
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.labels.dawid_skene import DawidSkene


@dataclass(frozen=True)
class AnnotatorQuality:
    """What is known of each annotator.

    Attributes:
        answers: int64 (annotators,), number of answers.
        control_answers: int64 (annotators,), answers to control tasks, whose truth is known.
        control_right: int64 (annotators,), how many of these are right.
        control_accuracy: float64 (annotators,), from 0 to 1; NaN without such answers.
        control_low: float64 (annotators,), lower end of its 95 % Wilson interval.
        control_high: float64 (annotators,), upper end; 0 to 1 without such answers.
        agreement: float64 (annotators,), mean share of a task's other answers that are the same
            as the annotator's, from 0 to 1; NaN where nobody else answered.
        consensus: float64 (annotators,), share of the annotator's answers that are the label the
            crowd as a whole agrees on, from 0 to 1; NaN where that is known of none.
        expected_accuracy: float64 (annotators,), probability of a right answer to a task like
            those of the corpus, by the confusion matrix.
        information: float64 (annotators,), bits about the truth that an answer gives, at least 0.
    """

    answers: np.ndarray
    control_answers: np.ndarray
    control_right: np.ndarray
    control_accuracy: np.ndarray
    control_low: np.ndarray
    control_high: np.ndarray
    agreement: np.ndarray
    consensus: np.ndarray
    expected_accuracy: np.ndarray
    information: np.ndarray

    def ranking(self) -> np.ndarray:
        """Order the annotators, int64 (annotators,), by falling information, then agreement."""
        agreement = np.nan_to_num(self.agreement)
        return np.lexsort((np.arange(len(self.answers)), -agreement, -self.information))


def wilson_interval(right: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the interval in which a rate lies with 95 %, of which some trials are known.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal
    of the American Statistical Association 22 (1927). Unlike the rate plus or minus its standard
    error it stays within 0 and 1, which are its ends where there was no trial. SciPy's
    `binomtest` takes one rate at a time, and a third of a millisecond for each.

    Examples:
        >>> low, high = wilson_interval([9], [10])
        >>> low.round(3), high.round(3)
        (array([0.596]), array([0.982]))
    """
    right, count = np.asarray(right, float), np.asarray(count, float)
    z_squared = ndtri(0.975) ** 2
    total = count + z_squared
    centre = (right + z_squared / 2) / total
    wrong = count - right
    per_trial = np.divide(right * wrong, count, out=np.zeros_like(total), where=count > 0)
    half = np.sqrt(z_squared * (per_trial + z_squared / 4)) / total
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)


def information(confusion: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Compute how many bits about the truth an answer of each annotator gives.

    It is the mutual information of truth and answer, by confusion (annotators, labels true, labels
    answered) and prior (labels,).

    Examples:
        >>> always_right, always_first = np.eye(2), np.array([[1, 0], [1, 0]])
        >>> information(np.stack([always_right, always_first]), np.array([0.5, 0.5]))
        array([1., 0.])
    """
    answered = np.einsum("c,acl->al", prior, confusion)
    bits = rel_entr(confusion, answered[:, None, :]) / np.log(2)
    return np.maximum(np.einsum("c,acl->a", prior, bits), 0)


def rate_annotators(
    answers: CrowdAnswers, found: DawidSkene, consensus: np.ndarray | None = None
) -> AnnotatorQuality:
    """Gather what answers show about who gave them.

    Args:
        answers: of the crowd; tasks whose truth is known are control tasks.
        found: confusions and prior, as `dawid_skene` or `regularised_dawid_skene` finds them.
        consensus: int (tasks,), labels that the crowd as a whole agrees on, as `single_labels`
            chooses them, -1 where there is none; None: it is not known.

    Raises:
        ValueError: the consensus has another length than it should or holds numbers out of range.
    """
    task, annotator, label = answers.task, answers.annotator, answers.label
    known, agreed = answers.truth[task], answers.with_truth(consensus).truth[task]
    votes = answers.votes()

    def total(chosen: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(annotator[chosen], weights, minlength=len(answers.annotators))

    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)

    control_answers, control_right = total(known >= 0), total(known == label)
    low, high = wilson_interval(control_right, control_answers)
    others = votes.sum(axis=1)[task] - 1
    compared = others > 0
    same = (votes[task, label] - 1)[compared] / others[compared]
    return AnnotatorQuality(
        answers=total(np.full(len(task), True)),
        control_answers=control_answers,
        control_right=control_right,
        control_accuracy=share(control_right, control_answers),
        control_low=low,
        control_high=high,
        agreement=share(total(compared, same), total(compared)),
        consensus=share(total(agreed == label), total(agreed >= 0)),
        expected_accuracy=np.einsum("c,acc->a", found.prior, found.confusion),
        information=information(found.confusion, found.prior),
    )


def krippendorff_alpha(votes: np.ndarray) -> float:
    """Compute how well a crowd agrees beyond chance, for labels without an order.

    K. Krippendorff, "Content Analysis" (2004), chapter 11, by the library `krippendorff`.

    Args:
        votes: int (tasks, labels), as `CrowdAnswers.votes` counts them.

    Returns:
        1 where all agree, 0 where they agree as by chance, below 0 where less; NaN where no task
        has two answers, or all answers are the same.

    Raises:
        WrongUseError: if the library is not installed.

    Examples:
        >>> round(krippendorff_alpha(np.array([[2, 0], [0, 2], [1, 1]])), 3)
        0.444
    """
    try:
        import krippendorff
    except ImportError as error:
        raise WrongUseError(
            "Krippendorff's alpha needs the library krippendorff, which is not installed: "
            'pip install "dusha-ser[report]"'
        ) from error
    votes = np.asarray(votes)
    votes = votes[votes.sum(axis=1) > 1]
    if np.count_nonzero(votes.sum(axis=0)) < 2:
        return float("nan")
    return float(krippendorff.alpha(value_counts=votes, level_of_measurement="nominal"))
