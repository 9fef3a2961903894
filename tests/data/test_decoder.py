"""Every kind of image file against levels that are known: what is read is read right, in training
and in inference, and what is not is refused by its name."""

import io
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import torch
from image_bytes import bmp, exif, packed, png, tiff
from PIL import Image

from ganforge.data import decoder
from ganforge.data.decoder import decode
from ganforge.data.images import SourceImage, read_header
from ganforge.data.images import decode as training_pixels
from ganforge.data.inventory import conversions
from ganforge.data.raster import Header
from ganforge.inference.images import read_photo
from ganforge.settings import SettingsError

ROOT = Path(__file__).parents[2]
HEIGHT, WIDTH = 21, 18  # no side is a multiple of a tile's or of a byte's


@dataclass(frozen=True)
class Case:
    """A file and its upright levels (H, W, C): grey, grey and alpha, RGB, or RGB and alpha.

    `row` is its line in docs/data.md. `near` is how far a lossy decoder may be off.
    """

    name: str
    row: str
    content: bytes
    levels: np.ndarray
    near: int = 0

    @property
    def suffix(self) -> str:
        return self.row.split()[0].lower()


def known(channels: int, bits: int = 8, seed: int = 0) -> np.ndarray:
    """Levels of so many bits, the first rows among them 0 and the largest; alpha too."""
    random = np.random.default_rng([seed, channels, bits])
    found = random.integers(0, 2**bits, (HEIGHT, WIDTH, channels))
    found[0, 0], found[0, 1] = 0, 2**bits - 1
    return found.astype(np.uint16 if bits > 8 else np.uint8)


def turned(levels: np.ndarray, orientation: int) -> np.ndarray:
    """As numpy turns it: independent of the decoder's own."""
    by = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.flipud(np.rot90(a, 1)),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.fliplr(np.rot90(a, 1)),
        8: lambda a: np.rot90(a, 1),
    }
    return by[orientation](levels)


def stretched(values: np.ndarray, bits: int) -> np.ndarray:
    """Values of so many bits over 8 or 16, rounded, in exact arithmetic."""
    top = 65535 if bits > 8 else 255
    wide = values.astype(np.int64) * 2 * top
    return ((wide + (2**bits - 1)) // (2 * (2**bits - 1))).astype(
        np.uint16 if bits > 8 else np.uint8
    )


def straight(levels: np.ndarray) -> np.ndarray:
    """Colour divided by alpha, which may be off by what was lost when it was multiplied."""
    top = np.iinfo(levels.dtype).max
    alpha = levels[..., -1:].astype(float)
    colour = np.divide(levels[..., :-1] * float(top), alpha, where=alpha > 0, out=np.zeros_like(
        levels[..., :-1], float))  # fmt: skip
    return np.dstack([np.floor(colour + 1e-9).clip(0, top), alpha]).astype(levels.dtype)


def of_ink(levels: np.ndarray) -> np.ndarray:
    """CMYK as Pillow's formula has it: 255 - K less its part of the ink."""
    cyan_to_yellow, black = levels[..., :3].astype(float), levels[..., 3:].astype(float)
    return ((255 - black) * (255 - cyan_to_yellow) / 255).round().astype(np.uint8)


# TIFF ---------------------------------------------------------------------------------------------

COMPRESSIONS = [(None, 1), ("lzw", 1), ("lzw", 2), ("zlib", 1), ("zlib", 2), ("packbits", 1),
                ("lzma", 1), ("zstd", 1), ("zstd", 2)]  # fmt: skip
NAMED = {
    "minisblack": "grey, 0 is black",
    "miniswhite": "grey, 0 is white",
    "rgb": "RGB",
    "separated": "CMYK",
}
EXTRAS = ("unspecified", "assocalpha", "unassalpha")


def written(levels: np.ndarray, photometric: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, levels, photometric=photometric, **options)
    return buffer.getvalue()


def _row(form: str, named: str, bits: int) -> str:
    small = "1, 2, 4 or 8" if named.startswith(("grey", "palette")) and "alpha" not in named else 8
    return f"{form} {named}, {bits if bits > 8 else small} bits"


