"""Low-resolution source and target of one sample, from packed planes."""

from collections.abc import Sequence

import numpy as np
import torch

from ganforge.data.base import ImageSettings
from ganforge.data.batch import Batch, to_tensor
from ganforge.data.decode import Pixels
from ganforge.data.degrade import degraded_window
from ganforge.data.fingerprint import Catalog, mirrors
from ganforge.data.order import item, sample_numbers
from ganforge.data.packed import Planes, open_views
from ganforge.data.settings import DataSettings
from ganforge.data.views import Centre, Square, View, Whole, bounded, cells
from ganforge.draws import Draws
from ganforge.schedule import Stage

Pair = tuple[Pixels, Pixels]  # target, source; each (H, W, C) uint8


class Pairs:
    """The training pairs of every stage as a function of (stage, step, shard).

    view = resize: whole images at the stage's size. view = crop: windows of the originals; an
    item of an epoch is then a cell of an image, so that large images count by their area, and
    the window is drawn anywhere in the image.
    """

    def __init__(
        self,
        catalog: Catalog,
        data: DataSettings,
        stages: Sequence[Stage],
        sets: Sequence[Planes],
        scale: int,
        seed: int,
    ):
        self._data, self._stages, self._sets = data, stages, sets
        self._scale, self._seed = scale, seed
        self._mirror = mirrors(data, catalog)
        self._items = [
            np.repeat(catalog.train, shares(catalog, data, stage.resolution, scale))
            for stage in stages
        ]

    def batch(self, index: int, step: int, shard: int) -> Batch:
        numbers = sample_numbers(self._stages[index], step, shard)
        return to_batch([self.sample(index, number) for number in numbers], numbers)

    def sample(self, index: int, number: int) -> Pair:
        """Sample `number` of stage `index`; its crop, flip, turn and degradation are drawn from
        these two."""
        items = self._items[index]
        target, source = self._sets[index][items[item(len(items), self._seed, number)]]
        place = (self._seed, "sample", index, number)
        draws, how = Draws(*place), self._data.degradation
        top, left, low = 0, 0, source.shape[0]
        if self._data.view == "crop":
            low = self._stages[index].resolution // self._scale
            top = draws.below(source.shape[0] - low + 1)
            left = draws.below(source.shape[1] - low + 1)
        whole = target
        target, source = window((target, source), top, left, low)
        if how.active:
            source = degraded_window(whole, top, left, low, self._scale, how, *place)
        if self._mirror and draws.below(2):
            target, source = target[:, ::-1], source[:, ::-1]
        if self._data.rotate:
            quarters = draws.below(4)
            target, source = np.rot90(target, quarters), np.rot90(source, quarters)
        return target, source


def window(pair: Sequence[Pixels], top: int, left: int, low: int) -> Pair:
    """The window of side `low` at (top, left) of the source, and the same place in the target."""
    target, source = pair
    scale = target.shape[0] // source.shape[0]
    here, across = (slice(first * scale, (first + low) * scale) for first in (top, left))
    return target[here, across], source[top : top + low, left : left + low]


def stage_views(data: DataSettings, resolutions: Sequence[int], scale: int) -> list[View]:
    """The view of each stage; all stages of view = crop share one."""
    if data.view == "crop":
        return [Whole(scale, data.max_side)] * len(resolutions)
    return [Square(size, scale, data.low_resolution_from) for size in resolutions]


def shares(catalog: Catalog, data: DataSettings, resolution: int, scale: int) -> list[int]:
    """How many items of an epoch each training image is: 1, or its non-overlapping crops."""
    known = [catalog.images[number] for number in catalog.train]
    if data.view == "resize":
        return [1] * len(known)
    sides = [bounded(one.height, one.width, data.max_side) for one in known]
    return [cells(side, resolution, scale) for side in sides]


def epoch_images(catalog: Catalog, data: DataSettings, resolution: int, scale: int) -> int:
    """The default length of an epoch at a stage: training images, or crops that tile them."""
    return sum(shares(catalog, data, resolution, scale))


def open_sets(
    catalog: Catalog, settings: ImageSettings, resolutions: Sequence[int], scale: int
) -> tuple[list[Planes], Planes]:
    """All images as each stage sees them, and those that are measured: packed, or on demand if
    together they need more than `data.cache_bytes`."""
    views = stage_views(settings.data, resolutions, scale)
    reduce = settings.data.max_side if settings.data.view == "crop" else None
    centre = Centre(settings.validation.max_side, scale, reduce)
    held_out = catalog.validation[: settings.validation.images]
    sets = open_views(
        {
            **dict.fromkeys(views, catalog.images),
            centre: [catalog.images[number] for number in held_out],
        },
        settings,
    )
    return [sets[view] for view in views], sets[centre]


def to_batch(pairs: Sequence[Pair], numbers: range) -> Batch:
    """One batch of pairs with equal sides; `numbers` become its `index`."""
    targets, sources = zip(*pairs, strict=True)
    index = torch.arange(numbers.start, numbers.stop, dtype=torch.int64)
    return Batch(to_tensor(targets), to_tensor(sources), index=index)
