"""How probable the answers to a clip are under each true label, by its annotators' confusions.

It is all that the answers say of a clip once the confusions are known: the expectation step of
Dawid-Skene adds the prior to it, and a network can stand in the prior's place (V. Raykar et al.,
"Learning from crowds", JMLR 11, 2010, section 2).
"""

import numpy as np

from dusha_ser.labels.crowd_answers import CrowdAnswers, combine_columns
from dusha_ser.labels.dawid_skene import SMALLEST, DawidSkene


def answer_log_likelihoods(answers: CrowdAnswers, found: DawidSkene) -> np.ndarray:
    """Compute how probable the answers to each task are if each label were the true one.

    Args:
        answers: of the crowd.
        found: the confusions of its annotators; where the answers to a task depend on each other,
            they count for as much as `found.dependence` leaves of them (see `regularised.temper`).

    Returns:
        float64 (tasks, labels), natural logarithms, the largest of each task being 0; 0 throughout
        for a task without answers. A known truth has 0 and every other label log(1e-10).

    Examples:
        >>> answers = CrowdAnswers.from_columns(["a", "b"], ["x", "x"], ["sad", "angry"])
        >>> found = DawidSkene(
        ...     ("angry", "sad"), np.eye(2), np.array([[[0.9, 0.1], [0.2, 0.8]]]), np.ones(2), 1, 0
        ... )
        >>> np.exp(answer_log_likelihoods(answers, found)).round(3)
        array([[0.125, 1.   ],
               [1.   , 0.222]])
    """
    tasks, _, labels = answers.shape
    log_confusion = np.log(np.maximum(found.confusion, SMALLEST))
    given = log_confusion[answers.annotator, :, answers.label]
    values: np.ndarray = np.stack(
        [np.bincount(answers.task, column, minlength=tasks) for column in given.T], axis=1
    )
    counts = np.bincount(answers.task, minlength=tasks)
    values = values / (1 + np.maximum(counts - 1, 0) * found.dependence)[:, None]
    known = np.flatnonzero(answers.truth >= 0)
    values[known] = np.log(SMALLEST)
    values[known, answers.truth[known]] = 0
    return values - combine_columns(np.maximum, values)[:, None]
