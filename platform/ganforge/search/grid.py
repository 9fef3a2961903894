"""The points of a finite search space, numbered."""

import math
from collections.abc import Iterator, Mapping

from ganforge.search.domains import Axis
from ganforge.search.space import Point, Space, axes, canonical
from ganforge.settings import SettingsError, shown_key


def grid_points(space: Space) -> Iterator[Point]:
    """All points of a finite space, the last setting changing fastest.

    SettingsError names the first setting whose values are endless.
    """
    found = axes(space)
    for key, axis in found.items():
        if axis.count is None:
            raise SettingsError(
                f"{shown_key(key)}: a grid needs a number of values; give it tune.choice([…]) or "
                "a domain with a step, such as tune.quniform(LOW, HIGH, STEP)"
            )
    grid = PointGrid(found)
    return (grid.point(index) for index in range(grid.size))


def finite_grid(found: Mapping[str, Axis]) -> "PointGrid | None":
    """The grid of a space, None where the points are endless."""
    return None if any(axis.count is None for axis in found.values()) else PointGrid(found)


class PointGrid:
    """All points of a finite space by number. Nothing is kept but the sizes of its parts, which
    are a tree: settings searched only with some values of another one lie below that."""

    def __init__(self, found: Mapping[str, Axis]):
        self.axes = found
        self._below: dict[str | None, list[str]] = {None: []}
        for key, axis in found.items():
            self._below.setdefault(axis.parent, []).append(key)
        self._sizes: dict[str, int] = {}
        for key in reversed([*self.axes]):  # parents come after what lies below them
            self._sizes[key] = self._size(key)
        self.size = math.prod(self._sizes[key] for key in self._below[None])

    def point(self, index: int) -> Point:
        """Point number `index`, 0 <= index < size."""
        values: Point = {}
        self._choose(self._below[None], index, values)
        return canonical(self.axes, values)

    def _choose(self, keys: list[str], index: int, values: Point) -> None:
        for key in reversed(keys):
            index, own = divmod(index, self._sizes[key])
            number = own
            if key in self._below:
                number = 0
                while own >= (ways := self._ways(key, number)):
                    own -= ways
                    number += 1
            values[key] = self.axes[key].at(number)
            self._choose(self._active(key, number), own, values)

    def _size(self, key: str) -> int:
        count = self.axes[key].count
        assert count is not None
        if key not in self._below:
            return count
        return sum(self._ways(key, number) for number in range(count))

    def _ways(self, key: str, number: int) -> int:
        """In how many ways the settings below `key` can be chosen with its value `number`."""
        return math.prod(self._sizes[below] for below in self._active(key, number))

    def _active(self, key: str, number: int) -> list[str]:
        value = self.axes[key].at(number)
        return [k for k in self._below.get(key, ()) if value in self.axes[k].parent_values]
