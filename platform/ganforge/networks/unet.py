"""U-Net generators: Pix2Pix's, and the refinement of SuperResGANUnet."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge.layers import ReflectConv2d, initialise, leaky


class Pix2PixUNet(nn.Module):
    """The U-Net of Pix2Pix (arXiv:1611.07004, section 6.1.1) for sides of 2^k.

    k convolutions of stride 2 lead to 1 × 1, with widths min(width·2^i, 8·width); dropout 0.5 on
    the first up blocks of full width, three at most. After training `test_dropout` leaves dropout
    on and `test_statistics` lets batch norm use each image's own statistics, as section 3.2 has
    it. (N, C, 2^k, 2^k) in [-1, 1] in and out; other multiples of 2^k too.
    """

    def __init__(
        self,
        channels: int = 3,
        size: int = 256,
        width: int = 64,
        *,
        test_dropout: bool = True,
        test_statistics: bool = True,
    ):
        super().__init__()
        depth = int(math.log2(size))
        if 2**depth != size or depth < 3:
            raise ValueError(f"size = {size}: must be a power of two, at least 8")
        self.test_dropout = test_dropout
        widths = [min(width * 2**level, 8 * width) for level in range(depth)]
        self.entry = ReflectConv2d(channels, width, 4, reflection=1, stride=2)
        own = test_statistics
        self.downs = nn.ModuleList(_down(a, b, own) for a, b in pairwise(widths[:-1]))
        self.bottleneck = ReflectConv2d(widths[-2], widths[-1], 4, reflection=1, stride=2)
        outs = widths[-2::-1]
        ins = [widths[-1], *(2 * w for w in outs[:-1])]
        self.ups = nn.ModuleList(_up(a, b, own) for a, b in zip(ins, outs, strict=True))
        self.dropped = min(3, sum(out == 8 * width for out in outs))
        self.exit = nn.ConvTranspose2d(2 * width, channels, 4, 2, 1)

    def initialise(self) -> None:
        """N(0, 0.02), section 6.2."""
        initialise(self, 0.02)

    def forward(self, images: Tensor) -> Tensor:
        features = leaky(self.entry(images))
        skips = [features]
        for down in self.downs:
            features = down(features)
            skips.append(features)
        features = F.relu(self.bottleneck(features))
        for number, up in enumerate(self.ups):
            features = up(features)
            if number < self.dropped:
                features = F.dropout(features, 0.5, training=self.training or self.test_dropout)
            features = torch.cat([F.relu(features), skips.pop()], 1)
        return torch.tanh(self.exit(features))


class _Norm(nn.BatchNorm2d):
    """Batch norm that, where asked for, takes each image's own statistics after training."""

    def __init__(self, channels: int, own: bool):
        super().__init__(channels)
        self.own = own

    def forward(self, input: Tensor) -> Tensor:
        if self.own and not self.training:
            return F.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)
        return super().forward(input)


def _down(in_channels: int, out_channels: int, own: bool) -> nn.Module:
    return nn.Sequential(
        ReflectConv2d(in_channels, out_channels, 4, reflection=1, stride=2, bias=False),
        _Norm(out_channels, own),
        nn.LeakyReLU(0.2),
    )


def _up(in_channels: int, out_channels: int, own: bool) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1, bias=False),
        _Norm(out_channels, own),
    )


class RefinementUNet(nn.Module):
    """The generator of SuperResGANUnet: a U-Net of five levels and transposed convolutions that
    enlarge its output.

    Level i halves the side; the skip of a level joins its input with what comes back from below.
    `head` is the number of channels between the U-Net and the enlargement. (N, C, H, W) in [-1, 1]
    to (N, C, s·H, s·W); sides are filled up to multiples of 2^levels by repeating the border, and
    the surplus is cut off.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 64,
        head: int = 512,
        scale: int = 2,
        levels: int = 5,
    ):
        super().__init__()
        if scale not in (2, 4, 8):
            raise ValueError(f"scale = {scale}: must be 2, 4 or 8")
        self.scale, self.levels = scale, levels
        widths = [min(width * 2**level, 8 * width) for level in range(levels)]
        self.downs = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1, bias=False)
            for before, after in zip([channels, *widths[:-1]], widths, strict=True)
        )
        # neither the outermost nor the innermost level is normalised on the way down
        self.down_norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths[1:-1])
        outs = [*widths[-2::-1], head]
        ins = [widths[-1], *(2 * w for w in outs[:-1])]
        # the transposed convolution into the head has a bias, those before it have none
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1, bias=number == levels - 1)
            for number, (a, b) in enumerate(zip(ins, outs, strict=True))
        )
        self.up_norms = nn.ModuleList(nn.BatchNorm2d(w) for w in outs)
        doublings = int(math.log2(scale)) - 1
        self.enlargers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.ConvTranspose2d(head, head, 4, 2, 1, bias=False),
                    nn.BatchNorm2d(head),
                    nn.ReLU(),
                )
                for _ in range(doublings)
            )
        )
        self.exit = nn.ConvTranspose2d(head, channels, 4, 2, 1)

    def initialise(self) -> None:
        """N(0, 0.002), as described."""
        initialise(self, 0.002)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        multiple = 2**self.levels
        right, below = -width % multiple, -height % multiple
        if right or below:
            images = F.pad(images, (0, right, 0, below), mode="replicate")
        out = torch.tanh(self.exit(self.enlargers(F.relu(self._unet(images)))))
        return out[..., : height * self.scale, : width * self.scale]

    def _unet(self, images: Tensor) -> Tensor:
        # not in place: a skip carries the features before the activation
        features = self.downs[0](images)
        skips = [features]
        for number, down in enumerate(self.downs[1:]):
            features = down(leaky(features))
            if number < len(self.down_norms):
                features = self.down_norms[number](features)
            skips.append(features)
        features = skips.pop()
        for number, (up, norm) in enumerate(zip(self.ups, self.up_norms, strict=True)):
            features = norm(up(F.relu(features)))
            if number < len(self.ups) - 1:
                features = torch.cat([skips.pop(), features], 1)
        return features
