"""The generator of progressive growing, from a latent to an image (arXiv:1710.10196)."""

import torch
from torch import Tensor, nn

from ganforge.layers import (
    EqualizedConv2d,
    EqualizedConvTranspose2d,
    blend,
    leaky,
    pixel_norm,
    upsample_nearest,
)
from ganforge.networks.progressive import Block, critic_channels


class LatentBase(nn.Module):
    """Latents (N, Z) on the unit hypersphere (times √Z) to features (N, W, 4, 4).

    With `plain` the first layer is as the reference networks have it: neither equalized nor
    followed by pixel norm.
    """

    def __init__(self, latent_size: int, width: int, *, plain: bool = False):
        super().__init__()
        self.plain = plain
        first = nn.ConvTranspose2d if plain else EqualizedConvTranspose2d
        self.conv1 = first(latent_size, width, 4)
        self.conv2 = EqualizedConv2d(width, width, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        features = leaky(self.conv1(pixel_norm(latents[:, :, None, None])))
        features = features if self.plain else pixel_norm(features)
        return pixel_norm(leaky(self.conv2(features)))


class GrowingGenerator(nn.Module):
    """Latents (N, Z) to images (N, C, r, r), r = 4·2^step, linear and about [-1, 1].

    `blocks` and `to_image` are keyed by resolution; a block starts with nearest × 2. While the
    newest fades in, the old path is its own last image, enlarged (PGGAN figure 2). `plain` builds
    the reference networks' departures: the base's, and tanh on the blended image above 4 px.
    """

    def __init__(self, latent_size: int, image_channels: int, width: int, *, plain: bool = False):
        super().__init__()
        self.latent_size, self.image_channels, self.width = latent_size, image_channels, width
        self.plain = plain
        self.blocks = nn.ModuleDict()
        self.to_image = nn.ModuleDict()

    def grow_base(self) -> None:
        self.base = LatentBase(self.latent_size, self.width, plain=self.plain)

    def grow_block(self, resolution: int) -> None:
        """Add the block that makes `resolution` out of half of it."""
        before, after = (critic_channels(self.width, r, 1) for r in (resolution // 2, resolution))
        self.blocks[str(resolution)] = Block(before, after)

    def grow_to_image(self, resolution: int) -> None:
        """Add the exit at `resolution`; only the exit at half of it is kept, for the fade."""
        channels = critic_channels(self.width, resolution, 1)
        self.to_image[str(resolution)] = EqualizedConv2d(channels, self.image_channels, 1, gain=1.0)
        for stale in [name for name in self.to_image if int(name) < resolution // 2]:
            del self.to_image[stale]

    def drop_old_exit(self) -> None:
        """Forget the old path: what a finished fade leaves."""
        for stale in list(self.to_image)[:-1]:
            del self.to_image[stale]

    def forward(self, latents: Tensor, fading: bool, alpha: Tensor) -> Tensor:
        features = before = self.base(latents)
        for block in self.blocks.values():
            before = features
            features = block(upsample_nearest(features))
        resolution = features.shape[-1]
        image = self.to_image[str(resolution)](features)
        half = str(resolution // 2)
        if fading and half in self.to_image:
            image = blend(upsample_nearest(self.to_image[half](before)), image, alpha)
        return torch.tanh(image) if self.plain and resolution > 4 else image
