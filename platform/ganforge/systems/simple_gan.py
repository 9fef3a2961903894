"""Simple GAN: Generative Adversarial Networks (arXiv:1406.2661) with two small perceptrons.

ganforge train simple_gan --preset quick
"""

from typing import Any, ClassVar, Self

from pydantic import model_validator

from ganforge.assets import Assets
from ganforge.networks.mlp import MLPDiscriminator, MLPGenerator
from ganforge.settings import setting
from ganforge.systems.adversarial import AdversarialSettings
from ganforge.systems.augmented import AdaptiveAugmentSettings
from ganforge.systems.averages import OptionalAverageSettings
from ganforge.systems.latent import LatentSettings
from ganforge.systems.optimizers import Adam
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings, constant_problems
from ganforge.systems.two_players import TwoPlayers

ADAM = Adam(learning_rate=3e-4, betas=(0.9, 0.999))


class Settings(
    LatentSettings, AdversarialSettings, AdaptiveAugmentSettings, OptionalAverageSettings
):
    """Defaults are for 28 × 28 digits."""

    system: str = setting("simple_gan", "this system")
    latent_size: int = setting(64, "Z: numbers in a latent, from N(0, 1)", ge=1)
    batch_size: int = setting(32, "images per step over all workers", ge=1, per_stage=True)
    generator: Adam = setting(ADAM, "the generator's optimizer", per_stage=True)
    discriminator: Adam = setting(ADAM, "the discriminator's optimizer", per_stage=True)
    stages: tuple[StageSettings, ...] = setting(
        (StageSettings(resolution=28, epochs=50),), "the stages, in order"
    )

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        if problems := constant_problems(self.stages):
            raise ValueError("\n".join(problems))
        return self


class SimpleGAN(TwoPlayers):
    """Equation 1 of arXiv:1406.2661; the generator's objective does not saturate (section 3)."""

    Settings = Settings
    capturable = True
    settings: Settings

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "quick": {
            "generator.learning_rate": 1e-3,
            "discriminator.learning_rate": 1e-3,
            "generator.betas": (0.5, 0.999),
            "discriminator.betas": (0.5, 0.999),
            "stages": (StageSettings(resolution=28, epochs=12),),
        },
    }

    def __init__(self, settings: Settings, assets: Assets):
        super().__init__(settings, assets)
        side = settings.stages[0].resolution
        self.generator = MLPGenerator(settings.latent_size, settings.channels, side)
        self.discriminator = MLPDiscriminator(settings.channels, side)
        self.init_networks("generator", "discriminator")
        self.adapt()
        self.players = (
            make_player(settings, "discriminator", self.discriminator),
            make_player(settings, "generator", self.generator, averaged=settings.averaged),
        )
