"""Every kind of image file, in and out."""

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps

from ganforge.data import decoder
from ganforge.data.raster import upright
from ganforge.inference.images import read_photo, write_photo
from ganforge.output_files import output_file
from ganforge.settings import SettingsError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def write(path: Path, given: np.ndarray, profile: bytes | None) -> None:
    with output_file(path.parent, path.name, overwrite=True) as file:
        write_photo(file, path.suffix, given, profile)


def levels(height: int = 6, width: int = 5, channels: int = 3, top: int = 255) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(0, top + 1, (height, width, channels)).astype(
        np.uint8 if top == 255 else np.uint16
    )


def back(planes: torch.Tensor, depth: int = 8) -> np.ndarray:
    """[-1, 1] planes as levels, (H, W, C)."""
    limit = 2**depth - 1
    return ((planes.double() + 1) * limit / 2).round().permute(1, 2, 0).numpy().astype(np.int64)


def decoded(path: Path) -> np.ndarray:
    found = imagecodecs.png_decode(path.read_bytes())
    return found.reshape(*found.shape[:2], -1)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_plain_modes_are_read_as_they_are(tmp_path, mode):
    given = levels(channels=len(mode))
    Image.fromarray(given[..., 0] if mode == "L" else given).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    planes = photo.colour if photo.alpha is None else torch.cat([photo.colour, photo.alpha])
    assert (len(photo.colour), photo.alpha is not None) == (len(mode.strip("A")), "A" in mode)
    assert (back(planes) == given).all() and photo.depth == 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_come_out_upright(tmp_path, orientation):
    image = Image.fromarray(levels())
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.png", "a.tif"):
        image.save(tmp_path / name, exif=exif)
        with Image.open(tmp_path / name) as stored:
            expected = np.asarray(ImageOps.exif_transpose(stored))
        assert (back(read_photo(tmp_path / name).colour) == expected).all()
    assert (upright(levels(), 77) == levels()).all()


def test_palettes_bits_and_transparent_colours(tmp_path):
    image = Image.fromarray(levels(20, 20)).quantize(16)
    image.save(tmp_path / "p.png")
    assert (back(read_photo(tmp_path / "p.png").colour) == np.asarray(image.convert("RGB"))).all()
    image.save(tmp_path / "t.png", transparency=3)
    photo = read_photo(tmp_path / "t.png")
    assert photo.alpha is not None
    assert (back(photo.alpha)[..., 0] == np.where(np.asarray(image) == 3, 0, 255)).all()
    Image.fromarray(levels()[..., 0] > 100).save(tmp_path / "1.png")
    bits = read_photo(tmp_path / "1.png")
    assert bits.colour.shape == (1, 6, 5) and set(bits.colour.unique().tolist()) == {-1.0, 1.0}


def test_cmyk_becomes_colour_and_loses_its_profile(tmp_path):
    image = Image.fromarray(levels()).convert("CMYK")
    image.save(tmp_path / "c.tif", icc_profile=SRGB)  # a profile that does not fit is passed over
    photo = read_photo(tmp_path / "c.tif")
    assert (back(photo.colour) == np.asarray(image.convert("RGB"))).all()
    assert photo.profile is None


def test_of_several_frames_the_first(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.webp"):
        options: dict[str, Any] = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        photo = read_photo(tmp_path / name)
        assert "only the first" in photo.note
        assert (back(photo.colour) == (255, 0, 0)).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_keep_every_level(tmp_path, channels):
    given = levels(64, 64, channels, top=65535)
    ramp = np.arange(64 * 64, dtype=np.uint16) * 16
    given[..., 0] = ramp.reshape(64, 64)
    write(tmp_path / "a.png", given, SRGB)
    assert (decoded(tmp_path / "a.png") == given).all()
    with Image.open(tmp_path / "a.png") as other:  # a second reader finds the same file sound
        other.load()
        assert other.info["icc_profile"] == SRGB
    photo = read_photo(tmp_path / "a.png")
    assert photo.depth == 16 and photo.profile == SRGB
    planes = photo.colour if photo.alpha is None else torch.cat([photo.colour, photo.alpha])
    assert (back(planes, 16) == given).all()
    assert len(photo.colour[0].unique()) == 64 * 64


@pytest.mark.parametrize("options", [{}, {"planarconfig": "separate"}, {"compression": "lzw"}])
def test_tiffs_of_sixteen_bits(tmp_path, options):
    given = levels(9, 7, top=65535)
    stored = given.transpose(2, 0, 1) if "planarconfig" in options else given
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **options)
    assert (back(read_photo(tmp_path / "a.tif").colour, 16) == given).all()
    tifffile.imwrite(tmp_path / "g.tif", given[..., 0], photometric="minisblack")
    assert (back(read_photo(tmp_path / "g.tif").colour, 16) == given[..., :1]).all()


def test_other_kinds_are_refused_in_one_line(tmp_path):
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((4, 4, 3), np.float32), photometric="rgb")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "g.tif")
    (tmp_path / "t.png").write_text("words")
    good = io.BytesIO()
    Image.fromarray(levels(64, 64)).save(good, "PNG")
    (tmp_path / "c.png").write_bytes(good.getvalue()[: len(good.getvalue()) // 2])
    (tmp_path / "e.png").write_bytes(b"")
    for file in sorted(tmp_path.iterdir()):
        with pytest.raises(SettingsError, match=file.name) as refused:
            read_photo(file)
        assert "\n" not in str(refused.value)
    with pytest.raises(SettingsError, match="No such file"):
        read_photo(tmp_path / "none.png")


def test_bombs_are_refused_by_their_header(tmp_path, monkeypatch):
    Image.fromarray(levels(20, 20)).save(tmp_path / "b.png")
    monkeypatch.setattr(decoder, "MAX_PIXELS", 399)
    with pytest.raises(SettingsError, match="more than 399 pixels"):
        read_photo(tmp_path / "b.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(SettingsError, match=r"b\.png: has more than"):
        read_photo(tmp_path / "b.png")


def test_files_are_written_whole_with_their_profile_and_no_orientation(tmp_path):
    for name in ("a.png", "a.jpg", "a.webp"):
        write(tmp_path / name, levels(), SRGB)
        with Image.open(tmp_path / name) as stored:
            assert stored.info["icc_profile"] == SRGB
            assert 0x0112 not in stored.getexif()
    assert (decoded(tmp_path / "a.png") == levels()).all()
    with pytest.raises(OSError):
        write(tmp_path / "a.jpg", levels(channels=4), None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.png", "a.webp"]


@pytest.mark.parametrize("bits", [8, 16])
def test_the_profile_of_a_tiff_is_kept(tmp_path, bits):
    given = levels(top=2**bits - 1)
    tifffile.imwrite(tmp_path / "a.tif", given, photometric="rgb", iccprofile=SRGB)
    photo = read_photo(tmp_path / "a.tif")
    assert photo.profile == SRGB and photo.depth == bits
    with open(tmp_path / "b.png", "wb") as file:
        write_photo(file, ".png", given, photo.profile)
    assert read_photo(tmp_path / "b.png").profile == SRGB
