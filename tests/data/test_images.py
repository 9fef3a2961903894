"""Pixels of every kind of file come out upright, in 8 bits, unclipped."""

import io
from pathlib import Path

import numpy as np
import pytest
from conftest import noise
from PIL import Image

from ganforge.data.images import Decoded, SourceImage, decode, digest, load
from ganforge.settings import SettingsError

IMAGE = SourceImage("a.png", Path("a.png"))


def _file(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(form: str) -> None:
    deep = np.linspace(0, 65535, 48 * 40).round().astype(np.uint16).reshape(48, 40)
    pixels = decode(_file(Image.fromarray(deep), form), IMAGE)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.round(deep / 257))


def test_grey_and_its_alpha() -> None:
    grey = noise(0, 20, 30, 1)
    both = Image.merge("LA", (Image.fromarray(grey), Image.new("L", (30, 20), 7)))
    np.testing.assert_array_equal(decode(_file(both), IMAGE), grey)
    bits = Image.fromarray(grey > 99)
    assert set(np.unique(decode(_file(bits), IMAGE))) == {0, 255}


def test_alpha_is_dropped_also_where_nothing_is_visible() -> None:
    rgb = noise(1, 20, 30)
    clear = Image.fromarray(np.dstack([rgb, np.zeros((20, 30), np.uint8)]))
    np.testing.assert_array_equal(decode(_file(clear), IMAGE), rgb)


def test_palettes_become_colours() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    pixels = decode(_file(image), IMAGE)
    assert pixels.tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_cmyk_becomes_colours() -> None:
    image = Image.new("RGB", (16, 16), (250, 30, 20)).convert("CMYK")
    pixels = decode(_file(image, "TIFF"), IMAGE)
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels[0, 0].astype(int) - [250, 30, 20]).max() <= 2


def test_the_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    for kind in (noise(2, 20, 30), noise(2, 20, 30, 1)):
        pixels = decode(_file(Image.fromarray(kind), exif=exif), IMAGE)
        np.testing.assert_array_equal(pixels, np.rot90(kind, -1))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_a_truncated_file_is_named(form: str) -> None:
    content = _file(Image.fromarray(noise(3, 64, 64)), form)
    with pytest.raises(SettingsError, match=r"a\.png: cannot be read"):
        decode(content[: len(content) * 2 // 3], IMAGE)


def test_channels_are_a_choice_of_the_reader(tmp_path: Path) -> None:
    grey = noise(4, 20, 30, 1)
    path = tmp_path / "g.png"
    path.write_bytes(_file(Image.fromarray(grey)))
    known = Decoded(SourceImage("g.png", path), digest(grey), 20, 30)
    np.testing.assert_array_equal(np.asarray(load(known, 3)), np.repeat(grey[..., None], 3, 2))
    np.testing.assert_array_equal(np.asarray(load(known, 1)), grey)


def test_an_image_that_changes_during_a_run_is_an_error(tmp_path: Path) -> None:
    pixels = noise(5, 20, 30)
    path = tmp_path / "c.png"
    path.write_bytes(_file(Image.fromarray(pixels)))
    known = Decoded(SourceImage("c.png", path), digest(pixels), 20, 30)
    load(known, 3)
    pixels[3, 3, 0] ^= 1
    path.write_bytes(_file(Image.fromarray(pixels)))
    with pytest.raises(SettingsError, match=r"c\.png: has changed"):
        load(known, 3)
