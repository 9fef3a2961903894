"""Stacks of stride 2 against the counts of their tables, and what clipping leaves alone."""

import pytest
import torch
from torch import nn

from ganforge.networks.convolutional import (
    ConvolutionalCritic,
    ConvolutionalGenerator,
    LabelledCritic,
    LabelledGenerator,
    clip_weights,
)
from ganforge.networks.mlp import MLPDiscriminator, MLPGenerator


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_simple_gan_has_the_tables_parameters():
    with torch.device("meta"):
        assert count(MLPGenerator(64, 1, 28)) == 218_128
        assert count(MLPDiscriminator(1, 28)) == 100_609


@pytest.mark.parametrize(
    ("channels", "latent", "norm", "expected"),
    [
        (3, 100, "none", 12_654_595),
        (1, 100, "none", 12_650_497),
        (3, 100, "batch", 12_658_435),
        (1, 128, "batch", 13_113_089),
    ],
)
def test_generator_has_the_tables_parameters(channels, latent, norm, expected):
    with torch.device("meta"):
        assert count(ConvolutionalGenerator(latent, 64, channels, 64, norm)) == expected


@pytest.mark.parametrize(
    ("channels", "norm", "expected"),
    [
        (3, "none", 2_763_841),
        (1, "none", 2_761_793),
        (3, "batch", 2_765_633),
        (3, "instance", 2_765_633),
        (1, "instance", 2_763_585),
    ],
)
def test_critic_has_the_tables_parameters(channels, norm, expected):
    with torch.device("meta"):
        assert count(ConvolutionalCritic(64, channels, 64, norm)) == expected


@pytest.mark.parametrize(
    ("channels", "critic", "generator"), [(1, 216_017, 1_509_801), (3, 216_529, 1_510_827)]
)
def test_labelled_networks_have_the_tables_parameters(channels, critic, generator):
    with torch.device("meta"):
        assert count(LabelledCritic(10, 16, channels, 64, "instance")) == critic
        assert count(LabelledGenerator(10, 100, 100, 16, channels, 64, "batch")) == generator
        # with the latent's inputs alone, as in the reference, the sum would be
        alone = count(ConvolutionalGenerator(100, 16, channels, 64, "batch")) + 10 * 100
    if channels == 1:
        assert alone == 1_100_201


@pytest.mark.parametrize("resolution", [16, 32, 64, 128])
def test_sides_and_channels_follow_the_resolution(resolution):
    generator = ConvolutionalGenerator(5, 2, 3, resolution, "batch")
    critic = ConvolutionalCritic(2, 3, resolution, "instance")
    sides, widths = [], []
    for layer in generator.layers:
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
            widths.append(layer.out_channels)
    images = generator(torch.randn(3, 5))
    steps = resolution.bit_length() - 3
    assert sides == [4 * 2**k for k in range(steps + 1)]
    assert widths == [2 * 2**k for k in range(steps, 0, -1)] + [3]
    assert images.shape == (3, 3, resolution, resolution) and images.abs().max() <= 1
    assert critic(images).shape == (3, 1)
    convolutions = [layer for layer in critic.layers if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [2 * 2**k for k in range(steps)] + [1]


def test_first_weights_are_dcgans():
    torch.manual_seed(0)
    for network in (
        ConvolutionalGenerator(100, 16, 3, 64, "batch"),
        ConvolutionalCritic(32, 3, 64, "batch"),
    ):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.numel() > 1e4:
                assert abs(module.weight.mean()) < 1e-3
                assert abs(module.weight.std() - 0.02) < 1e-3
            if isinstance(module, nn.BatchNorm2d) and module.num_features > 60:
                assert abs(module.weight.mean() - 1) < 0.02 and module.weight.std() < 0.03
                assert not module.bias.any()


def test_critic_sees_every_pixel():
    critic = ConvolutionalCritic(4, 1, 32, "instance")
    images = torch.randn(2, 1, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(critic(images).sum(), images)
    assert (gradient != 0).all()


def test_instance_norm_mixes_no_samples_and_batch_norm_does():
    images = torch.randn(4, 1, 32, 32)
    for norm, alone in (("instance", True), ("none", True), ("batch", False)):
        critic = ConvolutionalCritic(4, 1, 32, norm)
        other = torch.cat([images[:1], torch.randn(3, 1, 32, 32)])
        first, second = critic(images)[0], critic(other)[0]
        assert torch.allclose(first, second, atol=1e-6) == alone, norm


def test_labels_reach_generator_and_critic():
    generator = LabelledGenerator(3, 4, 5, 4, 1, 16, "batch").eval()
    critic = LabelledCritic(3, 4, 1, 16, "instance")
    latent, images = torch.randn(2, 5), torch.randn(2, 1, 16, 16)
    zero, one = torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64)
    assert not torch.equal(generator(latent, zero), generator(latent, one))
    assert not torch.equal(critic(images, zero), critic(images, one))
    assert critic(images, one).shape == (2, 1)


def test_clipping_leaves_norm_scales_alone():
    torch.manual_seed(0)
    critic = LabelledCritic(10, 8, 1, 32, "instance")
    for parameter in critic.parameters():
        parameter.data.mul_(3).add_(0.05)
    before = {name: p.clone() for name, p in critic.named_parameters()}
    norms = {
        f"{name}.{part}"
        for name, module in critic.named_modules()
        if isinstance(module, nn.InstanceNorm2d)
        for part in ("weight", "bias")
    }
    with torch.no_grad():
        clip_weights(critic, 0.01)
    assert len(norms) == 4
    for name, parameter in critic.named_parameters():
        expected = before[name] if name in norms else before[name].clamp(-0.01, 0.01)
        assert torch.equal(parameter, expected), name
        assert (parameter.abs().max() <= 0.01) == (name not in norms), name
