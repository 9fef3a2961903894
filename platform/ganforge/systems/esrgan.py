"""ESRGAN: residual-in-residual dense blocks and a relativistic critic (arXiv:1809.00219).

ganforge train esrgan --data photos
"""

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.losses import (
    gradient_penalty,
    mean_absolute,
    relativistic_average,
    wasserstein_critic,
    wasserstein_generator,
)
from ganforge.networks.discriminators import UNetDiscriminator, VGGStyleDiscriminator
from ganforge.networks.spectral import FIRST_ITERATIONS, iterate
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.adversarial import discriminator_term, generator_term
from ganforge.systems.generators import (
    CropSystem,
    initialise,
    make_generator,
    restore_constants,
)
from ganforge.systems.optimizers import Adam
from ganforge.systems.penalties import ZeroCentredSettings, penalties
from ganforge.systems.perceptual import Perceptual, PerceptualTerm
from ganforge.systems.players import make_player
from ganforge.systems.rates import halved
from ganforge.systems.settings import StageSettings
from ganforge.systems.super_resolution import CropSettings

_ADAM = Adam(learning_rate=1e-4, betas=(0.9, 0.999))
_VGG = Perceptual(weight=1.0, before_activation=True, distance="l1")


class Settings(CropSettings, ZeroCentredSettings):
    """Defaults are those of section 4.1 and its published configuration."""

    system: str = setting("esrgan", "this system")
    generator_architecture: str = setting(
        "rrdbnet",
        "the generator: rrdbnet, srresnet, or spandrel:FAMILY, a published network such as "
        "spandrel:SwinIR",
        added=True,
    )
    growth: int = setting(32, "channels that each convolution of a dense block adds", ge=1)
    blocks: int = setting(23, "residual-in-residual dense blocks of the generator", ge=1)
    initial_scale: float = setting(0.1, "first weights are Kaiming's times this", gt=0)
    critic_form: Literal["published", "unet"] = setting(
        "published",
        "of the critic; unet: a score for each pixel (arXiv:2107.10833), without batch norm",
        added=True,
    )
    critic_norm: bool = setting(True, "batch norm in the critic; not with a gradient penalty")
    critic_spectral_norm: bool = setting(
        False,
        "spectral norm of the critic's weights (arXiv:1802.05957) in place of critic_norm",
        added=True,
    )
    objective: Literal["relativistic", "wasserstein", "hinge", "relativistic_pairs"] = setting(
        "relativistic",
        "relativistic average (published), WGAN-GP (described), hinge (arXiv:1705.02894), or real "
        "and generated images in pairs (arXiv:1807.00734)",
        per_stage=True,
    )
    gradient_penalty_weight: float = setting(10.0, "λ of the penalty", ge=0, per_stage=True)
    generator: Adam = setting(_ADAM, "the generator's optimizer", per_stage=True)
    critic: Adam = setting(_ADAM, "the critic's optimizer", per_stage=True)
    halvings: tuple[int, ...] = setting(
        (50_000, 100_000, 200_000, 300_000),
        "steps of an adversarial stage at which the learning rates are halved",
    )
    pixel_halvings: tuple[int, ...] = setting(
        (200_000, 400_000, 600_000, 800_000), "the same for a stage on pixels"
    )
    perceptual: Perceptual = setting(_VGG, "perceptual term")
    pixel_weight: float = setting(0.01, "weight of mean |hr - G(lr)|", ge=0, per_stage=True)
    adversarial_weight: float = setting(
        5e-3, "weight of the adversarial term; 0 trains no critic", ge=0, per_stage=True
    )
    stages: tuple[StageSettings, ...] = setting(
        (
            StageSettings(
                resolution=128,
                epochs=100,
                task="pixel",
                overrides={"generator.learning_rate": 2e-4},
            ),
            StageSettings(resolution=128, epochs=40),
        ),
        "the stages, in order: on pixels alone, then adversarial",
    )

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        if self.critic_form == "unet" and self.critic_norm:
            raise ValueError(
                "critic_norm = true: critic_form = unet has no batch norm; set critic_norm = false "
                "(and critic_spectral_norm = true, as published)"
            )
        if self.critic_spectral_norm and self.critic_norm:
            raise ValueError(
                "critic_spectral_norm = true: batch norm scales what the critic's weights are "
                "divided by; set critic_norm = false, or critic_spectral_norm = false"
            )
        if self.objective == "wasserstein" and self.critic_norm:
            raise ValueError(
                "critic_norm = true: batch norm mixes the samples that the gradient penalty of "
                "objective = wasserstein tells apart; set critic_norm = false"
            )
        return self

    def batch_norm(self) -> tuple[str, str] | None:
        return ("critic_norm = true", "critic_norm = false") if self.critic_norm else None


