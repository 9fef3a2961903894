"""New points of a search space: at random, or close to one that did well."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganforge.search.by_stage import branch_point, stage_of
from ganforge.search.domains import Axis
from ganforge.search.grid import finite_grid
from ganforge.search.space import Point, canonical, is_active
from ganforge.search.strategies import base

#: draws in vain after which a finite space is walked, and any other is taken as exhausted
_TRIES = 200


def identity(point: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What tells two points apart; `point` must be canonical."""
    return tuple(point.items())


class SpaceCandidates(base.Candidates):
    """Points that `seen` does not have; pure functions of it, the arguments and the generator.

    `seen` holds the `identity` of points, and may grow between two calls.
    """

    def __init__(self, found: Mapping[str, Axis], seen: "set[tuple[tuple[str, Any], ...]]"):
        self.axes, self.seen = found, seen
        self.grid = finite_grid(found)

    @property
    def exhausted(self) -> bool:
        """Whether every point of the space has been seen."""
        return self.grid is not None and len(self.seen) >= self.grid.size

    def draw(self, generator: np.random.Generator, count: int) -> list[Point]:
        """Up to `count` distinct points that no trial has had, at random; empty where the space is
        exhausted."""
        found = self._distinct(lambda: self._random(generator), count)
        if self.grid is None or len(found) == count or self.exhausted:
            return found
        # few are left: walk all of them, from anywhere
        taken = self.seen | {identity(point) for point in found}
        size, left = self.grid.size, count - len(found)
        start = int.from_bytes(generator.bytes(size.bit_length() // 8 + 8), "big") % size
        for step in range(size):
            point = self.grid.point((start + step) % size)
            if identity(point) not in taken:
                found.append(point)
                left -= 1
            if not left or len(self.seen) + len(found) >= size:
                break
        return found

    def near(self, point: base.Point, generator: np.random.Generator, count: int) -> list[Point]:
        """Up to `count` distinct points that no trial has had, close to `point`: one or two of its
        settings changed (`Axis.draw_near`). One outside of the space, which may have been edited,
        is moved into it first."""
        point = {k: self._moved(k, v, generator) for k, v in point.items() if k in self.axes}
        return self._distinct(lambda: self._changed(point, generator), count)

    def encode(self, points: Sequence[base.Point]) -> NDArray[np.float64]:
        """Points as rows of numbers in [0, 1], (points, features): a range by its position on its
        own scale, a choice by a number for each value. A setting that is not searched in a point
        is 0.5, a choice zeros."""
        rows = [
            np.concatenate(
                [axis.encode(p[k]) if k in p else axis.nowhere for k, axis in self.axes.items()]
            )
            for p in points
        ]
        features = sum(axis.features for axis in self.axes.values())
        return np.array(rows, dtype=np.float64).reshape(len(rows), features)

    def branch(
        self, point: base.Point, stages: int, generator: np.random.Generator
    ) -> Point | None:
        """A new point that differs from `point` in stages after the first `stages` alone
        (`branch_point`); None where there is none."""
        if all((stage_of(key)[0] or 0) < stages for key in self.axes):
            return None
        return branch_point(self.axes, point, stages, generator, self.seen)

    def early(self, point: base.Point, stages: int) -> Hashable:
        """The values of the settings that take part in the first `stages` stages."""
        keys = (key for key in self.axes if (stage_of(key)[0] or 0) < stages)
        return tuple((key, point[key]) for key in keys if key in point)

    def _distinct(self, make: Callable[[], Point], count: int) -> list[Point]:
        found: list[Point] = []
        # those that were seen are not copied: there are thousands, and this is asked at each event
        taken: set[tuple[tuple[str, Any], ...]] = set()
        in_vain = 0
        while len(found) < count and in_vain < _TRIES and not self.exhausted:
            point = make()
            in_vain += 1
            if (mine := identity(point)) not in self.seen and mine not in taken:
                taken.add(mine)
                found.append(point)
                in_vain = 0
        return found

    def _random(self, generator: np.random.Generator) -> Point:
        point: Point = {}
        for key, axis in self.axes.items():
            if is_active(axis, point):
                point[key] = axis.draw(generator)
        return point

    def _moved(self, key: str, value: Any, generator: np.random.Generator) -> Any:
        """This value, or of a domain that does not have it the nearest one; of a choice any."""
        axis = self.axes[key]
        if axis.contains(value):
            return value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return axis.snap(value) if number and axis.choices is None else axis.draw(generator)

    def _changed(self, point: base.Point, generator: np.random.Generator) -> Point:
        keys = [key for key in point if self.axes[key].count != 1]
        if not keys:
            return dict(point)
        changes = min(len(keys), int(generator.integers(1, 3)))
        values = dict(point)
        for number in generator.choice(len(keys), size=changes, replace=False):
            key = keys[int(number)]
            values[key] = self.axes[key].draw_near(values[key], generator)
        # settings that are searched only now have no value to be close to
        made: Point = {}
        for key, axis in self.axes.items():
            if is_active(axis, made):
                made[key] = values[key] if key in values else axis.draw(generator)
        return canonical(self.axes, made)
