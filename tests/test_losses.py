"""Objectives against values worked out by hand and against finite differences in float64."""

import math

import pytest
import torch
from torch.nn import functional as F

from ganforge.losses import (
    binary_cross_entropy,
    binary_discriminator,
    directions_apart,
    drift,
    feature_matching,
    gradient_penalty,
    hinge_discriminator,
    label_grid,
    least_squares,
    mean_absolute,
    mean_squared,
    non_saturating,
    paired_feature_matching,
    perceptual,
    relativistic_average,
    relativistic_pairs,
    smoothed,
    wasserstein_critic,
    wasserstein_generator,
    zero_centred_penalty,
)


def test_wasserstein_terms_by_hand():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 2.0])
    assert wasserstein_critic(real, fake).item() == 0.5 - 2.0
    assert wasserstein_generator(fake).item() == -0.5
    assert drift(real).item() == 5.0


def test_penalty_of_a_linear_critic_is_the_squared_excess_of_its_norm():
    w = torch.randn(3, 5, 4, dtype=torch.float64)
    real, fake = torch.randn(2, 6, 3, 5, 4, dtype=torch.float64)
    penalty = gradient_penalty(lambda x: (x * w).sum(dim=(1, 2, 3)), real, fake)
    torch.testing.assert_close(penalty, (w.norm() - 1).square(), atol=1e-9, rtol=0)


def test_penalty_uses_one_mixing_number_a_sample():
    seen = []

    def critic(images):
        seen.append(images.detach())
        return images.sum(dim=(1, 2, 3))

    real, fake = torch.ones(7, 3, 4, 4), torch.zeros(7, 3, 4, 4)
    gradient_penalty(critic, real, fake)
    flat = seen[0].flatten(1)
    assert (flat == flat[:, :1]).all() and flat[:, 0].unique().numel() == 7
    assert (flat >= 0).all() and (flat < 1).all()


def test_penalty_gradient_equals_finite_differences():
    torch.manual_seed(0)
    real, fake = torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    weight = torch.randn(2 * 16, 5, dtype=torch.float64, requires_grad=True)

    def value(w):
        torch.manual_seed(1)
        return gradient_penalty(lambda x: torch.tanh(x.flatten(1) @ w).sum(1), real, fake)

    (gradient,) = torch.autograd.grad(value(weight), weight)
    for place in [(0, 0), (7, 3), (31, 4)]:
        step = torch.zeros_like(weight)
        step[place] = 1e-6
        numeric = (value(weight.detach() + step) - value(weight.detach() - step)) / 2e-6
        assert abs(numeric.item() - gradient[place].item()) < 1e-7


def test_penalty_is_finite_for_a_flat_critic_and_detached_from_the_generator():
    fake = torch.randn(2, 1, 4, 4, requires_grad=True)
    w = torch.zeros(16, requires_grad=True)
    penalty = gradient_penalty(lambda x: x.flatten(1) @ w, torch.randn(2, 1, 4, 4), fake)
    penalty.backward()
    assert w.grad is not None and torch.isfinite(w.grad).all() and fake.grad is None


def test_penalty_is_float32_under_mixed_precision():
    with torch.autocast("cpu", torch.bfloat16):
        images = torch.randn(2, 1, 4, 4).bfloat16()
        layer = torch.nn.Linear(16, 1)
        penalty = gradient_penalty(lambda x: layer(x.flatten(1)), images, images)
    assert penalty.dtype == torch.float32


def test_distances_by_hand():
    a, b = torch.tensor([0.0, 2.0]), torch.tensor([1.0, -1.0])
    assert mean_squared(a, b).item() == 5.0
    assert mean_absolute(a, b).item() == 2.0


def test_perceptual_is_zero_only_for_equal_images_and_moves_only_the_fake():
    real = torch.randn(1, 3, 8, 8, requires_grad=True)
    fake = torch.randn(1, 3, 8, 8, requires_grad=True)
    square = lambda x: x.square()  # noqa: E731
    assert perceptual(square, real, real.detach(), mean_squared).item() == 0
    value = perceptual(square, real, fake, mean_squared)
    assert value.item() > 0
    value.backward()
    assert real.grad is None and fake.grad is not None and fake.grad.abs().sum() > 0


