"""The one decoder of image files: what a header says, and upright levels of 8 or 16 bits.

Training and inference read through it. Kinds of files are accepted by name; what is not named is
refused, because a library that opens a file does not thereby read it right. tests/data/
test_decoder.py compares every kind with levels that are known, and with the table in docs/data.md.
"""

import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from ganforge.data import tiff
from ganforge.data.raster import Header, Levels, Raster, not_read, unreadable, upright
from ganforge.memory import machine_bytes
from ganforge.settings import SettingsError

MAX_PIXELS = 178_956_970  # where Pillow itself refuses; a file of 109 kB can hold 900 million
#: What decoding holds for a pixel of 8 bits: Pillow's image, and the array that is made of it.
BYTES_PER_PIXEL = 8
_TOGETHER_BYTES = 2**29
_STRIP_PIXELS = 2**22
#: What is read, in the order of messages.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")

_GREY = ("1", "L", "LA", "La")
_COLOUR = ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "YCbCr", "CMYK")
_ORIENTATION = 0x0112
_PNG = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGBA"}


def read_header(file: IO[bytes], name: str, formats: Sequence[str] = FORMATS) -> Header:
    """The header of an open file; SettingsError, by `name`, if its kind is not read."""
    tags = _tags(file, name, formats)
    return _tiff_header(tags) if tags is not None else _opened(file, name, formats)[1]


def decode(
    content: bytes,
    name: str,
    formats: Sequence[str] = FORMATS,
    *,
    profiles: bool = False,
    most_bytes: int | None = None,
) -> Raster:
    """The first image of a file; SettingsError, by `name`, if it cannot be read.

    With `profiles`, CMYK becomes sRGB by the file's own profile, where it has one that works; else
    by Pillow's formula. `most_bytes` is the memory that decoding may take; none: half of the
    machine's. Threads that decode wait for each other where they would take more than
    `_TOGETHER_BYTES`.
    """
    file = io.BytesIO(content)
    tags = _tags(file, name, formats)
    try:
        if tags is not None:
            header, profile = _tiff_header(tags), tags.profile
            read = partial(_tiff_levels, content, tags)
        else:
            image, header = _opened(file, name, formats)
            profile = image.info.get("icc_profile")
            deep = header.format == "PNG" and header.depth == 16
            read = partial(_png16, content, image) if deep else partial(_levels, image, header)
        wanted = _needed(header, name, machine_bytes() // 2 if most_bytes is None else most_bytes)
        with _ROOM.taken(wanted):
            levels = read()
            if header.ink:
                levels, profile = _from_ink(levels, profile if profiles else None), None
    except SettingsError:
        raise
    except Exception as error:  # what decoders raise on broken files has no common base
        raise unreadable(name, error) from None
    return Raster(levels, header, profile)


def _needed(header: Header, name: str, limit: int) -> int:
    """About how many bytes decoding takes; SettingsError where that is more than `limit`."""
    needed = header.width * header.height * BYTES_PER_PIXEL * (header.depth // 8)
    if needed > limit:
        raise SettingsError(
            f"{name}: {header.width} × {header.height} pixels take about {needed / 2**30:.2f} GiB "
            f"to decode, more than may be taken here ({limit / 2**30:.2f} GiB); cut it into "
            "smaller images or remove it"
        )
    return needed


class _Room:
    """Bytes that threads may take together. It decides when an image is decoded, never how."""

    def __init__(self, total: int):
        self._total, self._taken = total, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, wanted: int) -> Iterator[None]:
        """Wait until `wanted` bytes are left, or nothing else is taken."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + wanted <= self._total)
            self._taken += wanted
        try:
            yield
        finally:
            with self._changed:
                self._taken -= wanted
                self._changed.notify_all()


_ROOM = _Room(_TOGETHER_BYTES)


def _tags(file: IO[bytes], name: str, formats: Sequence[str]) -> tiff.Tiff | None:
    """The tags of a TIFF; None of any other file."""
    signature = file.read(4)
    file.seek(0)
    if signature not in tiff.SIGNATURES or "TIFF" not in formats:
        return None
    try:
        tags = tiff.read_tags(file, name)
    except SettingsError:
        raise
    except Exception as error:  # as above
        raise unreadable(name, error) from None
    finally:
        file.seek(0)
    _check_size(tags.width, tags.height, name)
    return tags


def _tiff_header(tags: tiff.Tiff) -> Header:
    width, height = _turned(tags.width, tags.height, tags.orientation)
    return Header(
        "TIFF",
        width,
        height,
        tags.kind,
        tags.depth,
        deep=tags.bits > 8,
        alpha=tags.alpha,
        extra=tags.extra,
        ink=tags.ink,
        frames=tags.frames,
        profile=profile_name(tags.profile),
    )


def _tiff_levels(content: bytes, tags: tiff.Tiff) -> Levels:
    if tags.pillow:
        # given bytes: of a path, Pillow maps some files into memory and turns them twice
        return _levels(Image.open(io.BytesIO(content), formats=["TIFF"]), _tiff_header(tags))
    return upright(tiff.stored_levels(content, tags), tags.orientation)


def _opened(file: IO[bytes], name: str, formats: Sequence[str]) -> tuple[Image.Image, Header]:
    """The image, not yet decoded, and its header; SettingsError if its kind is not read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file, formats=[one for one in formats if one != "TIFF"])
        _check_size(*image.size, name)
        kind, depth = f"{image.format} of mode {image.mode}", 8
        if image.format == "PNG":
            kind, depth = _png_kind(file, image)
            _find_late_exif(file, image)
        elif image.mode not in (*_GREY, *_COLOUR):
            raise not_read(name, kind, "but grey or colour of 8 bits is")
        header = Header(
            image.format or "",
            *_turned(*image.size, _orientation(image)),
            kind,
            depth,
            deep=depth > 8,
            alpha=_has_alpha(image),
            ink=image.mode == "CMYK",
            frames=bool(getattr(image, "is_animated", False)),
            profile=profile_name(image.info.get("icc_profile")),
        )
    except SettingsError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(name) from None
    except Image.UnidentifiedImageError:
        raise unreadable(
            name, "its content is cut short or is not one of " + ", ".join(formats)
        ) from None
    except OSError as error:
        raise unreadable(name, error.strerror or error) from None
    except Exception as error:  # as above
        raise unreadable(name, error) from None
    return image, header


