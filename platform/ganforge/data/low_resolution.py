"""Which low-resolution image belongs to which high-resolution one, by their names, and whether
their sides do. Names and headers alone are read."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from ganforge.data.base import ImageSettings
from ganforge.data.cache import kept_of
from ganforge.data.images import SourceImage, read_headers, refuse_all
from ganforge.data.inventory import Inventory, converted, counted, skipped
from ganforge.data.listing import list_folder
from ganforge.data.raster import Header
from ganforge.data.sources import (
    Folder,
    Source,
    checked_source,
    find_source,
    find_unlabelled,
    largest_resolution,
)
from ganforge.settings import SettingsError


def find_super_resolution(settings: ImageSettings, folder: Folder | None) -> Source:
    """Images of which no label is used, each with its low-resolution image where those are given;
    else SettingsError, with a line for each image that is in no pair and each pair of wrong sides.
    """
    data = settings.data
    if not data.given_pairs:
        return find_unlabelled(settings, folder)
    if folder is None:
        raise SettingsError(
            f"data.low_resolution_name = {data.low_resolution_name}: needs data.root, the folder "
            "with the high-resolution images; give it by --data"
        )
    found = find_source(data, folder)
    high, low, key, inventory = _two_kinds(settings, folder, found)
    pairs = _pairs(high, low, key, data.low_resolution_name)
    source = checked_source(
        replace(found, images=tuple(pairs)),
        data,
        settings.channels,
        largest_resolution(settings),
        folder,
    )
    used = [image.low for image in source.images if image.low is not None]
    headers = read_headers(used)
    _check_sides(source, headers, key, getattr(settings, "scale", 1))
    return replace(source, inventory=source.inventory + inventory + converted(headers))


def _two_kinds(
    settings: ImageSettings, folder: Folder, found: Source
) -> tuple[list[SourceImage], list[SourceImage], str, Inventory]:
    """High- and low-resolution images, the setting that tells them apart, for messages, and what
    else lies in the folder of the low ones."""
    data, key = settings.data, "data.low_resolution"
    root = data.low_resolution
    if folder.key == "validation.root":
        key, root = "validation.low_resolution", settings.validation.low_resolution
        if root is None and data.low_resolution is not None:
            raise SettingsError(
                f"{key} = none: must be the folder with the low-resolution images of {folder}, "
                "since data.low_resolution is given; name it"
            )
    if root is not None:
        listing = list_folder(root, kept_of(data), key)
        low = [SourceImage(f"{key}/{name}", path) for name, path in listing.images.items()]
        return list(found.images), low, f"{key} = {root}", skipped(listing, f"{key}/")
    named = _pattern(data.low_resolution_name)
    high = [image for image in found.images if not named.fullmatch(_stem(image.name))]
    low = [image for image in found.images if named.fullmatch(_stem(image.name))]
    return high, low, f"data.low_resolution_name = {data.low_resolution_name}", Inventory()


def _pairs(
    high: Sequence[SourceImage], low: Sequence[SourceImage], key: str, template: str
) -> list[SourceImage]:
    """The high-resolution images, each with its low one; suffixes may differ."""
    sources: dict[str, list[SourceImage]] = {}
    for image in low:
        below = image.name.removeprefix(f"{key.partition(' = ')[0]}/")
        sources.setdefault(_stem(below), []).append(image)
    targets: dict[str, list[SourceImage]] = {}
    for image in high:
        targets.setdefault(_expected(_stem(image.name), template), []).append(image)
    errors, pairs = [], []
    for name in dict.fromkeys([*targets, *sources]):
        highs, lows = targets.get(name, []), sources.get(name, [])
        if len(highs) > 1 or len(lows) > 1:
            names = ", ".join(image.name for image in (*highs, *lows))
            errors.append(
                f"{key}: {names} could be a pair in several ways; each name must be there once "
                "at either resolution, so rename or remove the others"
            )
        elif not lows:
            errors.append(
                f"{key}: {highs[0].name} has no low-resolution image; it must be called {name} "
                "with an image's suffix, so add or rename it"
            )
        elif not highs:
            errors.append(
                f"{key}: {lows[0].name} belongs to no high-resolution image; rename or remove it"
            )
        else:
            pairs.append(replace(highs[0], low=lows[0]))
    refuse_all(errors)
    return pairs


def _check_sides(source: Source, headers: dict[str, Header], key: str, scale: int) -> None:
    """A low side is that of the high image by the scale, rounded either way."""
    errors = []
    for image in source.images:
        assert image.low is not None
        one, other = source.inventory.used[image.name], headers[image.low.name]
        sides = ((one.width, other.width), (one.height, other.height))
        if any(low not in (high // scale, -(-high // scale)) for high, low in sides):
            must = " × ".join(
                f"{high // scale}{f' or {high // scale + 1}' if high % scale else ''}"
                for high, _ in sides
            )
            errors.append(
                f"{key}: {image.low.name} is {other.width}×{other.height} and {image.name} "
                f"{one.width}×{one.height}; at scale = {scale} it must be {must}; make it again, "
                "or set the scale that the images have"
            )
    refuse_all(errors)


def pair_lines(source: Source) -> list[str]:
    """Of given pairs: how many, their scale, and which high-resolution images are cut for it."""
    pairs = [(image, image.low) for image in (*source.images, *source.held_out) if image.low]
    if not pairs:
        return []
    used, cut, scale = source.inventory.used, [], 1
    for image, low in pairs:
        one, other = used[image.name], used[low.name]
        scale = round(one.width / other.width)
        if one.width % scale or one.height % scale:
            sides = one.width // scale * scale, one.height // scale * scale
            cut.append(f"{image.name} to {sides[0]}×{sides[1]}")
    more = f"; cut: {counted('image', cut)}" if cut else ""
    return [f"pairs         {len(pairs)} of high and low resolution, scale {scale}{more}"]


def _expected(name: str, template: str) -> str:
    """The low-resolution name of `folder/name`: the template is for the name without folders."""
    path = PurePosixPath(name)
    return str(path.with_name(template.replace("{name}", path.name)))


def _pattern(template: str) -> re.Pattern[str]:
    before, _, after = template.partition("{name}")
    return re.compile(rf"(?:.*/)?{re.escape(before)}[^/]+{re.escape(after)}", re.DOTALL)


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
