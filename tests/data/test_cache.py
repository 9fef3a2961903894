"""Packed planes equal decoded ones, and are made once, whole."""

import hashlib
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from conftest import SCALE
from image_folder import find_images
from PIL import Image

from ganforge.data import packed as packed_module
from ganforge.data import planes as planes_module
from ganforge.data.image_table import ImageTable
from ganforge.data.packed import HASH_BYTES, Layout, pack
from ganforge.data.planes import OnDemand
from ganforge.data.sources import Source
from ganforge.data.split import open_catalog
from ganforge.data.views import Centre, Square, View, Whole
from ganforge.settings import SettingsError

VIEWS = [
    Square(32, SCALE, "target"),
    Square(32, SCALE, "original"),
    Whole(SCALE),
    Whole(3),
    Centre(64, SCALE),
]


def _images(folder: Path, cache: Path) -> ImageTable:
    return open_catalog(Source(tuple(find_images(str(folder)))), 0.3, 0, cache).images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_packed_and_on_demand_are_equal(
    folder: Path, tmp_path: Path, view: View, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planes_module, "RECENT_BYTES", 9000)  # some are kept, some are not
    images = _images(folder, tmp_path)
    one, other = pack(images, view, channels, tmp_path), OnDemand(images, view, channels)
    assert len(one) == len(other) == 7
    for _ in range(2):
        for number, known in enumerate(images):
            for mine, theirs in zip(one[number], other[number], strict=True):
                np.testing.assert_array_equal(mine, theirs)
            assert [p.shape[:2] for p in one[number]] == list(view.sides(known.height, known.width))
    assert not one[0][0].flags.writeable
    (file,) = (tmp_path / "packed").glob("*.pixels")
    assert file.stat().st_size == Layout(images, view, channels).total + 8 * HASH_BYTES


def test_the_low_resolution_of_a_square_comes_from_where_the_setting_says() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8))
    square = image.crop((20, 0, 110, 90))
    bicubic = Image.Resampling.BICUBIC
    target, low = Square(32, 2, "target").planes(image)
    np.testing.assert_array_equal(target, square.resize((32, 32), bicubic))
    np.testing.assert_array_equal(low, Image.fromarray(target).resize((16, 16), bicubic))
    same, low = Square(32, 2, "original").planes(image)
    np.testing.assert_array_equal(same, target)
    np.testing.assert_array_equal(low, square.resize((16, 16), bicubic))


def test_a_measured_image_is_a_centre_whose_source_halves_four_times() -> None:
    assert Centre(512, 2).sides(427, 640) == ((416, 512), (208, 256))
    assert Centre(512, 2).sides(30, 100) == ((30, 96), (15, 48))
    assert Centre(100, 4).sides(900, 900) == ((64, 64), (16, 16))


