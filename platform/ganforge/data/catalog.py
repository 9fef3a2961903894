"""Which images are in a folder, by their names alone."""

import os
from collections.abc import Iterator
from pathlib import Path

from ganforge.data.source_image import SourceImage
from ganforge.settings import SettingsError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def find_images(root: str) -> list[SourceImage]:
    """The images below `root`, sorted by relative POSIX path.

    Names that start with a dot are passed over: other systems leave such files behind.
    """
    folder = Path(root).expanduser()
    if not folder.exists():
        raise SettingsError(
            f"data.root = {root}: there is no such folder; give an existing one, on every machine, "
            "or none for the built-in images"
        )
    if not folder.is_dir():
        raise SettingsError(f"data.root = {root}: is a file; give the folder that holds the images")
    try:
        paths = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    except OSError as error:
        raise SettingsError(
            f"data.root = {root}: {error.filename} cannot be listed ({error.strerror}); "
            "change its permissions or remove it"
        ) from None
    return [SourceImage(name, paths[name]) for name in sorted(paths)]


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
