"""Image files as tensors and back, with what belongs to them: alpha, depth, colour profile."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganforge.data.decoder import decode
from ganforge.data.raster import Header, unreadable

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"}


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
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(str(path), error.strerror or error) from None
    raster = decode(content, str(path), profiles=True)
    return photo_of(raster.levels, raster.depth, raster.profile, _note(raster.header))


def photo_of(
    levels: NDArray[Any], depth: int, profile: bytes | None = None, note: str = ""
) -> Photo:
    """Levels (H, W, C) of `depth` bits, C from 1 to 4 with alpha as the 2nd or 4th."""
    planes = torch.from_numpy(levels.astype(np.float32)).permute(2, 0, 1)
    planes = (planes / ((2**depth - 1) / 2) - 1).contiguous()
    colours = 3 if len(planes) > 2 else 1
    alpha = planes[colours:] if len(planes) > colours else None
    return Photo(planes[:colours], alpha, depth, profile, note)


def _note(header: Header) -> str:
    said = {
        "several frames: only the first": header.frames,
        "a further channel is left out": header.extra,
        "CMYK becomes RGB": header.ink,
    }
    return "; ".join(text for text, applies in said.items() if applies)


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
