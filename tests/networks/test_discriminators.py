"""Discriminators: published sizes and grids, what they see, minibatch discrimination."""

import pytest
import torch

from ganforge.layers import leaky
from ganforge.networks.discriminators import (
    PatchGAN,
    RefinementCritic,
    UNetDiscriminator,
    VGGStyleDiscriminator,
)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_parameter_counts():
    with torch.device("meta"):
        assert count(PatchGAN(6)) == 2_768_705
        assert count(PatchGAN(3, norm="instance")) == 2_764_737
        assert count(VGGStyleDiscriminator()) == 23_563_649
        assert count(VGGStyleDiscriminator(norm="all", prelu=True)) == 23_565_633
        assert count(VGGStyleDiscriminator(norm="none")) == 23_561_793
        assert count(UNetDiscriminator()) == count(UNetDiscriminator(spectral=False)) == 4_376_897
        for size, kind in ((128, "valid"), (128, "patch"), (64, "global")):
            assert count(RefinementCritic(size=size, kind=kind)) == 2_763_776


@pytest.mark.parametrize(("size", "grid"), [(32, 2), (64, 6), (256, 30)])
def test_patch_grids(size, grid):
    with torch.device("meta"):
        assert PatchGAN(3, 4)(torch.empty(3, 3, size, size)).shape == (3, 1, grid, grid)


def test_a_patch_is_seventy_pixels_wide():
    torch.manual_seed(0)
    network = PatchGAN(1, 4, "batch").eval()  # instance norm would let every pixel see every other
    images = torch.rand(1, 1, 128, 128, requires_grad=True)
    scores = network(images)
    scores[0, 0, 7, 7].backward()
    seen = images.grad[0, 0].abs().sum(0).nonzero()
    assert int(seen.max() - seen.min()) + 1 == 70


@pytest.mark.parametrize(
    ("kind", "size", "grid"),
    [("valid", 128, 5), ("patch", 128, 4), ("global", 64, 1), ("global", 128, 1), ("valid", 32, 1)],
)
def test_refinement_grids(kind, size, grid):
    with torch.device("meta"):
        network = RefinementCritic(size=size, width=4, kind=kind)
        assert network(torch.empty(2, 3, size, size)).shape == (2, 1, grid, grid)
        side = size // 16 if size >= 64 else 4
        assert network.features(torch.empty(2, 3, size, size)).shape[-1] == side


def test_a_u_net_scores_pixels_and_adds_what_the_way_down_had():
    torch.manual_seed(0)
    network = UNetDiscriminator(3, 4, spectral=False)
    images = torch.rand(2, 3, 24, 40)
    assert network(images).shape == (2, 1, 24, 40)
    before = network(images)
    for conv in network.up:
        torch.nn.init.zeros_(conv.weight)
    features = leaky(network.entry(images))  # all that is left
    for conv in network.last:
        features = leaky(conv(features))
    torch.testing.assert_close(network(images), network.exit(features))
    assert not torch.allclose(before, network(images))


@pytest.mark.parametrize("size", [16, 32, 48, 64, 96, 128, 192])
def test_vgg_style_takes_any_multiple_of_sixteen(size):
    with torch.device("meta"):
        network = VGGStyleDiscriminator(size=size, width=4, dense=8)
        assert network(torch.empty(2, 3, size, size)).shape == (2, 1)


@pytest.mark.parametrize(
    "network",
    [
        PatchGAN(3, 4, "instance"),
        VGGStyleDiscriminator(size=64, width=4, dense=8, norm="none"),
        UNetDiscriminator(3, 4),
        RefinementCritic(size=64, width=4),
        RefinementCritic(size=128, width=4, kind="global"),
    ],
    ids=["patch", "vgg", "unet", "refinement", "global"],
)
def test_every_quadrant_counts(network):
    torch.manual_seed(0)
    network.initialise()
    size = 128 if getattr(network, "pool", 1) == 2 else 64
    images = torch.rand(1, 3, size, size, requires_grad=True)
    network(images).sum().backward()
    half = size // 2
    for top in (0, half):
        for left in (0, half):
            assert images.grad[..., top : top + half, left : left + half].abs().sum() > 0


def test_norms_only_where_they_are_asked_for():
    def norms(network):
        return [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]

    assert len(norms(VGGStyleDiscriminator(size=16, width=4))) == 7
    assert len(norms(VGGStyleDiscriminator(size=16, width=4, norm="all"))) == 8
    assert not norms(VGGStyleDiscriminator(size=16, width=4, norm="none"))
    assert not norms(RefinementCritic(size=16, width=4))


def test_minibatch_discrimination_lets_the_critic_see_the_others():
    torch.manual_seed(0)
    plain = RefinementCritic(size=32, width=4)
    seeing = RefinementCritic(size=32, width=4, kernels=6, dimensions=3)
    features = 4 * 4 * 4 * 4  # width·4 channels of 4 × 4
    assert count(seeing) - count(plain) == features * 6 * 3 + 6 * 16
    one, other = torch.rand(2, 1, 3, 32, 32)
    for network, same in ((plain, True), (seeing, False)):
        network.initialise()
        apart = network(torch.cat([one, other]))[0]
        alike = network(torch.cat([one, one]))[0]
        assert torch.allclose(apart, alike, atol=1e-6) is same
