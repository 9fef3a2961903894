"""Which images are found, and what is said about those that cannot be used."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_folder import find_images
from PIL import Image

from ganforge.data.settings import DataSettings
from ganforge.data.sources import usable_source
from ganforge.settings import SettingsError


def _said(root: Path | str, channels: int = 3, needed_side: int = 32) -> str:
    with pytest.raises(SettingsError) as caught:
        usable_source(DataSettings(root=str(root)), channels, needed_side)
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message  # the fix follows
    return message


def test_finds_every_format_below_the_folder_in_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in (
        "b/z.JPG",
        "a.png",
        "c.webp",
        "b.tiff",
        "B.bmp",
        "d.jpeg",
        "e.TIF",
        ".hidden/f.png",
    ):
        Image.new("RGB", (40, 40)).save(tmp_path / name)
    Image.new("RGB", (40, 40)).save(tmp_path / "no.gif")
    (tmp_path / "._a.png").write_bytes(b"left by another system")
    (tmp_path / "readme.txt").write_text("text")
    found = [image.name for image in find_images(str(tmp_path))]
    assert found == ["B.bmp", "a.png", "b.tiff", "b/z.JPG", "c.webp", "d.jpeg", "e.TIF"]
    assert len(usable_source(DataSettings(root=str(tmp_path)), 3, 40).images) == 7


def test_a_link_back_up_ends(folder: Path) -> None:
    (folder / "below" / "up").symlink_to(folder)
    assert len(find_images(str(folder))) == 7


def test_the_builtin_photographs_are_eleven_of_ten_scenes() -> None:
    images = usable_source(DataSettings(), 3, 256).images
    assert len(images) == 11
    assert len({image.group for image in images}) == 10


def test_folders_that_cannot_be_used(tmp_path: Path, folder: Path) -> None:
    assert "no such folder" in _said(tmp_path / "missing")
    assert "is a file" in _said(folder / "p0.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no images" in _said(empty)
    Image.new("RGB", (40, 40)).save(empty / "one.png")
    assert "at least 2" in _said(empty)
    assert "channels = 4" in _said(folder, channels=4)


def test_small_images_are_counted_and_the_first_is_named(folder: Path) -> None:
    message = _said(folder, needed_side=42)
    assert "2 of 7 images" in message
    assert "p0.png, 61×40" in message


@pytest.mark.parametrize("content", [b"", b"just text", b"\x89PNG\r\n\x1a\n\0\0"])
def test_files_that_are_not_images_are_named(folder: Path, content: bytes) -> None:
    (folder / "p2.png").write_bytes(content)
    assert "p2.png" in _said(folder)


def test_a_gif_called_png_is_refused(folder: Path) -> None:
    Image.new("P", (64, 64)).save(folder / "p2.png", format="GIF")
    assert "p2.png" in _said(folder)


def test_an_image_of_900_million_pixels_is_refused_from_its_header(folder: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (folder / "p2.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT")
    assert "178956970 pixels" in _said(folder)


def test_float_pixels_are_refused(folder: Path) -> None:
    Image.fromarray(np.ones((64, 64), np.float32)).save(folder / "p9.tif")
    assert "1 × 32 bits (IEEEFP)" in _said(folder)
