"""Residual generators: SRResNet, RRDBNet, and CycleGAN's ResNet."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from ganforge.layers import (
    ReflectConv2d,
    initialise,
    leaky,
    upsample_bicubic,
    upsample_nearest,
)
from ganforge.reach import Span, bicubic, convolution, hull, nearest


def upsampling_factors(scale: int) -> list[int]:
    """The factors of the upsamplers that make `scale`: 2 or 3 once, 4 and 8 by doublings."""
    if scale == 3:
        return [3]
    if scale not in (2, 4, 8):
        raise ValueError(f"scale = {scale}: must be 2, 3, 4 or 8")
    return [2] * int(math.log2(scale))


class SRResNet(nn.Module):
    """The generator of SRGAN (arXiv:1609.04802, figure 4).

    (N, C, H, W) in [-1, 1] to (N, C, s·H, s·W). `tanh` bounds the output; `bicubic_skip` adds the
    bicubic enlargement and leaves it unbounded, so that training starts from that. Without `norm`
    the convolutions have biases in place of batch norm, and a block's second one begins at a tenth
    of torch's default (arXiv:1809.00219, section 3.1).
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 64,
        blocks: int = 16,
        scale: int = 4,
        *,
        tanh: bool = True,
        bicubic_skip: bool = False,
        norm: bool = True,
    ):
        super().__init__()
        self.scale, self.tanh, self.bicubic_skip, self.norm = scale, tanh, bicubic_skip, norm
        self.entry = nn.Sequential(nn.Conv2d(channels, width, 9, padding=4), nn.PReLU(width))
        self.blocks = nn.Sequential(*(_SRBlock(width, norm=norm) for _ in range(blocks)))
        self.joint = nn.Sequential(*_convolved(width, norm=norm))
        self.upsamplers = nn.Sequential(
            *(_PixelShuffle(width, factor) for factor in upsampling_factors(scale))
        )
        self.exit = nn.Conv2d(width, channels, 9, padding=4)

    def initialise(self) -> None:
        """Torch's defaults; with a bicubic skip the network adds nothing at first."""
        initialise(self)
        if not self.norm:
            for block in self.blocks:
                cast(_SRBlock, block).shrink(0.1)
        if self.bicubic_skip:
            nn.init.zeros_(self.exit.weight)
            nn.init.zeros_(self.exit.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, images: Tensor) -> Tensor:
        entered = self.entry(images)
        features = entered + self.joint(self.blocks(entered))
        out = self.exit(self.upsamplers(features))
        if self.bicubic_skip:
            return upsample_bicubic(images, self.scale) + out
        return torch.tanh(out) if self.tanh else out

    def receptive_field(self, span: Span) -> Span:
        """The source positions that the image's positions in `span` depend on, on either axis."""
        seen = convolution(span, 9, 4)
        for factor in reversed(upsampling_factors(self.scale)):
            seen = convolution(nearest(seen, factor), 3, 1)
        for _ in range(2 * len(self.blocks) + 1):
            seen = convolution(seen, 3, 1)
        seen = convolution(seen, 9, 4)
        return hull(seen, bicubic(span, self.scale)) if self.bicubic_skip else seen


def _convolved(width: int, *, norm: bool) -> list[nn.Module]:
    """A convolution, and what follows it."""
    conv = nn.Conv2d(width, width, 3, padding=1, bias=not norm)
    return [conv, nn.BatchNorm2d(width)] if norm else [conv]


class _SRBlock(nn.Module):
    def __init__(self, width: int, *, norm: bool):
        super().__init__()
        first, second = (_convolved(width, norm=norm) for _ in range(2))
        self.branch = nn.Sequential(*first, nn.PReLU(width), *second)

    @torch.no_grad()
    def shrink(self, factor: float) -> None:
        """Multiply what the block adds; its last layer is a convolution, without a norm."""
        for parameter in self.branch[-1].parameters():
            parameter.mul_(factor)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.branch(features)


class _PixelShuffle(nn.Sequential):
    def __init__(self, width: int, factor: int):
        super().__init__(
            nn.Conv2d(width, width * factor**2, 3, padding=1),
            nn.PixelShuffle(factor),
            nn.PReLU(width),
        )