def test_binary_terms_equal_cross_entropy_in_float64():
    real, fake = 5 * torch.randn(2, 40, 1, dtype=torch.float64)
    cost = lambda logits, label: F.binary_cross_entropy(  # noqa: E731
        torch.sigmoid(logits), torch.full_like(logits, label)
    )
    discriminator = (cost(real, 1.0) + cost(fake, 0.0)) / 2
    torch.testing.assert_close(binary_discriminator(real, fake), discriminator, atol=1e-12, rtol=0)
    torch.testing.assert_close(non_saturating(fake), cost(fake, 1.0), atol=1e-12, rtol=0)


def test_binary_terms_by_hand_and_at_extremes():
    zero = torch.zeros(3, 1)
    assert abs(binary_discriminator(zero, zero).item() - math.log(2)) < 1e-6
    assert abs(non_saturating(zero).item() - math.log(2)) < 1e-6
    far = torch.tensor([[-1e4]], requires_grad=True)
    assert non_saturating(far).item() == 1e4
    (gradient,) = torch.autograd.grad(non_saturating(far), far)
    assert gradient.item() == -1.0  # non-saturating: a fake that is found out still learns
    assert non_saturating(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


def test_label_grids_take_the_shape_of_the_scores():
    for shape in ((4, 1, 30, 30), (1, 1, 2, 5), (3, 1)):  # a short last batch too
        scores = random(*shape)
        assert torch.equal(label_grid(scores, 1.0), torch.ones_like(scores))
        expected = sum((s - 1) ** 2 for s in scores.flatten().tolist()) / scores.numel()
        assert abs(least_squares(scores, 1.0).item() - expected) < 1e-12
    assert label_grid(torch.zeros(1, dtype=torch.bfloat16), 0.9).dtype == torch.float32


def test_binary_cross_entropy_by_hand_and_finite_for_any_score():
    logits, labels = random(5, 1), torch.rand(5, 1, dtype=torch.float64)
    p = 1 / (1 + torch.exp(-logits))
    expected = -(labels * torch.log(p) + (1 - labels) * torch.log(1 - p)).mean()
    torch.testing.assert_close(binary_cross_entropy(logits, labels), expected)
    far = torch.tensor([[1e4]], requires_grad=True)
    value = binary_cross_entropy(far, torch.zeros(1, 1))
    value.backward()
    assert value.item() == 1e4 and far.grad is not None and far.grad.item() == 1


def test_smoothing_is_one_sided_and_drawn_for_each_score():
    torch.manual_seed(0)
    labels = smoothed(torch.zeros(2000, 1, dtype=torch.float64), 0.1)
    assert labels.max() <= 1 and labels.min() > 0.9 and labels.unique().numel() == 2000
    assert abs(labels.mean().item() - 0.95) < 0.003
    assert torch.equal(smoothed(torch.zeros(3, 1), 0.0), torch.ones(3, 1))


def test_relativistic_objective():
    equal = torch.full((6, 1), 3.7, dtype=torch.float64)
    assert abs(relativistic_average(equal, equal).item() - 2 * math.log(2)) < 1e-12
    real, fake = random(5, 1), random(5, 1)

    def sigma(x):
        return 1 / (1 + torch.exp(-x))

    expected = -torch.log(sigma(real - fake.mean())).mean()
    expected -= torch.log(1 - sigma(fake - real.mean())).mean()
    torch.testing.assert_close(relativistic_average(real, fake), expected)
    # a shift of all scores changes nothing
    torch.testing.assert_close(relativistic_average(real + 9, fake + 9), expected)


def test_feature_matching_compares_the_means_of_the_batch():
    real, fake = random(4, 2, 3, 3), random(4, 2, 3, 3)
    expected = sum(
        (real[:, c, y, x].mean() - fake[:, c, y, x].mean()) ** 2
        for c in range(2)
        for y in range(3)
        for x in range(3)
    )
    torch.testing.assert_close(feature_matching(real, fake), expected)
    assert feature_matching(real, real.flip(0)).item() < 1e-24  # another order, the same means
    assert paired_feature_matching(real, real.flip(0)).item() > 0.1
    torch.testing.assert_close(
        paired_feature_matching(real, fake), ((real - fake) ** 2).sum() / real.numel()
    )


def test_features_of_real_images_are_targets_only():
    for objective in (feature_matching, paired_feature_matching):
        real, fake = random(2, 3).requires_grad_(), random(2, 3).requires_grad_()
        objective(real, fake).backward()
        assert real.grad is None and fake.grad is not None and fake.grad.abs().sum() > 0


def test_perceptual_distance_can_be_absolute():
    real, fake = random(2, 3, 4, 4), random(2, 3, 4, 4)
    value = perceptual(lambda x: 2 * x, real, fake, mean_absolute)
    torch.testing.assert_close(value, 2 * (real - fake).abs().mean())


def test_directions_at_one_position_by_hand():
    """Features (3, 4) and (4, 3) are (0.6, 0.8) and (0.8, 0.6) at length 1: 0.04 + 0.04."""
    first, second = (torch.tensor(v).reshape(1, 2, 1, 1) for v in ((3.0, 4.0), (8.0, 6.0)))
    assert directions_apart([first], [second]).item() == pytest.approx(0.08)
    assert directions_apart([first], [7 * first]).item() == pytest.approx(0, abs=1e-12)
    assert directions_apart([first], [-first]).item() == pytest.approx(4)
    assert directions_apart([first, first], [first, second]).item() == pytest.approx(0.04)


def test_directions_gradient_equals_finite_differences_and_is_finite_at_zero():
    wanted = [random(2, 3, 2, 2), random(2, 5, 1, 1)]
    found = [random(2, 3, 2, 2).requires_grad_(), random(2, 5, 1, 1).requires_grad_()]
    assert torch.autograd.gradcheck(lambda *f: directions_apart(f, wanted), found)
    nothing = torch.zeros(1, 3, 2, 2, requires_grad=True)
    directions_apart([nothing], [random(1, 3, 2, 2)]).backward()
    assert nothing.grad is not None and torch.isfinite(nothing.grad).all()


def test_hinge_by_hand():
    real, fake = torch.tensor([3.0, 0.5, -1.0]), torch.tensor([-2.0, -0.25, 1.0])
    assert hinge_discriminator(real, fake).item() == (0 + 0.5 + 2) / 3 + (0 + 0.75 + 2) / 3
    # beyond the margin nothing pulls
    scores = torch.tensor([1.5, 2.0], requires_grad=True)
    hinge_discriminator(scores, -scores.detach()).backward()
    assert scores.grad is not None and not scores.grad.any()


def test_relativistic_pairs():
    equal = torch.full((6, 1), 3.7, dtype=torch.float64)
    assert abs(relativistic_pairs(equal, equal).item() - math.log(2)) < 1e-12
    real, fake = random(5, 1), random(5, 1)
    chance = 1 / (1 + torch.exp(fake - real))
    value = relativistic_pairs(real, fake)
    torch.testing.assert_close(value, -torch.log(chance).mean())
    torch.testing.assert_close(relativistic_pairs(real + 9, fake + 9), value)
    # the mean over shards is that over the batch, which no other relativistic objective promises
    shards = [relativistic_pairs(real[i : i + 1], fake[i : i + 1]) for i in range(5)]
    torch.testing.assert_close(torch.stack(shards).mean(), value)
    with pytest.raises(ValueError, match="no pairs"):
        relativistic_pairs(real, fake[:, 0])
    assert math.isfinite(relativistic_pairs(torch.tensor([-1e4]), torch.tensor([1e4])).item())


def test_zero_centred_penalty_of_a_linear_and_of_a_quadratic_critic():
    images, w = random(6, 3, 5, 4), random(3, 5, 4)
    linear = zero_centred_penalty(lambda x: (x * w).sum(dim=(1, 2, 3)), images)
    torch.testing.assert_close(linear, w.square().sum() / 2)
    quadratic = zero_centred_penalty(lambda x: x.square().sum(dim=(1, 2, 3)), images)
    torch.testing.assert_close(quadratic, 2 * images.square().sum() / 6)


def test_zero_centred_penalty_gradient_equals_finite_differences():
    images, weight = random(3, 2, 4, 4), random(32, 5).requires_grad_()

    def value(w):
        return zero_centred_penalty(lambda x: torch.tanh(x.flatten(1) @ w).sum(1), images)

    (gradient,) = torch.autograd.grad(value(weight), weight)
    for at in [(0, 0), (7, 3), (31, 4)]:
        step = torch.zeros_like(weight)
        step[at] = 1e-6
        numeric = (value(weight.detach() + step) - value(weight.detach() - step)) / 2e-6
        assert abs(numeric.item() - gradient[at].item()) < 1e-7


def test_zero_centred_penalty_is_detached_from_the_generator_and_wide():
    fake, w = torch.randn(2, 1, 4, 4, requires_grad=True), torch.zeros(16, requires_grad=True)
    zero_centred_penalty(lambda x: x.flatten(1) @ w, fake).backward()
    assert fake.grad is None and w.grad is not None and torch.isfinite(w.grad).all()
    with torch.autocast("cpu", torch.bfloat16):
        layer = torch.nn.Linear(16, 1)
        images = torch.randn(2, 1, 4, 4).bfloat16()
        assert zero_centred_penalty(lambda x: layer(x.flatten(1)), images).dtype == torch.float32


def mixing(weight):
    """A smooth critic whose scores depend on the other images of the batch, as with PGGAN's
    standard deviation of a minibatch."""

    def critic(x):
        own = torch.tanh(x.flatten(1) @ weight).sum(1)
        return own * (1 + 0.3 * torch.tanh(own - own.mean()))

    return critic


PENALTIES = {
    "one-centred": lambda critic, images, sigma: gradient_penalty(
        critic, images[:3], images[3:], sigma
    ),
    "zero-centred": lambda critic, images, sigma: zero_centred_penalty(critic, images, sigma),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_finite_differences_tend_to_the_exact_penalty(name):
    torch.manual_seed(3)
    images = torch.randn(6, 2, 4, 4, dtype=torch.float64)
    weight = (0.3 * torch.randn(32, 5, dtype=torch.float64)).requires_grad_()

    def of(sigma):
        torch.manual_seed(1)  # the same points between real and fake images
        value = PENALTIES[name](mixing(weight), images, sigma)
        return value, torch.autograd.grad(value, weight)[0]

    value, gradient = of(0.0)
    errors = []
    for sigma in (0.1, 0.05, 0.025, 1e-4):
        near, approximate = of(sigma)
        torch.testing.assert_close(near, value, rtol=1e-14, atol=0)
        errors.append(((approximate - gradient).norm() / gradient.norm()).item())
    assert errors[0] < 0.02 and errors[-1] < 1e-7
    # of second order: half the step, a quarter of the error
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("name", PENALTIES)
def test_finite_differences_take_no_double_backward_and_are_finite_for_a_flat_critic(
    name, monkeypatch
):
    double, real_grad = [], torch.autograd.grad

    def grad(*args, create_graph=False, **options):
        double.append(create_graph)
        return real_grad(*args, create_graph=create_graph, **options)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    images = torch.randn(6, 1, 4, 4, requires_grad=True)
    for start in (0.0, 0.5):
        weight = torch.full((16, 3), start, requires_grad=True)
        critic = lambda x, w=weight: (x.flatten(1) @ w).square().sum(1)  # noqa: E731
        PENALTIES[name](critic, images, 0.1).backward()
        assert weight.grad is not None and torch.isfinite(weight.grad).all()
        assert weight.grad.any() == (start > 0) and images.grad is None
    assert not any(double)
    PENALTIES[name](critic, images, 0.0).backward()
    assert double[-1]


@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_penalties_have_a_precision_of_their_own(sigma: float) -> None:
    """Under mixed precision in float32, unless they are left their caller's."""
    seen: list[torch.dtype] = []
    weight = torch.randn(6, 3, 3, 3, requires_grad=True)

    def critic(images: torch.Tensor) -> torch.Tensor:
        scores = F.conv2d(images, weight).square().sum(dim=(1, 2, 3))
        seen.append(F.conv2d(images, weight).dtype)
        return scores

    images = torch.rand(2, 3, 5, 5)
    for own, wanted in ((False, torch.float32), (True, torch.bfloat16)):
        seen.clear()
        with torch.autocast("cpu", torch.bfloat16):
            first = gradient_penalty(critic, images, images.flip(0), sigma, own)
            second = zero_centred_penalty(critic, images, sigma, own)
        assert set(seen) == {wanted}
        for value in (first, second):
            (gradient,) = torch.autograd.grad(value, weight)
            assert torch.isfinite(gradient).all() and gradient.dtype == torch.float32
