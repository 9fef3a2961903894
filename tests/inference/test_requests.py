"""What a served model accepts: within its memory whole or in tiles with the same bytes, else never
begun."""

import numpy as np
import pytest
import torch
from generators import small_model
from torch import Tensor, nn

from ganforge.inference import requests
from ganforge.inference.requests import Requests, served_bytes
from ganforge.inference.tiles import bytes_per_pixel, upscale
from ganforge.metrics.image_quality import to_bytes
from ganforge.settings import SettingsError


def levels(*sides: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*sides, 3), np.uint8)


def whole(network: nn.Module, given: np.ndarray) -> np.ndarray:
    images = torch.from_numpy(given).permute(0, 3, 1, 2).float() / 127.5 - 1
    return to_bytes(upscale(network, images)).permute(0, 2, 3, 1).numpy()


def test_tiles_have_the_bytes_of_the_whole(monkeypatch) -> None:
    monkeypatch.setattr(requests, "TILE", 40)
    network, given = small_model().network, levels(2, 90, 130)
    room = Requests(network, 3, 2, 2**28)
    narrow = Requests(network, 3, 2, 3 * bytes_per_pixel(network, 3) * 90 * 130)
    assert (room.tile(2, 90, 130), narrow.tile(2, 90, 130)) == (None, 40)
    assert (room.enlarge(given) == whole(network, given)).all()
    assert (narrow.enlarge(given) == whole(network, given)).all()


class Global(nn.Module):
    """Each of its pixels depends on the whole image, so that there are no tiles of it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(3, affine=True)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.norm(images)


@pytest.mark.parametrize("sides", [(1, 4000, 4000), (400, 200, 200), (1, 1, 16_000_000)])
def test_a_request_that_is_too_large_is_refused_before_the_network_runs(sides) -> None:
    network = Global()
    served = Requests(network, 3, 1, 2**30)
    network.calls = 0
    with pytest.raises(SettingsError, match=r"more than a request may take \(1\.00 GiB\); send"):
        served.enlarge(np.broadcast_to(np.uint8(0), (*sides, 3)))
    assert not network.calls
    small = levels(1, 20, 30)
    assert (served.enlarge(small) == whole(network, small)).all()


def test_a_network_of_whole_images_is_refused_where_tiles_would_fit() -> None:
    local, network = small_model().network, Global()
    most = 40 * 2**20
    assert bytes_per_pixel(local, 3) * 300 * 300 > most // 4
    assert Requests(local, 3, 2, 2**29).tile(1, 600, 600) == requests.TILE
    network.norm = nn.InstanceNorm2d(3)
    heavy = Requests(network, 3, 1, most)
    heavy._per_pixel = most // 100**2
    with pytest.raises(SettingsError, match="may take"):
        heavy.tile(1, 101, 101)


@pytest.mark.parametrize("sides", [(0, 5, 5), (1, 0, 5), (1, 5, 0)])
def test_nothing_is_an_error(sides) -> None:
    with pytest.raises(SettingsError, match="nothing to enlarge"):
        Requests(Global(), 3, 1, 2**30).enlarge(levels(*sides))


def test_the_limit_is_a_variable(monkeypatch) -> None:
    monkeypatch.delenv(requests.VARIABLE, raising=False)
    assert 0 < served_bytes() <= 2 * 2**30
    monkeypatch.setenv(requests.VARIABLE, "1000")
    assert served_bytes() == 1000
    for wrong in ("", "0", "-1", "1e9", "²", "2 GiB"):
        monkeypatch.setenv(requests.VARIABLE, wrong)
        with pytest.raises(SettingsError, match=r"GANFORGE_SERVED_BYTES = .*number of bytes"):
            served_bytes()
