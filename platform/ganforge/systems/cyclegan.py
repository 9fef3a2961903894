"""CycleGAN: image-to-image translation without pairs (arXiv:1703.10593).

ganforge train cyclegan --data domains
"""

from typing import Any, ClassVar, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.data.settings import TranslationSettings
from ganforge.losses import least_squares, mean_absolute
from ganforge.networks.discriminators import PatchGAN
from ganforge.networks.residual import TranslationResNet
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.base import Metric, System
from ganforge.systems.history import ReplayPool, shard_of
from ganforge.systems.optimizers import Adam
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings
from ganforge.systems.super_resolution import ClampedGenerator
from ganforge.systems.translation import ADAM, TranslationSystemSettings, decayed


class Settings(TranslationSystemSettings):
    """Defaults are those of section 4 and appendix 7.1."""

    system: str = setting("cyclegan", "this system")
    blocks: int = setting(9, "residual blocks of a generator; 6 for 128 px", ge=1)
    discriminator_width: int = setting(64, "channels of a discriminator's first", ge=1)
    generators: Adam = setting(ADAM, "the generators' optimizer", per_stage=True)
    discriminators: Adam = setting(ADAM, "the discriminators' optimizer", per_stage=True)
    adversarial_weight: float = setting(
        1.0, "weight of both adversarial terms", gt=0, per_stage=True
    )
    cycle_weight: float = setting(10.0, "λ of the round trips", ge=0, per_stage=True)
    identity_weight: float = setting(
        0.0, "λ of G(y) = y and F(x) = x; half of cycle_weight for paintings", ge=0, per_stage=True
    )
    pool_size: int = setting(50, "earlier fakes that the discriminators see again", ge=0)
    data: TranslationSettings = setting(  # pyright: ignore
        TranslationSettings(jitter=286), "two sets of images"
    )

    @model_validator(mode="after")
    def _check_side(self) -> Self:
        side = self.stages[0].resolution
        if side % 4 or side < 32:
            raise ValueError(f"stages.0.resolution = {side}: must be a multiple of 4, at least 32")
        return self


class CycleGAN(System):
    """Equation 3 of arXiv:1703.10593: least squares in place of logarithms, and λ times the cycles.

    Sources are domain X, targets domain Y: `forward_` turns X into Y, `backward_` Y into X.
    """

    Settings = Settings
    Data = "unpaired"
    metric = Metric("validation/swd", "min")
    metrics = (Metric("validation/cycle", "min"),)
    sample_titles = ("source", "to target", "and back", "target", "to source", "and back")
    shard_buffers = (
        "pools.forward_.images",
        "pools.forward_.count",
        "pools.backward_.images",
        "pools.backward_.count",
    )
    settings: Settings

    #: `paper` is the defaults.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "described": {
            "generators": {"learning_rate": 1e-5, "betas": (0.5, 0.999), "epsilon": 1e-8},
            "discriminators": {"learning_rate": 1e-5, "betas": (0.5, 0.999), "epsilon": 1e-8},
            "decay_epochs": None,
            "data.jitter": None,
            "stages": (StageSettings(resolution=256, epochs=200),),
        },
        "quick": {
            "width": 8,
            "blocks": 3,
            "discriminator_width": 8,
            "images_per_epoch": 256,
            "generators": {"learning_rate": 1e-3, "betas": (0.5, 0.999), "epsilon": 1e-8},
            "discriminators": {"learning_rate": 5e-4, "betas": (0.5, 0.999), "epsilon": 1e-8},
            "average_decay": 0.98,
            "decay_epochs": None,
            "data.view": "crop",
            "data.jitter": None,
            "data.max_side": 224,
            "validation.fraction": 0.3,
            "validation.images": 8,
            "validation.samples": 4,
            "stages": (StageSettings(resolution=64, epochs=4),),
        },
    }

    def __init__(self, settings: Settings, assets: Assets):
        super().__init__(settings, assets)
        s, side = settings, settings.stages[0].resolution
        ways = ("forward_", "backward_")
        generators = {way: TranslationResNet(s.channels, s.width, s.blocks) for way in ways}
        discriminators = {
            way: PatchGAN(s.channels, s.discriminator_width, "instance") for way in ways
        }
        self.generators = nn.ModuleDict(generators)
        self.discriminators = nn.ModuleDict(discriminators)
        shape = (s.channels, side, side)
        self.pools = nn.ModuleDict({way: ReplayPool(s.shards, s.pool_size, shape) for way in ways})
        for way in ways:
            self.init_block(0, f"generators.{way}", generators[way].initialise)
        for way in ways:
            self.init_block(0, f"discriminators.{way}", discriminators[way].initialise)
        # generators first, then discriminators on fresh fakes of the new generators
        self.players = (
            make_player(s, "generators", self.generators, factor=decayed, averaged=True),
            make_player(s, "discriminators", self.discriminators, factor=decayed),
        )

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        s: Settings = progress.settings
        x, y = batch.source, batch.target
        assert x is not None
        to_y, to_x = self.generators["forward_"], self.generators["backward_"]
        if player == "discriminators":
            terms, shard = {}, shard_of(batch, progress)
            for way, real, given in (("forward_", y, x), ("backward_", x, y)):
                with torch.no_grad():
                    fake = self.generators[way](given)
                pool = self.pools[way]
                assert isinstance(pool, ReplayPool)
                discriminator = self.discriminators[way]
                terms[f"real_{way}"[:-1]] = least_squares(discriminator(real), 1.0) / 2
                fake_scores = discriminator(pool.swap(fake, shard))
                terms[f"fake_{way}"[:-1]] = least_squares(fake_scores, 0.0) / 2
            return terms
        fake_y, fake_x = to_y(x), to_x(y)
        scores_y = self.discriminators["forward_"](fake_y)
        scores_x = self.discriminators["backward_"](fake_x)
        terms = {
            "adversarial_forward": s.adversarial_weight * least_squares(scores_y, 1.0),
            "adversarial_backward": s.adversarial_weight * least_squares(scores_x, 1.0),
            "cycle_source": s.cycle_weight * mean_absolute(to_x(fake_y), x),
            "cycle_target": s.cycle_weight * mean_absolute(to_y(fake_x), y),
        }
        if s.identity_weight:
            terms["identity_target"] = s.identity_weight * mean_absolute(to_y(y), y)
            terms["identity_source"] = s.identity_weight * mean_absolute(to_x(x), x)
        return terms

    def _averaged_generators(self) -> nn.ModuleDict:
        generators = self.averaged("generators")
        assert isinstance(generators, nn.ModuleDict)
        return generators

    def generated(self, batch: Batch, progress: Progress) -> Tensor:
        return self._averaged_generators()["forward_"](batch.source)

    def sample(self, batch: Batch, progress: Progress) -> list[Tensor]:
        assert batch.source is not None
        generators = self._averaged_generators()
        to_y, to_x = generators["forward_"], generators["backward_"]
        fake_y, fake_x = to_y(batch.source), to_x(batch.target)
        return [batch.source, fake_y, to_x(fake_y), batch.target, fake_x, to_y(fake_x)]

    def validate(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The mean error of both round trips."""
        x, _, x_again, y, _, y_again = self.sample(batch, progress)
        errors = [(a - b).abs().mean(dim=(1, 2, 3)) for a, b in ((x, x_again), (y, y_again))]
        return {"cycle": (errors[0] + errors[1]) / 2}

    def deploy(self, progress: Progress) -> nn.Module:
        """From source to target."""
        return ClampedGenerator(self._averaged_generators()["forward_"], 4)
