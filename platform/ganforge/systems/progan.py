"""ProGAN in two variants: Progressive Growing of GANs (arXiv:1710.10196), from noise to an image.

ganforge train progan_a --data images
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.data.settings import DataSettings
from ganforge.draws import latents
from ganforge.layers import fade_real, slerp
from ganforge.losses import drift, gradient_penalty, wasserstein_critic, wasserstein_generator
from ganforge.networks.from_latent import GrowingGenerator
from ganforge.networks.progressive import GrowingCritic
from ganforge.schedule import Progress
from ganforge.settings import setting
from ganforge.systems.augmented import AugmentedSettings
from ganforge.systems.averages import AverageSettings
from ganforge.systems.base import Metric
from ganforge.systems.latent import LatentGenerator, LatentSettings, LatentSystem, eval_mode
from ganforge.systems.optimizers import Adam
from ganforge.systems.penalties import PenaltySettings
from ganforge.systems.players import make_player
from ganforge.systems.settings import StageSettings, doubling_problems, ladder

#: Images of a fade, and of the training after it (appendix A.1).
IMAGES = 800_000
#: Rows of the interpolation strip, and images from one latent to the next.
STRIP_ROWS, STRIP_COLUMNS = 3, 8


def stages(
    start: int, target: int, epochs: int, batch_sizes: Callable[[int], int]
) -> tuple[StageSettings, ...]:
    """A ladder whose newest block fades in over the first half of each stage."""
    rows = ladder(start, target, scale=1, epochs=epochs, fade_epochs=epochs / 2)
    return tuple(
        row.model_copy(update={"overrides": {"batch_size": batch_sizes(row.resolution)}})
        for row in rows
    )


def batch_a(resolution: int) -> int:
    """32, 32, 32, 16, 16, 16, 16, 8, 4 from 4 to 1024 px."""
    return 32 if resolution <= 16 else min(16, 4096 // resolution)


def batch_t(resolution: int) -> int:
    """8, 8, 8, 4, 4, 4, 4, 2, 1 from 4 to 1024 px."""
    return batch_a(resolution) // 4


def batch_paper(resolution: int) -> int:
    """PGGAN appendix A.1: 16 up to 128 px, then 14, 6, 3."""
    return {256: 14, 512: 6, 1024: 3}.get(resolution, 16)


def paper_stages(target: int) -> tuple[StageSettings, ...]:
    """PGGAN appendix A.1: 800k images of fade and 800k without, in each stage after the first."""
    return tuple(
        StageSettings(
            resolution=row.resolution,
            images=2 * IMAGES if number else IMAGES,
            fade_images=IMAGES if number else 0,
            overrides={"batch_size": batch_paper(row.resolution)},
        )
        for number, row in enumerate(ladder(4, target, scale=1))
    )


STAGES_A = stages(4, 256, 5, batch_a)
STAGES_T = stages(4, 1024, 30, batch_t)


class ProGANSettings(LatentSettings, AugmentedSettings, AverageSettings, PenaltySettings):
    """What both variants share, with PGGAN's values (appendix A.1) where a description departs."""

    latent_size: int = setting(128, "Z: numbers in a latent, put on the unit hypersphere", ge=1)
    channels: int = setting(3, "image channels: 3 colour, 1 grey", ge=1, le=4)
    width: int = setting(128, "base width W: channels up to 32 px", ge=1)
    networks: Literal["pggan", "reference"] = setting(
        "pggan",
        "layers as in PGGAN's table 2, or as the description's reference networks have them",
    )
    data: DataSettings = setting(DataSettings(), "images")
    generator: Adam = setting(Adam(), "the generator's optimizer", per_stage=True)
    critic: Adam = setting(Adam(), "the critic's optimizer", per_stage=True)
    critic_steps: int = setting(1, "critic turns for one generator turn", ge=1, per_stage=True)
    gradient_penalty_weight: float = setting(10.0, "λ of the penalty", ge=0, per_stage=True)
    drift_weight: float = setting(1e-3, "ε of the drift term", ge=0, per_stage=True)
    average_decay: float = setting(
        0.999, "decay per step of the averaged generator", ge=0, lt=1, per_stage=True
    )

    @model_validator(mode="after")
    def _check_ladder(self) -> Self:
        if problems := doubling_problems(self.stages, 4, "the networks begin at 4 × 4"):
            raise ValueError("\n".join(problems))
        widest = self.stages[-1].resolution
        if self.width < widest // 32:
            raise ValueError(
                f"width = {self.width}: must be at least {widest // 32}, so that {widest} px are "
                "left with a channel; raise it, or stop at a smaller resolution"
            )
        return self


