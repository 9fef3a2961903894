"""WGAN: Wasserstein GAN (arXiv:1701.07875), whose critic's weights are clipped.

ganforge train wgan --preset quick
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.losses import wasserstein_critic, wasserstein_generator
from ganforge.networks.convolutional import (
    ConvolutionalCritic,
    ConvolutionalGenerator,
    clip_weights,
)
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.latent import ConvolutionalSettings, LatentSystem
from ganforge.systems.optimizers import RMSprop
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings


class Settings(ConvolutionalSettings):
    """Defaults are those of Algorithm 1 of the paper."""

    system: str = setting("wgan", "this system")
    latent_size: int = setting(128, "Z: numbers in a latent, from N(0, 1)", ge=1)
    critic_norm: Literal["instance", "none"] = setting(
        "instance", "the critic's normalisation; none: the paper's plain critic"
    )
    batch_size: int = setting(64, "images per step over all workers", ge=1, per_stage=True)
    critic_steps: int = setting(5, "critic turns for one generator turn", ge=1, per_stage=True)
    clip: float = setting(0.01, "c: the critic's weights are kept in [-c, c]", gt=0)
    generator: RMSprop = setting(RMSprop(), "the generator's optimizer", per_stage=True)
    critic: RMSprop = setting(RMSprop(), "the critic's optimizer", per_stage=True)


class WGAN(LatentSystem):
    """Algorithm 1 of arXiv:1701.07875: equation 2 as objective, the critic's weights clipped."""

    Settings = Settings
    capturable = True
    settings: Settings

    #: `described`: the latent of the description's table. `plain`: the paper's own critic.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "described": {"latent_size": 100},
        "plain": {"critic_norm": "none"},
        "quick": {
            "features": 16,
            "critic_steps": 2,
            "generator.learning_rate": 5e-4,
            "critic.learning_rate": 5e-4,
            "stages": (StageSettings(resolution=32, epochs=10),),
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
        self.players = (
            make_player(
                settings,
                "critic",
                self.critic,
                after_step=lambda critic: clip_weights(critic, settings.clip),
            ),
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
        real_scores, fake_scores = self.critic(s.augment(batch.target)), self.critic(fake)
        return {"wasserstein": wasserstein_critic(real_scores, fake_scores)}
