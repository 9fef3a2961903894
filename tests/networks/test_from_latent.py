"""ProGAN's networks: the counts of the specification, and what each alpha means."""

import pytest
import torch
from torch import nn

from ganforge.layers import downsample_mean, upsample_nearest
from ganforge.networks.from_latent import GrowingGenerator
from ganforge.networks.progressive import GrowingCritic

ZERO, HALF, ONE = torch.tensor(0.0), torch.tensor(0.5), torch.tensor(1.0)

# W -> parameters of the whole networks: generator, critic in reference and in PGGAN order
WHOLE = {
    512: (23_079_115, 25_444_737, 23_087_249),
    256: (5_772_979, 6_366_529, 5_777_033),
    128: (1_444_855, 1_594_305, 1_446_869),
    64: (362_029, 399_913, 363_023),
}
# with two RGB layers, W = 512, the critic in PGGAN order
FADING = {
    16: (15_996_934, 16_003_073),
    32: (20_716_550, 20_722_689),
    64: (22_485_766, 22_491_905),
    256: (23_037_382, 23_043_137),
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def generator(side: int, *, width=16, plain=False) -> GrowingGenerator:
    network = GrowingGenerator(width, 3, width, plain=plain)
    network.grow_base()
    network.grow_to_image(4)
    grown = 8
    while grown <= side:
        network.grow_block(grown)
        network.grow_to_image(grown)
        grown *= 2
    return network


def critic(side: int, *, width=16, early=False) -> GrowingCritic:
    network = GrowingCritic(3, width, least=1, early=early)
    network.grow_end()
    network.grow_from_image(4)
    grown = 8
    while grown <= side:
        network.grow_block(grown)
        network.grow_from_image(grown)
        grown *= 2
    return network


def without_rgb(network: nn.Module) -> int:
    rgb = network.to_image if isinstance(network, GrowingGenerator) else network.from_image
    return count(network) - count(rgb)


@pytest.mark.parametrize("width", WHOLE)
def test_whole_networks_with_all_nine_rgb_layers(width):
    factors = (1, 1, 1, 1, 2, 4, 8, 16, 32)
    out = sum(width // f * 3 + 3 for f in factors)
    into = sum(3 * (width // f) + width // f for f in factors)
    with torch.device("meta"):
        networks = (
            generator(1024, width=width),
            *(critic(1024, width=width, early=early) for early in (True, False)),
        )
    found = [without_rgb(n) + rgb for n, rgb in zip(networks, (out, into, into), strict=True)]
    assert tuple(found) == WHOLE[width]


def test_with_one_rgb_layer_as_pggan_reports():
    with torch.device("meta"):
        made, score = generator(1024, width=512), critic(1024, width=512)
    made.drop_old_exit()
    score.drop_old_entry()
    assert (count(made), count(score)) == (23_071_507, 23_077_137)


@pytest.mark.parametrize("side", FADING)
def test_active_networks_during_a_fade(side):
    with torch.device("meta"):
        assert (count(generator(side, width=512)), count(critic(side, width=512))) == FADING[side]


def test_reference_layers_have_as_many_generator_parameters():
    with torch.device("meta"):
        assert count(generator(64, width=64, plain=True)) == count(generator(64, width=64))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("side", [4, 8, 16, 64])
def test_shapes(side, plain):
    images = generator(side, plain=plain)(torch.randn(3, 16), False, ONE)
    assert images.shape == (3, 3, side, side)
    assert critic(side)(images, False, ONE).shape == (3, 1)


def test_at_alpha_zero_the_generator_shows_its_previous_output_enlarged():
    network, latent = generator(8), torch.randn(2, 16)
    before = network(latent, False, ONE)
    network.grow_block(16)
    network.grow_to_image(16)
    torch.testing.assert_close(network(latent, True, ZERO), upsample_nearest(before))
    assert not torch.allclose(network(latent, True, HALF), upsample_nearest(before))


def test_at_alpha_one_the_old_path_is_gone():
    network, latent = generator(16), torch.randn(2, 16)
    faded = network(latent, True, ONE)
    nn.init.normal_(network.to_image["8"].weight)
    assert torch.equal(network(latent, True, ONE), faded)
    network.drop_old_exit()
    assert torch.equal(network(latent, False, ONE), faded)


@pytest.mark.parametrize("early", [False, True])
def test_critic_at_alpha_zero_is_the_smaller_critic_on_the_averaged_image(early):
    network = critic(8, early=early)
    images = torch.randn(4, 3, 16, 16)
    smaller = network(downsample_mean(images), False, ONE)
    network.grow_block(16)
    network.grow_from_image(16)
    torch.testing.assert_close(network(images, True, ZERO), smaller)


@pytest.mark.parametrize("early", [False, True])
def test_critic_at_alpha_one_is_the_new_path_alone(early):
    network = critic(16, early=early)
    images = torch.randn(4, 3, 16, 16)
    faded = network(images, True, ONE)
    network.drop_old_entry()
    assert torch.equal(network(images, False, ONE), faded)


def test_the_length_of_a_latent_is_nothing_to_the_generator():
    network, latent = generator(8), torch.randn(2, 16)
    torch.testing.assert_close(
        network(7 * latent, False, ONE), network(latent, False, ONE), atol=1e-5, rtol=1e-5
    )


def test_reference_networks_end_in_tanh_above_four_pixels():
    latent = torch.randn(2, 16)
    for side, bounded in ((4, False), (8, True)):
        network = generator(side, plain=True)
        nn.init.constant_(network.to_image[str(side)].bias, 50.0)
        assert (network(latent, False, ONE).max() <= 1).item() is bounded
    assert isinstance(generator(4, plain=True).base.conv1, nn.ConvTranspose2d)


def test_first_layer_keeps_unit_variance_and_every_later_feature_is_normalised():
    torch.manual_seed(0)
    network = generator(8, width=64)
    seen = []
    network.base.conv2.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network.blocks["8"].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(torch.randn(5, 64), False, ONE)
    for features in seen:
        mean_square = features.square().mean(dim=1)
        torch.testing.assert_close(mean_square, torch.ones_like(mean_square), atol=1e-3, rtol=0)
