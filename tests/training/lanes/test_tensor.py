"""What is computed with lanes is what is computed for each lane, its gradients included."""

import pytest
import torch
from torch.nn import functional as F

from ganforge.layers import minibatch_stddev, pixel_norm
from ganforge.losses import directions_apart, gradient_penalty, zero_centred_penalty
from ganforge.training.lanes.tensor import Lanes

COUNT = 3


def drawn(*shape):
    return torch.randn(COUNT, *shape, dtype=torch.float64)


def equal_one_by_one(function, *stacked):
    """`function` of lanes, and its gradients, against the same of each lane."""
    stacked = [one.requires_grad_() for one in stacked]
    together = function(*map(Lanes, stacked)).stacked
    apart = torch.stack([function(*lane) for lane in zip(*stacked, strict=True)])
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(together)
    found = torch.autograd.grad((together * weights).sum(), stacked)
    wanted = torch.autograd.grad((apart * weights).sum(), stacked)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"padding": 1}, {"stride": 2, "padding": 1}])
def test_convolutions_of_lanes_own_weights(options):
    images, bias = drawn(2, 3, 8, 8), drawn(5)
    equal_one_by_one(lambda *of: F.conv2d(*of, **options), images, drawn(5, 3, 4, 4), bias)
    equal_one_by_one(
        lambda *of: F.conv_transpose2d(*of, **options), images, drawn(3, 5, 4, 4), bias
    )


def test_convolutions_of_images_that_lanes_have_in_common():
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    equal_one_by_one(lambda *of: F.conv2d(images, *of), drawn(5, 3, 3, 3), drawn(5))
    equal_one_by_one(lambda *of: F.conv_transpose2d(images, *of), drawn(3, 5, 3, 3), drawn(5))
    pixel = images[:, :, :1, :1]
    equal_one_by_one(lambda weight: F.conv_transpose2d(pixel, weight), drawn(3, 5, 4, 4))


def test_a_convolution_of_weights_that_lanes_have_in_common():
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    equal_one_by_one(lambda images: F.conv2d(images, weight, padding=1), drawn(2, 3, 8, 8))


def test_norms():
    images, scale, shift = drawn(4, 6, 4, 4), drawn(6), drawn(6)
    equal_one_by_one(lambda x, *of: F.instance_norm(x, None, None, *of), images, scale, shift)
    equal_one_by_one(pixel_norm, images)
    equal_one_by_one(minibatch_stddev, images)


def test_batch_norm_moves_the_statistics_of_each_lane():
    images, scale, shift = drawn(4, 6, 4, 4), drawn(6), drawn(6)
    means, variances = drawn(6), drawn(6).abs()
    own = [
        (mean.clone(), variance.clone()) for mean, variance in zip(means, variances, strict=True)
    ]
    buffers = Lanes(means), Lanes(variances)
    found = F.batch_norm(Lanes(images), *buffers, Lanes(scale), Lanes(shift), True)
    for lane, (mean, variance) in enumerate(own):
        wanted = F.batch_norm(images[lane], mean, variance, scale[lane], shift[lane], True)
        torch.testing.assert_close(found.stacked[lane], wanted)
        torch.testing.assert_close(means[lane], mean)
        torch.testing.assert_close(variances[lane], variance)


def test_formulas_on_images_and_scores():
    images, scores = drawn(4, 3, 8, 8), drawn(4, 1)
    for function in (
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic", antialias=True),
        lambda x: 1 - 0.5 * x.square().mean(dim=(1, 2)),
        lambda x: x.flatten(1)[:, None, 3:].sum(),
        lambda x: torch.cat([x, x.mean(dim=1, keepdim=True)], dim=1).amax(dim=2),
        lambda x: directions_apart([x, x.abs()], [x.flip(3), x.square()]),
    ):
        equal_one_by_one(function, images)
    equal_one_by_one(lambda x, weight: weight * F.softplus(-x).mean(), scores, drawn())
    equal_one_by_one(lambda x, *of: F.linear(x.flatten(1), *of), images, drawn(5, 192), drawn(5))


@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_penalties_of_a_gradient(sigma):
    real = torch.randn(4, 3, 6, 6, dtype=torch.float64)

    def penalties(fake, first, second):
        def critic(images):
            return F.conv2d(F.softplus(F.conv2d(images, first, padding=1)), second).flatten(1)

        torch.manual_seed(0)
        own = gradient_penalty(critic, real, fake.detach(), sigma) + fake.mean()
        return own + zero_centred_penalty(critic, real, sigma)

    equal_one_by_one(penalties, drawn(4, 3, 6, 6), drawn(4, 3, 3, 3), drawn(1, 4, 6, 6))


def test_lanes_answer_for_one_and_agree_or_refuse():
    lanes = Lanes(torch.zeros(COUNT, 4, 2))
    assert (len(lanes), lanes.shape, lanes.dim(), lanes.numel()) == (4, (4, 2), 2, 8)
    assert not Lanes(torch.zeros(COUNT))
    assert Lanes(torch.ones(COUNT)) == 1
    with pytest.raises(ValueError, match="lanes differ"):
        bool(Lanes(torch.tensor([0.0, 1.0])))


def test_draws_of_lanes_own_are_refused():
    with pytest.raises(RuntimeError, match="random"):
        torch.rand_like(Lanes(torch.zeros(COUNT, 4)))
