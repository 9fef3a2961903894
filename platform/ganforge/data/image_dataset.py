"""The data sets of systems that generate images from noise: real images, with or without labels."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ganforge.data.base import ImageSettings
from ganforge.data.batch import Batch, numbered, to_tensor
from ganforge.data.catalog import Catalog
from ganforge.data.image_table import Numbers
from ganforge.data.images import Pixels, to_image, to_pixels
from ganforge.data.planes import open_views
from ganforge.data.sampling import Prefetch, draw_window, repeated, sample_numbers
from ganforge.data.split import mirrors
from ganforge.data.views import Bounded, Reduced, View, bounded, cells, resized
from ganforge.draws import Draws
from ganforge.schedule import Stage

CHUNK = 16  # held-out images that are measured together, by one worker


class ImageData:
    """Batches of real images at the stage's resolution; `Data` states the contract.

    view = resize: whole images. view = crop: windows of the originals of the last stage's side,
    reduced to this stage's resolution, so that all stages of a growing system show as much of a
    scene; an item of an epoch is then a cell of an image, so that large ones count by their area.
    """

    labelled: ClassVar[bool] = False

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
        data, held_out = settings.data, settings.validation
        self.fingerprint = catalog.fingerprint
        self.num_train = len(catalog.train)
        self._catalog, self._seed = catalog, seed
        self._stages, self._mirror = tuple(stages), mirrors(data, catalog)
        self._side = stages[-1].resolution if data.view == "crop" else None

        views: list[View] = [
            Reduced(stage.resolution) if self._side is None else Bounded(data.max_side)
            for stage in stages
        ]
        sets = open_views(dict.fromkeys(views, catalog.images), settings)
        self._sets = [sets[view] for view in views]
        shares = self._shares(data.max_side)
        self._epoch = repeated(catalog.train, catalog.roots, shares, data.weights)
        self.epoch_images = (len(self._epoch),) * len(stages)

        count = len(catalog.validation)
        self.num_measured = held_out.images
        if self._side is None:
            self.num_measured = min(count, held_out.images)
        self.num_validation = -(-self.num_measured // CHUNK)
        self._measured = [catalog.validation[n % count] for n in range(self.num_measured)]
        self._grid = self._chosen(held_out.samples)
        self._batches = Prefetch(self._stages, ahead=prefetch)

    def batch(self, index: int, step: int, shard: int) -> Batch:
        """One shard at a step of stage `index`: target (n, C, r, r) float32 in [-1, 1], label (n,)
        where images have one, and sample numbers (n,)."""
        return self._batches(self._make, index, step, shard)

    def validation(self, index: int, number: int) -> Batch:
        """Chunk `number` of the held-out images that are measured, at stage `index`: the same
        images, or windows, at every stage."""
        first = number * CHUNK
        here = range(first, min(first + CHUNK, self.num_measured))
        return self._held_out(index, [self._measured[n] for n in here], here)

    def samples(self, index: int) -> Batch:
        """The fixed held-out images of the sample grid at this stage's resolution; too few are
        repeated. Labels repeat: 0, 1, 2, …, 0, 1, 2, …"""
        return self._held_out(index, self._grid, range(len(self._grid)))

    def close(self) -> None:
        """Stop prefetching."""
        self._batches.close()

    def _shares(self, max_side: int | None) -> NDArray[np.int64] | None:
        """How many items of an epoch each training image is; None for one each."""
        if self._side is None:
            return None
        images = self._catalog.images
        counts = [cells(bounded(*size, max_side), self._side, 1) for size in images.sizes[0]]
        return images.by_size(counts, self._catalog.train.array)

    def _chosen(self, count: int) -> list[int]:
        """The held-out images of the grid: in drawn order, class by class in turn."""
        held_out = self._catalog.validation
        rows: list[Sequence[int]] = [held_out]
        if self.labelled:
            labels = np.maximum(self._catalog.images.labels[held_out.array], 0)
            rows = [Numbers(held_out.array[labels == label]) for label in np.unique(labels)]
        return [
            rows[n % len(rows)][n // len(rows) % len(rows[n % len(rows)])] for n in range(count)
        ]

    def _make(self, index: int, step: int, shard: int) -> Batch:
        numbers = sample_numbers(self._stages[index], step, shard)
        chosen = [self._epoch.at(self._seed, number) for number in numbers]
        self._sets[index].fetch(chosen)
        planes = [
            self._sample(index, item, number) for item, number in zip(chosen, numbers, strict=True)
        ]
        return self._batch(planes, chosen, numbers)

    def _sample(self, index: int, item: int, number: int) -> Pixels:
        """One sample; its window and its flip are drawn from stage and number."""
        draws = Draws(self._seed, "sample", index, number)
        plane = self._view(index, item, draws)
        return plane[:, ::-1] if self._mirror and draws.below(2) else plane

    def _held_out(self, index: int, chosen: list[int], numbers: range) -> Batch:
        planes = [
            self._view(index, item, Draws(self._seed, "held out", number))
            for item, number in zip(chosen, numbers, strict=True)
        ]
        return self._batch(planes, chosen, numbers)

    def _view(self, index: int, item: int, draws: Draws) -> Pixels:
        """An image as stage `index` sees it, (r, r, C)."""
        (plane,) = self._sets[index][item]
        if self._side is None:
            return plane
        top, left = draw_window(draws, plane.shape[0], plane.shape[1], self._side)
        window = plane[top : top + self._side, left : left + self._side]
        resolution = self._stages[index].resolution
        if resolution == self._side:
            return window
        return to_pixels(resized(to_image(window), resolution, resolution))

    def _batch(self, planes: Sequence[Pixels], chosen: list[int], numbers: range) -> Batch:
        label = None
        if self.labelled:
            label = torch.from_numpy(self._catalog.images.labels[chosen].astype(np.int64))
        return Batch(to_tensor(planes), label=label, index=numbered(numbers))


class LabelledData(ImageData):
    """ImageData with the number of each image's class."""

    labelled = True
