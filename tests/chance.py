"""Whether models know more of the truth than chance, by several runs with shuffled labels."""

import itertools
from collections.abc import Sequence

import numpy as np


def chance_p_value(confusions: Sequence[np.ndarray]) -> float:
    """The chance that models which know nothing are right as often, an exact permutation test.

    Clips of one emotion are alike, so that a model takes most of them for one label, whichever it
    is: what counts is one draw a run, not a clip. If labels were shuffled, each of the 24 ways of
    naming four classes is as probable as any other, in each run by itself.

    Args:
        confusions: clips by true and predicted label of each run, (runs, labels, labels), at least
            one of each label.

    Returns:
        The share of all namings, of all runs, with at least as high a sum of recalls, in (0, 1].
        Recalls, because a model that knows how frequent labels are gains nothing by that.
    """
    labels = len(confusions[0])
    namings = np.array(list(itertools.permutations(range(labels))))
    shares = np.ones(1)  # of all namings of the runs so far, by their recalls in thousandths
    found = 0
    for confusion in map(np.asarray, confusions):
        recalls = np.round(1000 * confusion / confusion.sum(axis=1, keepdims=True)).astype(int)
        shares = np.convolve(
            shares, np.bincount(recalls[np.arange(labels), namings].sum(axis=1)) / len(namings)
        )
        found += np.trace(recalls)
    return float(shares[found:].sum())