def tiffs() -> Iterator[Case]:
    kinds = (("minisblack", 1), ("miniswhite", 1), ("rgb", 3), ("separated", 4))
    for (photometric, channels), bits, (compression, predictor), order in itertools.product(
        kinds, (8, 16), COMPRESSIONS, "<>"
    ):
        for layout in ("contig", "separate") if channels > 1 else ("contig",):
            for tile in (None, (16, 16)):
                given = known(channels, bits)
                options: dict[str, Any] = {
                    "compression": compression, "predictor": predictor == 2, "byteorder": order,
                    "tile": tile, "rowsperstrip": None if tile else 4,
                }  # fmt: skip
                stored = given
                if layout == "separate":
                    stored, options["planarconfig"] = given.transpose(2, 0, 1), "separate"
                name = f"{photometric}-{bits}-{compression}-{predictor}-{layout}-{order}-{tile}"
                yield Case(
                    f"tiff-{name}",
                    _row("TIFF", NAMED[photometric], bits),
                    written(stored[..., 0] if channels == 1 else stored, photometric, **options),
                    as_read(given, photometric),
                )
    for orientation, (photometric, channels), bits, compression in itertools.product(
        range(1, 9), kinds, (8, 16), (None, "lzw")
    ):
        given = known(channels, bits)
        yield Case(
            f"tiff-{photometric}-{bits}-{compression}-orientation-{orientation}",
            "TIFF orientation",
            written(
                given[..., 0] if channels == 1 else given,
                photometric,
                compression=compression,
                extratags=[(274, 3, 1, orientation, True)],
            ),
            turned(as_read(given, photometric), orientation),
        )
    yield from tiffs_with_extras()
    yield from small_tiffs()
    yield from lossy_tiffs()


def as_read(given: np.ndarray, photometric: str) -> np.ndarray:
    if photometric == "separated":
        return of_ink(given >> 8 if given.dtype == np.uint16 else given)
    return np.iinfo(given.dtype).max - given if photometric == "miniswhite" else given


def tiffs_with_extras() -> Iterator[Case]:
    for (photometric, colours), bits, extra, compression, layout, more in itertools.product(
        (("minisblack", 1), ("rgb", 3)), (8, 16), EXTRAS, (None, "lzw"), ("contig", "separate"),
        (0, 1),
    ):  # fmt: skip
        given = known(colours + 1 + more, bits)
        whole = given[..., : colours + 1]
        if extra == "unspecified":
            expected = given[..., :colours]
        elif extra == "assocalpha":  # as a writer would store it: never above alpha
            given[..., :colours] = np.minimum(given[..., :colours], given[..., colours, None])
            expected = straight(whole)
        else:
            expected = whole
        stored = given.transpose(2, 0, 1) if layout == "separate" else given
        yield Case(
            f"tiff-{photometric}-{bits}-{extra}-{more}-{compression}-{layout}",
            _row("TIFF", NAMED[photometric], bits)
            + (", alpha" if extra != "unspecified" else "")
            + (", further channels" if more or extra == "unspecified" else ""),
            written(
                stored,
                photometric,
                compression=compression,
                planarconfig=layout,
                extrasamples=[extra] + ["unspecified"] * more,
            ),
            expected,
        )


