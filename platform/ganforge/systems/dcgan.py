"""DCGAN: Unsupervised Representation Learning with Deep Convolutional GANs (arXiv:1511.06434).

ganforge train dcgan --preset quick
"""

from typing import Any, ClassVar, Literal

from ganforge.assets import Assets
from ganforge.networks.convolutional import (
    ConvolutionalCritic,
    ConvolutionalGenerator,
    CriticNorm,
    Norm,
)
from ganforge.networks.spectral import FIRST_ITERATIONS, iterate
from ganforge.settings import setting
from ganforge.systems.adversarial import AdversarialSettings
from ganforge.systems.augmented import AdaptiveAugmentSettings
from ganforge.systems.latent import ConvolutionalSettings
from ganforge.systems.optimizers import Adam
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings
from ganforge.systems.two_players import TwoPlayers

ADAM = Adam(learning_rate=2e-4, betas=(0.5, 0.999))


class Settings(ConvolutionalSettings, AdversarialSettings, AdaptiveAugmentSettings):
    """Defaults are those of section 4 of the paper."""

    system: str = setting("dcgan", "this system")
    norm: Norm = setting("batch", "both networks' normalisation: batch, instance or none")
    batch_size: int = setting(128, "images per step over all workers", ge=1, per_stage=True)
    discriminator_norm: Literal["shared", "batch", "instance", "none", "spectral"] = setting(
        "shared",
        "the discriminator's normalisation; shared: that of norm; spectral: of its weights "
        "(arXiv:1802.05957)",
        added=True,
    )
    generator: Adam = setting(ADAM, "the generator's optimizer", per_stage=True)
    discriminator: Adam = setting(ADAM, "the discriminator's optimizer", per_stage=True)

    @property
    def critic_norm(self) -> CriticNorm:
        """The normalisation that the discriminator has."""
        return self.norm if self.discriminator_norm == "shared" else self.discriminator_norm

    def batch_norm(self) -> tuple[str, str] | None:
        key = "norm" if self.discriminator_norm == "shared" else "discriminator_norm"
        return (
            (f"{key} = batch", "discriminator_norm = none") if self.critic_norm == "batch" else None
        )


class DCGAN(TwoPlayers):
    """Figure 1 and section 4 of arXiv:1511.06434, with the objectives of arXiv:1406.2661."""

    Settings = Settings
    capturable = True
    settings: Settings

    #: `described`: the reference networks have batch norm switched off. `modern`: relativistic
    #: pairs with R1 and R2 (arXiv:2501.05441), DiffAugment, an average.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "modern": {
            "discriminator_norm": "none",
            "objective": "relativistic",
            # with γ = 1 the discriminator stayed far ahead on digits (one run of 112 steps)
            "r1_weight": 20.0,
            "r2_weight": 20.0,
            "augment": {"color": 1.0, "translation": 0.125, "cutout": 0.5},
            "average_images": 10_000,
            "generator.betas": (0.5, 0.99),
            "discriminator.betas": (0.5, 0.99),
        },
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
            settings.features, settings.channels, side, settings.critic_norm
        )
        self.init_networks("generator", "discriminator")
        iterate(self.discriminator, FIRST_ITERATIONS)
        self.adapt()
        self.players = (
            make_player(settings, "discriminator", self.discriminator, after_step=iterate),
            make_player(settings, "generator", self.generator, averaged=settings.averaged),
        )
