"""Fully connected networks: the generator and discriminator of the first GAN (arXiv:1406.2661)."""

import math

from torch import Tensor, nn

HIDDEN_GENERATOR = 256
HIDDEN_DISCRIMINATOR = 128


class MLPGenerator(nn.Module):
    """Latents (N, Z) to images (N, C, r, r) in [-1, 1] by one hidden layer."""

    def __init__(self, latent_size: int, image_channels: int, resolution: int):
        super().__init__()
        self.shape = (image_channels, resolution, resolution)
        self.layers = nn.Sequential(
            nn.Linear(latent_size, HIDDEN_GENERATOR),
            nn.LeakyReLU(0.01),
            nn.Linear(HIDDEN_GENERATOR, math.prod(self.shape)),
            nn.Tanh(),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents).reshape(-1, *self.shape)


class MLPDiscriminator(nn.Module):
    """Images (N, C, r, r) to logits (N, 1) by one hidden layer."""

    def __init__(self, image_channels: int, resolution: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(image_channels * resolution**2, HIDDEN_DISCRIMINATOR),
            nn.LeakyReLU(0.01),
            nn.Linear(HIDDEN_DISCRIMINATOR, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.flatten(1))
