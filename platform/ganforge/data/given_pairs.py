"""Pairs of high- and low-resolution images as a user brings them, in the planes that training and
measuring read."""

from collections.abc import Sequence

from ganforge.data.images import Pixels
from ganforge.data.planes import Planes
from ganforge.data.views import Centre


class GivenPairs:
    """(target, source) of each image: `planes` has all targets, then their sources in the same
    order, each whole. Both are cut right and below, so that the target's sides are `scale` times
    the source's."""

    def __init__(self, planes: Planes, scale: int):
        self._planes, self._scale, self._count = planes, scale, len(planes) // 2

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> tuple[Pixels, ...]:
        (target,), (source,) = self._planes[number], self._planes[self._count + number]
        height, width = target.shape[0] // self._scale, target.shape[1] // self._scale
        return target[: height * self._scale, : width * self._scale], source[:height, :width]

    def fetch(self, numbers: Sequence[int]) -> None:
        """Both images of each pair."""
        self._planes.fetch([*numbers, *(self._count + number for number in numbers)])


class CentrePairs:
    """The centres of some pairs, of the sides that `Centre` has, at whole pixels of the source."""

    def __init__(self, pairs: GivenPairs, numbers: Sequence[int], max_side: int, scale: int):
        self._pairs, self._numbers = pairs, tuple(numbers)
        self._view, self._scale = Centre(max_side, scale), scale

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> tuple[Pixels, ...]:
        target, source = self._pairs[self._numbers[number]]
        _, (height, width) = self._view.sides(target.shape[0], target.shape[1])
        top, left = (source.shape[0] - height) // 2, (source.shape[1] - width) // 2
        rows, columns = slice(top, top + height), slice(left, left + width)
        return target[_times(rows, self._scale), _times(columns, self._scale)], source[
            rows, columns
        ]

    def fetch(self, numbers: Sequence[int]) -> None:
        """Both images of each pair."""
        self._pairs.fetch([self._numbers[number] for number in numbers])


def _times(part: slice, scale: int) -> slice:
    return slice(part.start * scale, part.stop * scale)