def small_tiffs() -> Iterator[Case]:
    """Of 1, 2, 4 and 12 bits, palettes, and both orders of bits, byte by byte."""
    colours = np.random.default_rng(5).integers(0, 65536, (256, 3))
    for bits, photometric, order in itertools.product((1, 2, 4, 8, 12, 16), (0, 1, 3), (1, 2)):
        if (photometric == 3 and bits > 8) or (order == 2 and bits > 8):
            continue
        values = known(1, bits)
        rows = packed(values, bits)
        strip = b"".join(rows)
        if order == 2:
            strip = bytes(int(f"{byte:08b}"[::-1], 2) for byte in strip)
        tags = [
            (256, 3, [WIDTH]), (257, 3, [HEIGHT]), (258, 3, [bits]), (259, 3, [1]),
            (262, 3, [photometric]), (266, 3, [order]), (277, 3, [1]), (278, 3, [HEIGHT]),
        ]  # fmt: skip
        expected = stretched(values, bits)
        if photometric == 0:
            expected = np.iinfo(expected.dtype).max - expected
        if photometric == 3:
            table = colours[: 2**bits]
            tags.append((320, 3, table.T.ravel().tolist()))
            expected = (table >> 8).astype(np.uint8)[values[..., 0]]
        named = ("grey, 0 is white", "grey, 0 is black", "", "palette")[photometric]
        yield Case(
            f"tiff-{named}-{bits}-fill-{order}",
            _row("TIFF", named, bits),
            tiff(tags, strip),
            expected,
        )
    table = (colours[:256].T).astype(np.uint16)
    for compression, orientation in itertools.product((None, "lzw", "packbits"), range(1, 9)):
        values = known(1)
        yield Case(
            f"tiff-palette-{compression}-{orientation}",
            "TIFF palette, 1, 2, 4 or 8 bits",
            written(
                values[..., 0],
                "palette",
                colormap=table,
                compression=compression,
                extratags=[(274, 3, 1, orientation, True)],
            ),
            turned((table >> 8).astype(np.uint8).T[values[..., 0]], orientation),
        )
    for name in ("group3", "group4", "tiff_ccitt"):
        values = known(1, 1)
        yield Case(
            f"tiff-{name}",
            "TIFF fax",
            saved(Image.fromarray(values[..., 0] > 0), "TIFF", compression=name),
            values * np.uint8(255),
        )
    pages = known(3, seed=1), known(3, seed=2)
    yield Case(
        "tiff-pages",
        "TIFF several pages",
        saved(
            Image.fromarray(pages[0]),
            "TIFF",
            save_all=True,
            append_images=[Image.fromarray(pages[1])],
        ),
        pages[0],
    )
    yield Case("tiff-big", "TIFF RGB, 8 bits", written(pages[0], "rgb", bigtiff=True), pages[0])


def lossy_tiffs() -> Iterator[Case]:
    smooth = gradient(3)
    for photometric, given in (("rgb", smooth), ("minisblack", smooth[..., :1])):
        content = written(
            given[..., 0] if given.shape[2] == 1 else given, photometric, compression="jpeg"
        )
        yield Case(f"tiff-jpeg-{photometric}", "TIFF JPEG", content, given, near=12)
    for subsampling in ((1, 1), (2, 2)):
        content = written(
            smooth,
            "rgb",
            compression="jpeg",
            compressionargs={"level": 95},
            subsampling=subsampling,
        )
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            assert file.pages.first.photometric == tifffile.PHOTOMETRIC.YCBCR
        yield Case(f"tiff-ycbcr-{subsampling}", "TIFF JPEG", content, smooth, near=14)


def gradient(channels: int) -> np.ndarray:
    """Smooth levels, which lossy formats hardly change."""
    y, x = np.mgrid[0:64, 0:48]
    planes = [128 + 100 * np.sin(x / (9.0 + c)) * np.cos(y / (11.0 - c)) for c in range(channels)]
    return np.dstack(planes).astype(np.uint8)


# PNG ----------------------------------------------------------------------------------------------

DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
NAMES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGBA"}


