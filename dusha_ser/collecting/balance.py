"""Shares of a choice among groups, as even as can be."""

from collections.abc import Sequence


def share_out(counts: Sequence[int], number: int) -> list[int]:
    """Take a number as evenly as the counts allow.

    Args:
        counts: how many there are of each kind.
        number: how many to take, at most their sum.

    Returns:
        How many to take of each kind.

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
