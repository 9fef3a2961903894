"""SRGAN: photo-realistic super-resolution (arXiv:1609.04802).

ganforge train srgan --data photos
"""

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.losses import (
    binary_cross_entropy,
    label_grid,
    mean_absolute,
    mean_squared,
    smoothed,
)
from ganforge.networks.discriminators import UNetDiscriminator, VGGStyleDiscriminator
from ganforge.networks.spectral import FIRST_ITERATIONS, iterate
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.adversarial import AdversarialSettings, discriminator_term, generator_term
from ganforge.systems.generators import (
    CropSystem,
    initialise,
    make_generator,
    restore_constants,
)
from ganforge.systems.optimizers import Adam
from ganforge.systems.penalties import penalties
from ganforge.systems.perceptual import Perceptual, PerceptualTerm
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings
from ganforge.systems.super_resolution import CropSettings

_ADAM = Adam(learning_rate=1e-4, betas=(0.9, 0.999))
_SLOWER = {"generator.learning_rate": 1e-5, "discriminator.learning_rate": 1e-5}


class Settings(CropSettings, AdversarialSettings):
    """Defaults are those of section 3.2: 1e6 updates on pixels, then 1e5 and 1e5 adversarial."""

    system: str = setting("srgan", "this system")
    blocks: int = setting(16, "residual blocks of the generator", ge=1)
    tanh: bool = setting(False, "the generator ends in tanh (described) or is linear (published)")
    generator_norm: Literal["batch", "none"] = setting(
        "batch",
        "of srresnet; none: as its successors have it (arXiv:1809.00219): what batch norm counts "
        "over a few crops is not what an image has",
        added=True,
    )
    discriminator_form: Literal["published", "reference", "unet"] = setting(
        "published",
        "of the discriminator; reference: also batch norm after the first convolution, and PReLU; "
        "unet: a logit for each pixel (arXiv:2107.10833), without batch norm",
    )
    discriminator_norm: Literal["batch", "none", "spectral"] = setting(
        "batch",
        "of the discriminator; batch: where discriminator_form has it; spectral: of its weights "
        "(arXiv:1802.05957)",
        added=True,
    )
    generator: Adam = setting(_ADAM, "the generator's optimizer", per_stage=True)
    discriminator: Adam = setting(_ADAM, "the discriminator's optimizer", per_stage=True)
    perceptual: Perceptual = setting(Perceptual(weight=0.006), "content term")
    pixel_distance: Literal["mse", "l1"] = setting("mse", "how pixels are compared")
    label_smoothing: float = setting(
        0.1,
        "binary: targets of real images are 1 - this · u, u ~ U[0, 1)",
        ge=0,
        lt=1,
        per_stage=True,
    )
    stages: tuple[StageSettings, ...] = setting(
        (
            StageSettings(resolution=96, epochs=100, task="pixel"),
            StageSettings(resolution=96, epochs=10),
            StageSettings(resolution=96, epochs=10, overrides=_SLOWER),
        ),
        "the stages, in order: on pixels alone, then adversarial",
    )

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        if self.discriminator_form == "unet" and self.discriminator_norm == "batch":
            raise ValueError(
                "discriminator_norm = batch: discriminator_form = unet has no batch norm; set "
                "discriminator_norm = spectral (as published) or none"
            )
        return self

    def batch_norm(self) -> tuple[str, str] | None:
        norm = "discriminator_norm"
        return (f"{norm} = batch", f"{norm} = none") if self.discriminator_norm == "batch" else None


def make_discriminator(s: Settings) -> UNetDiscriminator | VGGStyleDiscriminator:
    """The discriminator that the settings describe, for crops of the first stage's size."""
    if s.discriminator_form == "unet":
        spectral = s.discriminator_norm == "spectral"
        return UNetDiscriminator(s.channels, s.critic_width, spectral=spectral)
    reference = s.discriminator_form == "reference"
    norm = "all" if reference else "inner"
    if s.discriminator_norm != "batch":
        norm = s.discriminator_norm
    side = s.stages[0].resolution
    return VGGStyleDiscriminator(
        s.channels, side, s.critic_width, s.critic_dense, norm=norm, prelu=reference
    )


#: pixels alone, ×4
FOURFOLD: dict[str, Any] = {
    "scale": 4,
    "width": 32,
    "blocks": 8,
    "bicubic_skip": True,
    "generator_norm": "none",
    "batch_size": 8,
    "shards": 2,
    "images_per_epoch": 2048,
    "generator": {
        "learning_rate": 1e-3,
        "betas": (0.9, 0.99),
        "epsilon": 1e-8,
        "schedule": {"kind": "cosine", "hold": 0.3, "end": 0.01},
    },
    "average_decay": 0.997,
    "perceptual.network": "none",
    "pixel_distance": "l1",
    "data.smaller": "skip",
    "stages": (StageSettings(resolution=96, iterations=8000, task="pixel"),),
}


