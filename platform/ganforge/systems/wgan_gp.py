"""WGAN-GP: Improved Training of Wasserstein GANs (arXiv:1704.00028).

ganforge train wgan_gp --preset quick
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.losses import gradient_penalty, wasserstein_critic, wasserstein_generator
from ganforge.networks.convolutional import ConvolutionalCritic, ConvolutionalGenerator
from ganforge.networks.spectral import FIRST_ITERATIONS, iterate
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.latent import ConvolutionalSettings, LatentSystem
from ganforge.systems.optimizers import Adam
from ganforge.systems.penalties import PenaltySettings
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings

ADAM = Adam(learning_rate=1e-4, betas=(0.0, 0.9))


class Settings(ConvolutionalSettings, PenaltySettings):
    """Defaults are those of Algorithm 1 of the paper."""

    system: str = setting("wgan_gp", "this system")
    critic_norm: Literal["instance", "none", "spectral"] = setting(
        "instance",
        "the critic's normalisation; batch norm would mix samples inside the penalty; spectral: of "
        "the weights of its convolutions (arXiv:1802.05957)",
    )
    batch_size: int = setting(64, "images per step over all workers", ge=1, per_stage=True)
    critic_steps: int = setting(5, "critic turns for one generator turn", ge=1, per_stage=True)
    gradient_penalty_weight: float = setting(10.0, "λ of the penalty", ge=0, per_stage=True)
    generator: Adam = setting(ADAM, "the generator's optimizer", per_stage=True)
    critic: Adam = setting(ADAM, "the critic's optimizer", per_stage=True)


class WGANGP(LatentSystem):
    """Algorithm 1 of arXiv:1704.00028: equation 3 as the critic's objective."""

    Settings = Settings
    capturable = True
    settings: Settings

    #: `modern`: the penalty without a double backward pass, DiffAugment as published, an average.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "modern": {
            "gradient_penalty_sigma": 0.1,
            "augment": {"color": 1.0, "translation": 0.125, "cutout": 0.5},
            "average_images": 10_000,
        },
        "quick": {
            "features": 16,
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
        self.generator = ConvolutionalGenerator(
            settings.latent_size, settings.features, settings.channels, side, settings.norm
        )
        self.critic = ConvolutionalCritic(
            settings.features, settings.channels, side, settings.critic_norm
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

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        s: Settings = progress.settings
        latent = self.draw_latents(batch)
        if player == "generator":
            fake = s.augment(self.generator(latent))
            return {"adversarial": wasserstein_generator(self.critic(fake))}
        with torch.no_grad():
            fake = s.augment(self.generator(latent))
        real = s.augment(batch.target)
        penalty = gradient_penalty(self.critic, real, fake, *s.penalty_options)
        return {
            "wasserstein": wasserstein_critic(self.critic(real), self.critic(fake)),
            "gradient_penalty": s.gradient_penalty_weight * penalty,
        }
