"""Where images come from, and whether they can be used: from names and headers alone."""

from dataclasses import dataclass, replace

from ganforge.data.builtin import builtin_images
from ganforge.data.catalog import find_images
from ganforge.data.decode import read_header
from ganforge.data.digits import CLASSES as DIGITS
from ganforge.data.digits import digit_images
from ganforge.data.sets import open_set
from ganforge.data.settings import DataSettings
from ganforge.data.source_image import SourceImage
from ganforge.data.views import bounded
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class Source:
    """Images in order. Labels are numbers of `classes`, of which there are none without labels.

    `mirror`: a mirrored image is as good as the original, which is not so of digits. `enlarge`:
    the images are smaller than networks want them, and are enlarged as a matter of course.
    """

    images: tuple[SourceImage, ...]
    classes: tuple[str, ...] = ()
    mirror: bool = True
    enlarge: bool = False


def place(data: DataSettings) -> str:
    """The setting that says where the images are, for messages."""
    return f"data.source = {data.source}" if data.root is None else f"data.root = {data.root}"


def find_source(data: DataSettings, *, labelled: bool = False) -> Source:
    """The images that settings name; `labelled` needs classes, which a folder has as sub-folders.

    A folder comes first: `data.source` is what is used without one.
    """
    if data.root is not None:
        images = find_images(data.root)
        return _by_folder(data, images) if labelled else Source(tuple(images))
    if data.source == "digits":
        return Source(tuple(digit_images()), DIGITS, mirror=False, enlarge=True)
    if data.source == "photographs":
        source = Source(tuple(builtin_images()))
    else:
        found = open_set(data)
        source = Source(tuple(found.images), found.classes, found.mirror, enlarge=True)
    if labelled and not source.classes:
        raise SettingsError(
            f"{place(data)}: these images have no classes; set data.root to a folder with a "
            "sub-folder for each class, or data.source to digits"
        )
    return source


def _by_folder(data: DataSettings, images: list[SourceImage]) -> Source:
    outside = [image.name for image in images if "/" not in image.name]
    if outside:
        raise SettingsError(
            f"{place(data)}: {len(outside)} of {len(images)} images lie outside of sub-folders "
            f"(the first is {outside[0]}), so their class is not known; put each image into the "
            "folder of its class"
        )
    classes = tuple(sorted({image.name.partition("/")[0] for image in images}))
    number = {name: label for label, name in enumerate(classes)}
    labelled = (replace(image, label=number[image.name.partition("/")[0]]) for image in images)
    return Source(tuple(labelled), classes)


def check(data: DataSettings, channels: int, needed_side: int, *, labelled: bool = False) -> Source:
    """The images, if they can be used for targets of side `needed_side`; else SettingsError.

    Only headers are read, so that thousands of images take seconds.
    """
    if channels not in (1, 3):
        raise SettingsError(
            f"channels = {channels}: images have 3 (colour) or 1 (grey); set 3 or 1"
        )
    source = find_source(data, labelled=labelled)
    if not source.images:
        raise SettingsError(
            f"{place(data)}: has no images; put PNG, JPEG, WebP, TIFF or BMP files "
            "there or below it"
        )
    sides = {image.name: read_header(image) for image in source.images}
    enlarging = source.enlarge or data.smaller == "enlarge"
    if not (enlarging and data.view == "resize"):
        source = _large_enough(source, sides, data, needed_side)
    if len({image.group for image in source.images}) < 2:
        raise SettingsError(
            f"{place(data)}: has {len(source.images)} image; at least 2 are needed, "
            "one to train and one held out; add images"
        )
    return source


def _large_enough(
    source: Source, sides: dict[str, tuple[int, int]], data: DataSettings, needed_side: int
) -> Source:
    """The images of at least `needed_side`: all of them, unless smaller ones are skipped."""
    reduce = data.max_side if data.view == "crop" else None
    large = []
    for image in source.images:
        width, height = sides[image.name]
        if min(bounded(height, width, reduce)) >= needed_side:
            large.append(image)
    small = len(source.images) - len(large)
    if not small or (data.smaller == "skip" and large):
        return replace(source, images=tuple(large))
    kept = set(large)
    first = next(image for image in source.images if image not in kept)
    width, height = sides[first.name]
    raise SettingsError(
        f"{place(data)}: {small} of {len(source.images)} images are smaller than "
        f"the target side of the last stage, {needed_side} (the first is {first.name}, "
        f"{width}×{height}); remove them, set data.smaller = skip, or "
        "end the stages at a smaller resolution"
    )