class SRGAN(CropSystem):
    """Equations 2 and 3 of arXiv:1609.04802: adversarial term, content term of VGG features."""

    Settings = Settings
    capturable = True
    settings: Settings

    #: `described`: the description's tanh and its 100 epochs. `distortion`: pixels alone. `modern`:
    #: hinge with spectral norm (arXiv:1802.05957), and an average. `fourfold`: pixels alone, ×4;
    #: `adversarial` continues from there, with the features of EfficientNet-Lite0.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "modern": {
            "objective": "hinge",
            "discriminator_norm": "spectral",
            "average_images": 10_000,
        },
        "described": {
            "tanh": True,
            "images_per_epoch": None,
            "stages": (StageSettings(resolution=96, epochs=100),),
        },
        "quick": {
            "scale": 2,
            "width": 16,
            "blocks": 4,
            "bicubic_skip": True,
            "critic_width": 8,
            "critic_dense": 32,
            "batch_size": 8,
            "shards": 2,
            "images_per_epoch": 512,
            "generator": {"learning_rate": 4e-4, "betas": (0.9, 0.99), "epsilon": 1e-8},
            "discriminator": {"learning_rate": 1e-3, "betas": (0.5, 0.999), "epsilon": 1e-8},
            "average_decay": 0.98,
            "perceptual.network": "none",
            "pixel_distance": "l1",
            "pixel_weight": 1.0,
            "stages": (
                StageSettings(resolution=64, epochs=4, task="pixel"),
                StageSettings(resolution=64, epochs=2),
            ),
            "data.max_side": 224,
            "validation.fraction": 0.3,
            "validation.images": 4,
            "validation.samples": 3,
        },
        "distortion": {
            "scale": 2,
            "width": 32,
            "blocks": 4,
            "bicubic_skip": True,
            "batch_size": 8,
            "shards": 2,
            "images_per_epoch": 2048,
            "generator": {"learning_rate": 5e-4, "betas": (0.9, 0.99), "epsilon": 1e-8},
            "average_decay": 0.99,
            "perceptual.network": "none",
            "pixel_distance": "l1",
            "stages": (
                StageSettings(resolution=64, epochs=4, task="pixel"),
                StageSettings(
                    resolution=64,
                    epochs=1,
                    task="pixel",
                    overrides={"generator.learning_rate": 1e-4},
                ),
            ),
        },
        "fourfold": FOURFOLD,
        "adversarial": FOURFOLD
        | {
            "objective": "hinge",
            "discriminator_form": "unet",
            "discriminator_norm": "spectral",
            "discriminator": {"learning_rate": 5e-4, "betas": (0.9, 0.99), "epsilon": 1e-8},
            "critic_width": 16,
            "adversarial_weight": 0.02,
            "pixel_weight": 0.1,
            "perceptual.network": "efflite0",
            "perceptual.weight": 1.0,
            "perceptual.shift": 16,
            "stages": (
                *FOURFOLD["stages"],
                StageSettings(
                    resolution=96, iterations=5000, overrides={"generator.learning_rate": 5e-4}
                ),
            ),
        },
    }

    def __init__(self, settings: Settings, assets: Assets):
        super().__init__(settings, assets)
        s = settings
        self._perceptual = PerceptualTerm(s.perceptual, assets)
        self.generator = make_generator(s)
        self.discriminator = make_discriminator(s)
        self.init_block(0, "generator", lambda: initialise(self.generator, s))
        self.init_block(0, "discriminator", self.discriminator.initialise)
        iterate(self.discriminator, FIRST_ITERATIONS)
        self.players = (
            make_player(s, "discriminator", self.discriminator, after_step=iterate),
            make_player(
                s, "generator", self.generator, after_step=restore_constants, averaged=True
            ),
        )

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        s: Settings = progress.settings
        on_pixels = progress.stage.task == "pixel"
        assert batch.source is not None
        if player == "discriminator":
            if on_pixels or not s.adversarial_weight:
                return {}
            with torch.no_grad():
                fake = self.generator(batch.source)
            added = penalties(self.discriminator, batch.target, fake, s)
            if s.objective != "binary":
                value = discriminator_term(self.discriminator, batch.target, fake, s.objective)
                return {"adversarial": value} | added
            real_logits, fake_logits = self.discriminator(batch.target), self.discriminator(fake)
            labels = smoothed(real_logits, s.label_smoothing)
            return {
                "real": binary_cross_entropy(real_logits, labels),
                "fake": binary_cross_entropy(fake_logits, label_grid(fake_logits, 0.0)),
            } | added
        fake = self.generator(batch.source)
        distance = mean_absolute if s.pixel_distance == "l1" else mean_squared
        if on_pixels:
            return {"pixel": distance(batch.target, fake)}
        terms = self._perceptual.terms(s.perceptual, batch.target, fake)
        if s.pixel_weight:
            terms["pixel"] = s.pixel_weight * distance(batch.target, fake)
        if s.adversarial_weight:
            if s.objective == "binary":
                logits = self.discriminator(fake)
                value = binary_cross_entropy(logits, label_grid(logits, 1.0))
            else:
                value = generator_term(self.discriminator, batch.target, fake, s.objective)
            terms["adversarial"] = s.adversarial_weight * value
        return terms
