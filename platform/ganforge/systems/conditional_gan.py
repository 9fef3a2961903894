"""Conditional GAN (arXiv:1411.1784): WGAN-GP (arXiv:1704.00028) that is told the label.

ganforge train conditional_gan --preset quick
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.losses import gradient_penalty, wasserstein_critic, wasserstein_generator
from ganforge.networks.convolutional import (
    LabelledCritic,
    LabelledGenerator,
    Norm,
)
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.latent import LatentSystem, StackSettings
from ganforge.systems.optimizers import Adam
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings

ADAM = Adam(learning_rate=1e-4, betas=(0.0, 0.9))


class Settings(StackSettings):
    """Defaults are those of Algorithm 1 of the paper."""

    system: str = setting("conditional_gan", "this system")
    num_classes: int = setting(10, "classes; labels are 0 … num_classes - 1", ge=1)
    embedding_size: int = setting(100, "E: numbers of a label beside the latent", ge=1)
    features: int = setting(16, "f: channels of the outermost layers", ge=1)
    norm: Norm = setting("batch", "the generator's normalisation: batch, instance or none")
    critic_norm: Literal["instance", "none"] = setting(
        "instance", "the critic's normalisation; batch norm would mix samples inside the penalty"
    )
    batch_size: int = setting(64, "images per step over all workers", ge=1, per_stage=True)
    critic_steps: int = setting(5, "critic turns for one generator turn", ge=1, per_stage=True)
    gradient_penalty_weight: float = setting(10.0, "λ of the penalty", ge=0, per_stage=True)
    generator: Adam = setting(ADAM, "the generator's optimizer", per_stage=True)
    critic: Adam = setting(ADAM, "the critic's optimizer", per_stage=True)
    stages: tuple[StageSettings, ...] = setting(
        (StageSettings(resolution=64, epochs=100),), "the stages, in order"
    )


class ConditionalGAN(LatentSystem):
    Settings = Settings
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
        self.players = (
            make_player(self.critic, "critic", settings.critic),
            make_player(self.generator, "generator", settings.generator, every="critic_steps"),
        )

    def grow(self, index: int) -> None:
        self.begin(index, "generator", "critic")

    def images(
        self, network: nn.Module, latent: Tensor, batch: Batch, progress: Progress
    ) -> Tensor:
        return network(latent, batch.label)

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        latent, labels = self.draw(batch), batch.label
        if player == "generator":
            fake = self.generator(latent, labels)
            return {"adversarial": wasserstein_generator(self.critic(fake, labels))}
        with torch.no_grad():
            fake = self.generator(latent, labels)
        real_scores, fake_scores = self.critic(batch.target, labels), self.critic(fake, labels)
        weight = progress.settings.gradient_penalty_weight
        penalty = gradient_penalty(lambda between: self.critic(between, labels), batch.target, fake)
        return {
            "wasserstein": wasserstein_critic(real_scores, fake_scores),
            "gradient_penalty": weight * penalty,
        }
