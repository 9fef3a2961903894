"""The data set of super-resolution systems: low-resolution sources and their targets."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ganforge.data.base import ImageSettings
from ganforge.data.batch import Batch, paired_batch
from ganforge.data.catalog import Catalog
from ganforge.data.degrade import degrade, degraded_window
from ganforge.data.given_pairs import CentrePairs, GivenPairs
from ganforge.data.images import Pixels
from ganforge.data.planes import Planes, open_views
from ganforge.data.sampling import Prefetch, draw_window, repeated, sample_numbers
from ganforge.data.settings import DataSettings
from ganforge.data.split import mirrors
from ganforge.data.views import Bounded, Centre, Square, View, Whole, bounded, cells
from ganforge.draws import Draws
from ganforge.schedule import Stage

Pair = tuple[Pixels, Pixels]  # target, source; each (H, W, C) uint8


class SuperResolutionData:
    """Low-resolution sources and their targets; `Data` states the contract.

    view = resize: whole images at the stage's size. view = crop: windows of the originals; an
    item of an epoch is then a cell of an image, so that large images count by their area, and
    the window is drawn anywhere in the image.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: ImageSettings,
        stages: Sequence[Stage],
        scale: int,
        seed: int,
        *,
        prefetch: bool = True,
    ):
        self._data, self._scale, self._seed = settings.data, scale, seed
        self._stages, self._mirror = tuple(stages), mirrors(settings.data, catalog)
        self.fingerprint = catalog.fingerprint
        self.num_train = len(catalog.train)
        resolutions = [stage.resolution for stage in stages]
        self._sets, self._measured = open_sets(catalog, settings, resolutions, scale)
        counts = [shares(catalog, settings.data, resolution, scale) for resolution in resolutions]
        self._epochs = [
            repeated(catalog.train, catalog.roots, each, settings.data.weights) for each in counts
        ]
        self.epoch_images = tuple(len(epoch) for epoch in self._epochs)
        self.num_validation = self.num_measured = len(self._measured)
        self._grid = catalog.validation[: settings.validation.samples]
        self._grid_low = resolutions[-1] // scale if settings.data.view == "crop" else None
        self._batches = Prefetch(self._stages, ahead=prefetch)

    def batch(self, index: int, step: int, shard: int) -> Batch:
        """One shard at a step of stage `index`: source (n, C, r/s, r/s) and target (n, C, r, r),
        float32 in [-1, 1], and sample numbers (n,)."""
        return self._batches(self._make, index, step, shard)

    def validation(self, index: int, number: int) -> Batch:
        """Held-out image `number`, the same at every stage, at its own resolution, cut to the
        centre of `validation.max_side`: target (1, C, H, W), source (1, C, H/s, W/s)."""
        target, source = self._measured[number]
        pair = self._degraded(target, source, number)
        return paired_batch([pair], range(number, number + 1))

    def samples(self, index: int) -> Batch:
        """The fixed held-out images of the sample grid, as many as there are.

        view = resize: whole images at this stage's size. view = crop: the centre at the last
        stage's size, so that the grids of all stages show the same part.
        """
        pairs = []
        for position, number in enumerate(self._grid):
            target, source = self._sets[index][number]
            target, source = self._degraded(target, source, position)
            if self._grid_low is not None:
                low = self._grid_low
                top, left = (source.shape[0] - low) // 2, (source.shape[1] - low) // 2
                target, source = window((target, source), top, left, low)
            pairs.append((target, source))
        return paired_batch(pairs, range(len(pairs)))

    def _make(self, index: int, step: int, shard: int) -> Batch:
        numbers = sample_numbers(self._stages[index], step, shard)
        epoch = self._epochs[index]
        self._sets[index].fetch([epoch.at(self._seed, number) for number in numbers])
        return paired_batch([self.sample(index, number) for number in numbers], numbers)

    def sample(self, index: int, number: int) -> Pair:
        """Sample `number` of stage `index`; its crop, flip, turn and degradation are drawn from
        these two."""
        target, source = self._sets[index][self._epochs[index].at(self._seed, number)]
        parts = (self._seed, "sample", index, number)
        draws, how = Draws(*parts), self._data.degradation
        top, left, low = 0, 0, source.shape[0]
        if self._data.view == "crop":
            low = self._stages[index].resolution // self._scale
            top, left = draw_window(draws, source.shape[0], source.shape[1], low)
        whole = target
        target, source = window((target, source), top, left, low)
        if how.active:
            source = degraded_window(whole, top, left, low, self._scale, how, *parts)
        if self._mirror and draws.below(2):
            target, source = target[:, ::-1], source[:, ::-1]
        if self._data.rotate:
            quarters = draws.below(4)
            target, source = np.rot90(target, quarters), np.rot90(source, quarters)
        return target, source

    def _degraded(self, target: Pixels, source: Pixels, number: int) -> Pair:
        """Held-out images are degraded like the training images, with draws of their own."""
        if self._data.degradation.active:
            parts = (self._seed, "held out", number)
            source = degrade(target, self._scale, self._data.degradation, *parts)
        return target, source

    def close(self) -> None:
        """Stop prefetching."""
        self._batches.close()


def window(pair: Pair, top: int, left: int, low: int) -> Pair:
    """The window of side `low` at (top, left) of the source, and the same part of the target."""
    target, source = pair
    scale = target.shape[0] // source.shape[0]
    here, across = (slice(first * scale, (first + low) * scale) for first in (top, left))
    return target[here, across], source[top : top + low, left : left + low]


def stage_views(data: DataSettings, resolutions: Sequence[int], scale: int) -> list[View]:
    """The view of each stage; all stages of view = crop share one."""
    if data.view == "crop":
        return [Whole(scale, data.max_side)] * len(resolutions)
    return [Square(size, scale, data.low_resolution_from) for size in resolutions]


def shares(
    catalog: Catalog, data: DataSettings, resolution: int, scale: int
) -> NDArray[np.int64] | None:
    """How many items of an epoch each training image is: its non-overlapping crops; None for one
    each."""
    if data.view == "resize":
        return None
    sizes = catalog.images.sizes[0]
    counts = [cells(bounded(*size, data.max_side), resolution, scale) for size in sizes]
    return catalog.images.by_size(counts, catalog.train.array)


def open_sets(
    catalog: Catalog, settings: ImageSettings, resolutions: Sequence[int], scale: int
) -> tuple[list[Planes], Planes]:
    """All images as each stage sees them, and those that are measured: packed, or on demand if
    together they need more than `data.cache_bytes`."""
    held_out = catalog.validation[: settings.validation.images]
    if catalog.low:
        everything: View = Bounded()
        planes = open_views({everything: catalog.images + catalog.low}, settings)[everything]
        pairs = GivenPairs(planes, scale)
        measured = CentrePairs(pairs, held_out, settings.validation.max_side, scale)
        return [pairs] * len(resolutions), measured
    views = stage_views(settings.data, resolutions, scale)
    reduce = settings.data.max_side if settings.data.view == "crop" else None
    centre = Centre(settings.validation.max_side, scale, reduce)
    sets = open_views(
        {
            **dict.fromkeys(views, catalog.images),
            centre: catalog.images.take(held_out),
        },
        settings,
    )
    return [sets[view] for view in views], sets[centre]