def test_a_file_of_the_wrong_length_is_made_again(folder: Path, tmp_path: Path) -> None:
    images = _images(folder, tmp_path)
    expected = [plane.copy() for plane in pack(images, VIEWS[0], 3, tmp_path)[6]]
    (file,) = (tmp_path / "packed").glob("*.pixels")
    file.write_bytes(file.read_bytes()[:-1])
    left = file.with_name(file.name + ".99-dead.part")  # of a process that was killed
    left.touch()
    for mine, theirs in zip(pack(images, VIEWS[0], 3, tmp_path)[6], expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not left.exists()


def test_a_folder_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    images = _images(folder, tmp_path)
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(SettingsError, match=r"data\.cache_directory = .*cannot be written"):
        pack(images, VIEWS[0], 3, blocked)


def _race(images: ImageTable, cache: Path, start, answers) -> None:
    made = []
    write = packed_module._write
    packed_module._write = lambda *given: (made.append(1), write(*given))[1]
    start.wait()
    planes = pack(images, VIEWS[0], 3, cache)
    answers.put((len(made), [plane.tobytes() for plane in planes[3]]))


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_of_two_processes_one_packs_and_both_read_the_same(folder: Path, tmp_path: Path) -> None:
    # Forked, since spawned ones import torch for many seconds; what they do needs no torch.
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(2), context.Queue()
    images = _images(folder, tmp_path)
    both = [
        context.Process(target=_race, args=(images, tmp_path, start, answers)) for _ in range(2)
    ]
    for process in both:
        process.start()
    found = [answers.get(timeout=60) for _ in both]
    for process in both:
        process.join()
    assert sum(made for made, _ in found) == 1
    assert found[0][1] == found[1][1]
    assert not list((tmp_path / "packed").glob("*.part"))


@pytest.mark.parametrize("where", [0, 0.5, -1], ids=["first", "middle", "last"])
def test_a_packed_file_of_other_bytes_is_made_again(
    folder: Path, tmp_path: Path, where: float, caplog: pytest.LogCaptureFixture
) -> None:
    """T5: a flipped bit has the right length; without the hash another stage is trained under this
    stage's name."""
    images = _images(folder, tmp_path)
    packed = pack(images, VIEWS[0], 3, tmp_path)
    expected = [[plane.copy() for plane in packed[n]] for n in range(len(packed))]
    (file,) = (tmp_path / "packed").glob("*.pixels")
    content = bytearray(file.read_bytes())
    content[int(where * len(content)) if where >= 0 else -1] ^= 1
    file.write_bytes(content)
    found = pack(images, VIEWS[0], 3, tmp_path)
    for number, theirs in enumerate(expected):
        for one, other in zip(found[number], theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    assert "it is made again from the images" in caplog.text


def test_a_packed_image_is_verified_when_it_is_first_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = _images(folder, tmp_path)
    pack(images, VIEWS[0], 3, tmp_path)
    packed = pack(images, VIEWS[0], 3, tmp_path)
    hashed, sha256 = [], hashlib.sha256
    monkeypatch.setattr(
        packed_module.hashlib, "sha256", lambda *a: (hashed.append(a), sha256(*a))[1]
    )
    for _ in range(3):
        assert packed[2] and packed[5]
    assert len(hashed) == 2


def _with_a_damaged_image(folder: Path, tmp_path: Path) -> tuple[ImageTable, Path, bytes, int]:
    """The images, their packed file with another bit in image 3, its bytes as they were, and where
    that image begins."""
    images = _images(folder, tmp_path)
    pack(images, VIEWS[0], 3, tmp_path)
    (file,) = (tmp_path / "packed").glob("*.pixels")
    whole = file.read_bytes()
    begin, _ = Layout(images, VIEWS[0], 3).span(3)
    file.write_bytes(whole[: begin + 5] + bytes([whole[begin + 5] ^ 4]) + whole[begin + 6 :])
    return images, file, whole, begin


def test_a_damaged_image_is_made_again_where_it_was(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images, file, whole, begin = _with_a_damaged_image(folder, tmp_path)
    assert pack(images, VIEWS[0], 3, tmp_path)[3][0].tobytes() == whole[begin : begin + 32 * 32 * 3]
    assert f"is damaged at {images[3].image.name}" in caplog.text
    assert file.read_bytes() == whole


def test_a_repair_that_another_file_gets_is_kept_in_memory(folder: Path, tmp_path: Path) -> None:
    """The path leads to another file once another process has made the packed file anew."""
    images, file, whole, begin = _with_a_damaged_image(folder, tmp_path)
    opened = pack(images, VIEWS[0], 3, tmp_path)
    file.unlink()
    file.write_bytes(whole)
    assert opened[3][0].tobytes() == whole[begin : begin + 32 * 32 * 3]


def test_a_damaged_record_of_a_decoded_image_is_made_again(
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = _images(folder, tmp_path)
    files = [file for file in (tmp_path / "decoded").rglob("*") if file.is_file()]
    for file in files:
        # of one line a hash is another, and one was cut off: each has a check of its own
        lines = file.read_text().split("\n")
        changed = [
            line.replace(line[70], "b" if line[70] == "a" else "a") for line in lines if line
        ]
        file.write_text("\n".join([*changed, lines[-2][:50]]))
    assert _images(folder, tmp_path) == expected
    assert caplog.text.count("are decoded again") == len(files)
    # what was decoded again is remembered behind what was cut off
    caplog.clear()
    monkeypatch.setattr("ganforge.data.cache.decode", None)
    assert _images(folder, tmp_path) == expected
