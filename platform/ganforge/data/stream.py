"""The data set of super-resolution systems."""

from collections.abc import Sequence

from ganforge.data.base import ImageSettings
from ganforge.data.batch import Batch
from ganforge.data.decode import Pixels
from ganforge.data.degrade import degrade
from ganforge.data.fingerprint import Catalog
from ganforge.data.pairs import Pairs, epoch_images, open_sets, to_batch, window
from ganforge.data.prefetch import Prefetch
from ganforge.schedule import Stage


class SuperResolutionData:
    """Batches of (source, target), validation and sample images; `Data` states the contract."""

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
        held_out = settings.validation
        self._degradation, self._scale, self._seed = settings.data.degradation, scale, seed
        self.fingerprint = catalog.fingerprint
        self.num_train = len(catalog.train)
        resolutions = [stage.resolution for stage in stages]
        self._sets, self._measured = open_sets(catalog, settings, resolutions, scale)
        self.num_validation = self.num_measured = len(self._measured)
        self.epoch_images = tuple(
            epoch_images(catalog, settings.data, r, scale) for r in resolutions
        )
        pairs = Pairs(catalog, settings.data, tuple(stages), self._sets, scale, seed)
        self._prefetch = Prefetch(pairs.batch, tuple(stages)) if prefetch else None
        self._make = self._prefetch or pairs.batch

        self._grid = catalog.validation[: held_out.samples]
        self._grid_low = resolutions[-1] // scale if settings.data.view == "crop" else None

    def batch(self, index: int, step: int, shard: int) -> Batch:
        """One shard at a step of stage `index`: source (n, C, r/s, r/s) and target (n, C, r, r),
        float32 in [-1, 1], and sample numbers (n,)."""
        return self._make(index, step, shard)

    def validation(self, index: int, number: int) -> Batch:
        """Held-out image `number`, the same at every stage, at its own resolution, cut to the
        centre of `validation.max_side`: target (1, C, H, W), source (1, C, H/s, W/s)."""
        target, source = self._measured[number]
        pair = self._degraded(target, source, number)
        return to_batch([pair], range(number, number + 1))

    def samples(self, index: int) -> Batch:
        """The fixed held-out images of the sample grid, as many as there are.

        view = resize: whole images at this stage's size. view = crop: the centre at the last
        stage's size, so that the grids of all stages show the same place.
        """
        pairs = []
        for place, number in enumerate(self._grid):
            target, source = self._sets[index][number]
            target, source = self._degraded(target, source, place)
            if self._grid_low is not None:
                low = self._grid_low
                top, left = (source.shape[0] - low) // 2, (source.shape[1] - low) // 2
                target, source = window((target, source), top, left, low)
            pairs.append((target, source))
        return to_batch(pairs, range(len(pairs)))

    def _degraded(self, target: Pixels, source: Pixels, number: int) -> tuple[Pixels, Pixels]:
        """Held-out images are made as those trained on are, with draws of their own."""
        if self._degradation.active:
            place = (self._seed, "held out", number)
            source = degrade(target, self._scale, self._degradation, *place)
        return target, source

    def close(self) -> None:
        """Stop prefetching."""
        if self._prefetch is not None:
            self._prefetch.close()
