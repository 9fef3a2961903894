"""The images of a data set: their names, their headers, and their upright 8-bit pixels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganforge.data import decoder
from ganforge.data.image_set import SetFile
from ganforge.data.raster import Header, Raster, unreadable
from ganforge.settings import SettingsError

Pixels = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_NAMED_ERRORS = 20


@dataclass(frozen=True)
class SourceImage:
    """A file, or an item of a data set that keeps many images in one file.

    `path` is that of the file, or says where it is in a packed set. `name` is its path below the
    root, in POSIX form; images that show one scene share a `scene`
    and stay on one side of the split. `label` is the number of its class, where it has one. An item
    has its `pixels`, (H, W) or (H, W, 3) uint8, and its `path` is only a name. `low` is its
    low-resolution image, where the user has one.
    """

    name: str
    path: Path | SetFile
    scene: str = ""
    label: int | None = None
    pixels: Pixels | None = field(default=None, compare=False, repr=False)
    low: "SourceImage | None" = None

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


def read_headers(images: Sequence[SourceImage]) -> dict[str, Header]:
    """The header of each image by its name; one SettingsError that names all that are not read."""
    found: dict[str, Header] = {}
    errors = []
    for image in images:
        try:
            found[image.name] = read_header(image)
        except SettingsError as error:
            errors.append(str(error))
    refuse_all(errors)
    return found


def refuse_all(errors: Sequence[str]) -> None:
    """One SettingsError of all these lines, if there are any."""
    if errors:
        more = len(errors) - _NAMED_ERRORS
        shown = [*errors[:_NAMED_ERRORS], *([f"and {more} more"] if more > 0 else [])]
        raise SettingsError("\n  ".join(shown))


def read_header(source: SourceImage) -> Header:
    """What an image's header says; SettingsError if it shows that the image cannot be used."""
    if source.pixels is not None:
        height, width = source.pixels.shape[:2]
        return Header("", width, height, "item")
    if isinstance(source.path, SetFile):
        return source.path.images.header(source.path.number)
    try:
        with source.path.open("rb") as file:
            return decoder.read_header(file, str(source.path), FORMATS)
    except OSError as error:
        raise unreadable(str(source.path), error.strerror or error) from None


def decode(content: bytes, source: SourceImage) -> Pixels:
    """Upright 8-bit pixels: (H, W) of a grey image, (H, W, 3) of any other.

    The orientation is applied, alpha dropped, CMYK and palettes become RGB, of several frames the
    first is read.
    """
    return eight_bits(decoder.decode(content, str(source.path), FORMATS))


def eight_bits(raster: Raster) -> Pixels:
    """Pixels without alpha: (H, W) of grey, (H, W, 3) of colour. Grey of 16 bits is rounded, of
    colour the high byte is kept."""
    levels = raster.levels
    grey = levels.shape[2] < 3
    if levels.dtype == np.uint16:
        if grey:
            levels = ((levels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        else:
            levels = (levels >> 8).astype(np.uint8)
    return np.ascontiguousarray(levels[..., 0] if grey else levels[..., :3], np.uint8)


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
            raise unreadable(str(source.path), error.strerror or error) from None
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
