"""Growing networks: what each alpha means, shapes at every resolution."""

import pytest
import torch

from ganforge.layers import downsample_mean, upsample_nearest
from ganforge.networks.progressive import (
    GrowingCritic,
    GrowingUpscaler,
    critic_channels,
    generator_plan,
)

ZERO, HALF, ONE = torch.tensor(0.0), torch.tensor(0.5), torch.tensor(1.0)


def upscaler(stages: int, *, width=16, scale=2, skip=False, preserving=False) -> GrowingUpscaler:
    network = GrowingUpscaler(3, width, scale, bicubic_skip=skip, preserving=preserving)
    network.grow_base()
    for index, channels in enumerate(generator_plan("compact", width, 4, stages)):
        network.grow_block(index, channels)
        network.grow_head(index)
    return network


def critic(*resolutions: int, width=16) -> GrowingCritic:
    network = GrowingCritic(3, width)
    network.grow_end()
    side = resolutions[0] // 2
    while side > 4:
        network.grow_block(side)
        side //= 2
    for resolution in resolutions:
        network.grow_block(resolution)
        network.grow_from_image(resolution)
    return network


def test_channel_plans():
    assert generator_plan("by-resolution", 512, 16, 4) == [512, 256, 128, 64]
    assert generator_plan("compact", 512, 16, 5) == [256, 128, 128, 128, 128]
    assert generator_plan("by-resolution", 512, 4, 6) == [512, 512, 512, 256, 128, 64]
    assert [critic_channels(512, r) for r in (8, 32, 64, 256)] == [512, 512, 256, 64]
    assert critic_channels(16, 256) == 4  # never fewer than 4


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("scale", [2, 4])
def test_generator_shapes_at_any_height_and_width(stages, scale):
    network = upscaler(stages, scale=scale)
    out = network(torch.randn(2, 3, 8, 12), False, ONE)
    assert out.shape == (2, 3, 8 * scale, 12 * scale)


def test_generator_at_alpha_zero_is_the_old_head_on_the_features_that_enter():
    network = upscaler(2)
    source = torch.randn(2, 3, 8, 8)
    features = network.blocks["0"](network.base(source))
    expected = network.heads["0"](upsample_nearest(features))
    torch.testing.assert_close(network(source, True, ZERO), expected)


def test_generator_at_alpha_one_ignores_the_old_path():
    network = upscaler(2)
    source = torch.randn(1, 3, 8, 8)
    before = network(source, True, ONE)
    torch.nn.init.normal_(network.heads["0"].conv1.weight)
    assert torch.equal(network(source, True, ONE), before)
    network.drop_old_head()
    torch.testing.assert_close(network(source, False, ONE), before)


def test_generator_keeps_what_it_had_when_it_grows():
    network = upscaler(1)
    before = {name: p.clone() for name, p in network.named_parameters()}
    network.grow_block(1, 4)
    network.grow_head(1)
    now = dict(network.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in before.items())


def test_bicubic_skip_starts_at_bicubic():
    from ganforge.layers import upsample_bicubic

    network = upscaler(1, skip=True)
    source = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(network(source, False, ONE), upsample_bicubic(source))


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("scale", [2, 4])
def test_a_preserving_growth_changes_no_bit_of_any_image(scale, skip):
    torch.manual_seed(0)
    network = upscaler(1, scale=scale, skip=skip, preserving=True)
    source = torch.randn(2, 3, 6, 10)
    for index in (1, 2, 3):
        for parameter in network.parameters():  # as after training: nothing is zero
            torch.nn.init.normal_(parameter)
        before = network(source, False, ONE)
        network.grow_block(index, 4)
        network.grow_head(index)
        assert torch.equal(network(source, False, ONE), before)
        # there is nothing to fade
        assert torch.equal(network(source, True, HALF), before)
        assert list(network.heads) == ["0"]


def test_a_preserving_growth_can_be_trained_at_once():
    """By finite differences: the last convolution of a new block has a gradient of usual size."""
    torch.manual_seed(0)
    network = upscaler(2, preserving=True).double()
    source = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    for name, parameter in network.named_parameters():
        if "blocks.1.outer" not in name:
            torch.nn.init.normal_(parameter)
    weight = network.blocks["1"].outer.weight

    def loss():
        return network(source, False, ONE).square().mean()

    loss().backward()
    for at in [(0, 0, 1, 1), (3, 2, 0, 2), (15, 15, 2, 1)]:
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[at] += step
                values.append(loss().item())
                weight[at] -= step
        assert weight.grad[at].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)
    old = network.base.conv2.weight.grad.norm().item()
    assert 0.01 * old < weight.grad.norm().item() < 100 * old


@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
def test_critic_scores_and_four_by_four_end(resolution):
    network = critic(resolution)
    sides = []
    network.end.register_forward_pre_hook(lambda _, args: sides.append(args[0].shape[-1]))
    assert network(torch.randn(4, 3, resolution, resolution), False, ONE).shape == (4, 1)
    assert sides == [4]


def test_critic_at_alpha_zero_is_the_smaller_critic_on_the_averaged_image():
    network = critic(16, 32)
    images = torch.randn(4, 3, 32, 32)
    smaller = network(downsample_mean(images), False, ONE)
    torch.testing.assert_close(network(images, True, ZERO), smaller)


def test_critic_at_alpha_one_is_the_new_path_alone():
    network = critic(16, 32)
    images = torch.randn(4, 3, 32, 32)
    faded = network(images, True, ONE)
    network.drop_old_entry()
    torch.testing.assert_close(network(images, False, ONE), faded)


def test_critic_sees_every_quadrant_and_every_pixel():
    network = critic(16)
    images = torch.randn(2, 3, 16, 16, requires_grad=True)
    scores = network(images, False, ONE)
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert (gradient.abs().sum(dim=1) > 0).all()
    for rows in (slice(0, 8), slice(8, 16)):
        for columns in (slice(0, 8), slice(8, 16)):
            changed = images.detach().clone()
            changed[:, :, rows, columns] += 0.5
            assert not torch.equal(network(changed, False, ONE), scores)


def test_alpha_is_seen_inside_a_compiled_step():
    # a C++ compiler is not on every machine; the eager backend traces the same graph
    network = critic(16, 32)
    images = torch.randn(4, 3, 32, 32)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    results = [compiled(images, True, torch.tensor(a)) for a in (0.0, 0.3, 0.9)]
    for alpha, result in zip((0.0, 0.3, 0.9), results, strict=True):
        torch.testing.assert_close(result, network(images, True, torch.tensor(alpha)))
    assert not torch.equal(results[0], results[2])
