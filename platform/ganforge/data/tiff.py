"""TIFF: the kinds that are read, by their tags, and their levels.

tifffile decodes what is stored without loss. Pillow decodes JPEG and fax inside of a TIFF;
it opens more kinds than that, and gets some of them wrong without an error.
"""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from ganforge.data.raster import not_read

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: What it logs of damaged files is in the error that is raised.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

_UNSPECIFIED, _ASSOCIATED, _UNASSOCIATED = 0, 1, 2  # extra samples (TIFF 6.0, section 18)
_LOSSLESS = ("NONE", "LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "LZMA", "ZSTD")
_FAX = ("CCITTRLE", "CCITTFAX3", "CCITTFAX4")
_ICC, _ORIENTATION, _INK_SET, _COLOUR_MAP = 34675, 274, 332, 320
_CMYK = 1


@dataclass(frozen=True)
class _Rules:
    """What is read of a photometric interpretation of so many `colours`."""

    colours: int
    bits: tuple[int, ...]
    lossy: tuple[str, ...] = ()
    alpha: bool = True


_PHOTOMETRIC = {
    "MINISWHITE": _Rules(1, (1, 2, 4, 8, 12, 16), _FAX, alpha=False),
    "MINISBLACK": _Rules(1, (1, 2, 4, 8, 12, 16), ("JPEG", *_FAX)),
    "RGB": _Rules(3, (8, 16), ("JPEG",)),
    "PALETTE": _Rules(1, (1, 2, 4, 8)),
    "SEPARATED": _Rules(4, (8, 16), ("JPEG",), alpha=False),
    "YCBCR": _Rules(3, (8,), ("JPEG",), alpha=False),
}


@dataclass(frozen=True)
class Tiff:
    """The first image of a TIFF of a kind that is read. `width` and `height` are as stored.

    `pillow`: it is decoded by Pillow. `alpha` is the number of its extra sample, if it has one.
    """

    kind: str
    width: int
    height: int
    photometric: str
    colours: int
    bits: int
    extras: tuple[int, ...]
    orientation: int
    profile: bytes | None
    frames: bool
    pillow: bool

    @property
    def ink(self) -> bool:
        return self.photometric == "SEPARATED"

    @property
    def depth(self) -> int:
        """8 or 16 bits a channel after decoding; CMYK of 16 bits is read as 8."""
        return 16 if self.bits > 8 and not self.ink else 8

    @property
    def alpha(self) -> bool:
        return bool(self.extras) and self.extras[0] != _UNSPECIFIED and not self.ink

    @property
    def extra(self) -> bool:
        """Whether channels are left out that are neither colour nor alpha."""
        return len(self.extras) > self.alpha


def read_tags(file: IO[bytes], name: str) -> Tiff:
    """The first image of an open TIFF; SettingsError that names its kind if that is not read."""
    file.seek(0)
    with tifffile.TiffFile(file) as opened:
        page = opened.pages.first
        frames = len(opened.pages) > 1
        return _checked(page, name, frames)


def _checked(page: Any, name: str, frames: bool) -> Tiff:
    photometric = _name_of(tifffile.PHOTOMETRIC, page.photometric)
    compression = _name_of(tifffile.COMPRESSION, page.compression)
    numbers = _name_of(tifffile.SAMPLEFORMAT, page.sampleformat)
    bits, samples, predictor = page.bitspersample, page.samplesperpixel, int(page.predictor)
    extras = tuple(int(extra) for extra in page.extrasamples)
    kind = f"TIFF {photometric} of {samples} × {bits} bits ({numbers}), {compression}"
    if predictor > 1:
        kind += f", predictor {predictor}"
    if extras:
        kind += f", extra samples {', '.join(map(str, extras))}"
    if photometric not in _PHOTOMETRIC:
        raise not_read(name, kind, "but grey, RGB, palette, CMYK and YCbCr are")
    rules = _PHOTOMETRIC[photometric]
    if photometric == "RGB" and samples == 4 and not extras:
        extras = (_UNASSOCIATED,)  # as libtiff and Pillow take it
    if numbers != "UINT" or isinstance(bits, tuple):
        raise not_read(name, kind, "but whole numbers without a sign, of one width, are")
    if bits not in rules.bits:
        raise not_read(name, kind, f"but {_listed(rules.bits)} bits a channel are")
    if samples - len(extras) != rules.colours or not _fits(extras, rules):
        raise not_read(name, kind, "but colour alone, or with alpha before other channels, is")
    lossy = compression in rules.lossy and bits == (1 if compression in _FAX else 8)
    lossless = compression in _LOSSLESS and photometric != "YCBCR"
    if not (lossy or lossless):
        usual = () if photometric == "YCBCR" else _LOSSLESS
        raise not_read(name, kind, f"but {_listed((*usual, *rules.lossy))} is")
    if predictor not in (1, 2) or (predictor == 2 and bits not in (8, 16)):
        raise not_read(name, kind, "but predictor 1, or 2 for 8 and 16 bits, is")
    if page.fillorder != 1 and (bits > 8 or (lossy and compression not in _FAX)):
        raise not_read(name, f"{kind}, fill order 2", "but fill order 1 is")
    if photometric == "SEPARATED" and page.tags.valueof(_INK_SET, _CMYK) != _CMYK:
        raise not_read(name, f"{kind} of other inks", "but CMYK is")
    if page.imagedepth > 1:
        raise not_read(name, f"{kind}, {page.imagedepth} images deep", "but flat images are")
    return Tiff(
        kind,
        page.imagewidth,
        page.imagelength,
        photometric,
        rules.colours,
        bits,
        extras,
        page.tags.valueof(_ORIENTATION, 1),
        page.tags.valueof(_ICC),
        frames,
        pillow=lossy,
    )


def _fits(extras: tuple[int, ...], rules: _Rules) -> bool:
    """Whether extra samples are at most one alpha, followed by what is left out."""
    known = (_UNSPECIFIED, _ASSOCIATED, _UNASSOCIATED) if rules.alpha else (_UNSPECIFIED,)
    return all(extra in known for extra in extras[:1]) and not any(extras[1:])


def _name_of(kind: Any, value: int) -> str:
    try:
        return kind(value).name
    except ValueError:
        return f"{kind.__name__.lower()} {value}"


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def stored_levels(content: bytes, tiff: Tiff) -> NDArray[Any]:
    """(H, W, C) as stored, not yet upright: grey, RGB or CMYK, and alpha; uint8 or uint16.

    Fewer than 8 bits are stretched to 8, 12 bits to 16.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        levels = page.asarray()
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1:
            levels = np.moveaxis(levels, 0, -1)
        colours = np.asarray(page.colormap) if tiff.photometric == "PALETTE" else None
    levels = levels.reshape(tiff.height, tiff.width, -1)
    levels = levels[..., : tiff.colours + tiff.alpha]
    if colours is not None:
        if colours.shape != (3, 2**tiff.bits):
            raise ValueError("its palette is missing or cut short")
        of_palette = (colours >> 8).astype(np.uint8).T[levels[..., 0].astype(np.uint8)]
        return np.concatenate([of_palette, levels[..., 1:]], axis=-1)
    levels = _stretched(levels, tiff.bits)
    if tiff.photometric == "MINISWHITE":
        levels = np.iinfo(levels.dtype).max - levels
    if tiff.alpha and tiff.extras[0] == _ASSOCIATED:
        levels = _divided(levels)
    return levels


def _stretched(levels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Levels of so many bits over the whole range of 8 or 16."""
    if bits < 8:
        return levels.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
    if bits == 12:
        return ((levels.astype(np.uint32) * 65535 + 2047) // 4095).astype(np.uint16)
    return levels.astype(np.uint8 if bits == 8 else np.uint16, copy=False)


def _divided(levels: NDArray[Any]) -> NDArray[Any]:
    """Colour that was multiplied with alpha, divided by it; 0 where alpha is 0."""
    top = np.iinfo(levels.dtype).max
    alpha = levels[..., -1:].astype(np.uint32)
    colour = levels[..., :-1].astype(np.uint32) * np.uint32(top) // np.maximum(alpha, 1)
    straight = np.where(alpha == 0, 0, np.minimum(colour, top)).astype(levels.dtype)
    return np.concatenate([straight, levels[..., -1:]], axis=-1)
