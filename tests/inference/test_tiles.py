"""Tiles come out as the same pixels as the whole image."""

import pytest
import torch
from generators import small_model
from torch import Tensor, nn

from ganforge.inference import tiles
from ganforge.inference.tiles import (
    bytes_per_pixel,
    check_memory,
    find_reach,
    upscale,
    upscale_in_tiles,
    upscale_tiles,
)
from ganforge.settings import SettingsError


def assembled(network: nn.Module, image: Tensor, scale: int, tile: int | None) -> Tensor:
    found = torch.full((3, image.shape[1] * scale, image.shape[2] * scale), float("nan"))
    found = found.to(image.dtype)
    for top, left, made in upscale_tiles(network, image, scale, tile):
        place = found[:, top : top + made.shape[1], left : left + made.shape[2]]
        assert place.isnan().all()  # no pixel twice
        place.copy_(made)
    return found


def noise(height: int, width: int, dtype: torch.dtype) -> Tensor:
    return torch.rand(3, height, width, dtype=dtype, generator=torch.manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("scale", "stage"), [(2, 1), (4, 0)])
def test_tiles_are_the_whole(dtype, scale, stage):
    from ganforge.systems.settings import ladder

    settings = {"scale": scale, "stages": ladder(8, 16 * scale, scale=scale)}
    network = small_model(stage, **settings).network.to(dtype)
    most = 1e-12 if dtype == torch.float64 else 1e-6
    for height, width in ((1, 1), (7, 90), (64, 51)):
        image = noise(height, width, dtype)
        whole = assembled(network, image, scale, None)
        assert not whole.isnan().any()
        for tile in (1, 16, 27, 100) if height * width < 100 else (16, 27, 64, 100):
            parts = assembled(network, image, scale, tile)
            assert (parts - whole).abs().max() <= most, (height, width, tile)


def test_the_whole_in_one_piece_is_what_upscale_makes():
    network = small_model().network
    image = noise(20, 30, torch.float32)
    assert torch.equal(assembled(network, image, 2, None), upscale(network, image))


def test_zeros_are_met_only_outside_the_image():
    """The network pads with zeros: a tile at an edge meets them, a tile inside must not."""
    network = small_model().network
    grey = torch.full((3, 80, 80), 0.7)
    inner = assembled(network, grey, 2, 16)[:, 40:120, 40:120]
    assert (inner - inner[:, :1, :1]).abs().max() < 1e-6


@pytest.mark.parametrize("batch", [2, 5, 1000])
def test_tiles_in_batches_are_the_same_pixels(batch):
    network = small_model().network
    image = noise(150, 190, torch.float32)
    whole, given = upscale(network, image), list[int]()

    class Counted(nn.Module):
        receptive_field = network.receptive_field

        def forward(self, images: Tensor) -> Tensor:
            given.append(len(images))
            return network(images)

    made = upscale_in_tiles(Counted(), image, 2, 32, batch=batch)
    assert (made - whole).abs().max() < 1e-5
    assert sum(given) == 30 and 1 < max(given) <= batch


def test_half_precision_is_near_and_what_leaves_its_range_is_refused():
    network = small_model(width=32).network
    image = noise(70, 80, torch.float32)
    whole = upscale(network, image)
    half = upscale(network, image, half=True)
    assert half.dtype == torch.float32 and next(network.parameters()).dtype == torch.float32
    difference = (half - whole).abs() * 127.5
    assert 0 < difference.mean() < 1 and difference.max() < 8
    parts = upscale_in_tiles(network, image, 2, 32, half=True)
    assert ((parts - half).abs() * 127.5).max() < 4
    assert torch.equal(upscale(network, image), whole)

    class Beyond(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images * float("inf")

    with pytest.raises(SettingsError, match="--half: the network leaves the range"):
        upscale(Beyond(), image, half=True)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(images)


def test_networks_without_a_finite_field_refuse_tiles():
    with pytest.raises(SettingsError, match=r"--tile.*InstanceNorm2d.*whole image"):
        find_reach(Normed(), 1)
    with pytest.raises(SettingsError, match="does not state"):
        list(upscale_tiles(nn.Conv2d(3, 3, 3, padding=1), torch.zeros(3, 8, 8), 1, 4))


def test_an_image_that_needs_too_much_memory_is_refused(monkeypatch):
    network = small_model().network
    each = bytes_per_pixel(network, 3)
    # the second block: 16 channels in, 16 out, at twice the side, in float32
    assert 2 * (16 + 16) * 4 * 4 <= each <= 4 * (16 + 16) * 4 * 4
    monkeypatch.setattr(tiles, "memory_bytes", lambda device: 2 * each * 100)
    check_memory(network, 3, 10, 10, "a.png")
    with pytest.raises(SettingsError, match=r"a.png: 11 × 10 pixels.*use --tile"):
        check_memory(network, 3, 10, 11, "a.png")
