"""Files that are in two of the folders that settings name, byte by byte the same: an image that is
trained on twice as often as others, or measured on after it was trained on."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ganforge.data.image_set import SetFile
from ganforge.data.images import SourceImage

Folders = Mapping[str, Sequence[SourceImage]]


def shared_files(folders: Folders) -> dict[str, str]:
    """The name of each image that an earlier folder has too: the name that it has there.

    Files of one size alone are read. One that cannot be read is an error elsewhere, and left out
    here. An image that is twice in one folder is none of these.
    """
    sizes: dict[int, set[str]] = {}
    for folder, images in folders.items():
        for image in images:
            sizes.setdefault(_size(image.path), set()).add(folder)
    first: dict[str, tuple[str, str]] = {}
    found: dict[str, str] = {}
    for folder, images in folders.items():
        for image in images:
            if len(sizes[_size(image.path)]) < 2 or not (content := _hash(image.path)):
                continue
            where, name = first.setdefault(content, (folder, image.name))
            if where != folder:
                found[image.name] = name
    return found


def counted_shared(found: Mapping[str, str], named: int) -> str:
    """`2 × one file in two folders (1/b.png is 0/b.png; …)`."""
    pairs: Iterable[tuple[str, str]] = list(found.items())[:named]
    shown = "; ".join(f"{name} is {other}" for name, other in pairs)
    return f"{len(found)} × one file in two folders ({shown}{'; …' if len(found) > named else ''})"


def _size(path: Path | SetFile) -> int:
    if isinstance(path, SetFile):
        return path.images.num_bytes(path.number)
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _hash(path: Path | SetFile) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
