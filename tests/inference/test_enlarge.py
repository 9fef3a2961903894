"""Photos through a network: every mode keeps its mode, every level its depth."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganforge.inference.enlarge import bled, enlarge
from ganforge.inference.images import Photo
from ganforge.layers import upsample_bicubic, upsample_nearest


class Nearest(nn.Module):
    """Each pixel four times; remembers how many channels it was given."""

    channels = 0

    def forward(self, images: Tensor) -> Tensor:
        self.channels = images.shape[1]
        return upsample_nearest(images)


def ramp(channels: int, side: int = 80) -> Tensor:
    return torch.linspace(-1, 1, channels * side * side).reshape(channels, side, side)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("of_network", [1, 3])
def test_levels_are_those_of_the_photo(depth, channels, of_network):
    colour = ramp(channels)
    network = Nearest()
    made = enlarge(network, Photo(colour, depth=depth), scale=2, channels=of_network)
    assert made.shape == (160, 160, channels) and network.channels == of_network
    assert made.dtype == (np.uint8 if depth == 8 else np.uint16)
    if channels == of_network or channels == 1:
        limit = 2**depth - 1
        expected = ((colour.double() + 1) * limit / 2).permute(1, 2, 0).numpy()
        # the mean of three equal float32 is off by a bit: a level at most where it is a tie
        assert np.abs(made[::2, ::2] - expected).max() < 0.51
        assert (made[1::2, 1::2] == made[::2, ::2]).all()
    if depth == 16:
        assert len(np.unique(made)) > 6000


def test_colour_through_a_network_of_one_channel_keeps_its_chroma():
    """A flat colour has nothing to enlarge: it must come out as it went in."""
    flat = torch.tensor([0.6, -0.2, -0.7]).reshape(3, 1, 1).expand(3, 8, 8)
    made = enlarge(Nearest(), Photo(flat), scale=2, channels=1)
    assert np.abs(made.astype(int) - np.array([204, 102, 38])).max() <= 1


def test_alpha_is_enlarged_by_bicubic_and_is_kept():
    alpha = ramp(1)
    for channels in (1, 3):
        photo = Photo(ramp(channels), alpha)
        made = enlarge(Nearest(), photo, scale=2, channels=3)
        assert made.shape == (160, 160, channels + 1)
        expected = (upsample_bicubic(alpha[None])[0].clamp(-1, 1) + 1) * 127.5
        assert np.abs(made[..., -1] - expected[0].numpy()).max() <= 0.501


def test_what_is_not_a_number_is_black_and_progress_counts_source_pixels():
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images * float("nan")

    shown: list[int] = []
    made = enlarge(Broken(), Photo(ramp(3, 8)), scale=1, channels=3, on_progress=shown.append)
    assert not made.any() and sum(shown) == 64


class Bicubic(nn.Module):
    """Mixes neighbours, as every network that enlarges does."""

    def forward(self, images: Tensor) -> Tensor:
        return upsample_bicubic(images)


@pytest.mark.parametrize("of_network", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("under", [-1.0, 0.3])
def test_a_sprite_has_no_halo(channels, of_network, under):
    """A light disc, of the colour that the file has under alpha 0 where it is invisible."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    seen = (x - 20) ** 2 + (y - 20) ** 2 < 144
    light = torch.tensor([0.8, 0.6, 0.9])[:channels].reshape(-1, 1, 1)
    colour = torch.where(seen, light, torch.full_like(light, under))
    photo = Photo(colour, torch.where(seen, 1.0, -1.0)[None])
    made = enlarge(Bicubic(), photo, scale=2, channels=of_network)
    visible = made[..., -1] > 0
    expected = ((light[:, 0, 0] + 1) * 127.5).round().numpy()
    assert 1700 < visible.sum() < 2300
    assert np.abs(made[visible][:, :channels] - expected).max() <= 1


def test_visible_colour_is_left_as_it_is():
    colour, alpha = ramp(3), ramp(1)
    assert torch.equal(bled(Photo(colour)), colour)
    for hidden in (torch.ones(1, 80, 80), -torch.ones(1, 80, 80)):
        assert torch.equal(bled(Photo(colour, hidden)), colour)
    alpha[0, :, 40:] = -1
    found = bled(Photo(colour, alpha))
    seen = alpha[0] > -1
    assert torch.equal(found[:, seen], colour[:, seen])
    assert torch.equal(found[:, 3, 79], colour[:, 3, 39])
