"""Image files: which ones a folder holds, their headers, and their upright 8-bit pixels."""

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ganforge.settings import SettingsError

Pixels = NDArray[np.uint8]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
MAX_PIXELS = 178_956_970  # where Pillow itself refuses; a file of 109 kB can hold 900 million
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_GREY = {"1", "L", "LA"}
_COLOUR = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"}


@dataclass(frozen=True)
class SourceImage:
    """A file, or an item of a data set that keeps many images in one file.

    `name` is its path below the root, in POSIX form; images that show one scene share a `scene`
    and stay on one side of the split. `label` is the number of its class, where it has one. An item
    has its `pixels`, (H, W) or (H, W, 3) uint8, and its `path` is only a name.
    """

    name: str
    path: Path
    scene: str = ""
    label: int | None = None
    pixels: Pixels | None = field(default=None, compare=False, repr=False)

    @property
    def group(self) -> str:
        return self.scene or self.name


@dataclass(frozen=True)
class Decoded:
    """An image whose pixels are known: their sha256 and sides, upright, in 8 bits."""

    image: SourceImage
    digest: str
    height: int
    width: int


def find_images(root: str) -> list[SourceImage]:
    """The images below `root`, sorted by relative POSIX path.

    Names that start with a dot are skipped: other systems leave such files behind.
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


def read_header(source: SourceImage) -> tuple[int, int]:
    """Width and height as stored; SettingsError if the header shows that it cannot be used."""
    if source.pixels is not None:
        return source.pixels.shape[1], source.pixels.shape[0]
    try:
        with source.path.open("rb") as file:
            return _opened(file, source).size
    except OSError as error:
        raise _unreadable(source, error.strerror or error) from None


def decode(content: bytes, source: SourceImage) -> Pixels:
    """Upright 8-bit pixels: (H, W) of a grey image, (H, W, 3) of any other.

    The EXIF orientation is applied, alpha dropped, CMYK and palettes become RGB, of several frames
    the first is read.
    """
    image = _opened(io.BytesIO(content), source)
    sixteen = _sixteen(image)
    try:
        image = ImageOps.exif_transpose(image)
        if sixteen:
            # Pillow's own conversion clips at 255, which leaves almost everything white.
            deep = np.asarray(image).astype(np.uint32)
            return ((deep * 255 + 32767) // 65535).astype(np.uint8)
        return np.asarray(image.convert("L" if image.mode in _GREY else "RGB"))
    except Exception as error:  # what Pillow raises on broken files has no common base
        raise _unreadable(source, error) from None


def _opened(file: IO[bytes], source: SourceImage) -> Image.Image:
    try:
        image = Image.open(file, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise SettingsError(
            f"{source.path}: has more than {MAX_PIXELS} pixels, the most that are decoded; "
            "cut it into smaller images or remove it"
        ) from None
    except Image.UnidentifiedImageError:
        raise _unreadable(
            source, "its content is cut short or is not one of " + ", ".join(_FORMATS)
        ) from None
    except Exception as error:  # as above
        raise _unreadable(source, error) from None
    if not (image.mode in _GREY or image.mode in _COLOUR or _sixteen(image)):
        raise SettingsError(
            f"{source.path}: its pixels are of kind {image.mode}; grey or colour of 8 or 16 bits "
            "can be read: convert it or remove it"
        )
    return image


def _sixteen(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")


def _unreadable(source: SourceImage, reason: object) -> SettingsError:
    return SettingsError(
        f"{source.path}: cannot be read as an image ({reason}); replace or remove it"
    )


def digest(pixels: Pixels) -> str:
    """sha256 over the kind, the sides and the bytes of decoded pixels."""
    kind = "L" if pixels.ndim == 2 else "RGB"
    found = hashlib.sha256(f"{kind} {pixels.shape[1]} {pixels.shape[0]}\n".encode())
    found.update(np.ascontiguousarray(pixels).data)
    return found.hexdigest()


def load(known: Decoded, channels: int) -> Image.Image:
    """The image in grey (`channels` = 1) or RGB (3); SettingsError if its pixels have changed."""
    source = known.image
    pixels = source.pixels
    if pixels is None:
        try:
            pixels = decode(source.path.read_bytes(), source)
        except OSError as error:
            raise _unreadable(source, error.strerror or error) from None
    if digest(pixels) != known.digest:
        raise SettingsError(
            f"{source.path}: has changed since this run began; restore it, or start a new run"
        )
    return Image.fromarray(pixels).convert("L" if channels == 1 else "RGB")


def to_image(pixels: Pixels) -> Image.Image:
    """(H, W, 1) or (H, W, 3) pixels as an image."""
    return Image.fromarray(
        np.ascontiguousarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    )


def to_pixels(image: Image.Image) -> Pixels:
    """An image as (H, W, C) pixels."""
    array = np.asarray(image)
    return array if array.ndim == 3 else array[..., None]