def _has_alpha(image: Image.Image) -> bool:
    # Pillow says so of every WebP with several frames
    return image.mode == "RGBA" if image.format == "WEBP" else image.has_transparency_data


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large(name)


def _too_large(name: str) -> SettingsError:
    return SettingsError(
        f"{name}: has more than {MAX_PIXELS} pixels, the most that are decoded; cut it into "
        "smaller images or remove it"
    )


def _turned(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def profile_name(profile: bytes | None) -> str:
    """The description of an ICC profile other than sRGB; "" without one."""
    if not profile:
        return ""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        text = ImageCms.getProfileDescription(opened).strip()
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return "not a sound profile"
    return "" if re.search(r"s\s?RGB", text, re.IGNORECASE) else text or "without a name"


def _png_kind(file: IO[bytes], image: Image.Image) -> tuple[str, int]:
    """Colour type and bits of a PNG. Pillow opens 16-bit colour as 8 bits without a warning, and
    looks for the transparent level of 2 and 4 bits among levels that it has stretched to 8."""
    at = file.tell()
    file.seek(24)
    bits, colour = file.read(2)
    file.seek(at)
    if colour == 0 and bits in (2, 4) and "transparency" in image.info:
        image.info["transparency"] *= 255 // (2**bits - 1)
    return f"PNG {_PNG[colour]} of {bits} bits", 16 if bits == 16 else 8


def _find_late_exif(file: IO[bytes], image: Image.Image) -> None:
    """Let Pillow know of an eXIf chunk behind the pixels, which it would find by decoding them."""
    if "exif" in image.info:
        return
    at = file.tell()
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"eXIf":
            image.info["exif"] = b"Exif\0\0" + file.read(length)
            break
        file.seek(length + 4, io.SEEK_CUR)
    file.seek(at)


def _orientation(image: Image.Image) -> int:
    # the method of the base class: that of PNG decodes the image
    return Image.Image.getexif(image).get(_ORIENTATION, 1)


def _png16(content: bytes, image: Image.Image) -> Levels:
    """A PNG of 16 bits a channel, of which Pillow keeps 8, or loses a transparent level."""
    levels = imagecodecs.png_decode(content)
    levels = levels.reshape(*levels.shape[:2], -1)
    return upright(levels, _orientation(image))


def _levels(image: Image.Image, header: Header) -> Levels:
    """Upright levels of an image that Pillow decodes: grey, RGB or CMYK, and alpha."""
    ImageOps.exif_transpose(image, in_place=True)
    mode = image.mode
    if mode in _GREY:
        mode = "LA" if header.alpha else "L"
    elif mode != "CMYK":
        mode = "RGBA" if header.alpha else "RGB"
    if image.mode != mode:  # a conversion to the same mode would be a copy
        image = image.convert(mode)
    return _array(image)


def _array(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, C) of an image, strip by strip: at once, Pillow would hold it twice more."""
    rows = max(1, _STRIP_PIXELS // image.width)
    levels = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        levels[top : top + rows] = np.asarray(strip).reshape(strip.height, strip.width, -1)
    return levels


def _from_ink(levels: NDArray[Any], profile: bytes | None) -> NDArray[np.uint8]:
    """CMYK as RGB of 8 bits: by a profile into sRGB where that works, else by Pillow's formula."""
    if levels.dtype == np.uint16:
        levels = (levels >> 8).astype(np.uint8)
    height, width = levels.shape[:2]
    image = Image.frombytes("CMYK", (width, height), levels.tobytes())
    if profile is not None:
        try:
            ink = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            screen = ImageCms.createProfile("sRGB")
            made = ImageCms.profileToProfile(image, ink, screen, outputMode="RGB")
            if made is not None:
                return np.asarray(made)
        except (ImageCms.PyCMSError, OSError):
            pass  # a profile that does not fit its image
    return np.asarray(image.convert("RGB"))
