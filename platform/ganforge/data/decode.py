"""From the bytes of an image file to upright 8-bit pixels, or one line that says why not."""

import hashlib
import io
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ganforge.data.source_image import Decoded, SourceImage
from ganforge.settings import SettingsError

Pixels = NDArray[np.uint8]

MAX_PIXELS = 178_956_970  # where Pillow itself refuses; a file of 109 kB can hold 900 million
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_GREY = {"1", "L", "LA"}
_COLOUR = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"}


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
    the first is taken.
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
            source, "its content is cut short or none of " + ", ".join(_FORMATS)
        ) from None
    except Exception as error:  # as above
        raise _unreadable(source, error) from None
    if not (image.mode in _GREY or image.mode in _COLOUR or _sixteen(image)):
        raise SettingsError(
            f"{source.path}: its pixels are of kind {image.mode}; grey or colour of 8 or 16 bits "
            "is read: save it so or remove it"
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
    """The image in grey (`channels` = 1) or RGB (3), if its pixels are still those known."""
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
