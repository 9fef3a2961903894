"""The data sets of systems that turn one kind of image into another: in pairs, or unpaired."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from PIL import ImageEnhance

from ganforge.data.base import ImageSettings
from ganforge.data.batch import Batch, paired_batch
from ganforge.data.catalog import Catalog
from ganforge.data.image_table import Numbers
from ganforge.data.images import Pixels, to_image, to_pixels
from ganforge.data.paired_sources import SOURCE, TARGET, pairing_of
from ganforge.data.paired_views import Edges, SideBySide
from ganforge.data.planes import Planes, open_views
from ganforge.data.sampling import (
    Epoch,
    Prefetch,
    between,
    draw_window,
    epoch_of,
    sample_numbers,
)
from ganforge.data.settings import PairedSettings, TranslationSettings
from ganforge.data.split import mirrors
from ganforge.data.views import Bounded, Reduced, View, cells
from ganforge.draws import Draws, derive
from ganforge.schedule import Stage

CHUNK = 8  # held-out images that are measured together, by one worker
Chosen = tuple[int, int]  # the images of a sample in the catalog: target, source


class TranslationData(ABC):
    """Batches of source and target at the stage's resolution; `Data` states the contract.

    view = resize: the centre squares of whole images, resized to `data.jitter` where a window of
    the stage's side is to be taken. view = crop: windows of the originals; an item of an epoch is
    then a cell of an image, so that large ones count by their area. `sets` are what an epoch goes
    through, each in an order of its own; `held` the held-out samples in drawn order.
    """

    sets: Sequence[Sequence[Chosen]]
    held: Sequence[Chosen]

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
        assert isinstance(settings.data, TranslationSettings)
        self._data, self._catalog, self._seed = settings.data, catalog, seed
        self._stages, self._mirror = tuple(stages), mirrors(settings.data, catalog)
        self.sets, self.held = self._divided(catalog)
        self.fingerprint = catalog.fingerprint
        self.num_train = max(len(numbers) for numbers in self.sets)
        views = [(self._view(s, jitter=True), self._view(s, jitter=False)) for s in stages]
        found = open_views(
            dict.fromkeys([v for both in views for v in both], catalog.images), settings
        )
        self._trained = [found[trained] for trained, _ in views]
        self._measured = [found[measured] for _, measured in views]
        self._epochs = [
            [self._epoch(view, stage.resolution, numbers) for numbers in self.sets]
            for stage, (view, _) in zip(stages, views, strict=True)
        ]
        self.epoch_images = tuple(max(map(len, epochs)) for epochs in self._epochs)
        self.num_measured = settings.validation.images
        if settings.data.view == "resize":
            self.num_measured = min(self.num_measured, len(self.held))
        self.num_validation = -(-self.num_measured // CHUNK)
        self._num_samples = settings.validation.samples
        self._batches = Prefetch(self._stages, ahead=prefetch)

    @abstractmethod
    def _divided(self, catalog: Catalog) -> tuple[list[list[Chosen]], list[Chosen]]:
        """`sets` and `held`."""

    @abstractmethod
    def _chosen(self, index: int, number: int) -> Chosen:
        """The images of sample `number` of stage `index`."""

    @abstractmethod
    def _draws(self, *parts: int | str) -> tuple[Draws, Draws]:
        """Where windows and flips of target and source are drawn from."""

    def batch(self, index: int, step: int, shard: int) -> Batch:
        """One shard at a step of stage `index`: target and source (n, C, r, r) float32 in [-1, 1],
        and sample numbers (n,)."""
        return self._batches(self._make, index, step, shard)

    def validation(self, index: int, number: int) -> Batch:
        """Chunk `number` of the held-out samples that are measured: whole images at the stage's
        side, or with view = crop fixed windows, as many as `validation.images`."""
        first = number * CHUNK
        return self._shown(index, range(first, min(first + CHUNK, self.num_measured)))

    def samples(self, index: int) -> Batch:
        """The fixed held-out samples of the grid; too few are repeated, as other windows."""
        return self._shown(index, range(self._num_samples))

    def close(self) -> None:
        """Stop prefetching."""
        self._batches.close()

    def _make(self, index: int, step: int, shard: int) -> Batch:
        numbers = sample_numbers(self._stages[index], step, shard)
        chosen = [self._chosen(index, number) for number in numbers]
        self._trained[index].fetch([one for pair in chosen for one in pair])
        return paired_batch([self._sample(index, number) for number in numbers], numbers)

    def _sample(self, index: int, number: int) -> tuple[Pixels, Pixels]:
        parts = (self._seed, "sample", index, number)
        planes = self._planes(self._trained[index], self._chosen(index, number))
        draws, side = self._draws(*parts), self._stages[index].resolution
        target, source = (self._augmented(p, side, d) for p, d in zip(planes, draws, strict=True))
        return target, self._coloured(source, Draws(*parts, "colour"))

    def _augmented(self, plane: Pixels, side: int, draws: Draws) -> Pixels:
        """A window, mirrored and turned as drawn."""
        made = _window(plane, side, draws)
        if self._mirror and draws.below(2):
            made = made[:, ::-1]
        return np.rot90(made, draws.below(4)) if self._data.rotate else made

    def _shown(self, index: int, numbers: range) -> Batch:
        pairs, side = [], self._stages[index].resolution
        for number in numbers:
            planes = self._planes(self._measured[index], self.held[number % len(self.held)])
            for_target, for_source = self._draws(self._seed, "held out", number)
            pairs.append(
                (_window(planes[0], side, for_target), _window(planes[1], side, for_source))
            )
        return paired_batch(pairs, numbers)

    def _view(self, stage: Stage, *, jitter: bool) -> View:
        """What is packed for a stage: whole images at one size, or the originals."""
        data = self._data
        if data.view == "crop":
            return Bounded(data.max_side)
        return Reduced(max(stage.resolution, data.jitter or 0) if jitter else stage.resolution)

    def _planes(self, opened: Planes, chosen: Chosen) -> tuple[Pixels, Pixels]:
        """Of two files the only plane of each; of one file its two planes, target and source."""
        return opened[chosen[0]][0], opened[chosen[1]][-1]

    def _epoch(self, view: View, side: int, numbers: Sequence[Chosen]) -> Epoch[Chosen]:
        items = self._shares(view, side, numbers)
        if not self._catalog.roots:
            return epoch_of(items, (), ())
        root = dict(zip(self._catalog.train, self._catalog.roots, strict=True))
        return epoch_of(items, [root[pair[0]] for pair in items], self._data.weights)

    def _shares(self, view: View, side: int, numbers: Sequence[Chosen]) -> list[Chosen]:
        """Each as often as it counts in an epoch."""
        if self._data.view == "resize":
            return list(numbers)
        found = []
        for pair in numbers:
            known = self._catalog.images[pair[0]]
            found += [pair] * cells(view.sides(known.height, known.width)[0], side, 1)
        return found

    def _coloured(self, source: Pixels, draws: Draws) -> Pixels:
        return source


class PairedData(TranslationData):
    """Aligned pairs: windows, flips and turns of both sides are the same."""

    def _divided(self, catalog: Catalog) -> tuple[list[list[Chosen]], list[Chosen]]:
        groups: dict[str, dict[int, int]] = {}
        for number in (*catalog.train, *catalog.validation):
            source_image = catalog.images.sources[number]
            if source_image.label is None:  # both are in one file
                groups[source_image.name] = {TARGET: number, SOURCE: number}
            else:
                groups.setdefault(source_image.group, {})[source_image.label] = number
        held = set(catalog.validation)
        pairs = [(group[TARGET], group[SOURCE]) for group in groups.values()]
        train = [pair for pair in pairs if pair[0] not in held]
        return [train], [pair for pair in pairs if pair[0] in held]

    def _chosen(self, index: int, number: int) -> Chosen:
        (epoch,) = self._epochs[index]
        return epoch.at(self._seed, number)

    def _draws(self, *parts: int | str) -> tuple[Draws, Draws]:
        return Draws(*parts), Draws(*parts)

    def _view(self, stage: Stage, *, jitter: bool) -> View:
        data, inner = self._data, super()._view(stage, jitter=jitter)
        assert isinstance(data, PairedSettings) and isinstance(inner, Reduced | Bounded)
        pairing = pairing_of(data)
        if pairing == "edges":
            return Edges(inner, data.edge_sigma)
        if pairing == "side_by_side":
            return SideBySide(inner, data.split_column, data.source_side == "left")
        return inner

    def _coloured(self, source: Pixels, draws: Draws) -> Pixels:
        """With probability `data.colour_jitter`, brightness, contrast and saturation of the source
        times factors in [0.8, 1.2]."""
        assert isinstance(self._data, PairedSettings)
        if between(draws, (0.0, 1.0)) >= self._data.colour_jitter:
            return source
        image = to_image(source)
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = kind(image).enhance(between(draws, (0.8, 1.2)))
        return to_pixels(image)


class UnpairedData(TranslationData):
    """Two sets. An epoch is as long as the larger; the smaller is repeated, and each has an order
    of its own, so that every epoch pairs them anew."""

    def _divided(self, catalog: Catalog) -> tuple[list[list[Chosen]], list[Chosen]]:
        def of(numbers: Numbers, label: int) -> list[int]:
            return numbers.array[catalog.images.labels[numbers.array] == label].tolist()

        sets = [[(n, n) for n in of(catalog.train, label)] for label in (TARGET, SOURCE)]
        targets, sources = (of(catalog.validation, label) for label in (TARGET, SOURCE))
        count = max(len(targets), len(sources))
        held = [(targets[n % len(targets)], sources[n % len(sources)]) for n in range(count)]
        return sets, held

    def _chosen(self, index: int, number: int) -> Chosen:
        found = []
        for epoch, name in zip(self._epochs[index], ("target", "source"), strict=True):
            found.append(epoch.at(derive(self._seed, name), number)[0])
        return found[0], found[1]

    def _draws(self, *parts: int | str) -> tuple[Draws, Draws]:
        return Draws(*parts, "target"), Draws(*parts, "source")


def _window(plane: Pixels, side: int, draws: Draws) -> Pixels:
    """A window of `side` anywhere in a plane."""
    top, left = draw_window(draws, plane.shape[0], plane.shape[1], side)
    return plane[top : top + side, left : left + side]
