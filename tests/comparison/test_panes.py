"""Tiles cut from a sample grid are the images that it was drawn from, pixel for pixel."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from recorded_grids import levels

from ganforge.comparison.panes import (
    UnknownGrid,
    read_panes,
    strip,
    tile_difference,
    tile_digests,
    tile_psnr,
)
from ganforge.training.grid import montage, montage_tiles, sheets

TITLES = ("low resolution", "bicubic", "generated", "high resolution")


def png(grid: torch.Tensor) -> bytes:
    content = io.BytesIO()
    Image.fromarray(grid.numpy()).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("side", [4, 16, 32, 48, 64, 96, 128, 256])
@pytest.mark.parametrize("count", [1, 3])
def test_every_pixel_of_a_montage_comes_back(side: int, count: int) -> None:
    panes = [torch.rand(count, 3, side, side) * 2 - 1 for _ in TITLES]
    found = read_panes(png(montage(panes, TITLES)), TITLES, side, side, from_latent=False)
    assert (found.side, found.shrunk, found.count) == (side, None, count)
    for title, pane in zip(TITLES, panes, strict=True):
        assert np.array_equal(found.images[title], levels(pane))


def test_a_grid_of_crops_has_the_last_side_at_every_stage() -> None:
    panes = [torch.rand(2, 3, 128, 128) * 2 - 1 for _ in TITLES]
    found = read_panes(png(montage(panes, TITLES)), TITLES, 32, 128, from_latent=False)
    assert found.side == 128
    assert np.array_equal(found.images["generated"], levels(panes[2]))


def test_what_was_shrunk_is_said_to_be() -> None:
    panes = [torch.rand(1, 3, 512, 512) * 2 - 1 for _ in TITLES]
    found = read_panes(png(montage(panes, TITLES)), TITLES, 512, 512, from_latent=False)
    assert (found.side, found.shrunk) == (256, 512)


@pytest.mark.parametrize("side", [16, 28, 32, 64, 128])
@pytest.mark.parametrize(("count", "classes"), [(6, 0), (16, 0), (20, 10), (64, 0), (30, 3)])
def test_every_image_of_a_sheet_comes_back(side: int, count: int, classes: int) -> None:
    made, real = (torch.rand(count, 1, side, side) * 2 - 1 for _ in range(2))
    labels = [n % classes for n in range(count)] if classes else None
    grid = sheets([made, real], ("generated", "real"), labels)
    found = read_panes(png(grid), ("generated", "real"), side, side, from_latent=True)
    if found.side < side:  # shrunk into its sheet
        assert found.shrunk == side
        return
    shown = {image.tobytes() for image in levels(made.expand(-1, 3, -1, -1))}
    assert found.side == side and found.count == count
    assert {image.tobytes() for image in found.images["generated"]} == shown


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", png(torch.zeros(50, 70, 3, dtype=torch.uint8))]
)
def test_what_is_not_a_grid_is_refused(content: bytes) -> None:
    with pytest.raises(UnknownGrid):
        read_panes(content, TITLES, 16, 16, from_latent=False)


def test_no_other_number_of_panes_fits_a_size() -> None:
    height, width, _ = montage([torch.zeros(2, 3, 16, 16)] * 4, TITLES).shape
    assert len(montage_tiles(width, height, 4).corners) == 4
    with pytest.raises(ValueError, match="equal columns"):
        montage_tiles(width, height, 3)


def test_equal_panes_are_one_file_and_its_pixels_are_theirs() -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    name, content = strip(images)
    assert strip(images.copy())[0] == name != strip(images[::-1])[0]
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    assert np.array_equal(pixels.reshape(3, 8, 8, 3), images)


def test_values_of_tiles_are_those_of_the_formula() -> None:
    first = np.full((2, 8, 8, 3), 100, np.uint8)
    second = first.copy()
    second[1, :, :, :] += 10
    assert tile_difference(first, second) == [0.0, 10.0]
    equal, other = tile_psnr(first, second)
    # of grey the luma has 219 levels for 255: Y = 16 + 219/255 times the level
    assert equal == 100.0
    assert other == pytest.approx(20 * np.log10(255 / (10 * 219 / 255)), abs=1e-3)
    assert len(set(tile_digests(first))) == 2, "equal images of one grid are two rows"
    assert tile_digests(first)[0] == tile_digests(second)[0]
