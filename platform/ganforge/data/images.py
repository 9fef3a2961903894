"""The data sets of systems that make images of noise: real images, with labels or without."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

from ganforge.data.base import ImageSettings
from ganforge.data.batch import Batch, to_tensor
from ganforge.data.decode import Pixels
from ganforge.data.fingerprint import Catalog, mirrors
from ganforge.data.order import item, sample_numbers
from ganforge.data.packed import open_views
from ganforge.data.prefetch import Prefetch
from ganforge.data.views import Bounded, Reduced, View, bounded, cells
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
        self._items = np.repeat(catalog.train, self._shares(data.max_side))
        self.epoch_images = (len(self._items),) * len(stages)

        count = len(catalog.validation)
        self.num_measured = held_out.images
        if self._side is None:
            self.num_measured = min(count, held_out.images)
        self.num_validation = -(-self.num_measured // CHUNK)
        self._measured = [catalog.validation[n % count] for n in range(self.num_measured)]
        self._grid = self._chosen(held_out.samples)
        self._prefetch = Prefetch(self._made, self._stages) if prefetch else None
        self._make = self._prefetch or self._made

    def batch(self, index: int, step: int, shard: int) -> Batch:
        """One shard at a step of stage `index`: target (n, C, r, r) float32 in [-1, 1], label (n,)
        where images have one, and sample numbers (n,)."""
        return self._make(index, step, shard)

    def validation(self, index: int, number: int) -> Batch:
        """Chunk `number` of the held-out images that are measured, at stage `index`: the same
        images, or windows, at every stage."""
        first = number * CHUNK
        here = range(first, min(first + CHUNK, self.num_measured))
        return self._held_out(index, [self._measured[n] for n in here], here)

    def samples(self, index: int) -> Batch:
        """The fixed held-out images of the sample grid at this stage's resolution; too few are
        repeated. Labels go round: 0, 1, 2, …, 0, 1, 2, …"""
        return self._held_out(index, self._grid, range(len(self._grid)))

    def close(self) -> None:
        """Stop prefetching."""
        if self._prefetch is not None:
            self._prefetch.close()

    def _shares(self, max_side: int | None) -> list[int]:
        known = [self._catalog.images[number] for number in self._catalog.train]
        if self._side is None:
            return [1] * len(known)
        sides = [bounded(one.height, one.width, max_side) for one in known]
        return [cells(side, self._side, 1) for side in sides]

    def _chosen(self, count: int) -> list[int]:
        """The held-out images of the grid: in drawn order, class by class in turn."""
        by_class: dict[int, list[int]] = {}
        for number in self._catalog.validation:
            label = self._catalog.images[number].image.label if self.labelled else None
            by_class.setdefault(label or 0, []).append(number)
        rows = [by_class[label] for label in sorted(by_class)]
        return [
            rows[n % len(rows)][n // len(rows) % len(rows[n % len(rows)])] for n in range(count)
        ]

    def _made(self, index: int, step: int, shard: int) -> Batch:
        numbers = sample_numbers(self._stages[index], step, shard)
        chosen = [
            int(self._items[item(len(self._items), self._seed, number)]) for number in numbers
        ]
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
        top = draws.below(plane.shape[0] - self._side + 1)
        left = draws.below(plane.shape[1] - self._side + 1)
        window = plane[top : top + self._side, left : left + self._side]
        return _reduced(window, self._stages[index].resolution)

    def _batch(self, planes: Sequence[Pixels], chosen: list[int], numbers: range) -> Batch:
        label = None
        if self.labelled:
            known = self._catalog.images
            label = torch.tensor([known[item].image.label for item in chosen])
        index = torch.arange(numbers.start, numbers.stop, dtype=torch.int64)
        return Batch(to_tensor(planes), label=label, index=index)


class LabelledData(ImageData):
    """The same, with the number of each image's class."""

    labelled = True


def _reduced(window: Pixels, resolution: int) -> Pixels:
    if len(window) == resolution:
        return window
    image = Image.fromarray(window if window.shape[-1] == 3 else window[..., 0])
    small = np.asarray(image.resize((resolution, resolution), Image.Resampling.BICUBIC))
    return small if small.ndim == 3 else small[..., None]
