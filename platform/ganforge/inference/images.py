"""Image files as tensors and back, with what belongs to them: alpha, depth, colour profile."""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from torch import Tensor

from ganforge.settings import SettingsError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
MAX_PIXELS = 178_956_970  # where Pillow itself refuses
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
_GREY = ("1", "L", "LA", "La")
_COLOUR = ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "YCbCr", "CMYK")
_ORIENTATION, _BITS, _EXTRA = 0x0112, 258, 338
_UNASSOCIATED = 2  # alpha that the colour is not multiplied with (TIFF 6.0, section 18)


@dataclass(frozen=True)
class Photo:
    """An upright image: `colour` (1 or 3, H, W) and `alpha` (1, H, W) in [-1, 1], float32.

    `depth` is the bits of a channel in the file, 8 or 16; `note` says what was left out.
    """

    colour: Tensor
    alpha: Tensor | None = None
    depth: int = 8
    profile: bytes | None = None
    note: str = ""


def read_photo(path: Path) -> Photo:
    """Any PNG, JPEG, WebP, TIFF, BMP or GIF; a one-line SettingsError for an unreadable file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_FORMATS)
        with image:
            return _read(path, image)
    except SettingsError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except Image.UnidentifiedImageError:
        raise SettingsError(f"{path}: is not one of {', '.join(_FORMATS)}, or is damaged") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # what decoders raise on broken files has no common base
        raise SettingsError(f"{path}: cannot be read as an image ({error})") from None


def _too_large(path: Path) -> SettingsError:
    return SettingsError(
        f"{path}: has more than {MAX_PIXELS} pixels, the most that are decoded; cut it into parts"
    )


def _read(path: Path, image: Image.Image) -> Photo:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path)
    note = "several frames: only the first" if getattr(image, "is_animated", False) else ""
    profile = image.info.get("icc_profile")
    depth = 16 if _is_deep(path, image) else 8
    if depth == 16:
        levels = _deep(path, image)
    else:
        if image.mode == "CMYK":
            image, profile = _from_cmyk(image, profile), None
        levels = np.asarray(_plain(path, image))
    planes = torch.from_numpy(levels.reshape(*levels.shape[:2], -1).astype(np.float32))
    planes = planes.permute(2, 0, 1) / ((2**depth - 1) / 2) - 1
    planes = upright(planes, image.getexif().get(_ORIENTATION, 1)).contiguous()
    colours = 3 if len(planes) > 2 else 1
    alpha = planes[colours:] if len(planes) > colours else None
    return Photo(planes[:colours], alpha, depth, profile, note)


def upright(planes: Tensor, orientation: int) -> Tensor:
    """(C, H, W) turned and mirrored as the EXIF tag Orientation, 1 … 8, asks for."""
    if orientation in (5, 6, 7, 8):
        planes = planes.transpose(1, 2)
    flips = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}
    return planes.flip(flips[orientation]) if orientation in flips else planes


def _plain(path: Path, image: Image.Image) -> Image.Image:
    """The same pixels as L, LA, RGB or RGBA."""
    transparent = image.has_transparency_data
    if image.mode in _GREY:
        return image.convert("LA" if transparent else "L")
    if image.mode in _COLOUR:
        return image.convert("RGBA" if transparent else "RGB")
    raise SettingsError(
        f"{path}: its pixels are of kind {image.mode}; grey or colour of 8 or 16 bits is read"
    )


def _from_cmyk(image: Image.Image, profile: bytes | None) -> Image.Image:
    """In sRGB, by the image's own profile where it has one that works."""
    try:
        if profile is not None:
            ink = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            screen = ImageCms.createProfile("sRGB")
            made = ImageCms.profileToProfile(image, ink, screen, outputMode="RGB")
            if made is not None:
                return made
    except (ImageCms.PyCMSError, OSError):
        pass
    return image.convert("RGB")


def _is_deep(path: Path, image: Image.Image) -> bool:
    """Pillow opens colour of 16 bits as colour of 8 without a warning: only the header tells."""
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24] == 16
    if image.format == "TIFF":
        return max(_tags(image).get(_BITS, (1,))) > 8
    return False


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})


def _deep(path: Path, image: Image.Image) -> NDArray[np.uint16]:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.format == "PNG":
        return imagecodecs.png_decode(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        levels = page.asarray()
        separate = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        if separate and levels.ndim == 3:
            levels = levels.transpose(1, 2, 0)
    plain = levels.dtype == np.uint16 and set(_tags(image).get(_BITS)) == {16}
    extra = _tags(image).get(_EXTRA, ())
    if not plain or levels.ndim != 3 or levels.shape[2] > 4 or set(extra) - {_UNASSOCIATED}:
        raise SettingsError(
            f"{path}: a TIFF of kind {image.mode}, {levels.dtype}; grey or colour of 8 or 16 bits, "
            "with straight alpha or none, is read"
        )
    return levels


def write_photo(file: BinaryIO, suffix: str, levels: NDArray[Any], profile: bytes | None) -> None:
    """Write (H, W, C) levels, uint8 or uint16, into an open file, in the format of the suffix."""
    if levels.dtype == np.uint16:
        file.write(_png16(levels, profile))
        return
    kind = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[suffix]
    options: dict[str, Any] = {"icc_profile": profile} if profile else {}
    if kind != "PNG":
        options |= {"quality": 95}
    image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    image.save(file, kind, **options)


def _png16(levels: NDArray[np.uint16], profile: bytes | None) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write in colour."""
    content = bytes(imagecodecs.png_encode(np.ascontiguousarray(levels)))
    if not profile:
        return content
    # the chunk iCCP (ISO/IEC 15948, 11.3.3.3) follows the header, whose chunk ends at byte 33
    named = b"iCCP" + b"ICC\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(named) - 4) + named + struct.pack(">I", zlib.crc32(named))
    return content[:33] + chunk + content[33:]
