"""Before training: the driver checks and prepares the images, each worker opens the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from ganforge.data.base import Data, ImageSettings
from ganforge.data.cache import cache_directory
from ganforge.data.folders import find_images
from ganforge.data.kinds import kind_of
from ganforge.data.remembered import remember
from ganforge.data.scan import examine
from ganforge.data.sources import source_setting
from ganforge.data.split import Catalog, open_catalog
from ganforge.schedule import Stage
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class DataFacts:
    """What the driver found, in plain numbers and strings (`dataclasses.asdict` gives JSON).

    `held_out` names the images that are not trained on; the first `num_validation` of them are
    measured. `smallest` and `largest` are (width, height) by area; `epoch_images` are the default
    lengths of an epoch, one per stage. `digests` are the images' names and the sha256 of their
    pixels, by which a changed one can be named. `classes` are named in the order of their labels.
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
    held_out = [catalog.images[number] for number in catalog.validation]
    stages = [Stage(stage.resolution, 1, 0, 1, 1) for stage in settings.stages]
    data = kind_of(kind).open(catalog, settings, stages, scale, seed, prefetch=False)
    sizes = sorted(((p.width, p.height) for p in catalog.images), key=lambda s: (s[0] * s[1], s))
    digests = {known.image.name: known.digest for known in (*catalog.images, *catalog.low)}
    remember(catalog.fingerprint, digests, cache_directory(settings.data))
    return DataFacts(
        fingerprint=catalog.fingerprint,
        num_images=len(catalog.images),
        num_train=len(catalog.train),
        num_validation=data.num_measured,
        held_out=tuple(known.image.name for known in held_out),
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

    `fingerprint` is the driver's; other images here are a SettingsError.
    """
    catalog = _catalog(kind, settings, seed)
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
