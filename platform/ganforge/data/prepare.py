"""Before training: the driver checks and prepares the images, each worker opens the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from ganforge.data.base import Data, ImageSettings
from ganforge.data.cache import cache_directory
from ganforge.data.catalog import Catalog
from ganforge.data.folders import find_images
from ganforge.data.kinds import kind_of
from ganforge.data.scan import examine
from ganforge.data.sources import source_setting
from ganforge.data.split import open_catalog
from ganforge.data.stored_catalog import store_catalog, stored_catalog
from ganforge.schedule import Stage
from ganforge.settings import SettingsError

#: of more images no names and hashes travel with a run: a million are a hundred megabytes
MOST_NAMED = 50_000


@dataclass(frozen=True)
class DataFacts:
    """What the driver found, in plain numbers and strings (`dataclasses.asdict` gives JSON).

    `held_out` names the images that are not trained on; the first `num_validation` of them are
    measured. `smallest` and `largest` are (width, height) by area; `epoch_images` are the default
    lengths of an epoch, one per stage. `digests` are the images' names and the sha256 of their
    pixels, by which a changed one can be named. `classes` are named in the order of their labels.
    Of more than MOST_NAMED images there are neither `digests` nor `held_out`: what every trial
    takes along does not grow with them (data/stored_catalog.py has the digests on this machine).
    """

    fingerprint: str
    num_images: int
    num_train: int
    num_validation: int
    held_out: tuple[str, ...]
    smallest: tuple[int, int]
    largest: tuple[int, int]
    epoch_images: tuple[int, ...]
    digests: tuple[tuple[str, str], ...] = ()
    classes: tuple[str, ...] = ()


def prepare_data(kind: str, settings: ImageSettings, scale: int, seed: int) -> DataFacts:
    """Check, decode, split and pack the images, once, in the driver."""
    for number, stage in enumerate(settings.stages):
        if stage.resolution % scale:
            raise SettingsError(
                f"stages.{number}.resolution = {stage.resolution}: must be a multiple of the "
                f"scale ({scale})"
            )
    if settings.data.strict:
        examine(find_images(kind, settings), settings.data)
    catalog = _catalog(kind, settings, seed)
    stages = [Stage(stage.resolution, 1, 0, 1, 1) for stage in settings.stages]
    data = kind_of(kind).open(catalog, settings, stages, scale, seed, prefetch=False)
    sizes = sorted(
        ((width, height) for height, width in catalog.images.sizes[0]),
        key=lambda size: (size[0] * size[1], size),
    )
    digests: dict[str, str] = {}
    held_out = list[str]()
    if len(catalog.images) <= MOST_NAMED:
        held_out = [catalog.images.sources[number].name for number in catalog.validation]
        for table in (catalog.images, catalog.low):
            digests |= zip(table.names(), table.hexadecimal(), strict=True)
    store_catalog(catalog, kind, settings, cache_directory(settings.data))
    return DataFacts(
        fingerprint=catalog.fingerprint,
        num_images=len(catalog.images),
        num_train=len(catalog.train),
        num_validation=data.num_measured,
        held_out=tuple(held_out),
        smallest=sizes[0],
        largest=sizes[-1],
        epoch_images=data.epoch_images,
        digests=tuple(digests.items()),
        classes=catalog.classes,
    )


def open_data(
    kind: str,
    settings: ImageSettings,
    stages: Sequence[Stage],
    scale: int,
    seed: int,
    fingerprint: str | None = None,
    *,
    prefetch: bool = True,
) -> Data:
    """The data of a run, in any process; what was packed on this machine is reused.

    `fingerprint` is the driver's; other images here are a SettingsError. Where this machine has
    verified images of that fingerprint in these folders, they are not read again.
    """
    directory, catalog = cache_directory(settings.data), None
    if fingerprint is not None:
        catalog = stored_catalog(fingerprint, kind, settings, directory)
    if catalog is None:
        catalog = _catalog(kind, settings, seed)
        if catalog.fingerprint == fingerprint:
            store_catalog(catalog, kind, settings, directory)
    if fingerprint is not None and catalog.fingerprint != fingerprint:
        raise SettingsError(
            f"{source_setting(settings.data)}: the images on this machine (fingerprint "
            f"{catalog.fingerprint[:12]}, {len(catalog.images)} images) are not the driver's "
            f"({fingerprint[:12]}); every machine needs the same files and the same Pillow: copy "
            "the folder again"
        )
    return kind_of(kind).open(catalog, settings, stages, scale, seed, prefetch=prefetch)


def _catalog(kind: str, settings: ImageSettings, seed: int) -> Catalog:
    source = find_images(kind, settings)
    directory = cache_directory(settings.data)
    return open_catalog(source, settings.validation.fraction, seed, directory)
