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
        confusions: clips by true and predicted label of each run, (runs, labels, labels); each
            label as often in its training clips as any other.

    Returns:
        The share of all namings, of all runs, with at least as many hits, in (0, 1].
    """
    labels = len(confusions[0])
    namings = np.array(list(itertools.permutations(range(labels))))
    shares = np.ones(1)  # of all namings of the runs so far, by their number of hits
    for confusion in confusions:
        hits = np.asarray(confusion)[np.arange(labels), namings].sum(axis=1)
        shares = np.convolve(shares, np.bincount(hits) / len(namings))
    right = sum(int(np.trace(confusion)) for confusion in confusions)
    return float(shares[right:].sum())
