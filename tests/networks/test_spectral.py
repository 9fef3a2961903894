"""Spectral normalisation against singular value decompositions in float64."""

import pytest
import torch
from torch import nn

from ganforge.networks.convolutional import ConvolutionalCritic
from ganforge.networks.discriminators import VGGStyleDiscriminator
from ganforge.networks.spectral import (
    FIRST_ITERATIONS,
    SpectralConv2d,
    SpectralLinear,
    iterate,
    normalised,
    power_iteration,
)


def layers() -> list[SpectralConv2d | SpectralLinear]:
    torch.manual_seed(0)
    made = [SpectralLinear(7, 5), SpectralConv2d(3, 6, 4, 2, 1), SpectralConv2d(8, 1, 4)]
    return [layer.double() for layer in made]


@pytest.mark.parametrize("number", range(3))
def test_the_largest_singular_value_becomes_one(number):
    layer = layers()[number]
    iterate(layer, 500)
    matrix = layer.weight.flatten(1)
    left, right = power_iteration(matrix, layer.u)
    largest = torch.linalg.svdvals(matrix)[0]
    torch.testing.assert_close(torch.dot(left, matrix @ right), largest)
    found = normalised(layer.weight, layer.u).flatten(1)
    torch.testing.assert_close(found, matrix / largest)
    assert torch.linalg.svdvals(found)[0].item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("number", range(3))
def test_gradient_equals_finite_differences_of_the_exact_norm(number):
    layer = layers()[number]
    iterate(layer, 500)
    weight = layer.weight.detach()
    probe = torch.randn_like(weight)

    def exact(w):
        return (probe * w / torch.linalg.svdvals(w.flatten(1))[0]).sum()

    (gradient,) = torch.autograd.grad((probe * normalised(layer.weight, layer.u)).sum(),
                                      layer.weight)  # fmt: skip
    direction = torch.randn_like(weight)
    numeric = (exact(weight + 1e-6 * direction) - exact(weight - 1e-6 * direction)) / 2e-6
    assert abs(numeric.item() - (gradient * direction).sum().item()) < 1e-7


def test_layers_are_torchs_own_with_divided_weights():
    linear, conv, _ = layers()
    for layer, images in ((linear, torch.randn(4, 7)), (conv, torch.randn(2, 3, 8, 8))):
        plain = nn.Linear(7, 5) if layer is linear else nn.Conv2d(3, 6, 4, 2, 1)
        plain = plain.double()
        with torch.no_grad():
            plain.weight.copy_(normalised(layer.weight, layer.u))
            plain.bias.copy_(layer.bias)
        torch.testing.assert_close(layer(images.double()), plain(images.double()))


def test_a_forward_pass_leaves_the_state_alone_and_an_iteration_moves_it():
    for layer in layers():
        before = layer.u.clone()
        images = torch.randn(2, 7) if isinstance(layer, SpectralLinear) else torch.randn(
            2, layer.in_channels, 8, 8)  # fmt: skip
        first = layer(images.double())
        assert torch.equal(first, layer(images.double())) and torch.equal(layer.u, before)
        iterate(layer)
        assert layer.u.norm().item() == pytest.approx(1)
        if len(before) > 1:
            assert not torch.equal(layer.u, before)
        assert "u" in layer.state_dict()


def test_zero_weights_stay_zero_and_finite():
    weight = torch.zeros(3, 4, requires_grad=True)
    found = normalised(weight, torch.tensor([1.0, 0.0, 0.0]))
    found.sum().backward()
    assert not found.any() and weight.grad is not None and torch.isfinite(weight.grad).all()


def test_mixed_precision_normalises_in_float32():
    layer = SpectralConv2d(3, 6, 3)
    iterate(layer, 200)
    with torch.autocast("cpu", torch.bfloat16):
        found = normalised(layer.weight, layer.u)
        assert layer(torch.randn(1, 3, 5, 5)).dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert torch.linalg.svdvals(found.flatten(1))[0].item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "build",
    [
        lambda: ConvolutionalCritic(4, 1, 32, "spectral"),
        lambda: VGGStyleDiscriminator(3, 32, 4, 8, "spectral"),
    ],
)
def test_every_layer_of_a_critic_is_normalised(build):
    torch.manual_seed(1)
    critic = build()
    weighted = [m for m in critic.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert all(isinstance(m, SpectralConv2d | SpectralLinear) for m in weighted)
    assert not [m for m in critic.modules() if isinstance(m, nn.BatchNorm2d | nn.InstanceNorm2d)]
    iterate(critic, FIRST_ITERATIONS)
    for layer in weighted:  # near enough after the first iterations, and from below
        largest = torch.linalg.svdvals(normalised(layer.weight, layer.u).flatten(1))[0].item()
        assert 1 - 1e-5 < largest < 1.2
    # each layer is linear with norm at most about 1 on patches, so scores cannot explode
    scores = critic(torch.rand(4, weighted[0].in_channels, 32, 32) * 2 - 1)
    assert scores.shape == (4, 1) and torch.isfinite(scores).all()
