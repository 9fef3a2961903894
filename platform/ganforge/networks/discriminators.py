"""Convolutional discriminators and critics: PatchGAN, SRGAN's, a U-Net, and SuperResGANUnet's.

None ends in a sigmoid: objectives take logits or scores.
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge.layers import MinibatchDiscrimination, initialise, leaky
from ganforge.networks.spectral import SpectralConv2d, SpectralLinear


class PatchGAN(nn.Module):
    """A grid of scores, one for each patch of 70 × 70 pixels (arXiv:1611.07004, section 6.1.2).

    Three convolutions of stride 2, then two of stride 1: 256 px give 30 × 30 scores. Pix2Pix has
    `norm = "batch"` and biases where no norm follows; CycleGAN `norm = "instance"` without affine
    and biases everywhere. (N, channels, H, W) to (N, 1, H/8 - 2, W/8 - 2).
    """

    def __init__(
        self, channels: int, width: int = 64, norm: Literal["batch", "instance"] = "batch"
    ):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level, stride in ((1, 2), (2, 2), (3, 1)):
            before, after = width * 2 ** (level - 1), width * 2**level
            layers.append(nn.Conv2d(before, after, 4, stride, 1, bias=norm == "instance"))
            layers.append(nn.BatchNorm2d(after) if norm == "batch" else nn.InstanceNorm2d(after))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers)
        self.exit = nn.Conv2d(8 * width, 1, 4, 1, 1)

    def initialise(self) -> None:
        """N(0, 0.02), section 6.2."""
        initialise(self, 0.02)

    def forward(self, images: Tensor) -> Tensor:
        return self.exit(self.layers(images))


def pooled_side(side: int) -> int:
    """The side of the features before the dense layers: 6, or what an average pool of a fixed
    kernel can reach below it."""
    return next(goal for goal in range(6, 0, -1) if side % goal == 0)


class VGGStyleDiscriminator(nn.Module):
    """One logit an image (arXiv:1609.04802, figure 4), for images of `size` pixels.

    Eight convolutions of 3 × 3 with strides 1, 2, 1, 2, …, then two dense layers. `norm` is where
    batch norm stands: "inner" (all but the first convolution, as published), "all", or "none" for a
    gradient penalty; "spectral" divides the weights of all layers by their largest singular value
    (arXiv:1802.05957) instead. `prelu` replaces the leaky ReLUs of the convolutions by one slope a
    channel.
    (N, C, size, size) to (N, 1).
    """

    def __init__(
        self,
        channels: int = 3,
        size: int = 96,
        width: int = 64,
        dense: int = 1024,
        norm: Literal["inner", "all", "none", "spectral"] = "inner",
        *,
        prelu: bool = False,
    ):
        super().__init__()
        if size % 16:
            raise ValueError(f"size = {size}: must be a multiple of 16")
        conv, linear = nn.Conv2d, nn.Linear
        if norm == "spectral":
            conv, linear = SpectralConv2d, SpectralLinear
        layers: list[nn.Module] = []
        before = channels
        for number in range(8):
            after, stride = width * 2 ** (number // 2), 1 + number % 2
            normed = norm == "all" or (norm == "inner" and number > 0)
            layers.append(conv(before, after, 3, stride, 1, bias=not normed))
            if normed:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.PReLU(after, 0.2) if prelu else nn.LeakyReLU(0.2))
            before = after
        self.layers = nn.Sequential(*layers)
        side = size // 16
        goal = pooled_side(side)
        self.pool = side // goal
        self.dense = linear(8 * width * goal**2, dense)
        self.exit = linear(dense, 1)

    def initialise(self) -> None:
        """Torch's defaults."""
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        features = self.layers(images)
        if self.pool > 1:
            features = F.avg_pool2d(features, self.pool)
        return self.exit(leaky(self.dense(features.flatten(1))))


