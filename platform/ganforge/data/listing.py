"""Which files of a folder are images that are read, and why the others are not."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ganforge.data.image_set import Kept, SetFile, is_set, open_set
from ganforge.settings import SettingsError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
#: Images that are not read, by the endings of their names.
_OTHER_IMAGES = (
    ".apng", ".arw", ".avif", ".cr2", ".cr3", ".dds", ".dng", ".exr", ".gif", ".hdr", ".heic",
    ".heif", ".icns", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jxl", ".nef", ".orf", ".pbm",
    ".pcx", ".pgm", ".pnm", ".ppm", ".psd", ".raf", ".rw2", ".svg", ".tga", ".xcf",
)  # fmt: skip
_CONTENT = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"GIF8", b"RIFF")

HIDDEN = "hidden, the name starts with a dot"
MACOS = "left by macOS, the name starts with ._"
OTHER_FORMAT = "of a format that is not read"
OTHER_NAME = "an image under a suffix that is not an image's"
AGAIN = "a link to a folder that is read already"
NOT_A_FILE = "a pipe, socket or device"
NOT_AN_IMAGE = "not an image"
_INSTEAD = {
    "data.root": ", or none for the built-in images",
    "validation.root": ", or none to hold out a part of the training images",
}


@dataclass
class Listing:
    """The images below a folder, by path below it in POSIX form, and the names of what is skipped,
    by reason."""

    images: dict[str, Path | SetFile] = field(default_factory=dict)
    skipped: dict[str, list[str]] = field(default_factory=dict)


def list_folder(root: str, kept: Kept, key: str = "data.root", below: str = "") -> Listing:
    """All files at and below `root`, or its folder `below`; SettingsError, by `key`, if it cannot
    be listed.

    Names that start with a dot are skipped: other systems leave such files behind. Links are
    followed, and a folder is read once. Nothing is opened but files of an unknown suffix. Of a
    packed set that lies far away, what is fetched is `kept`.
    """
    if is_set(root):
        return _list_set(root, kept, key, below)
    root = os.path.join(root, below) if below else root
    folder = Path(root).expanduser()
    if not folder.exists():
        raise SettingsError(
            f"{key} = {root}: there is no such folder; give an existing one, on every machine"
            + _INSTEAD.get(key, "")
        )
    if not folder.is_dir():
        raise SettingsError(f"{key} = {root}: is a file; give the folder that holds the images")
    found = Listing()
    try:
        for path, reason in _entries(folder):
            name = path.relative_to(folder).as_posix()
            if reason:
                found.skipped.setdefault(reason, []).append(name)
            else:
                found.images[name] = path
    except OSError as error:
        raise SettingsError(
            f"{key} = {root}: {error.filename} cannot be listed ({error.strerror}); "
            "change its permissions or remove it"
        ) from None
    return Listing(
        dict(sorted(found.images.items())),
        {reason: sorted(names) for reason, names in sorted(found.skipped.items())},
    )


def _list_set(root: str, kept: Kept, key: str, below: str) -> Listing:
    images, prefix = open_set(root, key, kept), f"{below}/" if below else ""
    found = {
        name.removeprefix(prefix): SetFile(images, number)
        for number, name in enumerate(images.names)
        if name.startswith(prefix)
    }
    return Listing(dict(sorted(found.items())))


def _entries(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each file, and each folder that is not entered, with the reason why it is skipped, or ""."""
    seen: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            yield Path(here), AGAIN
            continue
        seen.add(real)
        for name in folders:
            if name.startswith("."):
                yield Path(here, name), HIDDEN
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(here, name)
            yield path, _reason(path)


def _raise(error: OSError) -> None:
    raise error


def _reason(path: Path) -> str:
    """Why a file is not read; "" for an image, also for a link that leads nowhere: that one is an
    error when it is opened, and named then."""
    name = path.name.lower()
    if name.startswith("._"):
        return MACOS
    if name.startswith("."):
        return HIDDEN
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = stat.S_IFREG
    if not stat.S_ISREG(mode):
        return NOT_A_FILE  # opening a pipe would wait without end for its other side
    if name.endswith(SUFFIXES):
        return ""
    if name.endswith(_OTHER_IMAGES):
        return OTHER_FORMAT
    return OTHER_NAME if _holds_image(path) else NOT_AN_IMAGE


def _holds_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(_CONTENT) and (start[:4] != b"RIFF" or start[8:] == b"WEBP")
