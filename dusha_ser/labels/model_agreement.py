"""How far a crowd's labels and a model agree: which labels are probably wrong."""

import numpy as np

from dusha_ser.errors import WrongUseError

# Clips times annotators that cleanlab, which wants all of them as one table, is given at most.
MOST_CELLS = 100_000_000


def label_trust(votes: np.ndarray, model: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Say how probable labels are by the votes and a model that never saw them.

    Both are taken as independent evidence: the share of the votes, with one more for each label,
    times the model's probability, brought to a sum of 1. Votes stand here and not posteriors of
    Dawid-Skene, which are near 1 for most wrong labels, too.

    Args:
        votes: int (clips, labels), number of answers.
        model: float (clips, labels), probabilities; rows are brought to a sum of 1.
        label: int (clips,), places of the labels in question.

    Returns:
        float64 (clips,), from 0 to 1; the least is the most doubtful.

    Examples:
        >>> votes, model = np.array([[4, 0], [4, 0]]), np.array([[0.9, 0.1], [0.05, 0.95]])
        >>> label_trust(votes, model, np.array([0, 0])).round(2)
        array([0.98, 0.21])
    """
    both = (votes + 1) * np.asarray(model, dtype=float)
    return both[np.arange(len(label)), label] / both.sum(axis=1)


def cleanlab_consensus(answers: np.ndarray, model: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ask cleanlab's CROWDLAB for the consensus of annotators and model.

    Args:
        answers: float (clips, annotators), the number of the label, NaN where there is no answer.
        model: float (clips, labels), probabilities that sum to 1.

    Returns:
        int64 (clips,), the label, -1 for clips without answers; and float64 (clips,), its quality
        from 0 to 1, NaN for them.

    Raises:
        WrongUseError: cleanlab is not installed.
    """
    try:
        from cleanlab.multiannotator import get_label_quality_multiannotator
    except ImportError as error:
        raise WrongUseError(
            f'cleanlab is not installed ({error}): pip install "dusha-ser[report]"'
        ) from error
    answered = ~np.isnan(answers).all(axis=1)
    label, quality = np.full(len(answers), -1), np.full(len(answers), np.nan)
    if not answered.any():
        return label, quality
    given = answers[answered]
    found = get_label_quality_multiannotator(
        given[:, ~np.isnan(given).all(axis=0)],
        model[answered],
        return_detailed_quality=False,
        return_annotator_stats=False,
        verbose=False,
    )["label_quality"]
    label[answered] = found["consensus_label"]
    quality[answered] = found["consensus_quality_score"]
    return label, quality
