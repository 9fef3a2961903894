"""ProgressiveGAN-SR: super-resolution by progressive growing (after arXiv:1710.10196).

ganforge train progressive_gan_sr --data images
"""

import copy
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.layers import fade_real
from ganforge.losses import (
    drift,
    gradient_penalty,
    mean_absolute,
    wasserstein_critic,
    wasserstein_generator,
)
from ganforge.networks.progressive import GrowingCritic, GrowingUpscaler, generator_plan
from ganforge.reach import Span
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.averages import AverageSettings
from ganforge.systems.optimizers import Adam
from ganforge.systems.penalties import PenaltySettings
from ganforge.systems.perceptual import FeatureTerm, PerceptualTerm, resolve_perceptual
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings, doubling_problems, ladder
from ganforge.systems.super_resolution import SuperResolution


class GatedPerceptual(FeatureTerm):
    """The VGG-19 block-1 term, λ·mean((φ(hr) - φ(G(lr)))²), from images of a least size on."""

    min_size: int = setting(32, "smallest side at which the term is used", ge=1)
    gate: Literal["hr", "lr"] = setting("hr", "the side that is compared with min_size")


class Settings(AverageSettings, PenaltySettings):
    """Defaults are those of PGGAN appendix A.1 where the description departs from it."""

    system: str = setting("progressive_gan_sr", "this system")
    scale: Literal[2, 4] = setting(2, "super-resolution factor")
    width: int = setting(512, "base width W: channels before the first halving", ge=4)
    plan: Literal["by-resolution", "compact"] = setting(
        "by-resolution", "how the generator's channels shrink from block to block"
    )
    bicubic_skip: bool = setting(False, "the generator adds to the bicubic enlargement")
    growth: Literal["described", "preserving"] = setting(
        "described",
        "described: a new upsampling block and head fade in; preserving: they stay, and a residual "
        "block that changes nothing at first enters before them",
        added=True,
    )
    generator: Adam = setting(Adam(), "the generator's optimizer", per_stage=True)
    critic: Adam = setting(Adam(), "the critic's optimizer", per_stage=True)
    critic_steps: int = setting(5, "critic turns for one generator turn", ge=1, per_stage=True)
    gradient_penalty_weight: float = setting(10.0, "λ of the penalty", ge=0, per_stage=True)
    drift_weight: float = setting(1e-3, "ε of the drift term", ge=0, per_stage=True)
    adversarial_weight: float = setting(
        1.0, "weight of -D(G(lr)); 0 trains no critic", ge=0, per_stage=True
    )
    pixel_weight: float = setting(0.0, "weight of mean |hr - G(lr)|", ge=0, per_stage=True)
    perceptual: GatedPerceptual = setting(GatedPerceptual(), "perceptual term")
    average_decay: float = setting(
        0.999, "decay per step of the averaged generator", ge=0, lt=1, per_stage=True
    )
    stages: tuple[StageSettings, ...] = setting(
        ladder(16, 256, epochs=(256, 512), fade_epochs=256), "the stages, in order"
    )

    @model_validator(mode="after")
    def _check_ladder(self) -> Self:
        why = f"a source of 4 pixels at scale {self.scale}"
        if problems := doubling_problems(self.stages, 4 * self.scale, why):
            raise ValueError("\n".join(problems))
        return self


#: Longer than `distortion`: the last block trains on larger crops in smaller batches, while the
#: learning rate falls along a cosine. About half an hour of two cores.
FIDELITY: dict[str, Any] = {
    "width": 64,
    "plan": "compact",
    "growth": "preserving",
    "shards": 2,
    "critic_steps": 1,
    "generator": {"learning_rate": 3e-3, "betas": (0.9, 0.99), "epsilon": 1e-8},
    "bicubic_skip": True,
    "pixel_weight": 1.0,
    "adversarial_weight": 0.0,
    "average_decay": 0.995,
    "perceptual.network": "none",
    "data.view": "crop",
    "data.smaller": "skip",
    "images_per_epoch": 2048,
    "stages": (
        StageSettings(resolution=32, iterations=500),
        StageSettings(resolution=64, iterations=6000),
        StageSettings(
            resolution=128,
            iterations=12000,
            overrides={
                "batch_size": 4,
                "generator.schedule.kind": "cosine",
                "generator.schedule.hold": 0.3,
                "generator.schedule.end": 0.01,
            },
        ),
    ),
}