def make_critic(s: Settings) -> UNetDiscriminator | VGGStyleDiscriminator:
    """The critic that the settings describe, for crops of the first stage's size."""
    if s.critic_form == "unet":
        return UNetDiscriminator(s.channels, s.critic_width, spectral=s.critic_spectral_norm)
    norm = "inner" if s.critic_norm else "spectral" if s.critic_spectral_norm else "none"
    side = s.stages[0].resolution
    return VGGStyleDiscriminator(s.channels, side, s.critic_width, s.critic_dense, norm=norm)


class ESRGAN(CropSystem):
    """Equation 3 of arXiv:1809.00219 as the generator's objective, equation 1 as the critic's."""

    Settings = Settings
    capturable = True
    settings: Settings

    #: `described`: WGAN-GP as objective, and squared distances of features. `modern`: relativistic
    #: pairs with R1 and R2 (arXiv:2501.05441), and an average.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "modern": {
            "objective": "relativistic_pairs",
            "critic_norm": False,
            "r1_weight": 1.0,
            "r2_weight": 1.0,
            "average_images": 10_000,
        },
        "described": {
            "objective": "wasserstein",
            "critic_norm": False,
            "generator": {"learning_rate": 1e-4, "betas": (0.0, 0.9), "epsilon": 1e-8},
            "critic": {"learning_rate": 1e-4, "betas": (0.0, 0.9), "epsilon": 1e-8},
            "halvings": (),
            "perceptual.distance": "mse",
            "precision": "bfloat16",
            "images_per_epoch": None,
            "stages": (StageSettings(resolution=96, epochs=100),),
        },
        "quick": {
            "scale": 2,
            "width": 16,
            "growth": 8,
            "blocks": 2,
            "initial_scale": 0.5,
            "bicubic_skip": True,
            "critic_width": 8,
            "critic_dense": 32,
            "batch_size": 8,
            "shards": 2,
            "images_per_epoch": 256,
            "generator": {"learning_rate": 2e-3, "betas": (0.9, 0.99), "epsilon": 1e-8},
            "critic": {"learning_rate": 1e-3, "betas": (0.5, 0.999), "epsilon": 1e-8},
            "average_decay": 0.98,
            "perceptual.network": "none",
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
    }

    def __init__(self, settings: Settings, assets: Assets):
        super().__init__(settings, assets)
        s = settings
        self._perceptual = PerceptualTerm(s.perceptual, assets)
        self.generator = make_generator(s)
        self.critic = make_critic(s)
        self.init_block(0, "generator", lambda: initialise(self.generator, s))
        self.init_block(0, "critic", self.critic.initialise)
        iterate(self.critic, FIRST_ITERATIONS)
        self.players = (
            make_player(s, "critic", self.critic, factor=_factor, after_step=iterate),
            make_player(
                s,
                "generator",
                self.generator,
                factor=_factor,
                after_step=restore_constants,
                averaged=True,
            ),
        )

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        s: Settings = progress.settings
        on_pixels = progress.stage.task == "pixel"
        assert batch.source is not None
        if player == "critic":
            if on_pixels or not s.adversarial_weight:
                return {}
            with torch.no_grad():
                fake = self.generator(batch.source)
            added = penalties(self.critic, batch.target, fake, s)
            if s.objective in ("hinge", "relativistic_pairs"):
                value = discriminator_term(self.critic, batch.target, fake, s.objective)
                return {"adversarial": value} | added
            real_scores, fake_scores = self.critic(batch.target), self.critic(fake)
            if s.objective == "relativistic":
                return {"relativistic": relativistic_average(real_scores, fake_scores)} | added
            penalty = gradient_penalty(self.critic, batch.target, fake, *s.penalty_options)
            return {
                "wasserstein": wasserstein_critic(real_scores, fake_scores),
                "gradient_penalty": s.gradient_penalty_weight * penalty,
            } | added
        fake = self.generator(batch.source)
        pixel = mean_absolute(batch.target, fake)
        if on_pixels:
            return {"pixel": pixel}
        terms = self._perceptual.terms(s.perceptual, batch.target, fake)
        if s.pixel_weight:
            terms["pixel"] = s.pixel_weight * pixel
        if s.adversarial_weight:
            terms["adversarial"] = s.adversarial_weight * self._adversarial(batch, fake, s)
        return terms

    def _adversarial(self, batch: Batch, fake: Tensor, settings: Settings) -> Tensor:
        if settings.objective in ("hinge", "relativistic_pairs"):
            return generator_term(self.critic, batch.target, fake, settings.objective)
        scores = self.critic(fake)
        if settings.objective == "wasserstein":
            return wasserstein_generator(scores)
        return relativistic_average(scores, self.critic(batch.target))


def _factor(progress: Progress) -> float:
    s: Settings = progress.settings
    return halved(progress, s.pixel_halvings if progress.stage.task == "pixel" else s.halvings)
