"""Dominance, ranks and hypervolume against brute force and closed forms."""

import itertools
import math

import numpy as np
import pytest

from ganforge.search.pareto import dominates, hypervolume, nondominated_ranks


def cloud(seed: int, count: int, objectives: int) -> list[tuple[float, ...]]:
    """Whole numbers, so that values and points repeat."""
    drawn = np.random.default_rng(seed).integers(0, 6, (count, objectives))
    return [tuple(map(float, row)) for row in drawn]


def test_dominance_by_hand() -> None:
    assert dominates((1, 2), (1, 1)) and dominates((2, 2), (1, 1))
    assert not dominates((1, 1), (1, 1)), "equal"
    assert not dominates((2, 0), (1, 1)) and not dominates((1, 1), (2, 0))


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_ranks_are_those_of_peeling_fronts_off(objectives: int) -> None:
    for seed in range(20):
        points = cloud(seed, 25, objectives)
        left, rank, wanted = set(range(len(points))), 0, {}
        while left:
            front = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
            wanted |= dict.fromkeys(front, rank)
            left, rank = left - front, rank + 1
        assert nondominated_ranks(points) == [wanted[i] for i in range(len(points))]
        assert rank > 1
    assert nondominated_ranks([]) == []


def test_with_one_objective_the_rank_is_the_place() -> None:
    assert nondominated_ranks([(3.0,), (1.0,), (2.0,), (3.0,)]) == [0, 2, 1, 0]


def test_hypervolume_of_known_shapes() -> None:
    assert hypervolume([(2, 3)], (0, 0)) == 6
    assert hypervolume([(1, 3), (2, 2), (3, 1)], (0, 0)) == 6
    assert hypervolume([(3, 1), (1, 3), (1, 1), (3, 1)], (0, 0)) == 5
    assert hypervolume([(3, 1), (1, 3)], (1, 0)) == 2, "what is on the reference adds nothing"
    assert hypervolume([(1, 1)], (2, 2)) == 0 and hypervolume([], (0, 0)) == 0


def test_hypervolume_of_a_quarter_circle_is_its_area() -> None:
    count = 4000
    angles = [(k + 0.5) / count * math.pi / 2 for k in range(count)]
    found = hypervolume([(math.cos(a), math.sin(a)) for a in angles], (0.0, 0.0))
    assert math.pi / 4 - 1e-3 < found < math.pi / 4


def test_hypervolume_counts_the_unit_squares_that_a_point_covers() -> None:
    for seed in range(30):
        points = [(x, y) for x, y in cloud(seed, 6, 2)]
        covered = sum(
            any(x > i and y > j for x, y in points)
            for i, j in itertools.product(range(6), range(6))
        )
        assert hypervolume(points, (0.0, 0.0)) == covered
