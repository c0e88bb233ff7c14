"""Choices that take of each kind alike, as far as there are."""

from collections.abc import Sequence

import numpy as np


def share_out(counts: Sequence[int], number: int) -> list[int]:
    """Say how many to take of each kind, so that a number is taken as evenly as counts allow.

    Examples:
        >>> share_out([2, 100, 50], 20)
        [2, 9, 9]
    """
    shares = [0] * len(counts)
    for place, kind in enumerate(sorted(range(len(counts)), key=lambda kind: counts[kind])):
        # The rarest kinds first: what is missing of them is taken from the others.
        even = (number - sum(shares)) // (len(counts) - place)
        shares[kind] = min(int(counts[kind]), even)
    return shares


def choose_evenly(kinds: np.ndarray, number: int, generator: np.random.Generator) -> np.ndarray:
    """Choose at random, of each kind alike as far as there are.

    Args:
        kinds: (items,) integers from 0 on.
        number: how many items to choose, at most all.
        generator: of random numbers.

    Returns:
        Places of the chosen items, int64 (number,), in order.
    """
    shares = share_out(np.bincount(kinds).tolist(), number)
    chosen = [
        generator.choice(np.flatnonzero(kinds == kind), share, replace=False)
        for kind, share in enumerate(shares)
    ]
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))
