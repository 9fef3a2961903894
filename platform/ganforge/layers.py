"""Layers that more than one network uses: formulas on tensors with a tensor result."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge.reach import Span, convolution, hull

#: Gain of He initialisation for rectified units, the g of PGGAN section 4.1.
HE_GAIN = math.sqrt(2.0)


class EqualizedConv2d(nn.Module):
    """Convolution with equalized learning rate, PGGAN section 4.1 (arXiv:1710.10196).

    The stored weight is N(0, 1) and is multiplied by gain / sqrt(k·k·in_channels) at run time.
    `padding` counts pixels: one number for every side, or (left, right, top, bottom) of zeros.
    (N, in_channels, H, W) in, (N, out_channels, H', W') out.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        padding: int | tuple[int, int, int, int] = 0,
        gain: float = HE_GAIN,
    ):
        super().__init__()
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = gain / math.sqrt(in_channels * kernel_size**2)
        self.padding = padding

    def forward(self, images: Tensor) -> Tensor:
        padding = self.padding
        if isinstance(padding, tuple):
            images, padding = F.pad(images, padding), 0
        return F.conv2d(images, self.weight * self.scale, self.bias, padding=padding)

    def receptive_field(self, span: Span) -> Span:
        """The input positions that the output positions of `span` depend on, on either axis."""
        size, padding = self.weight.shape[-1], self.padding
        left, top = (padding[0], padding[2]) if isinstance(padding, tuple) else (padding, padding)
        return hull(convolution(span, size, left), convolution(span, size, top))


class EqualizedConvTranspose2d(nn.Module):
    """Transposed convolution of stride 1 with equalized learning rate, PGGAN section 4.1.

    Weight, scale and gain as in EqualizedConv2d. (N, in_channels, H, W) in,
    (N, out_channels, H + k - 1, W + k - 1) out.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, gain: float = HE_GAIN
    ):
        super().__init__()
        shape = (in_channels, out_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = gain / math.sqrt(in_channels * kernel_size**2)

    def forward(self, images: Tensor) -> Tensor:
        return F.conv_transpose2d(images, self.weight * self.scale, self.bias)


class EqualizedLinear(nn.Module):
    """Dense layer with equalized learning rate, PGGAN section 4.1: (N, in) to (N, out)."""

    def __init__(self, in_features: int, out_features: int, *, gain: float = HE_GAIN):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.scale = gain / math.sqrt(in_features)

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight * self.scale, self.bias)


def leaky(features: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2."""
    return F.leaky_relu(features, 0.2)


def pixel_norm(features: Tensor) -> Tensor:
    """b = a / sqrt(mean over channels of a² + 1e-8), PGGAN section 4.2.

    (N, C, H, W) in and out. Computed in float32 or wider under mixed precision.
    """
    wide = features.float() if features.dtype in (torch.bfloat16, torch.float16) else features
    normalised = wide * torch.rsqrt(wide.square().mean(dim=1, keepdim=True) + 1e-8)
    return normalised.to(features.dtype)