def pngs() -> Iterator[Case]:
    colours = np.random.default_rng(6).integers(0, 256, (256, 3)).astype(np.uint8)
    alphas = np.random.default_rng(7).integers(0, 256, 256).astype(np.uint8)
    for colour, depths in DEPTHS.items():
        for bits, interlaced, clear, orientation in itertools.product(
            depths, (False, True), (False, True), (1, 3, 6)
        ):
            if clear and colour > 3:
                continue
            values = known(CHANNELS[colour], bits)
            chunks = [(b"eXIf", exif(orientation))]
            table = colours[: 2**bits] if bits <= 8 else colours
            if colour == 3:
                chunks.append((b"PLTE", table.tobytes()))
                expected = table[values[..., 0]]
                if clear:
                    chunks.append((b"tRNS", alphas[: len(table)].tobytes()))
                    expected = np.dstack([expected, alphas[values[..., 0]]])
            else:
                expected = stretched(values, bits)
                if clear:
                    level = values[3, 3].astype(">u2")
                    chunks.append((b"tRNS", level.tobytes()))
                    seen = (values != values[3, 3]).any(-1)
                    expected = np.dstack([expected, seen * np.iinfo(expected.dtype).max])
                    expected = expected.astype(values.dtype if bits > 8 else np.uint8)
            name = f"png-{NAMES[colour]}-{bits}-{interlaced}-{clear}-{orientation}"
            row = _row("PNG", NAMES[colour], bits) + (", transparent by tRNS" if clear else "")
            content = png(values, bits, colour, interlaced=interlaced, chunks=chunks)
            yield Case(name, row, content, turned(expected, orientation))
    for bits, orientation in itertools.product((8, 16), range(1, 9)):  # behind the pixels
        values = known(3, bits)
        content = png(values, bits, 2, later=[(b"eXIf", exif(orientation))])
        row, expected = "PNG orientation", turned(values, orientation)
        yield Case(f"png-late-{bits}-{orientation}", row, content, expected)
    for channels, bits in itertools.product((1, 2, 3, 4), (8, 16)):  # another encoder's filters
        values = known(channels, bits, seed=3)
        yield Case(
            f"png-encoded-{channels}-{bits}",
            _row("PNG", NAMES[{1: 0, 2: 4, 3: 2, 4: 6}[channels]], bits),
            bytes(imagecodecs.png_encode(values[..., 0] if channels == 1 else values)),
            values,
        )
    frames = [known(3, seed=n) for n in range(2)]
    content = saved(
        Image.fromarray(frames[0]), "PNG", save_all=True, append_images=[Image.fromarray(frames[1])]
    )
    yield Case("png-animated", "PNG several frames", content, frames[0])


# JPEG, WebP, GIF, BMP -----------------------------------------------------------------------------


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def jpegs() -> Iterator[Case]:
    smooth = gradient(3)
    for sampling, level in itertools.product(("444", "422", "420"), (75, 98)):
        content = bytes(imagecodecs.jpeg8_encode(smooth, level=level, subsampling=sampling))
        expected = imagecodecs.jpeg8_decode(content)
        assert np.abs(expected.astype(int) - smooth).max() < 30
        yield Case(f"jpeg-{sampling}-{level}", "JPEG colour", content, expected, near=2)
    for level in (75, 98):
        content = bytes(imagecodecs.jpeg8_encode(smooth[..., 0].copy(), level=level))
        expected = imagecodecs.jpeg8_decode(content)[..., None]
        yield Case(f"jpeg-grey-{level}", "JPEG grey", content, expected, near=1)
    content = bytes(imagecodecs.jpeg8_encode(smooth, level=98, outcolorspace="rgb"))
    yield Case("jpeg-rgb", "JPEG colour", content, smooth, near=6)
    for orientation, progressive in itertools.product(range(1, 9), (False, True)):
        image = Image.fromarray(smooth)
        content = saved(
            image, "JPEG", quality=98, subsampling=0, progressive=progressive,
            exif=b"Exif\0\0" + exif(orientation),
        )  # fmt: skip
        expected = turned(smooth, orientation)
        name = f"jpeg-{progressive}-orientation-{orientation}"
        yield Case(name, "JPEG orientation", content, expected, near=6)
    exact = known(1)
    content = bytes(imagecodecs.ljpeg_encode(exact[..., 0].copy()))
    yield Case("jpeg-lossless", "JPEG grey", content, exact)
    ink = gradient(4)
    content = saved(Image.frombytes("CMYK", (48, 64), ink.tobytes()), "JPEG", quality=98)
    yield Case("jpeg-cmyk", "JPEG CMYK", content, of_ink(ink), near=8)
    other = Image.fromarray(smooth[::-1].copy())
    content = saved(
        Image.fromarray(smooth), "MPO", save_all=True, append_images=[other], quality=98
    )
    yield Case("jpeg-mpo", "JPEG several images", content, smooth, near=12)


def webps() -> Iterator[Case]:
    for channels, orientation in itertools.product((3, 4), (1, 3, 6)):
        given = known(channels)
        content = saved(
            Image.fromarray(given), "WEBP", lossless=True, exact=True, exif=exif(orientation)
        )
        expected = turned(given, orientation)
        yield Case(f"webp-{channels}-{orientation}", "WebP lossless", content, expected)
    for channels in (3, 4):
        given = gradient(channels)
        content = bytes(imagecodecs.webp_encode(given, level=90))
        expected = imagecodecs.webp_decode(content)
        yield Case(f"webp-lossy-{channels}", "WebP lossy", content, expected, near=1)
    frames = [known(3, seed=n) for n in range(2)]
    content = saved(
        Image.fromarray(frames[0]), "WEBP", save_all=True, lossless=True,
        append_images=[Image.fromarray(frames[1])],
    )  # fmt: skip
    opaque = np.full((HEIGHT, WIDTH), 255, np.uint8)
    expected = np.dstack([frames[0], opaque])
    yield Case("webp-animated", "WebP several frames", content, expected)


