"""Settings of the ProGAN variants: which sizes, how long, in which batches."""

from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import model_validator

from ganforge.data.settings import DataSettings
from ganforge.settings import setting
from ganforge.systems.latent import LatentSettings
from ganforge.systems.optimizers import Adam
from ganforge.systems.settings import StageSettings, doubling_problems, ladder

IMAGES = 800_000


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


class ProGANSettings(LatentSettings):
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

#: The descriptions' numbers: reference networks, mixed precision, and where their loops begin.
PRESETS_A: dict[str, dict[str, Any]] = {
    "paper": {},
    "described": {
        "networks": "reference",
        "generator.betas": (0.0, 0.999),
        "critic.betas": (0.0, 0.999),
        "precision": "bfloat16",
        "stages": stages(64, 256, 5, batch_a),
    },
    "pggan": PGGAN,
    "quick": QUICK,
}
PRESETS_T: dict[str, dict[str, Any]] = {
    "paper": {},
    "described": {
        "networks": "reference",
        "latent_size": 512,
        "width": 512,
        "precision": "bfloat16",
        "stages": stages(128, 1024, 30, batch_t),
    },
    "pggan": PGGAN,
    "quick": QUICK | {"latent_size": 64, "batch_size": 4, "shards": 1, "images_per_epoch": 192},
}
