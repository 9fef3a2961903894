"""Layers against closed forms."""

import math

import pytest
import torch

from ganforge.draws import latents
from ganforge.layers import (
    EqualizedConv2d,
    EqualizedConvTranspose2d,
    EqualizedLinear,
    MinibatchDiscrimination,
    ReflectConv2d,
    blend,
    downsample_mean,
    fade_real,
    initialise,
    minibatch_stddev,
    pixel_norm,
    reflect,
    slerp,
    upsample_bicubic,
    upsample_nearest,
)


@pytest.mark.parametrize(("kernel", "channels", "side"), [(1, 64, 8), (3, 16, 16), (4, 128, 9)])
def test_equalized_convolution_keeps_deviation_at_root_two(kernel, channels, side):
    torch.manual_seed(0)
    layer = EqualizedConv2d(channels, 256, kernel)
    assert abs(layer.weight.std().item() - 1) < 0.05  # stored as N(0, 1)
    assert layer.bias.abs().max() == 0
    out = layer(torch.randn(16, channels, side, side))
    assert abs(out.std().item() - math.sqrt(2)) < 0.06


def test_equalized_dense_layer_keeps_deviation_at_root_two():
    torch.manual_seed(0)
    out = EqualizedLinear(300, 200)(torch.randn(500, 300))
    assert abs(out.std().item() - math.sqrt(2)) < 0.05


def test_equalized_scale_is_he_over_fan_in_and_nothing_else():
    layer = EqualizedConv2d(5, 7, 3)
    assert layer.scale == math.sqrt(2) / math.sqrt(5 * 9)
    x = torch.randn(2, 5, 6, 6)
    plain = torch.nn.functional.conv2d(x, layer.weight * layer.scale, layer.bias)
    assert torch.equal(layer(x), plain)


def test_asymmetric_padding_keeps_the_size_of_an_even_kernel():
    layer = EqualizedConv2d(3, 2, 4, padding=(1, 2, 1, 2))
    x = torch.randn(1, 3, 9, 12)
    assert layer(x).shape == (1, 2, 9, 12)
    # one pixel before: the first output sees inputs -1 … 2
    expected = (x[0, :, :3, :3] * layer.weight[0, :, 1:, 1:]).sum() * layer.scale
    torch.testing.assert_close(layer(x)[0, 0, 0, 0], expected)


def test_pixel_norm_gives_unit_mean_square():
    x = torch.randn(3, 17, 5, 4, dtype=torch.float64) * 9
    square = pixel_norm(x).square().mean(dim=1)
    torch.testing.assert_close(square, torch.ones_like(square), atol=1e-7, rtol=0)
    assert torch.isfinite(pixel_norm(torch.zeros(1, 4, 2, 2))).all()
    assert pixel_norm(x.to(torch.bfloat16)).dtype == torch.bfloat16


def test_minibatch_stddev_of_equal_images_is_zero_with_finite_gradient():
    for count in (1, 4):
        x = torch.randn(1, 3, 4, 4, dtype=torch.float64).expand(count, -1, -1, -1).clone()
        x.requires_grad_()
        out = minibatch_stddev(x)
        assert out.shape == (count, 4, 4, 4)
        assert out[:, 3].max() <= 1.0001e-4  # the root of 1e-8
        (gradient,) = torch.autograd.grad(out[:, 3].sum(), x)
        assert torch.isfinite(gradient).all()


def test_minibatch_stddev_by_hand_and_by_contiguous_groups():
    x = torch.zeros(8, 1, 1, 1, dtype=torch.float64)
    x[:4, 0, 0, 0] = torch.tensor([1.0, 1.0, 3.0, 3.0])  # population deviation 1
    channel = minibatch_stddev(x)[:, 1, 0, 0]
    torch.testing.assert_close(channel[:4], torch.ones(4).double(), atol=1e-7, rtol=0)
    assert channel[4:].max() < 2e-4
    six = torch.randn(6, 2, 2, 2)  # 4 does not divide 6: one group of all
    assert minibatch_stddev(six)[:, 2].unique().numel() == 1


def test_resampling_by_hand():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert torch.equal(upsample_nearest(x)[0, 0, 0], torch.tensor([1.0, 1.0, 2.0, 2.0]))
    assert downsample_mean(x).item() == 3.0
    constant = torch.full((1, 2, 5, 7), 0.3)
    torch.testing.assert_close(upsample_bicubic(constant), torch.full((1, 2, 10, 14), 0.3))


def test_fade_of_real_images_at_both_ends_and_between():
    x = torch.randn(2, 3, 8, 8)
    coarse = upsample_nearest(downsample_mean(x))
    assert torch.equal(fade_real(x, torch.tensor(0.0)), coarse)
    assert torch.equal(fade_real(x, torch.tensor(1.0)), x)
    torch.testing.assert_close(fade_real(x, torch.tensor(0.25)), 0.75 * coarse + 0.25 * x)
    assert torch.equal(blend(x, -x, torch.tensor(0.5)), torch.zeros_like(x))