def gifs() -> Iterator[Case]:
    table = np.random.default_rng(8).permutation(2**24)[:256].astype(">u4").view(np.uint8)
    table = table.reshape(256, 4)[:, 1:]
    values = known(1)
    image = Image.fromarray(values[..., 0])
    image.putpalette(table.tobytes())
    yield Case("gif-palette", "GIF palette", saved(image, "GIF"), table[values[..., 0]])
    clear = saved(image, "GIF", transparency=int(values[3, 3, 0]))
    alpha = np.where(values == values[3, 3], 0, 255).astype(np.uint8)
    expected = np.dstack([table[values[..., 0]], alpha])
    yield Case("gif-transparent", "GIF transparent", clear, expected)
    frames = np.stack([np.repeat(known(1, seed=n), 3, 2) for n in range(3)])
    content = imageio.imwrite("<bytes>", frames, extension=".gif")
    yield Case("gif-animated", "GIF several frames", content, frames[0])


def bmps() -> Iterator[Case]:
    colours = np.random.default_rng(9).integers(0, 256, (256, 3)).astype(np.uint8)
    for bits, top_down in itertools.product((1, 4, 8), (False, True)):
        values, table = known(1, bits), colours[: 2**bits]
        content = bmp(packed(values, bits), WIDTH, bits, palette=table, top_down=top_down)
        yield Case(f"bmp-{bits}-{top_down}", "BMP palette", content, table[values[..., 0]])
    rgb = known(3)
    for top_down in (False, True):
        rows = [row[:, ::-1].tobytes() for row in rgb]
        content = bmp(rows, WIDTH, 24, top_down=top_down)
        yield Case(f"bmp-24-{top_down}", "BMP RGB", content, rgb)
        rows = [np.insert(row[:, ::-1], 3, 0, 1).tobytes() for row in rgb]
        yield Case(f"bmp-32-{top_down}", "BMP RGB", bmp(rows, WIDTH, 32, top_down=top_down), rgb)
    rgba = known(4)
    rows = [row[:, [2, 1, 0, 3]].tobytes() for row in rgba]
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    content = bmp(rows, WIDTH, 32, compression=3, masks=masks)
    yield Case("bmp-alpha", "BMP alpha", content, rgba)
    for name, masks, sizes in (
        ("555", (), (5, 5, 5)),
        ("555 bitfields", (0x7C00, 0x3E0, 0x1F), (5, 5, 5)),
        ("565 bitfields", (0xF800, 0x7E0, 0x1F), (5, 6, 5)),
    ):
        parts = [known(1, bits, seed=n)[..., 0].astype(int) for n, bits in enumerate(sizes)]
        red, green, blue = parts
        whole = (red << (sizes[1] + sizes[2])) | (green << sizes[2]) | blue
        rows = [row.astype("<u2").tobytes() for row in whole]
        content = bmp(rows, WIDTH, 16, compression=3 if masks else 0, masks=masks)
        levels = [part * 255 // (2**bits - 1) for part, bits in zip(parts, sizes, strict=True)]
        yield Case(f"bmp-{name}", "BMP RGB", content, np.dstack(levels).astype(np.uint8), near=1)
    values = np.repeat(known(1)[..., 0], 1, 1)
    runs = b"".join(b"".join(bytes((1, level)) for level in row) + b"\0\0" for row in values[::-1])
    content = bmp([runs + b"\0\1", *[b""] * HEIGHT], WIDTH, 8, palette=colours, compression=1)
    yield Case("bmp-rle8", "BMP palette", content, colours[values])


# checks -------------------------------------------------------------------------------------------


MAKERS = {"tiff": tiffs, "png": pngs, "jpeg": jpegs, "webp": webps, "gif": gifs, "bmp": bmps}


@cache
def cases(form: str) -> tuple[Case, ...]:
    return tuple(MAKERS[form]())


def eight(levels: np.ndarray) -> np.ndarray:
    """What training is given of levels: no alpha, 8 bits."""
    colour = levels[..., 0] if levels.shape[2] < 3 else levels[..., :3]
    if levels.dtype == np.uint8:
        return colour
    if levels.shape[2] < 3:
        return np.floor(colour / 257 + 0.5).astype(np.uint8)
    return (colour // 256).astype(np.uint8)


def far(found: np.ndarray, expected: np.ndarray) -> int:
    """The largest difference of a level; shapes and depths must be equal."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    return int(np.abs(found.astype(int) - expected.astype(int)).max())


def checked(case: Case, folder: Path) -> str:
    """What is wrong with a case; "" if all of its readers give the known levels."""
    path = folder / f"image.{case.suffix}"
    path.write_bytes(case.content)
    raster = decode(case.content, case.name)
    wrong = []
    if far(raster.levels, case.levels) > case.near:
        wrong.append("levels")
    photo = read_photo(path)
    planes = photo.colour if photo.alpha is None else torch.cat([photo.colour, photo.alpha])
    top = 2**photo.depth - 1
    levels = ((planes.double() + 1) * (top / 2)).round().permute(1, 2, 0).numpy()
    if far(levels.astype(case.levels.dtype), case.levels) > case.near:
        wrong.append("inference")
    if case.suffix != "gif":
        image = SourceImage(path.name, path)
        header = read_header(image)
        if (header.height, header.width) != case.levels.shape[:2]:
            wrong.append("header")
        if far(training_pixels(case.content, image), eight(case.levels)) > case.near:
            wrong.append("training")
    return ", ".join(wrong)


@pytest.mark.parametrize("form", MAKERS)
def test_what_is_read_is_read_right(tmp_path: Path, form: str) -> None:
    found: dict[str, str] = {}
    for case in cases(form):
        try:
            problem = checked(case, tmp_path)
        except (SettingsError, AssertionError) as error:
            problem = f"{type(error).__name__} {error}"
        if problem:
            found[case.name] = problem
    assert not found, f"{len(found)} of {len(cases(form))}: {found}"


# what is refused ----------------------------------------------------------------------------------


def tagged(
    photometric: int, bits: list[int], samples: int = 1, more: list[Any] | None = None
) -> bytes:
    """A TIFF with these tags and enough bytes."""
    tags = [
        (256, 3, [WIDTH]), (257, 3, [HEIGHT]), (258, 3, bits), (259, 3, [1]),
        (262, 3, [photometric]), (277, 3, [samples]), (278, 3, [HEIGHT]),
    ]  # fmt: skip
    kept = [tag for tag in tags if tag[0] not in {number for number, *_ in more or []}]
    return tiff([*kept, *(more or [])], b"\x55" * HEIGHT * WIDTH * sum(bits))


@cache
def others() -> dict[str, tuple[str, bytes]]:
    """Sound files of kinds that are not read, by their line in docs/data.md and what names them."""
    grey, rgb = known(1)[..., 0], known(3)
    plain = np.zeros((HEIGHT, WIDTH), np.float32)
    return {
        "TIFF floating point": ("32 bits \\(IEEEFP", written(plain, "minisblack")),
        "TIFF half precision": ("16 bits \\(IEEEFP", written(plain.astype("f2"), "minisblack")),
        "TIFF predictor 3": (
            "IEEEFP", written(plain, "minisblack", compression="zlib", predictor=True)
        ),
        "TIFF signed, 8 bits": ("8 bits \\(INT", written(grey.astype("i1"), "minisblack")),
        "TIFF signed, 16 bits": ("16 bits \\(INT", written(grey.astype("i2"), "minisblack")),
        "TIFF 32 bits": ("32 bits \\(UINT", written(grey.astype("u4"), "minisblack")),
        "TIFF complex": ("COMPLEXIEEEFP", written(plain.astype("c8"), "minisblack")),
        "TIFF 10 bits": ("1 × 10 bits", tagged(1, [10])),
        "TIFF bits that differ": ("3 × \\(5, 6, 5\\) bits", tagged(2, [5, 6, 5], 3)),
        "TIFF LAB": ("CIELAB", tagged(8, [8, 8, 8], 3)),
        "TIFF YCbCr without JPEG": ("YCBCR .* NONE", tagged(6, [8, 8, 8], 3)),
        "TIFF mask": ("MASK", tagged(4, [1])),
        "TIFF CFA": ("CFA", written(grey, "cfa")),
        "TIFF LogLuv": ("LOGLUV", tagged(32845, [16, 16, 16], 3)),
        "TIFF unknown photometric": ("photometric 777", tagged(777, [8])),
        "TIFF palette, 16 bits": (
            "PALETTE of 1 × 16", tagged(3, [16], 1, [(320, 3, [0] * 3 * 65536)])
        ),
        "TIFF RGB of two samples": ("RGB of 2", tagged(2, [8, 8], 2)),
        "TIFF two alphas": ("extra samples 2, 2", tagged(2, [8] * 5, 5, [(338, 3, [2, 2])])),
        "TIFF alpha of CMYK": (
            "SEPARATED of 5 .* samples 2", tagged(5, [8] * 5, 5, [(338, 3, [2])])
        ),
        "TIFF alpha of white grey": ("MINISWHITE of 2", tagged(0, [8, 8], 2, [(338, 3, [2])])),
        "TIFF other inks": ("of other inks", tagged(5, [8] * 4, 4, [(332, 3, [2])])),
        "TIFF fill order 2, 16 bits": ("fill order 2", tagged(1, [16], 1, [(266, 3, [2])])),
        "TIFF old JPEG": ("OJPEG", tagged(2, [8] * 3, 3, [(259, 3, [6])])),
        "TIFF JPEG 2000": ("JPEG2000|JPEG_2000", written(rgb, "rgb", compression="jpeg2000")),
        "TIFF JPEG XL": ("JPEGXL", written(rgb, "rgb", compression="jpegxl")),
        "TIFF WebP": ("WEBP", written(rgb, "rgb", compression="webp")),
        "TIFF PNG": ("PNG", written(rgb, "rgb", compression="png")),
        "TIFF unknown compression": ("compression 60001", tagged(1, [8], 1, [(259, 3, [60001])])),
        "TIFF volume": ("images deep", written(
            np.zeros((16, 16, 16), "u1"), "minisblack", volumetric=True, tile=(16, 16, 16))),
        "JPEG 12 bits": ("cannot be read", bytes(imagecodecs.jpeg_encode(known(1, 12)[..., 0]
            .copy(), bitspersample=12))),
        "AVIF": ("not one of", bytes(imagecodecs.avif_encode(rgb))),
        "JPEG 2000": ("not one of", bytes(imagecodecs.jpeg2k_encode(rgb))),
        "JPEG XL": ("not one of", bytes(imagecodecs.jpegxl_encode(rgb))),
        "PPM": ("not one of", saved(Image.fromarray(rgb), "PPM")),
        "TGA": ("not one of", saved(Image.fromarray(rgb), "TGA")),
        "text": ("not one of", b"words"),
        "empty file": ("not one of", b""),
    }  # fmt: skip


@pytest.mark.parametrize("row", others())
def test_what_is_not_read_is_refused_by_its_name(tmp_path: Path, row: str) -> None:
    named, content = others()[row]
    (tmp_path / "a.tif").write_bytes(content)
    image = SourceImage("a.tif", tmp_path / "a.tif")
    for read in (
        lambda: training_pixels(content, image),
        lambda: read_photo(image.path),
        lambda: read_header(image),
    ):
        with pytest.raises(SettingsError, match=named) as refused:
            read()
        assert str(refused.value).startswith(f"{image.path}: ")
        assert "\n" not in str(refused.value) and ";" in str(refused.value)


def test_large_images_are_read_in_strips(monkeypatch) -> None:
    monkeypatch.setattr(decoder, "_STRIP_PIXELS", 50)
    for case in one_of_each():
        assert far(decode(case.content, case.name).levels, case.levels) <= case.near, case.name


def test_an_image_that_needs_too_much_memory_is_refused(monkeypatch) -> None:
    case = cases("png")[0]
    needed = HEIGHT * WIDTH * decoder.BYTES_PER_PIXEL
    decode(case.content, case.name, most_bytes=needed)
    monkeypatch.setattr(decoder, "machine_bytes", lambda: 2 * needed - 2)
    with pytest.raises(SettingsError, match=r"18 × 21 pixels take about .* more than may be"):
        decode(case.content, case.name)


def test_threads_do_not_take_more_memory_together_than_they_may(monkeypatch) -> None:
    """Sixteen threads, and images of which two fit."""
    held, most, lock = 0, 0, threading.Lock()
    case = cases("png")[0]
    needed = HEIGHT * WIDTH * decoder.BYTES_PER_PIXEL
    levels_of = decoder._levels

    def slow(image: Image.Image, header: Header) -> Any:
        nonlocal held, most
        with lock:
            held += needed
            most = max(most, held)
        time.sleep(0.01)
        with lock:
            held -= needed
        return levels_of(image, header)

    monkeypatch.setattr(decoder, "_levels", slow)
    for total, expected in ((2 * needed, 2 * needed), (needed // 2, needed)):
        most = 0
        monkeypatch.setattr(decoder, "_ROOM", decoder._Room(total))
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda _: decode(case.content, case.name), range(40)))
        assert most == expected  # one that is larger than the room is decoded alone


def test_gif_is_read_by_inference_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(cases("gif")[0].content)
    image = SourceImage("a.png", tmp_path / "a.png")
    assert read_photo(image.path).colour.shape[0] == 3
    with pytest.raises(SettingsError, match="not one of"):
        read_header(image)


def one_of_each() -> list[Case]:
    return list({case.row: case for form in MAKERS for case in cases(form)}.values())


def test_a_file_cut_short_is_an_error_unless_nothing_is_missing() -> None:
    wrong = []
    for case in one_of_each():
        for part in (0.3, 0.6, 0.9):
            try:
                found = decode(case.content[: int(len(case.content) * part)], case.name).levels
            except SettingsError as error:
                assert str(error).startswith(f"{case.name}: ")
            else:  # what is missing was a second page, or an end mark
                if not np.array_equal(found, decode(case.content, case.name).levels):
                    wrong.append((case.name, part))
    assert not wrong


def test_a_grey_image_gives_one_training_image_however_it_is_stored() -> None:
    deep = known(1, 16)
    image = SourceImage("a", Path("a"))
    alpha = np.dstack([deep, deep])
    found = [
        training_pixels(content, image)
        for content in (
            png(deep, 16, 0),
            png(alpha, 16, 4),
            png(deep, 16, 0, chunks=[(b"tRNS", b"\0\1")]),
            written(deep[..., 0], "minisblack"),
            written(65535 - deep[..., 0], "miniswhite"),
        )
    ]
    for one in found:
        np.testing.assert_array_equal(one, found[0])


def table() -> str:
    """What docs/data.md says of the files of these tests."""
    rows: dict[str, list[Case]] = {}
    for form in MAKERS:
        for case in cases(form):
            rows.setdefault(case.row, []).append(case)
    lines = ["| file | tried | is decoded to | and in training |", "|---|---|---|---|"]
    for row, found in rows.items():
        rasters = [decode(case.content, case.name) for case in found]
        colours = {("grey", "grey and alpha", "RGB", "RGB and alpha")[r.levels.shape[2] - 1]
                   for r in rasters}  # fmt: skip
        depths = {f"{raster.depth} bits" for raster in rasters}
        said = {why: None for raster in rasters for why in conversions(raster.header)}
        training = "not read" if row.startswith("GIF") else "; ".join(said)
        kinds = f"{' or '.join(sorted(colours))}, {' or '.join(sorted(depths))}"
        lines.append(f"| {row} | {len(found)} | {kinds} | {training} |")
    refused = "; ".join(row for row in others() if row not in ("text", "empty file"))
    total = sum(map(len, rows.values()))
    return "\n".join([f"{total} files of {len(rows)} kinds:", "", *lines, "",
                      f"Refused by name: {refused}."])  # fmt: skip


def test_the_table_of_the_docs_is_that_of_these_tests() -> None:
    page = (ROOT / "docs" / "data.md").read_text()
    shown = page.partition("<!-- from tests/data/test_decoder.py -->\n")[2]
    assert shown.startswith(table() + "\n"), f"docs/data.md should say:\n{table()}"