class UNetDiscriminator(nn.Module):
    """A logit for each pixel (arXiv:2107.10833, section 3.3 and figure 6; after arXiv:2002.12655).

    Three convolutions of stride 2 lead to 8 · width channels, three bilinear enlargements back,
    each followed by a convolution and by adding what the way down had at that size; three
    convolutions end it. `spectral` divides the weights of all layers but the first and the last by
    their largest singular value. (N, C, H, W) to (N, 1, H, W), H and W multiples of 8; 4,376,897
    parameters at width 64 and three channels.
    """

    def __init__(self, channels: int = 3, width: int = 64, *, spectral: bool = True):
        super().__init__()
        conv = SpectralConv2d if spectral else nn.Conv2d
        widths = [width * 2**level for level in range(4)]
        self.entry = nn.Conv2d(channels, width, 3, 1, 1)
        self.down = nn.ModuleList(
            conv(before, after, 4, 2, 1, bias=False) for before, after in pairwise(widths)
        )
        self.up = nn.ModuleList(
            conv(before, after, 3, 1, 1, bias=False) for before, after in pairwise(reversed(widths))
        )
        self.last = nn.ModuleList(conv(width, width, 3, 1, 1, bias=False) for _ in range(2))
        self.exit = nn.Conv2d(width, 1, 3, 1, 1)

    def initialise(self) -> None:
        """Torch's defaults."""
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        levels = [leaky(self.entry(images))]
        for conv in self.down:
            levels.append(leaky(conv(levels[-1])))
        features = levels.pop()
        for conv in self.up:
            features = F.interpolate(features, scale_factor=2.0, mode="bilinear")
            features = leaky(conv(features)) + levels.pop()
        for conv in self.last:
            features = leaky(conv(features))
        return self.exit(features)


class RefinementCritic(nn.Module):
    """The critic of SuperResGANUnet, for images of `size` pixels, as described.

    Convolutions of stride 2 lead to features of size/16 (a smaller size has fewer of them, down to
    4 × 4), with LReLU after the first and SELU after the others. `kind` is how they end: "valid"
    scores windows of 4 × 4 (5 × 5 of them at 128 px, one at 64 px), "patch" halves once more to a
    grid (4 × 4 at 128 px), "global" averages to 4 × 4 and gives one score an image. `kernels` of
    minibatch discrimination are joined to the features as constant channels. No normalisation, no
    biases.
    """

    def __init__(
        self,
        channels: int = 3,
        size: int = 128,
        width: int = 64,
        kind: Literal["valid", "patch", "global"] = "valid",
        kernels: int = 0,
        dimensions: int = 5,
    ):
        super().__init__()
        depth = min(4, size.bit_length() - 3)
        if depth < 1 or size % 2**depth:
            raise ValueError(f"size = {size}: must be at least 8 and a multiple of {2**depth}")
        widths = [width * 2**level for level in range(depth)]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1, bias=False)
            for before, after in zip([channels, *widths[:-1]], widths, strict=True)
        )
        side = size // 2**depth
        if kind == "global" and side % 4:
            raise ValueError(f"size = {size}: a global critic needs a multiple of {4 * 2**depth}")
        self.pool = side // 4 if kind == "global" else 1
        flat = widths[-1] * side**2
        self.discrimination = (
            MinibatchDiscrimination(flat, kernels, dimensions) if kernels else None
        )
        stride, padding = (2, 1) if kind == "patch" else (1, 0)
        self.exit = nn.Conv2d(widths[-1] + kernels, 1, 4, stride, padding, bias=False)

    def initialise(self) -> None:
        """N(0, 0.02), as described."""
        initialise(self, 0.02)

    def features(self, images: Tensor) -> Tensor:
        """What feature matching compares: (N, C, size, size) to (N, 8·width, size/16, size/16)."""
        features = leaky(self.convs[0](images))
        for conv in self.convs[1:]:
            features = F.selu(conv(features))
        return features

    def scores(self, features: Tensor) -> Tensor:
        """A grid of scores (N, 1, h, w) from `features`; no activation."""
        if self.discrimination is not None:
            nearness = self.discrimination(features.flatten(1))[:, :, None, None]
            nearness = nearness.expand(-1, -1, *features.shape[2:])
            features = torch.cat([features, nearness], 1)
        if self.pool > 1:
            features = F.avg_pool2d(features, self.pool)
        return self.exit(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.scores(self.features(images))
