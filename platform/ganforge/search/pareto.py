"""Vectors of which none is the best in everything: dominance, ranks, hypervolume.

All values are such that larger is better.
"""

from bisect import bisect_right
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
    III-A). Equal points have the same rank. O(n log n) for two values, else O(n² · values)."""
    if not points:
        return []
    if len(points[0]) == 2:
        return _ranks_of_two([(float(x), float(y)) for x, y in points])
    table = np.asarray(points, dtype=np.float64)
    one, other = table[:, None], table[None, :]
    # below[j, i]: point j dominates point i
    below: NDArray[np.bool_] = np.all(one >= other, axis=-1) & np.any(one > other, axis=-1)
    ranks = np.full(len(table), -1)
    # by how many points that have no rank yet each one is dominated
    above, rank = below.sum(0), 0
    while (front := (ranks < 0) & (above == 0)).any():
        ranks[front] = rank
        above = above - below[front].sum(0)
        rank += 1
    return [int(found) for found in ranks]


def _ranks_of_two(points: Sequence[tuple[float, float]]) -> list[int]:
    """`nondominated_ranks` of two values: from the largest first value down, a point is dominated
    by a point of each front whose largest second value so far is not below its own."""
    ranks: dict[tuple[float, float], int] = {}
    lowered: list[float] = []  # minus that value by front, from the first front on: ascending
    for x, y in sorted(set(points), reverse=True):
        rank = bisect_right(lowered, -y)
        lowered[rank : rank + 1] = [-y]
        ranks[x, y] = rank
    return [ranks[point] for point in points]


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