class SettingsA(ProGANSettings):
    """Five epochs a stage, the fade in the first half; up to 256 px."""

    system: str = setting("progan_a", "this system")
    batch_size: int = setting(32, "images per step over all workers", ge=1, per_stage=True)
    stages: tuple[StageSettings, ...] = setting(STAGES_A, "the stages, in order")


class SettingsT(ProGANSettings):
    """Thirty epochs a stage, the fade in the first half; up to 1024 px, where a batch is one."""

    system: str = setting("progan_t", "this system")
    latent_size: int = setting(256, "Z: numbers in a latent, put on the unit hypersphere", ge=1)
    width: int = setting(256, "base width W: channels up to 32 px", ge=1)
    batch_size: int = setting(8, "images per step over all workers", ge=1, per_stage=True)
    shards: int = setting(
        1, "slices of a batch with their own forward pass; also the most workers", ge=1
    )
    stages: tuple[StageSettings, ...] = setting(STAGES_T, "the stages, in order")


#: The published run: 512 channels, 512 numbers in a latent, lengths in images.
PGGAN: dict[str, Any] = {
    "latent_size": 512,
    "width": 512,
    "batch_size": 16,
    "shards": 1,
    "stages": paper_stages(1024),
}

#: The defaults with the penalty without a double backward pass, DiffAugment as published, and an
#: average that remembers as many images at every batch size of the ladder.
MODERN: dict[str, Any] = {
    "gradient_penalty_sigma": 0.1,
    "augment": {"color": 1.0, "translation": 0.125, "cutout": 0.5},
    "average_images": 10_000,
}

QUICK: dict[str, Any] = {
    "latent_size": 32,
    "width": 16,
    "batch_size": 8,
    "shards": 2,
    "generator": {"learning_rate": 3e-3, "betas": (0.0, 0.99), "epsilon": 1e-8},
    "critic": {"learning_rate": 3e-3, "betas": (0.0, 0.99), "epsilon": 1e-8},
    "average_decay": 0.98,
    "images_per_epoch": 256,
    "data.view": "crop",
    "data.max_side": 160,
    "validation.fraction": 0.3,
    "stages": ladder(4, 32, scale=1, epochs=2, fade_epochs=1),
}


