"""Convolutional stacks of stride 2: DCGAN (arXiv:1511.06434), and what WGAN, WGAN-GP and the
conditional GAN make of it. Sides are powers of two from 16 on; the published tables are for 64."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from ganforge.networks.spectral import SpectralConv2d

Norm = Literal["batch", "instance", "none"]
#: A critic's; spectral: of its weights and not of its features (arXiv:1802.05957).
CriticNorm = Literal["batch", "instance", "none", "spectral"]
#: Standard deviation of first weights, DCGAN section 4.
DEVIATION = 0.02


class ConvolutionalGenerator(nn.Module):
    """Latents (N, Z) to images (N, C, r, r) in [-1, 1].

    With r = 2^k: a transposed convolution to f·2^(k-2) channels at 4 × 4, k - 2 of stride 2 that
    halve the channels down to 2f and end in C. Norm and ReLU after all but the last.
    """

    def __init__(
        self, latent_size: int, features: int, image_channels: int, resolution: int, norm: Norm
    ):
        super().__init__()
        doublings = resolution.bit_length() - 3  # from 4 pixels
        channels = [features << power for power in range(doublings, 0, -1)]
        stack: list[nn.Module] = []
        for number, (before, after) in enumerate(
            zip([latent_size, *channels], channels, strict=False)
        ):
            stride, padding = (2, 1) if number else (1, 0)
            stack.append(nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False))
            stack += [*norm_layer(norm, after), nn.ReLU()]
        stack += [nn.ConvTranspose2d(channels[-1], image_channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*stack)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.apply(init_weights)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents[:, :, None, None])


class ConvolutionalCritic(nn.Module):
    """Images (N, C, r, r) to scores (N, 1), without a sigmoid: logits of a discriminator.

    With r = 2^k: k - 2 convolutions of stride 2 to f, 2f, … f·2^(k-3) channels and one that sees
    the last 4 × 4. Leaky ReLU after each but the last, norm before it in all but the first; with
    `norm = "spectral"` each convolution is normalised itself, and has a bias.
    """

    def __init__(self, features: int, image_channels: int, resolution: int, norm: CriticNorm):
        super().__init__()
        count = resolution.bit_length() - 3  # down to 4 pixels
        channels = [features << power for power in range(count)]
        spectral = norm == "spectral"
        conv = SpectralConv2d if spectral else nn.Conv2d
        stack: list[nn.Module] = [conv(image_channels, features, 4, 2, 1), nn.LeakyReLU(0.2)]
        for before, after in pairwise(channels):
            stack.append(conv(before, after, 4, 2, 1, bias=spectral))
            stack += [*norm_layer(norm, after), nn.LeakyReLU(0.2)]
        stack.append(conv(channels[-1], 1, 4))
        self.layers = nn.Sequential(*stack)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.apply(init_weights)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten(1)


class LabelledGenerator(nn.Module):
    """Latents (N, Z) and labels (N,) to images: an embedding (N, E) is joined to the latent.

    Label conditioning of arXiv:1411.1784 in a convolutional generator.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        latent_size: int,
        features: int,
        image_channels: int,
        resolution: int,
        norm: Norm,
    ):
        super().__init__()
        self.embedding = nn.Embedding(num_classes, embedding_size)
        self.generator = ConvolutionalGenerator(
            latent_size + embedding_size, features, image_channels, resolution, norm
        )

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.generator(torch.cat([latents, self.embedding(labels)], dim=1))


class LabelledCritic(nn.Module):
    """Images (N, C, r, r) and labels (N,) to scores (N, 1): the embedding is one more plane.

    Label conditioning of arXiv:1411.1784 in a convolutional critic.
    """

    def __init__(
        self,
        num_classes: int,
        features: int,
        image_channels: int,
        resolution: int,
        norm: CriticNorm,
    ):
        super().__init__()
        self.resolution = resolution
        self.embedding = nn.Embedding(num_classes, resolution**2)
        self.critic = ConvolutionalCritic(features, image_channels + 1, resolution, norm)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        plane = self.embedding(labels).reshape(-1, 1, self.resolution, self.resolution)
        return self.critic(torch.cat([images, plane.to(images.dtype)], dim=1))


def norm_layer(norm: CriticNorm, channels: int) -> list[nn.Module]:
    """One normalisation layer, with scale and shift; nothing for "none" and "spectral"."""
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.InstanceNorm2d(channels, affine=True)] if norm == "instance" else []


def init_weights(module: nn.Module) -> None:
    """N(0, 0.02) for convolutions, N(1, 0.02) for norm scales, 0 for shifts (DCGAN section 4)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, DEVIATION)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
        nn.init.normal_(module.weight, 1.0, DEVIATION)
        nn.init.zeros_(module.bias)


def clip_weights(network: nn.Module, bound: float) -> None:
    """Clamp weights and biases of convolutions, dense layers and embeddings to ±bound, in place.

    WGAN's Lipschitz constraint (arXiv:1701.07875, Algorithm 1). Norm scales start at 1: clipped
    to 0.01 they would silence every layer, so norms are left alone.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
            for parameter in module.parameters(recurse=False):
                parameter.clamp_(-bound, bound)
