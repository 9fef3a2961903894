"""Vectors of which none is the best in everything: dominance, ranks, hypervolume.

All values are such that larger is better.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float]


def dominates(one: Values, other: Values) -> bool:
    """Whether `one` is nowhere worse than `other`, and better somewhere."""
    pairs = list(zip(one, other, strict=True))
    return all(mine >= theirs for mine, theirs in pairs) and any(a > b for a, b in pairs)


def nondominated_ranks(points: Sequence[Values]) -> list[int]:
    """The rank of each of n points: 0 on the Pareto front, those that no other point dominates; 1
    on the front of what is left without it; and so on (NSGA-II's sorting, Deb et al. 2002, section
    III-A). Equal points have the same rank. O(n² · objectives) for each front."""
    if not points:
        return []
    table = np.asarray(points, dtype=np.float64)
    one, other = table[:, None], table[None, :]
    # below[j, i]: point j dominates point i
    below: NDArray[np.bool_] = np.all(one >= other, axis=-1) & np.any(one > other, axis=-1)
    ranks = np.full(len(table), -1)
    rank, left = 0, np.ones(len(table), dtype=bool)
    while left.any():
        front = left & ~below[left].any(0)
        ranks[front] = rank
        left &= ~front
        rank += 1
    return [int(found) for found in ranks]


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """The area that n points of two values dominate, down to `reference`; exact, O(n log n).

    A point that is not better than the reference in both adds nothing.
    """
    base, floor = reference
    inside = sorted(((x, y) for x, y in points if x > base and y > floor), reverse=True)
    area, reached = 0.0, floor
    for x, y in inside:
        # from the largest x down: a strip for what is higher than everything to its right
        if y > reached:
            area += (x - base) * (y - reached)
            reached = y
    return area
