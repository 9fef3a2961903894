"""Where pictures come from, and whether they can be used: from names and headers alone."""

from dataclasses import dataclass, replace

from ganforge.data.builtin import builtin_pictures
from ganforge.data.catalog import find_pictures
from ganforge.data.decode import read_header
from ganforge.data.digits import CLASSES as DIGITS
from ganforge.data.digits import digit_pictures
from ganforge.data.picture import Picture
from ganforge.data.sets import open_set
from ganforge.data.settings import DataSettings
from ganforge.data.views import bounded
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class Source:
    """Pictures in order. Labels are numbers of `classes`, of which there are none without labels.

    `mirror`: a mirrored picture is as good as the original, which is not so of digits. `enlarge`:
    the pictures are smaller than networks want them, and are enlarged as a matter of course.
    """

    pictures: tuple[Picture, ...]
    classes: tuple[str, ...] = ()
    mirror: bool = True
    enlarge: bool = False


def place(data: DataSettings) -> str:
    """The setting that says where the pictures are, for messages."""
    return f"data.source = {data.source}" if data.root is None else f"data.root = {data.root}"


def find_source(data: DataSettings, *, labelled: bool = False) -> Source:
    """The pictures that settings name; `labelled` needs classes, which a folder has as sub-folders.

    A folder comes first: `data.source` is what is used without one.
    """
    if data.root is not None:
        pictures = find_pictures(data.root)
        return _by_folder(data, pictures) if labelled else Source(tuple(pictures))
    if data.source == "digits":
        return Source(tuple(digit_pictures()), DIGITS, mirror=False, enlarge=True)
    if data.source == "photographs":
        source = Source(tuple(builtin_pictures()))
    else:
        found = open_set(data)
        source = Source(tuple(found.pictures), found.classes, found.mirror, enlarge=True)
    if labelled and not source.classes:
        raise SettingsError(
            f"{place(data)}: these pictures have no classes; set data.root to a folder with a "
            "sub-folder for each class, or data.source to digits"
        )
    return source


def _by_folder(data: DataSettings, pictures: list[Picture]) -> Source:
    outside = [picture.name for picture in pictures if "/" not in picture.name]
    if outside:
        raise SettingsError(
            f"{place(data)}: {len(outside)} of {len(pictures)} pictures lie outside of sub-folders "
            f"(the first is {outside[0]}), so their class is not known; put each picture into the "
            "folder of its class"
        )
    classes = tuple(sorted({picture.name.partition("/")[0] for picture in pictures}))
    number = {name: label for label, name in enumerate(classes)}
    labelled = (
        replace(picture, label=number[picture.name.partition("/")[0]]) for picture in pictures
    )
    return Source(tuple(labelled), classes)


def check(data: DataSettings, channels: int, needed_side: int, *, labelled: bool = False) -> Source:
    """The pictures, if they can be used for targets of side `needed_side`; else SettingsError.

    Only headers are read, so that thousands of pictures take seconds.
    """
    if channels not in (1, 3):
        raise SettingsError(
            f"channels = {channels}: pictures have 3 (colour) or 1 (grey); set 3 or 1"
        )
    source = find_source(data, labelled=labelled)
    if not source.pictures:
        raise SettingsError(
            f"{place(data)}: has no pictures; put PNG, JPEG, WebP, TIFF or BMP files "
            "there or below it"
        )
    sides = {picture.name: read_header(picture) for picture in source.pictures}
    enlarging = source.enlarge or data.smaller == "enlarge"
    if not (enlarging and data.view == "resize"):
        source = _large_enough(source, sides, data, needed_side)
    if len({picture.group for picture in source.pictures}) < 2:
        raise SettingsError(
            f"{place(data)}: has {len(source.pictures)} picture; at least 2 are needed, "
            "one to train and one held out; add pictures"
        )
    return source


def _large_enough(
    source: Source, sides: dict[str, tuple[int, int]], data: DataSettings, needed_side: int
) -> Source:
    """The pictures of at least `needed_side`: all of them, unless smaller ones are skipped."""
    reduce = data.max_side if data.view == "crop" else None
    large = []
    for picture in source.pictures:
        width, height = sides[picture.name]
        if min(bounded(height, width, reduce)) >= needed_side:
            large.append(picture)
    small = len(source.pictures) - len(large)
    if not small or (data.smaller == "skip" and large):
        return replace(source, pictures=tuple(large))
    kept = set(large)
    first = next(picture for picture in source.pictures if picture not in kept)
    width, height = sides[first.name]
    raise SettingsError(
        f"{place(data)}: {small} of {len(source.pictures)} pictures are smaller than "
        f"the target side of the last stage, {needed_side} (the first is {first.name}, "
        f"{width}×{height}); remove them, set data.smaller = skip, or "
        "end the stages at a smaller resolution"
    )
