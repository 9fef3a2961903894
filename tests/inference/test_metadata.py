"""EXIF, resolution and profile of a photo are in its result; its orientation is applied."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from ganforge.inference.images import Encoding, read_photo, write_photo
from ganforge.inference.metadata import UNREADABLE, read_metadata

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DATE, ARTIST, ORIENTATION = 0x9003, 0x013B, 0x0112
LEVELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def camera_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010F] = "A maker"
    exif[ARTIST] = "Zo\u00eb \u00c5s".encode()  # UTF-8, as cameras and editors write it
    photo = exif.get_ifd(ExifTags.IFD.Exif)
    photo |= {DATE: "2024:05:06 07:08:09", 0xA002: 32, 0xA003: 24, 0x829A: 0.005}
    photo[0x927C] = b"note of the camera"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (47.0, 22.0, 30.5)})
    return exif


def written(path: Path, suffix: str, levels: np.ndarray | None = None) -> bytes:
    photo, file = read_photo(path), io.BytesIO()
    given = np.zeros((64, 48, 3), np.uint8) if levels is None else levels
    write_photo(file, suffix, given, photo.profile, photo.metadata)
    return file.getvalue()


@pytest.mark.parametrize("to", [".png", ".jpg", ".webp", "16"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_what_a_camera_wrote_is_in_the_result(tmp_path, source, to):
    path = tmp_path / f"a.{source.lower()}"
    options = {} if source == "WEBP" else {"dpi": (300, 200)}
    # as bytes: of an object Pillow writes no inner directory into a TIFF
    exif = camera_exif().tobytes()
    Image.fromarray(LEVELS).save(path, source, exif=exif, icc_profile=SRGB, **options)
    deep = np.zeros((64, 48, 3), np.uint16) if to == "16" else None
    content = written(path, ".png" if deep is not None else to, deep)
    with Image.open(io.BytesIO(content)) as made:
        made.load()
        exif = made.getexif()
        assert exif[ORIENTATION] == 1 and exif[0x010F] == "A maker"
        if source != "TIFF":  # into which Pillow wrote this text as ASCII above
            assert exif[ARTIST].encode("latin-1").decode() == "Zo\u00eb \u00c5s"
        photo, position = (exif.get_ifd(kind) for kind in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))
        assert photo[DATE] == "2024:05:06 07:08:09" and float(photo[0x829A]) == 0.005
        assert (photo[0xA002], photo[0xA003]) == (48, 64)  # of the result
        assert photo[0x927C] == b"note of the camera"
        assert position[1] == "N" and [float(value) for value in position[2]] == [47, 22, 30.5]
        assert made.info["icc_profile"] == SRGB
        if source != "WEBP" and to != ".webp":
            assert made.info["dpi"] == pytest.approx((300, 200), abs=0.01)
        if source != "WEBP" and to == ".webp":
            found = float(exif[0x011A]), float(exif[0x011B])
            assert found == pytest.approx((300, 200), abs=0.01) and exif[0x0128] == 2
    assert read_photo(path).colour.shape == (3, 32, 24)


def test_a_tiff_keeps_no_tag_of_its_pixels_and_its_centimetres_become_inches(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, LEVELS, photometric="rgb", resolution=(100, 50), resolutionunit=3)
    metadata = read_photo(path).metadata
    assert metadata.dpi == pytest.approx((254, 127))
    exif = Image.Exif()
    exif.load(metadata.exif(32, 24))
    assert not {0x0100, 0x0101, 0x0111, 0x0117} & set(exif)


def test_nothing_is_written_where_a_file_says_nothing(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    Image.fromarray(LEVELS).save(tmp_path / "a.png", exif=exif)
    content = written(tmp_path / "a.png", ".png")
    assert b"eXIf" not in content and b"pHYs" not in content


@pytest.mark.filterwarnings("ignore")  # Pillow's, of the same tags
def test_broken_exif_is_a_note_and_the_pixels_are_kept(tmp_path):
    path = tmp_path / "a.jpg"
    for exif in (
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x0f\x01\x02\0\xff\xff\xff\xff\0\0\0\0" * 3,
        b"Exif\0\0XX*\0\x08\0\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHII", 0x8769, 4, 1, 8) + b"\0" * 4,
    ):
        Image.fromarray(LEVELS).save(path, exif=exif)
        photo = read_photo(path)
        assert photo.colour.shape == (3, 24, 32)
        assert photo.note in ("", UNREADABLE)
        written(path, ".jpg")
    assert read_metadata(b"Exif")[1] == UNREADABLE


def test_exif_that_is_too_long_for_jpeg_loses_the_note_of_the_camera_first(tmp_path):
    exif = camera_exif()
    exif.get_ifd(ExifTags.IFD.Exif)[0x927C] = b"n" * 70_000
    Image.fromarray(LEVELS).save(tmp_path / "a.png", exif=exif)
    with Image.open(io.BytesIO(written(tmp_path / "a.png", ".jpg"))) as made:
        photo = made.getexif().get_ifd(ExifTags.IFD.Exif)
        assert photo[DATE] == "2024:05:06 07:08:09" and 0x927C not in photo
    with Image.open(io.BytesIO(written(tmp_path / "a.png", ".png"))) as made:
        assert len(made.getexif().get_ifd(ExifTags.IFD.Exif)[0x927C]) == 70_000


@pytest.mark.parametrize(("subsampling", "factor"), [("4:4:4", 1), ("4:2:2", 2), ("4:2:0", 4)])
def test_jpeg_keeps_as_many_chroma_samples_as_asked(subsampling, factor):
    sizes = []
    for quality in (95, 30):
        file = io.BytesIO()
        write_photo(file, ".jpg", LEVELS, None, None, Encoding(quality, subsampling))
        sizes.append(len(file.getvalue()))
        with Image.open(file) as made:
            # the sampling factors of luma (T.81, B.2.2): horizontal times vertical
            sampling = made.layer[0][1] * made.layer[0][2]  # pyright: ignore[reportAttributeAccessIssue]
            assert sampling == factor
    assert sizes[1] < sizes[0]
    default = io.BytesIO()
    write_photo(default, ".jpg", LEVELS, None)
    with Image.open(default) as made:
        assert made.layer[0][1] * made.layer[0][2] == 1  # pyright: ignore[reportAttributeAccessIssue]
