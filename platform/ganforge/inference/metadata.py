"""What a photo file says of itself besides its pixels and its colour profile: EXIF and resolution.

The pixels are turned upright when they are read, so Orientation becomes 1. What describes the
stored file and not the photo (strips, thumbnails, XMP with an orientation of its own) is left out.
"""

import io
import math
import warnings
from dataclasses import dataclass, field
from typing import Any

from PIL import ExifTags, Image, TiffTags

from ganforge.data.tiff import SIGNATURES

_ORIENTATION, _UNIT = 0x0112, 0x0128
_X_RESOLUTION, _Y_RESOLUTION = 0x011A, 0x011B
_WIDTH, _HEIGHT, _MAKER_NOTE, _INTEROP = 0xA002, 0xA003, 0x927C, 0xA005
_INCH, _CENTIMETRE = 2, 3
#: of the first directory (EXIF 3.0, table 4): in a TIFF it also holds what its pixels are read by
_KEPT = {
    0x010E, 0x010F, 0x0110,  # ImageDescription, Make, Model
    _X_RESOLUTION, _Y_RESOLUTION, _UNIT,
    0x0131, 0x0132, 0x013B, 0x013C,  # Software, DateTime, Artist, HostComputer
    0x4746, 0x4749, 0x8298,  # Rating, RatingPercent, Copyright
    0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F,  # XPTitle, XPComment, XPAuthor, XPKeywords, XPSubject
}  # fmt: skip
_ASCII = 2
#: of pixels in an inch, that JPEG and PNG both hold
_MOST_DPI = 65_535
UNREADABLE = "its EXIF cannot be read and is left out"


@dataclass(frozen=True)
class Metadata:
    """The directories of EXIF by tag, and pixels in an inch (x, y) where the file says them."""

    tags: dict[int, Any] = field(default_factory=dict)
    photo: dict[int, Any] = field(default_factory=dict)
    position: dict[int, Any] = field(default_factory=dict)
    dpi: tuple[float, float] | None = None

    def exif(self, width: int, height: int, most_bytes: int | None = None) -> bytes:
        """EXIF for an image of these sides, b"" where there is nothing to say. Above `most_bytes`
        without the camera's own note, and if need be without all."""
        photo = dict(self.photo)
        for tag, side in ((_WIDTH, width), (_HEIGHT, height)):
            if tag in photo:
                photo[tag] = side
        content = _encoded(self.tags, photo, self.position)
        if most_bytes is not None and len(content) > most_bytes:
            photo.pop(_MAKER_NOTE, None)
            content = _encoded(self.tags, photo, self.position)
        return b"" if most_bytes is not None and len(content) > most_bytes else content

    def with_resolution(self) -> "Metadata":
        """The resolution as tags too, for a format that has no other field for it."""
        if self.dpi is None or _X_RESOLUTION in self.tags:
            return self
        said = {_X_RESOLUTION: self.dpi[0], _Y_RESOLUTION: self.dpi[1], _UNIT: _INCH}
        return Metadata(self.tags | said, self.photo, self.position, self.dpi)


def read_metadata(content: bytes) -> tuple[Metadata, str]:
    """The metadata of an image file that is decoded already, and a note if some cannot be read."""
    dpi = None
    try:
        with warnings.catch_warnings(action="ignore"):
            if content[:4] in SIGNATURES:
                exif = Image.Exif()
                exif.load_from_fp(io.BytesIO(content))
                dpi = _dpi_of(exif)
            else:
                with Image.open(io.BytesIO(content)) as image:
                    dpi = _checked(image.info.get("dpi"))
                    exif = image.getexif()
            return _read(exif, dpi), ""
    except Exception:  # what broken tags raise has no common base; the pixels are sound
        return Metadata(dpi=dpi), UNREADABLE


def _read(exif: Image.Exif, dpi: tuple[float, float] | None) -> Metadata:
    tags = {tag: value for tag, value in exif.items() if tag in _KEPT}
    photo = dict(exif.get_ifd(ExifTags.IFD.Exif))
    photo.pop(_INTEROP, None)  # an offset in the file that was read
    found = Metadata(tags, photo, dict(exif.get_ifd(ExifTags.IFD.GPSInfo)), dpi)
    if _ORIENTATION in exif and (found.tags or found.photo or found.position):
        found.tags[_ORIENTATION] = 1
    found.exif(1, 1)  # what cannot be written again is found here
    return found


def _encoded(tags: dict[int, Any], photo: dict[int, Any], position: dict[int, Any]) -> bytes:
    """EXIF with its leading marker, as Pillow's writers take it."""
    if not (tags or photo or position):
        return b""
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = _bytes_of_text(tag, value, None)
    for group, values in ((ExifTags.IFD.Exif, photo), (ExifTags.IFD.GPSInfo, position)):
        if values:
            texts = {tag: _bytes_of_text(tag, value, group) for tag, value in values.items()}
            exif.get_ifd(group).update(texts)
    return exif.tobytes()


def _bytes_of_text(tag: int, value: Any, group: int | None) -> Any:
    """Pillow reads text as Latin-1 and writes it as ASCII: as bytes it stays what it was."""
    text = isinstance(value, str) and not value.isascii()
    return value.encode("latin-1") if text and TiffTags.lookup(tag, group).type == _ASCII else value


def _dpi_of(exif: Image.Exif) -> tuple[float, float] | None:
    """The resolution that a TIFF states; its unit is the inch unless it says another."""
    factors = {_INCH: 1.0, _CENTIMETRE: 2.54}
    unit = exif.get(_UNIT, _INCH)
    x, y = exif.get(_X_RESOLUTION), exif.get(_Y_RESOLUTION)
    if unit not in factors or x is None or y is None:
        return None
    return _checked((float(x) * factors[unit], float(y) * factors[unit]))


def _checked(pair: Any) -> tuple[float, float] | None:
    """A resolution that files can hold; None for what is missing, 0 or not a number."""
    try:
        x, y = (float(value) for value in pair)
    except (TypeError, ValueError, ArithmeticError):
        return None
    ok = all(math.isfinite(value) and 0.5 <= value <= _MOST_DPI for value in (x, y))
    return (x, y) if ok else None
