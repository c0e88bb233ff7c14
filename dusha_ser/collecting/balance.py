"""Choices that take of each kind alike, as far as there are."""

import heapq
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

# Candidates by kind, the best first: what they are ordered by, their id, and what is chosen. Of
# parts of a collection they are found apart and merged, in any order.
Best = dict[int, list[tuple[Any, str, Any]]]


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


def merge_best(one: Best, other: Best, number: int) -> Best:
    """Keep so many of the best of each kind; an id that comes twice counts once.

    Examples:
        >>> merge_best({0: [(2, "b", "B")]}, {0: [(2, "a", "A"), (3, "b", "B")]}, 2)
        {0: [(2, 'a', 'A'), (2, 'b', 'B')]}
    """
    merged: Best = {}
    for kind in one.keys() | other.keys():
        both = heapq.merge(one.get(kind, ()), other.get(kind, ()), key=itemgetter(0, 1))
        # The better of two with the same id comes first, and stays.
        unique: dict[str, tuple[Any, str, Any]] = {}
        for candidate in both:
            unique.setdefault(candidate[1], candidate)
            if len(unique) == number:
                break
        merged[kind] = list(unique.values())
    return merged


def choose_best(best: Best, number: int) -> list[Any]:
    """Choose so many in all, of each kind alike as far as there are.

    Examples:
        >>> choose_best({0: [(1, "a", "A")], 1: [(1, "b", "B"), (2, "c", "C"), (3, "d", "D")]}, 3)
        ['A', 'B', 'C']
    """
    kinds = sorted(best)
    shares = share_out([len(best[kind]) for kind in kinds], number)
    return [
        chosen
        for kind, share in zip(kinds, shares, strict=True)
        for *_, chosen in best[kind][:share]
    ]
