"""ProGAN in two variants: Progressive Growing of GANs (arXiv:1710.10196), from noise to an image.

ganforge train progan_a --data images
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.draws import latents
from ganforge.layers import fade_real, slerp
from ganforge.losses import drift, gradient_penalty, wasserstein_critic, wasserstein_generator
from ganforge.networks.from_latent import GrowingGenerator
from ganforge.networks.progressive import GrowingCritic
from ganforge.schedule import Progress
from ganforge.systems.base import Metric
from ganforge.systems.latent import LatentSystem, Sampler, evaluating
from ganforge.systems.players import make_player
from ganforge.systems.progan_settings import (
    PRESETS_A,
    PRESETS_T,
    ProGANSettings,
    SettingsA,
    SettingsT,
)

#: Rows of the interpolation strip, and images from one latent to the next.
STRIP_ROWS, STRIP_COLUMNS = 3, 8


class ProGAN(LatentSystem):
    """The networks and objectives of both variants.

    Runs are compared by the distance of features, which images of 4 pixels have too.
    """

    metric = Metric("validation/fid_proxy", "min")
    metrics = (Metric("validation/kid_proxy", "min"), Metric("validation/swd", "min"))
    settings: Any

    def __init__(self, settings: Any, assets: Assets):
        super().__init__(settings, assets)
        reference = settings.networks == "reference"
        self.generator = GrowingGenerator(
            settings.latent_size, settings.channels, settings.width, plain=reference
        )
        self.critic = GrowingCritic(settings.channels, settings.width, least=1, early=reference)
        self.players = (
            make_player(self.critic, "critic", settings.critic),
            make_player(
                self.generator, "generator", settings.generator, every="critic_steps", averaged=True
            ),
        )

    def grow(self, index: int) -> None:
        generator, critic = self.generator, self.critic
        resolution = self.settings.stages[index].resolution
        first = resolution
        if index == 0:
            self.new(index, "generator.base", generator.grow_base)
            self.new(index, "critic.end", critic.grow_end)
            first = 8
        while first <= resolution:
            self.new(index, f"generator.{first}", lambda r=first: generator.grow_block(r))
            self.new(index, f"critic.{first}", lambda r=first: critic.grow_block(r))
            first *= 2
        self.new(index, "generator.to_image", lambda: generator.grow_to_image(resolution))
        self.new(index, "critic.from_image", lambda: critic.grow_from_image(resolution))

    def images(
        self, network: nn.Module, latent: Tensor, batch: Batch, progress: Progress
    ) -> Tensor:
        return network(latent, progress.fading, progress.alpha)

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        where = (progress.fading, progress.alpha)
        latent = self.draw(batch)
        if player == "generator":
            scores = self.critic(self.generator(latent, *where), *where)
            return {"adversarial": wasserstein_generator(scores)}
        with torch.no_grad():
            fake = self.generator(latent, *where)
        s: ProGANSettings = progress.settings
        real = fade_real(batch.target, progress.alpha) if progress.fading else batch.target
        real_scores = self.critic(real, *where)
        penalty = gradient_penalty(lambda between: self.critic(between, *where), real, fake)
        terms = {
            "wasserstein": wasserstein_critic(real_scores, self.critic(fake, *where)),
            "gradient_penalty": s.gradient_penalty_weight * penalty,
        }
        return terms | ({"drift": s.drift_weight * drift(real_scores)} if s.drift_weight else {})

    def strips(self, progress: Progress) -> Tensor:
        """Each row goes from one fixed latent to another along the great circle between them."""
        ends = torch.arange(2 * STRIP_ROWS, device=progress.alpha.device)
        first, second = latents(
            self.settings.latent_size, ends, self.settings.seed, "strips"
        ).chunk(2)
        steps = [column / (STRIP_COLUMNS - 1) for column in range(STRIP_COLUMNS)]
        path = torch.stack([slerp(first, second, step) for step in steps], dim=1)
        with evaluating(self.shown()) as network:
            made = network(path.flatten(0, 1), progress.fading, progress.alpha)
        return made.clamp(-1, 1).unflatten(0, path.shape[:2])

    def deploy(self, progress: Progress) -> nn.Module:
        return GrowingSampler(self.shown(), self.settings.latent_size, progress)


class ProGANA(ProGAN):
    """ProGAN-A: progressive growing from noise, width 128, batches from 32 (arXiv:1710.10196)."""

    Settings = SettingsA
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = PRESETS_A


class ProGANT(ProGAN):
    """ProGAN-T: progressive growing from noise, width 256, batches from 8 (arXiv:1710.10196)."""

    Settings = SettingsT
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = PRESETS_T


class GrowingSampler(Sampler):
    """A finished stage's averaged generator: latents (N, Z) to images in [-1, 1]."""

    def __init__(self, network: nn.Module, latent_size: int, progress: Progress):
        super().__init__(network, latent_size)
        self.fading = progress.fading
        if not self.fading:
            assert isinstance(self.network, GrowingGenerator)
            self.network.drop_old_exit()
        self.register_buffer("alpha", progress.alpha.clone(), persistent=False)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.network(latents, self.fading, self.alpha).clamp(-1, 1)
