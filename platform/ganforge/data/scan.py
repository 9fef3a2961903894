"""What is said of images before a run, and of any folder by `ganforge scan`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ganforge.data.cache import cache_directory
from ganforge.data.copies import Copies, find_copies
from ganforge.data.images import SourceImage, read_header, refuse_all
from ganforge.data.inventory import Inventory, converted, skipped
from ganforge.data.listing import list_folder
from ganforge.data.raster import Header
from ganforge.data.settings import DataSettings
from ganforge.data.sources import Source, source_setting
from ganforge.settings import SettingsError

_NAMED = 3


@dataclass(frozen=True)
class Scan:
    """What is done to the files of a folder; the lines of those that cannot be read; images that
    look alike; and what could not be compared."""

    inventory: Inventory
    unreadable: Sequence[str] = ()
    copies: Sequence[Copies] = ()
    notes: str = ""

    @property
    def faults(self) -> list[str]:
        """What a strict run refuses, besides files that cannot be read."""
        return [*self.inventory.faults, *([self.alike()] if self.copies else [])]

    def alike(self) -> str:
        """The images that look alike, in one line."""
        shown = "; ".join(map(str, self.copies[:_NAMED]))
        more = "; …" if len(self.copies) > _NAMED else ""
        return f"look alike: {len(self.copies)} × two images ({shown}{more})"


def scan_folder(root: str) -> Scan:
    """All files at and below a folder. Headers are opened, and thumbnails of what is compared."""
    listing = list_folder(root, "DIR")
    images = [SourceImage(name, path) for name, path in listing.images.items()]
    headers: dict[str, Header] = {}
    unreadable = []
    for image in images:
        try:
            headers[image.name] = read_header(image)
        except SettingsError as error:
            unreadable.append(str(error))
    sound = [_of_scene(image) for image in images if image.name in headers]
    found = find_copies(sound, headers, cache_directory(DataSettings()))
    unreadable += found.unreadable
    return Scan(skipped(listing) + converted(headers), unreadable, found.copies, found.notes)


def _of_scene(image: SourceImage) -> SourceImage:
    """An image of source/ or target/ with its pair's name: the two may look alike."""
    folder, _, below = image.name.partition("/")
    if folder not in ("source", "target"):
        return image
    return SourceImage(image.name, image.path, str(Path(below).with_suffix("")))


def examine(source: Source, data: DataSettings) -> Scan:
    """The images that a run is given; SettingsError for those that are damaged, and for what
    `data.strict` refuses."""
    headers = source.inventory.used
    images = [image for image in source.images if image.name in headers]
    compared = find_copies(images, headers, cache_directory(data))
    refuse_all(compared.unreadable)
    found = Scan(source.inventory, (), compared.copies, compared.notes)
    if data.strict and found.faults:
        raise SettingsError(
            f"data.strict = true: {source_setting(data)} has images that are not used as they are; "
            "change them, or leave --strict out\n  " + "\n  ".join(found.faults)
        )
    return found


def report(source: Source, data: DataSettings) -> list[str]:
    """What is printed before a run: one line of what is used, and warnings."""
    found = examine(source, data)
    lines = [f"images        {source.inventory.line()}"]
    if found.copies:
        lines.append(
            f"warning: {found.alike()}: leave one of each out, or they are trained on twice and "
            "measured on"
        )
    if found.notes:
        lines.append(f"note: {found.notes}")
    return lines
