"""Networks that grow: the generator from an image, and the critic of progressive growing.

Source: Progressive Growing of GANs (arXiv:1710.10196). Stage and fade reach every network as
arguments; growing adds modules and never touches those that are there.
"""

import math

from torch import Tensor, nn

from ganforge.layers import (
    EqualizedConv2d,
    EqualizedLinear,
    blend,
    downsample_mean,
    leaky,
    minibatch_stddev,
    pixel_norm,
    upsample_bicubic,
    upsample_nearest,
)
from ganforge.reach import Span, bicubic, hull, nearest

HEAD_CHANNELS = 16


def generator_plan(plan: str, width: int, start: int, count: int) -> list[int]:
    """Output channels of generator blocks 1 … count, whose first source side is `start` pixels.

    `by-resolution` keeps the width while twice the source side is up to 32 px and halves it at each
    doubling above (PGGAN table 2); `compact` is width·(1/2, 1/4, 1/4, …). The rule speaks of twice
    the source side whatever the scale, so that a scale changes no parameter count.
    """
    channels = []
    for number in range(count):
        doublings = max(0, int(math.log2(2 * start * 2**number / 32)))
        if plan == "by-resolution":
            channels.append(max(1, width >> doublings))
        else:
            channels.append(max(1, width // (2 if number == 0 else 4)))
    return channels


def critic_channels(width: int, resolution: int, least: int = 4) -> int:
    """c(r): the width up to 32 px, half of it for each doubling above, at least `least`."""
    return max(least, width * 32 // resolution) if resolution > 32 else width


class Block(nn.Module):
    """Two 3 × 3 convolutions, each with leaky ReLU and pixel norm; keeps the resolution."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = EqualizedConv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        features = pixel_norm(leaky(self.conv1(features)))
        return pixel_norm(leaky(self.conv2(features)))

    def receptive_field(self, span: Span) -> Span:
        return self.conv1.receptive_field(self.conv2.receptive_field(span))


class ResidualBlock(nn.Module):
    """x + conv(pixel_norm(leaky(conv(x)))), 3 × 3 convolutions that keep resolution and channels.

    The last one starts at zero, so that a network into which the block is put stays the function it
    was. Nothing normalises the branch's output: at zero the gradient of pixel norm is 10⁴.
    """

    def __init__(self, channels: int):
        super().__init__()
        # not named as in `Block`: weights of a network that grew otherwise do not fit by accident
        self.inner = EqualizedConv2d(channels, channels, 3, padding=1)
        self.outer = EqualizedConv2d(channels, channels, 3, padding=1, gain=1.0)
        nn.init.zeros_(self.outer.weight)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.outer(pixel_norm(leaky(self.inner(features))))

    def receptive_field(self, span: Span) -> Span:
        return hull(span, self.inner.receptive_field(self.outer.receptive_field(span)))


class Head(nn.Module):
    """Features to an image: two narrow 3 × 3 convolutions and a linear 1 × 1."""

    def __init__(self, in_channels: int, image_channels: int):
        super().__init__()
        self.conv1 = EqualizedConv2d(in_channels, HEAD_CHANNELS, 3, padding=1)
        self.conv2 = EqualizedConv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, padding=1)
        self.to_image = EqualizedConv2d(HEAD_CHANNELS, image_channels, 1, gain=1.0)

    def forward(self, features: Tensor) -> Tensor:
        features = pixel_norm(leaky(self.conv1(features)))
        features = pixel_norm(leaky(self.conv2(features)))
        return self.to_image(features)

    def receptive_field(self, span: Span) -> Span:
        return self.conv1.receptive_field(
            self.conv2.receptive_field(self.to_image.receptive_field(span))
        )


class Base(nn.Module):
    """The layers before the first block, at the source's resolution."""

    def __init__(self, image_channels: int, width: int):
        super().__init__()
        # "same" padding of an even kernel: one pixel before, two after
        self.conv1 = EqualizedConv2d(image_channels, width, 4, padding=(1, 2, 1, 2))
        self.conv2 = EqualizedConv2d(width, width, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return pixel_norm(leaky(self.conv2(leaky(self.conv1(images)))))

    def receptive_field(self, span: Span) -> Span:
        return self.conv1.receptive_field(self.conv2.receptive_field(span))


class GrowingUpscaler(nn.Module):
    """ProgressiveGAN-SR's generator: (N, C, n, n) to (N, C, scale·n, scale·n), about [-1, 1].

    Fully convolutional: any height and width. All blocks before the newest work at the source's
    resolution; the newest starts with nearest × scale. While it fades in, the old path is the head
    before it on the upsampled features that enter it (systems specification, section 1).

    With `preserving` block 0 and its head stay the last ones, and a growth puts a `ResidualBlock`
    before the upsampling: the network is the same function before and after it, nothing that was
    trained is thrown away, and there is nothing to fade.
    """

    def __init__(
        self,
        image_channels: int,
        width: int,
        scale: int,
        *,
        bicubic_skip: bool = False,
        preserving: bool = False,
    ):
        super().__init__()
        self.image_channels, self.width, self.scale = image_channels, width, scale
        self.bicubic_skip, self.preserving = bicubic_skip, preserving
        self.blocks = nn.ModuleDict()
        self.heads = nn.ModuleDict()

    def grow_base(self) -> None:
        self.base = Base(self.image_channels, self.width)

    def grow_block(self, index: int, out_channels: int) -> None:
        """Add block `index`, fed by what came before it. (`out_channels` are those of a block that
        upsamples: a residual one has the width.)"""
        if self.preserving and index:
            self.blocks[str(index)] = ResidualBlock(self.width)
            return
        before = self.blocks[str(index - 1)].conv2 if index else self.base.conv2
        assert isinstance(before, EqualizedConv2d)
        self.blocks[str(index)] = Block(before.weight.shape[0], out_channels)

    def grow_head(self, index: int) -> None:
        """Add the head of block `index`; only the head before it is kept, for the fade. With
        `preserving` the first head stays the only one."""
        if self.preserving and index:
            return
        block = self.blocks[str(index)]
        assert isinstance(block, Block)
        head = Head(block.conv2.weight.shape[0], self.image_channels)
        if self.bicubic_skip:
            # the branch next to the skip starts at zero: a new stage starts at bicubic
            nn.init.zeros_(head.to_image.weight)
        self.heads[str(index)] = head
        for stale in [name for name in self.heads if int(name) < index - 1]:
            del self.heads[stale]

    def drop_old_head(self) -> None:
        """Forget the old path: what a finished fade leaves."""
        for stale in list(self.heads)[:-1]:
            del self.heads[stale]

    def _order(self) -> list[int]:
        """The blocks from the source to the image; the last one upsamples."""
        numbers = list(range(len(self.blocks)))
        return [*numbers[1:], 0] if self.preserving else numbers

    def forward(self, source: Tensor, fading: bool, alpha: Tensor) -> Tensor:
        *before, last = self._order()
        features = self.base(source)
        for index in before:
            features = self.blocks[str(index)](features)
        entering = upsample_nearest(features, self.scale)
        image = self.heads[str(last)](self.blocks[str(last)](entering))
        if fading and last > 0:
            image = blend(self.heads[str(last - 1)](entering), image, alpha)
        if self.bicubic_skip:
            image = image + upsample_bicubic(source, self.scale).to(image.dtype)
        return image

    def receptive_field(self, span: Span, fading: bool) -> Span:
        """The source positions that the image's positions in `span` depend on, on either axis."""
        *before, last = self._order()
        seen = _seen(self.blocks[str(last)], _seen(self.heads[str(last)], span))
        if fading and last > 0:
            seen = hull(seen, _seen(self.heads[str(last - 1)], span))
        seen = nearest(seen, self.scale)
        for index in reversed(before):
            seen = _seen(self.blocks[str(index)], seen)
        seen = self.base.receptive_field(seen)
        return hull(seen, bicubic(span, self.scale)) if self.bicubic_skip else seen


def _seen(part: nn.Module, span: Span) -> Span:
    assert isinstance(part, Block | ResidualBlock | Head)
    return part.receptive_field(span)


class CriticBlock(nn.Module):
    """Two 3 × 3 convolutions with leaky ReLU, then 2 × 2 averages: halves the resolution.

    The second changes the number of channels (PGGAN table 2), or with `early` the first.
    """

    def __init__(self, in_channels: int, out_channels: int, *, early: bool = False):
        super().__init__()
        between = out_channels if early else in_channels
        self.conv1 = EqualizedConv2d(in_channels, between, 3, padding=1)
        self.conv2 = EqualizedConv2d(between, out_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return downsample_mean(leaky(self.conv2(leaky(self.conv1(features)))))


class CriticEnd(nn.Module):
    """The critic's layers at 4 × 4, with minibatch standard deviation: (N, W, 4, 4) to (N, 1)."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = EqualizedConv2d(width + 1, width, 3, padding=1)
        self.conv2 = EqualizedConv2d(width, width, 4)
        self.score = EqualizedLinear(width, 1, gain=1.0)

    def forward(self, features: Tensor) -> Tensor:
        features = leaky(self.conv1(minibatch_stddev(features)))
        return self.score(leaky(self.conv2(features)).flatten(1))


class GrowingCritic(nn.Module):
    """Scores (N, 1) for images (N, C, r, r), without any normalisation (PGGAN table 2).

    `blocks` and `from_image` are keyed by resolution. While the newest block fades in, features are
    blended at half resolution: (1 - alpha)·old fromRGB(mean2(image)) + alpha·newest block.
    `least` is the smallest number of channels of a block, `early` says where blocks change theirs.
    """

    def __init__(self, image_channels: int, width: int, *, least: int = 4, early: bool = False):
        super().__init__()
        self.image_channels, self.width = image_channels, width
        self.least, self.early = least, early
        self.blocks = nn.ModuleDict()
        self.from_image = nn.ModuleDict()

    def grow_end(self) -> None:
        self.end = CriticEnd(self.width)

    def grow_block(self, resolution: int) -> None:
        """Add the block that takes `resolution` to half of it."""
        channels = [
            critic_channels(self.width, r, self.least) for r in (resolution, resolution // 2)
        ]
        self.blocks[str(resolution)] = CriticBlock(*channels, early=self.early)

    def grow_from_image(self, resolution: int) -> None:
        """Add the entry at `resolution`; only the entry at half of it is kept, for the fade."""
        channels = critic_channels(self.width, resolution, self.least)
        self.from_image[str(resolution)] = EqualizedConv2d(self.image_channels, channels, 1)
        for stale in [name for name in self.from_image if int(name) < resolution // 2]:
            del self.from_image[stale]

    def drop_old_entry(self) -> None:
        """Forget the old path: what a finished fade leaves."""
        for stale in list(self.from_image)[:-1]:
            del self.from_image[stale]

    def forward(self, images: Tensor, fading: bool, alpha: Tensor) -> Tensor:
        resolution = images.shape[-1]
        features = leaky(self.from_image[str(resolution)](images))
        if resolution > 4:
            features = self.blocks[str(resolution)](features)
        half = resolution // 2
        if fading and str(half) in self.from_image:
            old = leaky(self.from_image[str(half)](downsample_mean(images)))
            features = blend(old, features, alpha)
        while half > 4:
            features = self.blocks[str(half)](features)
            half //= 2
        return self.end(features)