class ProGAN(LatentSystem):
    """The networks and objectives of both variants.

    Runs are compared by the distance of features, which images of 4 pixels have too.
    """

    metric = Metric("validation/fid_proxy", "min")
    metrics = (Metric("validation/kid_proxy", "min"), Metric("validation/swd", "min"))
    settings: Any

    def __init__(self, settings: Any, assets: Assets):
        super().__init__(settings, assets)
        reference = settings.networks == "reference"
        self.generator = GrowingGenerator(
            settings.latent_size, settings.channels, settings.width, plain=reference
        )
        self.critic = GrowingCritic(settings.channels, settings.width, least=1, early=reference)
        self.players = (
            make_player(settings, "critic", self.critic),
            make_player(settings, "generator", self.generator, every="critic_steps", averaged=True),
        )

    def grow(self, index: int) -> None:
        generator, critic = self.generator, self.critic
        resolution = self.settings.stages[index].resolution
        first = resolution
        if index == 0:
            self.init_block(index, "generator.base", generator.grow_base)
            self.init_block(index, "critic.end", critic.grow_end)
            first = 8
        while first <= resolution:
            self.init_block(index, f"generator.{first}", lambda r=first: generator.grow_block(r))
            self.init_block(index, f"critic.{first}", lambda r=first: critic.grow_block(r))
            first *= 2
        self.init_block(index, "generator.to_image", lambda: generator.grow_to_image(resolution))
        self.init_block(index, "critic.from_image", lambda: critic.grow_from_image(resolution))

    def images(
        self, network: nn.Module, latent: Tensor, batch: Batch, progress: Progress
    ) -> Tensor:
        return network(latent, progress.fading, progress.alpha)

    def losses(self, player: str, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        where = (progress.fading, progress.alpha)
        s: ProGANSettings = progress.settings
        latent = self.draw_latents(batch)
        if player == "generator":
            scores = self.critic(s.augment(self.generator(latent, *where)), *where)
            return {"adversarial": wasserstein_generator(scores)}
        with torch.no_grad():
            fake = s.augment(self.generator(latent, *where))
        real = fade_real(batch.target, progress.alpha) if progress.fading else batch.target
        real = s.augment(real)
        real_scores = self.critic(real, *where)
        penalty = gradient_penalty(
            lambda between: self.critic(between, *where), real, fake, *s.penalty_options
        )
        terms = {
            "wasserstein": wasserstein_critic(real_scores, self.critic(fake, *where)),
            "gradient_penalty": s.gradient_penalty_weight * penalty,
        }
        return terms | ({"drift": s.drift_weight * drift(real_scores)} if s.drift_weight else {})

    def strips(self, progress: Progress) -> Tensor:
        """Each row goes from one fixed latent to another along the great circle between them."""
        ends = torch.arange(2 * STRIP_ROWS, device=progress.alpha.device)
        first, second = latents(
            self.settings.latent_size, ends, self.settings.seed, "strips"
        ).chunk(2)
        steps = [column / (STRIP_COLUMNS - 1) for column in range(STRIP_COLUMNS)]
        path = torch.stack([slerp(first, second, step) for step in steps], dim=1)
        with eval_mode(self.averaged()) as network:
            made = network(path.flatten(0, 1), progress.fading, progress.alpha)
        return made.clamp(-1, 1).unflatten(0, path.shape[:2])

    def deploy(self, progress: Progress) -> nn.Module:
        return GrowingLatentGenerator(self.averaged(), self.settings.latent_size, progress)


class ProGANA(ProGAN):
    """ProGAN-A: progressive growing from noise, width 128, batches from 32 (arXiv:1710.10196)."""

    Settings = SettingsA
    capturable = True
    #: `described`: reference networks, mixed precision, and the description's first resolution.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "described": {
            "networks": "reference",
            "generator.betas": (0.0, 0.999),
            "critic.betas": (0.0, 0.999),
            "precision": "bfloat16",
            "stages": stages(64, 256, 5, batch_a),
        },
        "pggan": PGGAN,
        "modern": MODERN,
        "quick": QUICK,
    }


class ProGANT(ProGAN):
    """ProGAN-T: progressive growing from noise, width 256, batches from 8 (arXiv:1710.10196)."""

    Settings = SettingsT
    capturable = True
    #: `described`: reference networks, mixed precision, and the description's first resolution.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "described": {
            "networks": "reference",
            "latent_size": 512,
            "width": 512,
            "precision": "bfloat16",
            "stages": stages(128, 1024, 30, batch_t),
        },
        "pggan": PGGAN,
        "modern": MODERN,
        "quick": QUICK | {"latent_size": 64, "batch_size": 4, "shards": 1, "images_per_epoch": 192},
    }


class GrowingLatentGenerator(LatentGenerator):
    """A finished stage's averaged generator: latents (N, Z) to images in [-1, 1]."""

    def __init__(self, network: nn.Module, latent_size: int, progress: Progress):
        super().__init__(network, latent_size)
        self.fading = progress.fading
        if not self.fading:
            assert isinstance(self.network, GrowingGenerator)
            self.network.drop_old_exit()
        self.register_buffer("alpha", progress.alpha.clone(), persistent=False)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.network(latents, self.fading, self.alpha).clamp(-1, 1)
