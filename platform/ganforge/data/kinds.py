"""The kinds of data sets that a system may ask for by `System.Data`.

A new kind is one file with its class, and one line here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ganforge.data.base import Data, ImageSettings
from ganforge.data.image_dataset import ImageData, LabelledData
from ganforge.data.low_resolution import find_super_resolution
from ganforge.data.paired_sources import find_paired, find_unpaired
from ganforge.data.sources import Folder, Source, check_classes, find_labelled, find_unlabelled
from ganforge.data.split import Catalog
from ganforge.data.super_resolution import SuperResolutionData
from ganforge.data.translation import PairedData, UnpairedData
from ganforge.schedule import Stage
from ganforge.settings import SettingsError


class _Open(Protocol):
    def __call__(
        self,
        catalog: Catalog,
        settings: ImageSettings,
        stages: Sequence[Stage],
        scale: int,
        seed: int,
        *,
        prefetch: bool = True,
    ) -> Data: ...


@dataclass(frozen=True)
class Kind:
    """`find` gives the images of a folder, or without one those of `data.source`, from names and
    headers alone, or one clear SettingsError. `open` makes the data set. `check` refuses what the
    images of all folders together are not."""

    find: Callable[[ImageSettings, Folder | None], Source]
    open: _Open
    check: Callable[[ImageSettings, Source], None] = lambda settings, source: None


def kind_of(name: str) -> Kind:
    """The kind that a system's `Data` names."""
    if name not in KINDS:
        raise SettingsError(
            f"Data = {name!r}: there is no such kind of data set; there are {', '.join(KINDS)}"
        )
    return KINDS[name]


KINDS = {
    "super_resolution": Kind(find_super_resolution, SuperResolutionData),
    "images": Kind(find_unlabelled, ImageData),
    "labelled": Kind(find_labelled, LabelledData, check_classes),
    "paired": Kind(find_paired, PairedData),
    "unpaired": Kind(find_unpaired, UnpairedData),
}