def minibatch_stddev(features: Tensor, group_size: int = 4) -> Tensor:
    """Append one channel: the mean standard deviation inside each group, PGGAN section 3.

    Groups are contiguous, of min(group_size, N) samples, or of N where that does not divide N.
    sqrt(var + 1e-8) keeps value and gradient finite for N = 1 and for equal samples.
    (N, C, H, W) in, (N, C + 1, H, W) out.
    """
    count, _, height, width = features.shape
    size = min(group_size, count)
    size = size if count % size == 0 else count
    groups = features.reshape(count // size, size, *features.shape[1:])
    variance = groups.var(dim=1, unbiased=False)
    spread = torch.sqrt(variance + 1e-8).mean(dim=(1, 2, 3))  # (groups,)
    channel = spread.repeat_interleave(size).reshape(count, 1, 1, 1)
    return torch.cat([features, channel.expand(count, 1, height, width)], dim=1)


def upsample_nearest(images: Tensor, factor: int = 2) -> Tensor:
    """Each pixel becomes factor × factor equal ones: (N, C, H, W) to (N, C, f·H, f·W)."""
    return F.interpolate(images, scale_factor=factor, mode="nearest")


def upsample_bicubic(images: Tensor, factor: int = 2) -> Tensor:
    """Bicubic upsampling with a = -0.5, the kernel of Pillow and of the standard benchmarks.

    Torch's own kernel without `antialias` uses a = -0.75. (N, C, H, W) to (N, C, f·H, f·W).
    """
    return F.interpolate(images, scale_factor=factor, mode="bicubic", antialias=True)


def downsample_mean(images: Tensor) -> Tensor:
    """2 × 2 averages: (N, C, H, W) to (N, C, H/2, W/2)."""
    return F.avg_pool2d(images, 2)


def blend(old: Tensor, new: Tensor, alpha: Tensor) -> Tensor:
    """(1 - alpha)·old + alpha·new; alpha is a run-time value of shape ()."""
    alpha = alpha.to(new.dtype)
    return (1 - alpha) * old + alpha * new


def fade_real(images: Tensor, alpha: Tensor) -> Tensor:
    """Real images as sharp as a network in the middle of a fade can show, PGGAN figure 2.

    x ← (1 - alpha)·up2(mean2(x)) + alpha·x, (N, C, H, W) in and out.
    """
    return blend(upsample_nearest(downsample_mean(images)), images, alpha)


def slerp(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """The point at `weight` in [0, 1] of the great circle from one latent to another, (N, Z).

    sin((1 - t)·ω)/sin ω·a + sin(t·ω)/sin ω·b with ω the angle between them: Gaussian latents keep
    the norm they have in training, which a straight line does not (arXiv:1609.04468).
    """
    cosine = F.cosine_similarity(first, second, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = torch.acos(cosine)[:, None]
    return (torch.sin((1 - weight) * angle) * first + torch.sin(weight * angle) * second) / (
        torch.sin(angle)
    )


def reflect(images: Tensor, pad: int) -> Tensor:
    """Reflection padding by `pad` pixels on every side: (N, C, H, W) to (N, C, H + 2p, W + 2p).

    Flipped slices in a row: the backward pass of torch's own is not deterministic on a GPU.
    """
    for dim in (-2, -1):
        length = images.shape[dim]
        before = images.narrow(dim, 1, pad).flip(dim)
        after = images.narrow(dim, length - 1 - pad, pad).flip(dim)
        images = torch.cat([before, images, after], dim)
    return images


class ReflectConv2d(nn.Conv2d):
    """Convolution with reflection padding of `reflection` pixels: (N, C, H, W) in and out."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        reflection: int,
        stride: int = 1,
        bias: bool = True,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, bias=bias)
        self.reflection = reflection

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(reflect(input, self.reflection))


class MinibatchDiscrimination(nn.Module):
    """How near the other samples of the shard are, arXiv:1606.03498 section 3.2.

    M_i = f_i·T with T of in_features × kernels × dimensions, and o_b(i) = Σ_{j≠i} exp(-‖M_ib -
    M_jb‖₁). (N, in_features) in, (N, kernels) out.
    """

    def __init__(self, in_features: int, kernels: int = 32, dimensions: int = 5):
        super().__init__()
        self.kernels = kernels
        self.weight = nn.Parameter(torch.empty(in_features, kernels * dimensions))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Entries of M start with unit variance for features of unit variance."""
        nn.init.normal_(self.weight, std=1 / math.sqrt(len(self.weight)))

    def forward(self, features: Tensor) -> Tensor:
        count = len(features)
        matrices = (features @ self.weight).reshape(count, self.kernels, -1)
        distances = (matrices[:, None] - matrices[None]).abs().sum(dim=3)  # (N, N, kernels)
        return torch.exp(-distances).sum(dim=1) - 1  # without the sample itself, exp(0)


def initialise(module: nn.Module, deviation: float | None = None) -> None:
    """Draw every weight of `module` anew from the default generator, in the order of its parts.

    Without `deviation` torch's own defaults; with it convolutions and dense layers are
    N(0, deviation) with bias 0, and affine norms N(1, 0.02) with bias 0 (arXiv:1511.06434).
    """
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
        if deviation is None:
            continue
        norm = isinstance(part, nn.BatchNorm2d | nn.InstanceNorm2d) and part.affine
        if norm or isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            mean, spread = (1.0, 0.02) if norm else (0.0, deviation)
            nn.init.normal_(part.weight, mean, spread)  # pyright: ignore[reportArgumentType]
            if part.bias is not None:
                nn.init.zeros_(part.bias)  # pyright: ignore[reportArgumentType]
