"""What is said of images before a run, and of any folder by `ganforge scan`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ganforge.data.cache import cache_directory, kept_of
from ganforge.data.copies import Copies, find_copies
from ganforge.data.images import SourceImage, read_header, refuse_all
from ganforge.data.inventory import Inventory, converted, skipped
from ganforge.data.listing import list_folder
from ganforge.data.low_resolution import pair_lines
from ganforge.data.raster import Header
from ganforge.data.settings import DataSettings
from ganforge.data.shared_files import counted_shared, shared_files
from ganforge.data.sources import Source, source_setting
from ganforge.settings import SettingsError

_NAMED = 3


@dataclass(frozen=True)
class Scan:
    """What is done to the files of a folder; the lines of those that cannot be read; images that
    look alike; what could not be compared; and files that two folders have, by their names."""

    inventory: Inventory
    unreadable: Sequence[str] = ()
    copies: Sequence[Copies] = ()
    notes: str = ""
    shared: Mapping[str, str] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """What a strict run refuses, besides files that cannot be read."""
        return [
            *self.inventory.faults,
            *([self.in_two()] if self.shared else []),
            *([self.alike()] if self.copies else []),
        ]

    def in_two(self) -> str:
        """The files that are in two folders, in one line."""
        return counted_shared(self.shared, _NAMED)

    def alike(self) -> str:
        """The images that look alike, in one line."""
        shown = "; ".join(map(str, self.copies[:_NAMED]))
        more = "; …" if len(self.copies) > _NAMED else ""
        return f"look alike: {len(self.copies)} × two images ({shown}{more})"


def scan_folders(roots: Sequence[str]) -> Scan:
    """All files at and below folders; of several, names begin with the folder's number. Headers are
    opened, and thumbnails of what is compared."""
    folders: dict[str, list[SourceImage]] = {}
    inventory = Inventory()
    for number, root in enumerate(roots):
        prefix = f"{number}/" if len(roots) > 1 else ""
        listing = list_folder(root, kept_of(DataSettings()), "DIR")
        inventory += skipped(listing, prefix)
        folders[prefix] = [
            _of_scene(SourceImage(name, path), prefix) for name, path in listing.images.items()
        ]
    images = [image for found in folders.values() for image in found]
    headers: dict[str, Header] = {}
    unreadable = []
    for image in images:
        try:
            headers[image.name] = read_header(image)
        except SettingsError as error:
            unreadable.append(str(error))
    sound = [image for image in images if image.name in headers]
    shared = shared_files(folders)
    found = find_copies(sound, headers, cache_directory(DataSettings()))
    unreadable += found.unreadable
    others = _others(found.copies, shared)
    return Scan(inventory + converted(headers), unreadable, others, found.notes, shared)


def _of_scene(image: SourceImage, prefix: str) -> SourceImage:
    """An image of source/ or target/ with its pair's name: the two may look alike. `prefix` is put
    before both names."""
    folder, _, below = image.name.partition("/")
    scene = ""
    if folder in ("source", "target"):
        scene = prefix + str(Path(below).with_suffix(""))
    return SourceImage(prefix + image.name, image.path, scene)


def _others(copies: Sequence[Copies], shared: Mapping[str, str]) -> list[Copies]:
    """Images that look alike without those that are named as one file in two folders."""
    return [
        one
        for one in copies
        if one.larger != shared.get(one.smaller) and one.smaller != shared.get(one.larger)
    ]


def examine(source: Source, data: DataSettings) -> Scan:
    """The images that a run is given; SettingsError for those that are damaged, and for what
    `data.strict` refuses."""
    headers = source.inventory.used
    images = [image for image in (*source.images, *source.held_out) if image.name in headers]
    compared = find_copies(images, headers, cache_directory(data))
    refuse_all(compared.unreadable)
    shared = shared_files(_by_folder(source))
    copies = _others(compared.copies, shared)
    found = Scan(source.inventory, (), copies, compared.notes, shared)
    if data.strict and found.faults:
        raise SettingsError(
            f"data.strict = true: {source_setting(data)} has images that are not used as they are; "
            "change them, or leave --strict out\n  " + "\n  ".join(found.faults)
        )
    return found


def _by_folder(source: Source) -> dict[str, list[SourceImage]]:
    """The images of each folder that settings name, where there are several."""
    folders: dict[str, list[SourceImage]] = {}
    for number, image in enumerate(source.images):
        key = f"data.roots.{source.roots[number]}" if source.roots else "data.root"
        folders.setdefault(key, []).append(image)
    if source.held_out:
        folders["validation.root"] = list(source.held_out)
    return folders if len(folders) > 1 else {}


def report(source: Source, data: DataSettings) -> list[str]:
    """What is printed before a run: one line of what is used, and warnings."""
    found = examine(source, data)
    lines = [f"images        {source.inventory.line()}"]
    if source.held_out:
        lines.append(f"held out      the {len(source.held_out)} images of validation.root")
    lines += pair_lines(source)
    if found.shared:
        lines.append(
            f"warning: {found.in_two()}: take each out of one folder, or it is trained on twice or "
            "measured on after it was trained on"
        )
    if found.copies:
        lines.append(
            f"warning: {found.alike()}: leave one of each out, or they are trained on twice and "
            "measured on"
        )
    if found.notes:
        lines.append(f"note: {found.notes}")
    return lines
