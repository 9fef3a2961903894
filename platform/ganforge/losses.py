"""Objectives: pure functions of tensors with a scalar result, without their weights."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

#: of a frozen network: those of one layer, or of several depths
Features = TypeVar("Features")


def wasserstein_critic(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean D(fake) - mean D(real), which the critic minimises (arXiv:1701.07875, Algorithm 1)."""
    return fake_scores.mean() - real_scores.mean()


def wasserstein_generator(fake_scores: Tensor) -> Tensor:
    """-mean D(fake), which the generator minimises (arXiv:1701.07875, Algorithm 1)."""
    return -fake_scores.mean()


def binary_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """½[BCE(D(x), 1) + BCE(D(G(z)), 0)] (arXiv:1406.2661, equation 1, as a cost), from logits.

    -log σ(s) = softplus(-s) and -log(1 - σ(s)) = softplus(s), which stay finite for any score.
    """
    real, fake = _wide(real_logits), _wide(fake_logits)
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def non_saturating(fake_logits: Tensor) -> Tensor:
    """BCE(D(G(z)), 1), which the generator minimises (arXiv:1406.2661, section 3), from logits."""
    return F.softplus(-_wide(fake_logits)).mean()


def hinge_discriminator(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z))), which the discriminator minimises.

    The margin of arXiv:1705.02894, section 3, as equation 16 of arXiv:1802.05957 writes it. The
    generator minimises -mean D(G(z)), equation 17 there: `wasserstein_generator`. Scores of any
    shape in, scalar out, at least 0.
    """
    return F.relu(1 - _wide(real_scores)).mean() + F.relu(1 + _wide(fake_scores)).mean()


def relativistic_pairs(high: Tensor, low: Tensor) -> Tensor:
    """mean -log σ(a - b) over pairs (a, b) of scores at one position of `high` and `low`.

    Equation 2 of arXiv:2501.05441 (RpGAN, arXiv:1807.00734) with f(t) = -log(1 + exp(-t)): the
    discriminator minimises it with a = D(x) and b = D(G(z)), the generator with the two exchanged.
    Image i is paired with latent i of its shard, so a pair does not depend on who computes it, and
    unlike `relativistic_average` the mean over shards is the mean over the whole batch. Scores of
    one shape in, scalar out; equal scores give log 2. A shape that differs is an error, since
    broadcasting would pair each with all.
    """
    if high.shape != low.shape:
        raise ValueError(f"scores of shapes {tuple(high.shape)} and {tuple(low.shape)}: no pairs")
    return F.softplus(_wide(low) - _wide(high)).mean()


def drift(real_scores: Tensor) -> Tensor:
    """mean D(real)², which keeps scores near zero (arXiv:1710.10196, appendix A.1)."""
    return real_scores.square().mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    sigma: float = 0.0,
    autocast: bool = False,
) -> Tensor:
    """Mean squared deviation of the critic's gradient norm from 1.

    Equation 3 of arXiv:1704.00028, without the weight: one random point between each real and fake
    image, the norm over channels, height and width. (N, C, H, W) in, scalar out. Runs in float32
    (or wider) under mixed precision, unless `autocast` leaves the critic its own, and draws from
    the default generator. With `sigma` above 0 its gradient is one of finite differences: see
    `mean_over_gradients`.
    """
    with _precision(real.device, autocast):
        dtype = torch.promote_types(real.dtype, torch.float32)
        real, fake = real.to(dtype), fake.detach().to(dtype)
        mix = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=dtype)
        between = (mix * real + (1 - mix) * fake).requires_grad_()
        return mean_over_gradients(critic, between, _excess, sigma)


def _precision(device: torch.device, autocast: bool) -> AbstractContextManager[Any]:
    """Out of mixed precision, or as it is outside."""
    return nullcontext() if autocast else torch.autocast(device.type, enabled=False)


def _excess(squares: Tensor) -> Tensor:
    # 1e-12 keeps the root's own gradient finite where the critic is flat
    return (torch.sqrt(squares + 1e-12) - 1).square()


def zero_centred_penalty(
    critic: Callable[[Tensor], Tensor],
    images: Tensor,
    sigma: float = 0.0,
    autocast: bool = False,
) -> Tensor:
    """½ mean ‖∇D‖² at `images`: R1 at real images and R2 at fake ones, without the weight γ.

    Equations 9 and 10 of arXiv:1801.04406 (both in arXiv:2501.05441), the norm over channels,
    height and width. (N, C, H, W) in, scalar out. Runs in float32 (or wider) under mixed precision,
    unless `autocast` leaves the critic its own; the gradient reaches the critic's weights, and not
    what made the images. With `sigma` above 0 it is one of finite differences: see
    `mean_over_gradients`.
    """
    with _precision(images.device, autocast):
        inputs = _wide(images).detach().requires_grad_()
        return mean_over_gradients(critic, inputs, lambda squares: squares / 2, sigma)


def mean_over_gradients(
    critic: Callable[[Tensor], Tensor],
    images: Tensor,
    penalty: Callable[[Tensor], Tensor],
    sigma: float = 0.0,
) -> Tensor:
    """P = mean over n of penalty(‖g_n‖²) with g = ∂ΣD/∂x at `images`, (N, C, H, W) to a scalar.

    With `sigma` = 0 by a double backward pass. Above it the value is the same, and its gradient
    that of (ΣD(x + σr) - ΣD(x - σr))·c/2σ: as ∂P/∂θ = (∂P/∂g)·∂g/∂θ and g is itself the derivative
    of ΣD, P's gradient is the change of ∂ΣD/∂θ along d = ∂P/∂g, here with r = d/c and c the
    longest d_n, so that no image moves further than σ. The error is of the order of σ². The
    approximated R1 of arXiv:2501.08316 moves the images along noise instead, and so tends to the
    exact gradient in the mean over noise only; along d it does for each batch.
    """
    (gradient,) = torch.autograd.grad(critic(images).sum(), images, create_graph=not sigma)
    if not sigma:
        return penalty(gradient.square().sum(dim=(1, 2, 3))).mean()
    gradient.requires_grad_()
    value = penalty(gradient.square().sum(dim=(1, 2, 3))).mean()
    (direction,) = torch.autograd.grad(value, gradient)
    # where the critic is flat nothing moves
    longest = direction.flatten(1).norm(dim=1).max().clamp_min(1e-12)
    images, move = images.detach(), direction * (sigma / longest)
    change = (critic(images + move).sum() - critic(images - move).sum()) * (longest / (2 * sigma))
    return value.detach() + (change - change.detach())


def mean_squared(first: Tensor, second: Tensor) -> Tensor:
    """Mean over all elements of (first - second)², in float32 or wider."""
    return (_wide(first) - _wide(second)).square().mean()


def mean_absolute(first: Tensor, second: Tensor) -> Tensor:
    """Mean over all elements of |first - second|, in float32 or wider."""
    return (_wide(first) - _wide(second)).abs().mean()


def perceptual(
    features: Callable[[Tensor], Features],
    real: Tensor,
    fake: Tensor,
    distance: Callable[[Features, Features], Tensor],
) -> Tensor:
    """Difference of a frozen network's features (arXiv:1609.04802, equation 5).

    Images in [-1, 1], (N, 3, H, W). Gradients flow through `fake` alone.
    """
    with torch.no_grad():
        wanted = features(real)
    return distance(features(fake), wanted)


def directions_apart(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """How differently the features of several depths point, a number from 0 to 4.

    Equation 1 of arXiv:1801.03924 with equal weights: at each depth the features of a position,
    (N, C, H, W), are scaled to length 1, and their squared distances averaged over images and
    positions; then averaged over depths. Zero features stay zero, and give no gradient.
    """
    return torch.stack([_apart(a, b) for a, b in zip(first, second, strict=True)]).mean()


def _apart(first: Tensor, second: Tensor) -> Tensor:
    first, second = (F.normalize(_wide(features), dim=1, eps=1e-10) for features in (first, second))
    return (first - second).square().sum(dim=1).mean()


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def label_grid(scores: Tensor, label: float) -> Tensor:
    """Targets of the very shape of `scores`, whatever the grid or the last batch."""
    return torch.full_like(_wide(scores), label)


def smoothed(scores: Tensor, amount: float) -> Tensor:
    """One-sided smoothing: targets 1 - amount·u with u ~ U[0, 1) drawn for each score."""
    return 1 - amount * torch.rand_like(_wide(scores))


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -t·log σ(s) - (1 - t)·log(1 - σ(s)) over all scores, finite for any score."""
    return F.binary_cross_entropy_with_logits(_wide(logits), labels)


def least_squares(scores: Tensor, label: float) -> Tensor:
    """Mean of (s - label)² over a grid of scores (arXiv:1611.04076, equation 2)."""
    return mean_squared(scores, label_grid(scores, label))


def relativistic_average(high: Tensor, low: Tensor) -> Tensor:
    """-mean log σ(a - mean b) - mean log(1 - σ(b - mean a)) (arXiv:1809.00219, equations 1 and 2).

    The discriminator's objective with a the scores of real and b those of fake images, the
    generator's with the two exchanged. Equal scores give 2·log 2.
    """
    high, low = _wide(high), _wide(low)
    return F.softplus(low.mean() - high).mean() + F.softplus(low - high.mean()).mean()


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """‖mean over the batch of f(x) - mean over the batch of f(G)‖² (arXiv:1606.03498, section 3.1).

    (N, …) activations of a middle layer of the critic; those of real images are targets only.
    """
    return (_wide(real).detach().mean(0) - _wide(fake).mean(0)).square().sum()


def paired_feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """mean (f(x) - f(G))² where the target of each fake is known; real ones are targets only."""
    return mean_squared(real.detach(), fake)
