"""Image files as tensors and back, with what belongs to them: alpha, depth, profile, metadata."""

import struct
import zlib
from dataclasses import dataclass, field
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
from ganforge.inference.metadata import Metadata, read_metadata

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
    metadata: Metadata = field(default_factory=Metadata)


@dataclass(frozen=True)
class Encoding:
    """How results are compressed where that loses something: the quality of JPEG and WebP from 1 to
    100, and how many chroma samples JPEG keeps."""

    quality: int = 95
    subsampling: str = "4:4:4"


SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
#: what a JPEG segment holds after its own length
_JPEG_EXIF_BYTES = 65_533


def read_photo(path: Path) -> Photo:
    """Any PNG, JPEG, WebP, TIFF, BMP or GIF; a one-line SettingsError for an unreadable file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(str(path), error.strerror or error) from None
    raster = decode(content, str(path), profiles=True)
    metadata, unread = read_metadata(content)
    note = "; ".join(text for text in (_note(raster.header), unread) if text)
    return photo_of(raster.levels, raster.depth, raster.profile, note, metadata)


def photo_of(
    levels: NDArray[Any],
    depth: int,
    profile: bytes | None = None,
    note: str = "",
    metadata: Metadata | None = None,
) -> Photo:
    """Levels (H, W, C) of `depth` bits, C from 1 to 4 with alpha as the 2nd or 4th."""
    height, width, channels = levels.shape
    planes = torch.empty(channels, height, width)
    for channel, plane in enumerate(planes):  # one by one: an image is held once in float32
        plane.copy_(torch.from_numpy(levels[..., channel].astype(np.float32)))
    planes.div_((2**depth - 1) / 2).sub_(1)
    colours = 3 if channels > 2 else 1
    alpha = planes[colours:] if channels > colours else None
    return Photo(planes[:colours], alpha, depth, profile, note, metadata or Metadata())


def _note(header: Header) -> str:
    said = {
        "several frames: only the first": header.frames,
        "a further channel is left out": header.extra,
        "CMYK becomes RGB": header.ink,
    }
    return "; ".join(text for text, applies in said.items() if applies)


def write_photo(
    file: BinaryIO,
    suffix: str,
    levels: NDArray[Any],
    profile: bytes | None,
    metadata: Metadata | None = None,
    encoding: Encoding | None = None,
) -> None:
    """Write (H, W, C) levels, uint8 or uint16, into an open file, in the format of the suffix."""
    metadata, encoding = metadata or Metadata(), encoding or Encoding()
    height, width = levels.shape[:2]
    if levels.dtype == np.uint16:
        file.write(_png16(levels, profile, metadata))
        return
    kind = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[suffix]
    options: dict[str, Any] = {"icc_profile": profile} if profile else {}
    if kind != "PNG":
        options |= {"quality": encoding.quality}
    if kind == "JPEG":
        options |= {"subsampling": encoding.subsampling}
    if kind == "WEBP":
        metadata = metadata.with_resolution()
    elif metadata.dpi is not None:
        options |= {"dpi": metadata.dpi}
    if exif := metadata.exif(width, height, _JPEG_EXIF_BYTES if kind == "JPEG" else None):
        options |= {"exif": exif}
    image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    image.save(file, kind, **options)


def _png16(levels: NDArray[np.uint16], profile: bytes | None, metadata: Metadata) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write in colour."""
    content = bytes(imagecodecs.png_encode(np.ascontiguousarray(levels)))
    # these chunks (ISO/IEC 15948, 11.3) follow the header, whose chunk ends at byte 33
    chunks = [_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(profile))] if profile else []
    if metadata.dpi is not None:
        by_metre = (int(value / 0.0254 + 0.5) for value in metadata.dpi)
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", *by_metre, 1)))
    if exif := metadata.exif(levels.shape[1], levels.shape[0]):
        chunks.append(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    return content[:33] + b"".join(chunks) + content[33:]


def _chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)
