"""A GAN of one's own: small convolutional networks and the hinge loss (arXiv:1705.02894)."""

from typing import Any, ClassVar

import torch
from ray import tune
from torch import Tensor, nn

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.latent import LatentSettings, LatentSystem
from ganforge.systems.optimizers import Adam
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings

SPACE = {
    "generator.learning_rate": tune.loguniform(2e-4, 2e-3),
    "critic.learning_rate": tune.loguniform(2e-4, 2e-3),
    "margin": tune.uniform(0.5, 2.0),
}


class Settings(LatentSettings):
    latent_size: int = setting(64, "numbers in a latent, from N(0, 1)", ge=1)
    width: int = setting(32, "channels of the widest layer", ge=4)
    margin: float = setting(1.0, "scores beyond it train the critic no further", gt=0)
    batch_size: int = setting(32, "images per step over all workers", ge=1, per_stage=True)
    generator: Adam = setting(
        Adam(learning_rate=1e-3, betas=(0.5, 0.99)), "the generator's optimizer", per_stage=True
    )
    critic: Adam = setting(
        Adam(learning_rate=1e-3, betas=(0.5, 0.99)), "the critic's optimizer", per_stage=True
    )
    stages: tuple[StageSettings, ...] = setting(
        (StageSettings(resolution=16, epochs=20),), "the stages, in order"
    )


def weights_init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.05)


class MyGAN(LatentSystem):
    """The hinge loss on 16 × 16 digits."""

    Settings = Settings
    settings: Settings
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "quick": {"width": 16, "stages": (StageSettings(resolution=16, epochs=4),)},
    }

    def __init__(self, settings: Settings, assets: Assets):
        super().__init__(settings, assets)
        width, channels = settings.width, settings.channels
        self.generator = nn.Sequential(
            nn.Unflatten(1, (settings.latent_size, 1, 1)),
            nn.ConvTranspose2d(settings.latent_size, width, 4),  # 4 × 4
            nn.ReLU(),
            nn.ConvTranspose2d(width, width // 2, 4, 2, 1),  # 8 × 8
            nn.ReLU(),
            nn.ConvTranspose2d(width // 2, channels, 4, 2, 1),  # 16 × 16
            nn.Tanh(),
        )
        self.critic = nn.Sequential(
            nn.Conv2d(channels, width // 2, 4, 2, 1),  # 8 × 8
            nn.LeakyReLU(0.2),
            nn.Conv2d(width // 2, width, 4, 2, 1),  # 4 × 4
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 1, 4),
            nn.Flatten(),
        )
        self.apply(weights_init)
        self.players = (
            make_player(settings, "critic", self.critic),
            make_player(settings, "generator", self.generator),
        )

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        latents = self.draw_latents(batch)
        if player == "generator":
            return {"adversarial": -self.critic(self.generator(latents)).mean()}
        with torch.no_grad():
            fake = self.generator(latents)
        margin = progress.settings.margin
        return {
            "real": torch.relu(margin - self.critic(batch.target)).mean(),
            "fake": torch.relu(margin + self.critic(fake)).mean(),
        }
