"""Which pictures there are, and whether they can be used: from names and headers alone."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ganforge.data.builtin import builtin_pictures
from ganforge.data.decode import read_header
from ganforge.data.picture import Picture
from ganforge.data.settings import DataSettings
from ganforge.data.views import bounded
from ganforge.settings import SettingsError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class _Small:
    name: str
    width: int
    height: int


def find_pictures(root: str | None) -> list[Picture]:
    """The pictures below `root`, sorted by relative POSIX path; none: the built-in photographs.

    Names that start with a dot are passed over: other systems leave such files behind.
    """
    if root is None:
        return builtin_pictures()
    folder = Path(root).expanduser()
    if not folder.exists():
        raise SettingsError(
            f"data.root = {root}: there is no such folder; give an existing one, on every machine, "
            "or none for the built-in photographs"
        )
    if not folder.is_dir():
        raise SettingsError(
            f"data.root = {root}: is a file; give the folder that holds the pictures"
        )
    try:
        paths = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    except OSError as error:
        raise SettingsError(
            f"data.root = {root}: {error.filename} cannot be listed ({error.strerror}); "
            "change its permissions or remove it"
        ) from None
    return [Picture(name, paths[name]) for name in sorted(paths)]


def _files(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(here)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(here, name)


def _raise(error: OSError) -> None:
    raise error


def check(data: DataSettings, channels: int, needed_side: int) -> list[Picture]:
    """The pictures, if they can be used for targets of side `needed_side`; else SettingsError.

    Only headers are read, so that thousands of pictures take seconds.
    """
    if channels not in (1, 3):
        raise SettingsError(
            f"channels = {channels}: pictures have 3 (colour) or 1 (grey); set 3 or 1"
        )
    pictures = find_pictures(data.root)
    if not pictures:
        raise SettingsError(
            f"data.root = {data.root}: has no pictures; put PNG, JPEG, WebP, TIFF or BMP files "
            "there or below it"
        )
    small, large = [], []
    for picture in pictures:
        width, height = read_header(picture)
        reduce = data.max_side if data.view == "crop" else None
        if min(bounded(height, width, reduce)) < needed_side:
            small.append(_Small(picture.name, width, height))
        else:
            large.append(picture)
    if data.smaller == "skip" and large:
        pictures = large
    elif small:
        first = small[0]
        raise SettingsError(
            f"data.root = {data.root}: {len(small)} of {len(pictures)} pictures are smaller than "
            f"the target side of the last stage, {needed_side} (the first is {first.name}, "
            f"{first.width}×{first.height}); remove them, set data.smaller = skip, or "
            "end the stages at a smaller resolution"
        )
    if len({picture.group for picture in pictures}) < 2:
        raise SettingsError(
            f"data.root = {data.root}: has {len(pictures)} picture; at least 2 are needed, "
            "one to train and one held out; add pictures"
        )
    return pictures
