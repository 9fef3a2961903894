"""Which pictures are sources and which are targets: from names and headers alone."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

from ganforge.data.base import PictureSettings
from ganforge.data.builtin import DOMAINS, builtin_pictures
from ganforge.data.catalog import find_pictures
from ganforge.data.decode import read_header
from ganforge.data.picture import Picture
from ganforge.data.settings import PairedSettings
from ganforge.data.sources import Source, check
from ganforge.data.views import bounded
from ganforge.settings import SettingsError

#: Labels of the two kinds.
SOURCE, TARGET = 0, 1
_NAMES = ("source", "target")
Sides = dict[str, tuple[int, int]]  # width and height by name


def pairing_of(data: PairedSettings) -> str:
    """How pairs are made: `data.pairing`, or what it stands for."""
    if data.pairing != "auto":
        return data.pairing
    return "edges" if data.root is None else "folders"


def find_paired(settings: PictureSettings) -> Source:
    """Pictures that are pairs: two files of one scene, or one file; else SettingsError."""
    data = settings.data
    assert isinstance(data, PairedSettings)
    pairing, side = pairing_of(data), _needed_side(settings)
    if pairing == "edges":
        if data.view == "resize":
            data = data.model_copy(update={"smaller": "enlarge"})
        return check(data, settings.channels, side)
    if data.root is None:
        raise SettingsError(
            f"data.pairing = {pairing}: needs data.root, the folder with the pairs; the built-in "
            "photographs have edges alone"
        )
    if pairing == "side_by_side":
        return _side_by_side(settings, data, side)
    sources, targets = _two_folders(settings)
    by_key = {_key(picture): picture for picture in targets}
    alone = sorted({_key(picture) for picture in sources} ^ by_key.keys())
    if alone:
        raise SettingsError(
            f"data.root = {data.root}: {len(alone)} pictures are in only one of source/ and "
            f"target/ (the first is {alone[0]}); give both the same name, or remove them"
        )
    pairs = [p for one in sources for p in (one, by_key[_key(one)])]
    found = tuple(replace(picture, scene=_key(picture)) for picture in pairs)
    sides = {picture.name: read_header(picture) for picture in found}
    for source, target in zip(found[::2], found[1::2], strict=True):
        if data.view == "crop" and sides[source.name] != sides[target.name]:
            raise SettingsError(
                f"data.root = {data.root}: {source.name} is {_size(sides[source.name])}, "
                f"{target.name} {_size(sides[target.name])}: windows of data.view = crop need "
                "equal sides; set data.view = resize"
            )
    _check(settings, found, sides, side)
    return Source(found, _NAMES)


def find_unpaired(settings: PictureSettings) -> Source:
    """Pictures of two sets, by their labels; else SettingsError."""
    if settings.data.root is None:
        known = {picture.name: picture for picture in builtin_pictures()}
        found = [
            replace(known[name], label=label)
            for label, domain in enumerate(_NAMES)
            for name in DOMAINS[domain]
        ]
    else:
        sources, targets = _two_folders(settings)
        found = [*sources, *targets]
        for name, pictures in zip(_NAMES, (sources, targets), strict=True):
            if len(pictures) < 2:
                raise SettingsError(
                    f"data.root = {settings.data.root}: {name}/ has {len(pictures)} picture; at "
                    "least 2 are needed, one to train and one held out; add pictures"
                )
    sides = {picture.name: read_header(picture) for picture in found}
    _check(settings, found, sides, _needed_side(settings))
    return Source(tuple(found), _NAMES)


def _needed_side(settings: PictureSettings) -> int:
    return max(stage.resolution for stage in settings.stages)


def _two_folders(settings: PictureSettings) -> tuple[list[Picture], list[Picture]]:
    root = settings.data.root
    assert root is not None
    folder, found = Path(root).expanduser(), []
    if folder.is_dir() and not all((folder / name).is_dir() for name in _NAMES):
        other = (
            "; or set data.pairing = side_by_side for files with both halves, or edges for "
            "photographs alone"
        )
        raise SettingsError(
            f"data.root = {root}: has no folders source/ and target/; put what the generator is "
            "given into source/ and what it should make into target/"
            + (other if isinstance(settings.data, PairedSettings) else "")
        )
    for label, name in enumerate(_NAMES):
        pictures = find_pictures(str(folder / name) if folder.is_dir() else root)
        if not pictures:
            raise SettingsError(f"data.root = {root}: {name}/ has no pictures")
        found.append([replace(p, name=f"{name}/{p.name}", label=label) for p in pictures])
    return found[0], found[1]


def _side_by_side(settings: PictureSettings, data: PairedSettings, side: int) -> Source:
    assert data.root is not None
    pictures = find_pictures(data.root)
    if not pictures:
        raise SettingsError(f"data.root = {data.root}: has no pictures")
    halves: Sides = {}
    for picture in pictures:
        width, height = read_header(picture)
        column = width // 2 if data.split_column is None else data.split_column
        if column >= width or (data.view == "crop" and 2 * column != width):
            equal = " and the halves of data.view = crop equal" if column < width else ""
            raise SettingsError(
                f"data.split_column = {column}: {picture.name} is {width} pixels wide; the column "
                f"must lie inside{equal}; change it, or remove the file"
            )
        halves[picture.name] = min(column, width - column), height
    _check(settings, pictures, halves, side)
    return Source(tuple(pictures))


def _check(settings: PictureSettings, pictures, sides: Sides, needed: int) -> None:
    """Colour or grey, large enough, and at least two of them."""
    data = settings.data
    place = "none" if data.root is None else data.root
    if settings.channels not in (1, 3):
        raise SettingsError(
            f"channels = {settings.channels}: pictures have 3 (colour) or 1 (grey); set 3 or 1"
        )
    if len({picture.group for picture in pictures}) < 2:
        raise SettingsError(
            f"data.root = {place}: has one pair; at least 2 are needed, one to train and one held "
            "out; add pictures"
        )
    for name, (width, height) in sides.items():
        if data.view == "crop" and min(bounded(height, width, data.max_side)) < needed:
            raise SettingsError(
                f"data.root = {place}: {name} is {width}×{height}, smaller than the windows of the "
                f"stages ({needed}); remove it, set data.view = resize, or end at a smaller "
                "resolution"
            )


def _key(picture: Picture) -> str:
    """The name below source/ or target/, without its suffix: formats may differ."""
    return str(PurePosixPath(picture.name.partition("/")[2]).with_suffix(""))


def _size(sides: tuple[int, int]) -> str:
    return f"{sides[0]}×{sides[1]}"
