"""DCGAN: Unsupervised Representation Learning with Deep Convolutional GANs (arXiv:1511.06434).

ganforge train dcgan --preset quick
"""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.losses import binary_discriminator, non_saturating
from ganforge.networks.convolutional import ConvolutionalCritic, ConvolutionalGenerator, Norm
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.latent import ConvolutionalSettings, LatentSystem
from ganforge.systems.optimizers import Adam
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings

ADAM = Adam(learning_rate=2e-4, betas=(0.5, 0.999))


class Settings(ConvolutionalSettings):
    """Defaults are those of section 4 of the paper."""

    system: str = setting("dcgan", "this system")
    norm: Norm = setting("batch", "both networks' normalisation: batch, instance or none")
    batch_size: int = setting(128, "images per step over all workers", ge=1, per_stage=True)
    generator: Adam = setting(ADAM, "the generator's optimizer", per_stage=True)
    discriminator: Adam = setting(ADAM, "the discriminator's optimizer", per_stage=True)


class DCGAN(LatentSystem):
    """Figure 1 and section 4 of arXiv:1511.06434, with the objectives of arXiv:1406.2661."""

    Settings = Settings
    settings: Settings

    #: `described`: the reference networks have batch norm switched off.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "described": {"norm": "none"},
        "quick": {
            "features": 16,
            "batch_size": 64,
            "generator.learning_rate": 1e-3,
            "discriminator.learning_rate": 5e-4,
            "stages": (StageSettings(resolution=32, epochs=10),),
        },
    }

    def __init__(self, settings: Settings, assets: Assets):
        super().__init__(settings, assets)
        side = settings.stages[0].resolution
        self.generator = ConvolutionalGenerator(
            settings.latent_size, settings.features, settings.channels, side, settings.norm
        )
        self.discriminator = ConvolutionalCritic(
            settings.features, settings.channels, side, settings.norm
        )
        self.init_networks("generator", "discriminator")
        self.players = (
            make_player(settings, "discriminator", self.discriminator),
            make_player(settings, "generator", self.generator),
        )

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        latent = self.draw_latents(batch)
        if player == "generator":
            logits = self.discriminator(self.generator(latent))
            return {"adversarial": non_saturating(logits)}
        with torch.no_grad():
            fake = self.generator(latent)
        real_logits = self.discriminator(batch.target)
        return {"adversarial": binary_discriminator(real_logits, self.discriminator(fake))}
