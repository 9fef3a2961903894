"""Which images are sources and which are targets. Names and headers alone are read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ganforge.data.base import ImageSettings
from ganforge.data.cache import kept_of
from ganforge.data.image_set import is_set
from ganforge.data.images import SourceImage, read_headers
from ganforge.data.inventory import Inventory, converted, skipped
from ganforge.data.listing import list_folder
from ganforge.data.raster import Header
from ganforge.data.settings import PairedSettings
from ganforge.data.sources import (
    Folder,
    Source,
    builtin_photographs,
    check_channels,
    largest_resolution,
    source_setting,
    usable_source,
)
from ganforge.data.views import bounded
from ganforge.settings import SettingsError

#: Labels of the two kinds.
SOURCE, TARGET = 0, 1
_NAMES = ("source", "target")
#: Two domains of photographs with different colours and subjects: warm close-ups, and cool
#: images of distant things.
DOMAINS = {
    "source": (
        "skimage/chelsea.png",
        "skimage/coffee.png",
        "skimage/ihc.png",
        "skimage/retina.jpg",
    ),
    "target": (
        "skimage/hubble_deep_field.jpg",
        "skimage/rocket.jpg",
        "sklearn/china.jpg",
        "sklearn/flower.jpg",
    ),
}
Headers = dict[str, Header]  # by name


def pairing_of(data: PairedSettings) -> str:
    """How pairs are made: `data.pairing` with auto resolved."""
    if data.pairing != "auto":
        return data.pairing
    return "folders" if data.root is not None or data.roots else "edges"


def find_paired(settings: ImageSettings, folder: Folder | None) -> Source:
    """Images that are pairs: two files of one scene, or one file; else SettingsError."""
    data = settings.data
    assert isinstance(data, PairedSettings)
    pairing, side = pairing_of(data), largest_resolution(settings)
    if pairing == "edges":
        if data.view == "resize":
            data = data.model_copy(update={"smaller": "enlarge"})
        return usable_source(data, settings.channels, side, folder)
    if folder is None:
        raise SettingsError(
            f"data.pairing = {pairing}: needs data.root, the folder with the pairs; the built-in "
            "photographs can only be used with edges"
        )
    if pairing == "side_by_side":
        return _side_by_side(settings, data, folder, side)
    sources, targets, inventory = _two_folders(settings, folder)
    found = _pairs(sources, targets, folder)
    headers = read_headers(found)
    for source, target in zip(found[::2], found[1::2], strict=True):
        one, other = headers[source.name], headers[target.name]
        if data.view == "crop" and (one.width, one.height) != (other.width, other.height):
            raise SettingsError(
                f"{folder}: {source.name} is {_size(one)}, "
                f"{target.name} {_size(other)}: windows of data.view = crop need "
                "equal sides; set data.view = resize"
            )
    _check(settings, folder, found, _sides(headers), side)
    return Source(found, _NAMES, inventory=inventory + converted(headers))


def _pairs(
    sources: Sequence[SourceImage], targets: Sequence[SourceImage], folder: Folder
) -> tuple[SourceImage, ...]:
    """Source, target, source, target, …: two files of one name are a pair, with its suffix or, if
    there is only one on each side, without."""
    names = [_below(image) for image in sources]
    whole = {_below(image): image for image in targets}
    stems = [Counter(_key(image) for image in images) for images in (sources, targets)]
    found: list[SourceImage] = []
    alone, unclear = [], []
    by_key = {_key(image): image for image in targets}
    for name, source in zip(names, sources, strict=True):
        key = _key(source)
        several = max(stem[key] for stem in stems) > 1
        target = whole.get(name) if several else by_key.get(key)
        if target is None:
            (unclear if several and stems[1][key] else alone).append(source.name)
        else:
            scene = f"{name}/" if several else key  # never another pair's
            found += [replace(image, scene=scene) for image in (source, target)]
    used = {_below(image) for image in found[1::2]}
    for name, target in whole.items():
        if name not in used:
            (unclear if stems[0][_key(target)] else alone).append(target.name)
    if unclear:
        raise SettingsError(
            f"{folder}: {len(unclear)} images could belong to several of the other "
            f"folder (the first is {min(unclear)}): where source/ or target/ holds a name with two "
            "suffixes, pairs need the same suffix; rename or remove them"
        )
    if alone:
        raise SettingsError(
            f"{folder}: {len(alone)} images are in only one of source/ and "
            f"target/ (the first is {min(alone)}); give both the same name, or remove them"
        )
    return tuple(found)


def find_unpaired(settings: ImageSettings, folder: Folder | None) -> Source:
    """Images of two sets, by their labels; else SettingsError."""
    inventory = Inventory()
    if folder is None:
        known = {image.name: image for image in builtin_photographs()}
        found = [
            replace(known[name], label=label)
            for label, domain in enumerate(_NAMES)
            for name in DOMAINS[domain]
        ]
    else:
        sources, targets, inventory = _two_folders(settings, folder)
        found = [*sources, *targets]
        for name, images in zip(_NAMES, (sources, targets), strict=True):
            if len(images) < folder.least:
                raise SettingsError(
                    f"{folder}: {name}/ has {len(images)} image; at least 2 are needed, one to "
                    "train and one held out; add images"
                )
    headers = read_headers(found)
    _check(settings, folder, found, _sides(headers), largest_resolution(settings))
    return Source(tuple(found), _NAMES, inventory=inventory + converted(headers))


def _two_folders(
    settings: ImageSettings, folder: Folder
) -> tuple[list[SourceImage], list[SourceImage], Inventory]:
    root, found, inventory = Path(folder.path).expanduser(), [], Inventory()
    packed = is_set(folder.path)
    if not packed and root.is_dir() and not all((root / name).is_dir() for name in _NAMES):
        other = (
            "; or set data.pairing = side_by_side for files with both images, or edges for "
            "photographs alone"
        )
        raise SettingsError(
            f"{folder}: has no folders source/ and target/; put what the generator is "
            "given into source/ and what it should make into target/"
            + (other if isinstance(settings.data, PairedSettings) else "")
        )
    for label, name in enumerate(_NAMES):
        below = name if packed or root.is_dir() else ""
        listing = list_folder(folder.path, kept_of(settings.data), folder.key, below)
        if not listing.images:
            raise SettingsError(f"{folder}: {name}/ has no images")
        found.append(
            [
                SourceImage(f"{name}/{below}", path, label=label)
                for below, path in listing.images.items()
            ]
        )
        inventory += skipped(listing, f"{name}/")
    return found[0], found[1], inventory


def _side_by_side(
    settings: ImageSettings, data: PairedSettings, folder: Folder, side: int
) -> Source:
    listing = list_folder(folder.path, kept_of(data), folder.key)
    images = [SourceImage(name, path) for name, path in listing.images.items()]
    if not images:
        raise SettingsError(f"{folder}: has no images")
    headers = read_headers(images)
    narrower: dict[str, tuple[int, int]] = {}
    for image in images:
        width, height = headers[image.name].width, headers[image.name].height
        column = width // 2 if data.split_column is None else data.split_column
        if column >= width or (data.view == "crop" and 2 * column != width):
            equal = " and the halves of data.view = crop equal" if column < width else ""
            raise SettingsError(
                f"data.split_column = {column}: {image.name} is {width} pixels wide; the column "
                f"must lie inside{equal}; change it, or remove the file"
            )
        narrower[image.name] = min(column, width - column), height
    _check(settings, folder, images, narrower, side)
    return Source(tuple(images), inventory=skipped(listing) + converted(headers))


def _check(
    settings: ImageSettings,
    folder: Folder | None,
    images: Sequence[SourceImage],
    sides: Mapping[str, tuple[int, int]],
    needed: int,
) -> None:
    """Colour or grey, large enough, and enough of them."""
    data = settings.data
    here = source_setting(data) if folder is None else str(folder)
    check_channels(settings.channels)
    if len({image.group for image in images}) < (folder.least if folder else 2):
        raise SettingsError(
            f"{here}: has one pair; at least 2 are needed, one to train and one held "
            "out; add images"
        )
    for name, (width, height) in sides.items():
        if data.view == "crop" and min(bounded(height, width, data.max_side)) < needed:
            raise SettingsError(
                f"{here}: {name} is {width}×{height}, smaller than the windows of the "
                f"stages ({needed}); remove it, set data.view = resize, or end at a smaller "
                "resolution"
            )


def _key(image: SourceImage) -> str:
    """The name below source/ or target/, without its suffix: formats may differ."""
    return str(PurePosixPath(_below(image)).with_suffix(""))


def _below(image: SourceImage) -> str:
    """The name below source/ or target/."""
    return image.name.partition("/")[2]


def _sides(headers: Headers) -> dict[str, tuple[int, int]]:
    return {name: (header.width, header.height) for name, header in headers.items()}


def _size(header: Header) -> str:
    return f"{header.width}×{header.height}"
