"""Conditional GAN (arXiv:1411.1784): WGAN-GP (arXiv:1704.00028) with the label as a condition.

ganforge train conditional_gan --preset quick
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.losses import gradient_penalty, wasserstein_critic, wasserstein_generator
from ganforge.networks.convolutional import LabelledCritic, LabelledGenerator
from ganforge.networks.spectral import FIRST_ITERATIONS, iterate
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.latent import LatentSystem
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings
from ganforge.systems.wgan_gp import Settings as WGANGPSettings


class Settings(WGANGPSettings):
    """WGAN-GP's settings, and those of the labels."""

    system: str = setting("conditional_gan", "this system")
    num_classes: int = setting(10, "classes; labels are 0 … num_classes - 1", ge=1)
    embedding_size: int = setting(100, "E: numbers of a label, joined to the latent", ge=1)
    features: int = setting(16, "f: channels of the outermost layers", ge=1)
    stages: tuple[StageSettings, ...] = setting(
        (StageSettings(resolution=64, epochs=100),), "the stages, in order"
    )


class ConditionalGAN(LatentSystem):
    """Equation 2 of arXiv:1411.1784 with the objectives of arXiv:1704.00028, Algorithm 1."""

    Settings = Settings
    capturable = True
    Data = "labelled"
    settings: Settings

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "quick": {
            "critic_steps": 2,
            "generator.learning_rate": 5e-4,
            "critic.learning_rate": 5e-4,
            "generator.betas": (0.5, 0.9),
            "critic.betas": (0.5, 0.9),
            "stages": (StageSettings(resolution=32, epochs=6),),
        },
    }

    def __init__(self, settings: Settings, assets: Assets):
        super().__init__(settings, assets)
        side = settings.stages[0].resolution
        self.generator = LabelledGenerator(
            settings.num_classes,
            settings.embedding_size,
            settings.latent_size,
            settings.features,
            settings.channels,
            side,
            settings.norm,
        )
        self.critic = LabelledCritic(
            settings.num_classes, settings.features, settings.channels, side, settings.critic_norm
        )
        self.init_networks("generator", "critic")
        iterate(self.critic, FIRST_ITERATIONS)
        self.players = (
            make_player(settings, "critic", self.critic, after_step=iterate),
            make_player(
                settings,
                "generator",
                self.generator,
                every="critic_steps",
                averaged=settings.averaged,
            ),
        )

    def images(
        self, network: nn.Module, latent: Tensor, batch: Batch, progress: Progress
    ) -> Tensor:
        return network(latent, batch.label)

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        s: Settings = progress.settings
        latent, labels = self.draw_latents(batch), batch.label
        if player == "generator":
            fake = s.augment(self.generator(latent, labels))
            return {"adversarial": wasserstein_generator(self.critic(fake, labels))}
        with torch.no_grad():
            fake = s.augment(self.generator(latent, labels))
        real = s.augment(batch.target)
        real_scores, fake_scores = self.critic(real, labels), self.critic(fake, labels)
        penalty = gradient_penalty(
            lambda between: self.critic(between, labels),
            real,
            fake,
            *s.penalty_options,
        )
        return {
            "wasserstein": wasserstein_critic(real_scores, fake_scores),
            "gradient_penalty": s.gradient_penalty_weight * penalty,
        }