def test_equalized_transposed_convolution_keeps_deviation_at_root_two_inside():
    torch.manual_seed(0)
    layer = EqualizedConvTranspose2d(64, 128, 4)
    assert abs(layer.weight.std().item() - 1) < 0.05
    out = layer(torch.randn(16, 64, 9, 9))
    assert out.shape == (16, 128, 12, 12)
    # inside, every pixel has all 16 taps
    assert abs(out[:, :, 3:-3, 3:-3].std().item() - math.sqrt(2)) < 0.06
    alone = layer(torch.randn(512, 64, 1, 1))
    assert abs(alone.std().item() - math.sqrt(2) / 4) < 0.03  # on one pixel a tap each


def test_slerp_begins_and_ends_at_its_latents_and_stays_on_the_sphere():
    torch.manual_seed(0)
    first, second = torch.randn(2, 5, 64, dtype=torch.float64)
    torch.testing.assert_close(slerp(first, second, 0.0), first)
    torch.testing.assert_close(slerp(first, second, 1.0), second)
    first, second = (
        first / first.norm(dim=1, keepdim=True),
        second / second.norm(dim=1, keepdim=True),
    )
    for weight in (0.2, 0.5, 0.9):
        torch.testing.assert_close(
            slerp(first, second, weight).norm(dim=1), torch.ones(5, dtype=torch.float64)
        )
    same = slerp(first, first, 0.5)
    torch.testing.assert_close(same, first, atol=1e-5, rtol=0)


def test_a_fixed_latent_is_a_function_of_its_number_alone():
    many = latents(8, torch.arange(6), 3, "validation")
    torch.rand(5)
    assert torch.equal(latents(8, torch.tensor([4, 1]), 3, "validation"), many[[4, 1]])
    assert len({tuple(row.tolist()) for row in many}) == 6
    for other in ((4, "validation"), (3, "samples")):
        assert not torch.equal(latents(8, torch.arange(6), *other), many)
    wide = latents(20_000, torch.arange(2), 0, "x")
    assert abs(wide.mean()) < 0.02 and abs(wide.std() - 1) < 0.02


def test_reflection_is_torchs_own():
    images = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    for pad in (1, 3, 4):
        mine = reflect(images, pad)
        theirs = torch.nn.functional.pad(images, (pad,) * 4, mode="reflect")
        assert torch.equal(mine, theirs)
        weights = torch.randn_like(mine)
        gradients = [torch.autograd.grad((o * weights).sum(), images)[0] for o in (mine, theirs)]
        torch.testing.assert_close(*gradients)
    layer = ReflectConv2d(3, 2, 4, reflection=1, stride=2).double()
    expected = torch.nn.Conv2d(3, 2, 4, 2, 1, padding_mode="reflect").double()
    expected.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(images), expected(images))


def test_minibatch_discrimination_by_hand():
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(4, 3, 2).double()
    features = torch.randn(5, 4, dtype=torch.float64)
    out = layer(features)
    matrices = (features @ layer.weight).reshape(5, 3, 2)
    for i in range(5):
        for b in range(3):
            expected = sum(
                math.exp(-(matrices[i, b] - matrices[j, b]).abs().sum().item())
                for j in range(5)
                if j != i
            )
            assert abs(out[i, b].item() - expected) < 1e-12
    assert layer.weight.numel() == 4 * 3 * 2  # A·B·C
    alike = layer(features[:1].expand(6, -1))
    torch.testing.assert_close(alike, torch.full_like(alike, 5.0))
    alone = features[:1].clone().requires_grad_()
    layer(alone).sum().backward()
    assert layer(alone).abs().max() < 1e-12
    assert alone.grad is not None and alone.grad.isfinite().all()


def test_initialise_draws_every_weight_in_order():
    convolution, norm = torch.nn.Conv2d(32, 64, 3), torch.nn.BatchNorm2d(64)
    assert convolution.bias is not None
    network = torch.nn.Sequential(convolution, norm, torch.nn.PReLU(64))
    torch.manual_seed(0)
    initialise(network, 0.02)
    first = {n: t.clone() for n, t in network.state_dict().items()}
    assert abs(convolution.weight.std().item() - 0.02) < 1e-3 and not convolution.bias.any()
    assert abs(norm.weight.mean().item() - 1) < 0.01 and 0 < norm.weight.std() < 0.03
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    torch.manual_seed(0)
    initialise(network, 0.02)
    assert all(torch.equal(first[n], t) for n, t in network.state_dict().items())
    torch.manual_seed(0)
    initialise(network)
    torch.manual_seed(0)
    assert torch.equal(convolution.weight, torch.nn.Conv2d(32, 64, 3).weight)
