"""The kinds of data sets that a system may ask for by `System.Data`.

A new kind is one file with its class, and one line here.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ganforge.data.base import Data, ImageSettings
from ganforge.data.domains import find_paired, find_unpaired
from ganforge.data.images import ImageData, LabelledData
from ganforge.data.sources import Source, check, place
from ganforge.data.stream import SuperResolutionData
from ganforge.data.translation import PairedData, UnpairedData
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class Kind:
    """`find` gives the images from names and headers alone, or one clear SettingsError; `open`
    makes the data set of (catalog, settings, stages, scale, seed, *, prefetch)."""

    find: Callable[[ImageSettings], Source]
    open: Callable[..., Data]


def kind_of(name: str) -> Kind:
    """The kind that a system's `Data` names."""
    if name not in KINDS:
        raise SettingsError(
            f"Data = {name!r}: there is no such kind of data set; there are {', '.join(KINDS)}"
        )
    return KINDS[name]


def _images(settings: ImageSettings) -> Source:
    return check(settings.data, settings.channels, _needed_side(settings))


def _labelled(settings: ImageSettings) -> Source:
    """Images of as many classes as the system has labels for (`num_classes`, if it says)."""
    source = check(settings.data, settings.channels, _needed_side(settings), labelled=True)
    here = place(settings.data)
    wanted = getattr(settings, "num_classes", len(source.classes))
    if len(source.classes) != wanted:
        names = ", ".join(source.classes[:5]) + (", …" if len(source.classes) > 5 else "")
        raise SettingsError(
            f"num_classes = {wanted}: {here} has {len(source.classes)} classes ({names}); "
            f"set num_classes = {len(source.classes)}, or give other images"
        )
    labels = [image.label for image in source.images]
    for number, name in enumerate(source.classes):
        if labels.count(number) < 2:
            raise SettingsError(
                f"{here}: class {name} has {labels.count(number)} usable images; at least 2 are "
                "needed, one to train and one held out; add images or remove the class"
            )
    return source


def _needed_side(settings: ImageSettings) -> int:
    return max(stage.resolution for stage in settings.stages)


KINDS = {
    "super_resolution": Kind(_images, SuperResolutionData),
    "images": Kind(_images, ImageData),
    "labelled": Kind(_labelled, LabelledData),
    "paired": Kind(find_paired, PairedData),
    "unpaired": Kind(find_unpaired, UnpairedData),
}