class ProgressiveGANSR(SuperResolution):
    """The fade-in of arXiv:1710.10196, section 2, and its objective (appendix A.1) with two more
    terms: pixels, and features of VGG-19."""

    Settings = Settings
    capturable = True
    settings: Settings

    #: `paper` is the defaults. `described` is the description's own numbers.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "described": {
            "generator": {"learning_rate": 0.01, "betas": (0.5, 0.9), "epsilon": 1e-7},
            "critic": {"learning_rate": 0.01, "betas": (0.5, 0.9), "epsilon": 1e-7},
            "gradient_penalty_weight": 5.0,
            "drift_weight": 0.0,
            "alpha_unit": "epoch",
            "validation.fraction": 0.2,
        },
        "quick": {
            "width": 16,
            "growth": "preserving",
            "batch_size": 8,
            "shards": 2,
            "critic_steps": 1,
            "generator": {"learning_rate": 4e-3, "betas": (0.9, 0.99), "epsilon": 1e-8},
            "critic": {"learning_rate": 3e-3, "betas": (0.0, 0.99), "epsilon": 1e-8},
            "bicubic_skip": True,
            "pixel_weight": 20.0,
            "adversarial_weight": 0.05,
            "average_decay": 0.98,
            "perceptual.network": "none",
            "data.view": "crop",
            "data.max_side": 224,
            "images_per_epoch": 512,
            "validation.fraction": 0.3,
            "validation.images": 4,
            "stages": ladder(8, 64, epochs=(4, 3), fade_epochs=1),
        },
        "distortion": {
            "width": 64,
            "plan": "compact",
            "growth": "preserving",
            "critic_steps": 1,
            "generator": {"learning_rate": 3e-3, "betas": (0.9, 0.99), "epsilon": 1e-8},
            "bicubic_skip": True,
            "pixel_weight": 1.0,
            "adversarial_weight": 0.0,
            "average_decay": 0.99,
            "perceptual.network": "none",
            "data.view": "crop",
            "images_per_epoch": 2048,
            "stages": ladder(16, 64, epochs=(4, 8), fade_epochs=1),
        },
        "fidelity": FIDELITY,
    }

    def __init__(self, settings: Settings, assets: Assets):
        super().__init__(settings, assets)
        self._perceptual = PerceptualTerm(settings.perceptual, assets)
        self.generator = GrowingUpscaler(
            settings.channels,
            settings.width,
            settings.scale,
            bicubic_skip=settings.bicubic_skip,
            preserving=settings.growth == "preserving",
        )
        self.critic = GrowingCritic(settings.channels, settings.width)
        start = settings.stages[0].resolution // settings.scale
        self.plan = generator_plan(settings.plan, settings.width, start, len(settings.stages))
        self.players = (
            make_player(settings, "critic", self.critic),
            make_player(settings, "generator", self.generator, every="critic_steps", averaged=True),
        )

    @classmethod
    def resolve(cls, settings: Settings) -> tuple[Settings, Assets, list[str]]:
        return resolve_perceptual(settings)

    def grow(self, index: int) -> None:
        resolution = self.settings.stages[index].resolution
        generator, critic = self.generator, self.critic
        if index == 0:
            self.init_block(index, "generator.base", generator.grow_base)
            self.init_block(index, "critic.end", critic.grow_end)
            side = resolution // 2
            while side > 4:
                self.init_block(index, f"critic.{side}", lambda r=side: critic.grow_block(r))
                side //= 2
        channels = self.plan[index]
        self.init_block(index, "generator.block", lambda: generator.grow_block(index, channels))
        if index == 0 or not generator.preserving:
            self.init_block(index, "generator.head", lambda: generator.grow_head(index))
        self.init_block(index, f"critic.{resolution}", lambda: critic.grow_block(resolution))
        self.init_block(index, "critic.from_image", lambda: critic.grow_from_image(resolution))

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        s: Settings = progress.settings
        if player == "critic" and s.adversarial_weight == 0:
            return {}
        assert batch.source is not None
        where = (progress.fading, progress.alpha)
        real = batch.target
        if progress.fading and s.growth == "described":
            # a generator that fades is compared with images that do
            real = fade_real(real, progress.alpha)
        if player == "critic":
            with torch.no_grad():
                fake = self.generator(batch.source, *where)
            real_scores = self.critic(real, *where)
            penalty = gradient_penalty(
                lambda images: self.critic(images, *where), real, fake, *s.penalty_options
            )
            terms = {
                "wasserstein": wasserstein_critic(real_scores, self.critic(fake, *where)),
                "gradient_penalty": s.gradient_penalty_weight * penalty,
            }
            return terms | (
                {"drift": s.drift_weight * drift(real_scores)} if s.drift_weight else {}
            )
        fake = self.generator(batch.source, *where)
        terms = {}
        if s.adversarial_weight:
            scores = self.critic(fake, *where)
            terms["adversarial"] = s.adversarial_weight * wasserstein_generator(scores)
        if s.pixel_weight:
            terms["pixel"] = s.pixel_weight * mean_absolute(real, fake)
        if self._gate_open(batch, s):
            terms |= self._perceptual.terms(s.perceptual, real, fake, fake.dtype)
        return terms

    @staticmethod
    def _gate_open(batch: Batch, settings: Settings) -> bool:
        gated = batch.target if settings.perceptual.gate == "hr" else batch.source
        assert gated is not None
        return gated.shape[-1] >= settings.perceptual.min_size

    def generated(self, batch: Batch, progress: Progress) -> Tensor:
        average = self.players[1].average
        assert average is not None and batch.source is not None
        return average(batch.source, progress.fading, progress.alpha).clamp(-1, 1)

    def deploy(self, progress: Progress) -> nn.Module:
        return Upscaler(self.players[1].average, progress)


class Upscaler(nn.Module):
    """A finished stage's averaged generator: (N, C, H, W) in [-1, 1] to (N, C, s·H, s·W)."""

    def __init__(self, average: nn.Module | None, progress: Progress):
        super().__init__()
        assert isinstance(average, GrowingUpscaler)
        self.network = copy.deepcopy(average)
        self.fading = progress.fading
        if not self.fading:
            self.network.drop_old_head()
        self.register_buffer("alpha", progress.alpha.clone(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images, self.fading, self.alpha).clamp(-1, 1)

    def receptive_field(self, span: Span) -> Span:
        return self.network.receptive_field(span, self.fading)
