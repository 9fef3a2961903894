"""Which images are sources and which are targets. Names and headers alone are read."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ganforge.data.base import ImageSettings
from ganforge.data.images import SourceImage, find_images, read_header
from ganforge.data.settings import PairedSettings
from ganforge.data.sources import (
    Source,
    builtin_photographs,
    check_channels,
    largest_resolution,
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
Sides = dict[str, tuple[int, int]]  # width and height by name


def pairing_of(data: PairedSettings) -> str:
    """How pairs are made: `data.pairing` with auto resolved."""
    if data.pairing != "auto":
        return data.pairing
    return "edges" if data.root is None else "folders"


def find_paired(settings: ImageSettings) -> Source:
    """Images that are pairs: two files of one scene, or one file; else SettingsError."""
    data = settings.data
    assert isinstance(data, PairedSettings)
    pairing, side = pairing_of(data), largest_resolution(settings)
    if pairing == "edges":
        if data.view == "resize":
            data = data.model_copy(update={"smaller": "enlarge"})
        return usable_source(data, settings.channels, side)
    if data.root is None:
        raise SettingsError(
            f"data.pairing = {pairing}: needs data.root, the folder with the pairs; the built-in "
            "photographs can only be used with edges"
        )
    if pairing == "side_by_side":
        return _side_by_side(settings, data, side)
    sources, targets = _two_folders(settings)
    by_key = {_key(image): image for image in targets}
    alone = sorted({_key(image) for image in sources} ^ by_key.keys())
    if alone:
        raise SettingsError(
            f"data.root = {data.root}: {len(alone)} images are in only one of source/ and "
            f"target/ (the first is {alone[0]}); give both the same name, or remove them"
        )
    pairs = [p for one in sources for p in (one, by_key[_key(one)])]
    found = tuple(replace(image, scene=_key(image)) for image in pairs)
    sides = {image.name: read_header(image) for image in found}
    for source, target in zip(found[::2], found[1::2], strict=True):
        if data.view == "crop" and sides[source.name] != sides[target.name]:
            raise SettingsError(
                f"data.root = {data.root}: {source.name} is {_size(sides[source.name])}, "
                f"{target.name} {_size(sides[target.name])}: windows of data.view = crop need "
                "equal sides; set data.view = resize"
            )
    _check(settings, found, sides, side)
    return Source(found, _NAMES)


def find_unpaired(settings: ImageSettings) -> Source:
    """Images of two sets, by their labels; else SettingsError."""
    if settings.data.root is None:
        known = {image.name: image for image in builtin_photographs()}
        found = [
            replace(known[name], label=label)
            for label, domain in enumerate(_NAMES)
            for name in DOMAINS[domain]
        ]
    else:
        sources, targets = _two_folders(settings)
        found = [*sources, *targets]
        for name, images in zip(_NAMES, (sources, targets), strict=True):
            if len(images) < 2:
                raise SettingsError(
                    f"data.root = {settings.data.root}: {name}/ has {len(images)} image; at "
                    "least 2 are needed, one to train and one held out; add images"
                )
    sides = {image.name: read_header(image) for image in found}
    _check(settings, found, sides, largest_resolution(settings))
    return Source(tuple(found), _NAMES)


def _two_folders(settings: ImageSettings) -> tuple[list[SourceImage], list[SourceImage]]:
    root = settings.data.root
    assert root is not None
    folder, found = Path(root).expanduser(), []
    if folder.is_dir() and not all((folder / name).is_dir() for name in _NAMES):
        other = (
            "; or set data.pairing = side_by_side for files with both images, or edges for "
            "photographs alone"
        )
        raise SettingsError(
            f"data.root = {root}: has no folders source/ and target/; put what the generator is "
            "given into source/ and what it should make into target/"
            + (other if isinstance(settings.data, PairedSettings) else "")
        )
    for label, name in enumerate(_NAMES):
        images = find_images(str(folder / name) if folder.is_dir() else root)
        if not images:
            raise SettingsError(f"data.root = {root}: {name}/ has no images")
        found.append([replace(p, name=f"{name}/{p.name}", label=label) for p in images])
    return found[0], found[1]


def _side_by_side(settings: ImageSettings, data: PairedSettings, side: int) -> Source:
    assert data.root is not None
    images = find_images(data.root)
    if not images:
        raise SettingsError(f"data.root = {data.root}: has no images")
    narrower: Sides = {}
    for image in images:
        width, height = read_header(image)
        column = width // 2 if data.split_column is None else data.split_column
        if column >= width or (data.view == "crop" and 2 * column != width):
            equal = " and the halves of data.view = crop equal" if column < width else ""
            raise SettingsError(
                f"data.split_column = {column}: {image.name} is {width} pixels wide; the column "
                f"must lie inside{equal}; change it, or remove the file"
            )
        narrower[image.name] = min(column, width - column), height
    _check(settings, images, narrower, side)
    return Source(tuple(images))


def _check(
    settings: ImageSettings, images: Sequence[SourceImage], sides: Sides, needed: int
) -> None:
    """Colour or grey, large enough, and at least two of them."""
    data = settings.data
    root = "none" if data.root is None else data.root
    check_channels(settings.channels)
    if len({image.group for image in images}) < 2:
        raise SettingsError(
            f"data.root = {root}: has one pair; at least 2 are needed, one to train and one held "
            "out; add images"
        )
    for name, (width, height) in sides.items():
        if data.view == "crop" and min(bounded(height, width, data.max_side)) < needed:
            raise SettingsError(
                f"data.root = {root}: {name} is {width}×{height}, smaller than the windows of the "
                f"stages ({needed}); remove it, set data.view = resize, or end at a smaller "
                "resolution"
            )


def _key(image: SourceImage) -> str:
    """The name below source/ or target/, without its suffix: formats may differ."""
    return str(PurePosixPath(image.name.partition("/")[2]).with_suffix(""))


def _size(sides: tuple[int, int]) -> str:
    return f"{sides[0]}×{sides[1]}"