class RRDBNet(nn.Module):
    """The generator of ESRGAN (arXiv:1809.00219, section 3.1): residual-in-residual dense blocks.

    (N, C, H, W) in [-1, 1] to (N, C, s·H, s·W), linear output. No batch norm.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 64,
        growth: int = 32,
        blocks: int = 23,
        scale: int = 4,
        *,
        bicubic_skip: bool = False,
    ):
        super().__init__()
        self.scale, self.bicubic_skip = scale, bicubic_skip
        self.factors = upsampling_factors(scale)
        self.entry = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.Sequential(*(_RRDB(width, growth) for _ in range(blocks)))
        self.joint = nn.Conv2d(width, width, 3, padding=1)
        self.upsamplers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in self.factors)
        self.last = nn.Conv2d(width, width, 3, padding=1)
        self.exit = nn.Conv2d(width, channels, 3, padding=1)

    def initialise(self, scale: float = 0.1) -> None:
        """Kaiming's normal weights times `scale` (section 3.1: smaller initialisation), bias 0;
        with a bicubic skip the network adds nothing at first."""
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight)
                with torch.no_grad():
                    part.weight.mul_(scale)
                nn.init.zeros_(part.bias)  # pyright: ignore[reportArgumentType]
        if self.bicubic_skip:
            nn.init.zeros_(self.exit.weight)

    def forward(self, images: Tensor) -> Tensor:
        features = self.entry(images)
        features = features + self.joint(self.blocks(features))
        for factor, conv in zip(self.factors, self.upsamplers, strict=True):
            features = leaky(conv(upsample_nearest(features, factor)))
        out = self.exit(leaky(self.last(features)))
        return upsample_bicubic(images, self.scale) + out if self.bicubic_skip else out

    def receptive_field(self, span: Span) -> Span:
        """The source positions that the image's positions in `span` depend on, on either axis."""
        seen = convolution(convolution(span, 3, 1), 3, 1)
        for factor in reversed(self.factors):
            seen = nearest(convolution(seen, 3, 1), factor)
        for _ in range(15 * len(self.blocks) + 2):  # with the first and the joint
            seen = convolution(seen, 3, 1)
        return hull(seen, bicubic(span, self.scale)) if self.bicubic_skip else seen


class _RRDB(nn.Module):
    def __init__(self, width: int, growth: int):
        super().__init__()
        self.blocks = nn.Sequential(*(_DenseBlock(width, growth) for _ in range(3)))

    def forward(self, features: Tensor) -> Tensor:
        return features + 0.2 * self.blocks(features)


class _DenseBlock(nn.Module):
    """Five convolutions, each of all features before it; residual scaling 0.2."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(width + number * growth, growth if number < 4 else width, 3, padding=1)
            for number in range(5)
        )

    def forward(self, features: Tensor) -> Tensor:
        seen = [features]
        for conv in self.convs[:4]:
            seen.append(leaky(conv(torch.cat(seen, 1))))
        return features + 0.2 * self.convs[4](torch.cat(seen, 1))


class TranslationResNet(nn.Module):
    """The generator of CycleGAN (arXiv:1703.10593, appendix 7.2).

    (N, C, H, W) in [-1, 1] in and out, sides multiples of 4; 9 blocks for 256 px, 6 for 128.
    """

    def __init__(self, channels: int = 3, width: int = 64, blocks: int = 9):
        super().__init__()
        deep = 4 * width
        self.layers = nn.Sequential(
            ReflectConv2d(channels, width, 7, reflection=3),
            *_normed(width),
            ReflectConv2d(width, 2 * width, 3, reflection=1, stride=2),
            *_normed(2 * width),
            ReflectConv2d(2 * width, deep, 3, reflection=1, stride=2),
            *_normed(deep),
            *(_TranslationBlock(deep) for _ in range(blocks)),
            _doubling(deep, 2 * width),
            *_normed(2 * width),
            _doubling(2 * width, width),
            *_normed(width),
            ReflectConv2d(width, channels, 7, reflection=3),
            nn.Tanh(),
        )

    def initialise(self) -> None:
        """N(0, 0.02), appendix 7.1."""
        initialise(self, 0.02)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def _normed(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width), nn.ReLU()


def _doubling(in_channels: int, out_channels: int) -> nn.Module:
    return nn.ConvTranspose2d(in_channels, out_channels, 3, 2, padding=1, output_padding=1)


class _TranslationBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.branch = nn.Sequential(
            ReflectConv2d(width, width, 3, reflection=1),
            *_normed(width),
            ReflectConv2d(width, width, 3, reflection=1),
            nn.InstanceNorm2d(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.branch(features)
