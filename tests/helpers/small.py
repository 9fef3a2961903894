"""The smallest run of the flagship."""

from typing import Any

from ganforge.settings import override
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.systems.settings import SystemSettings, ladder

SYSTEM = "progressive_gan_sr"
METRIC = ProgressiveGANSR.metric
_TINY: dict[str, Any] = {
    "width": 4,
    "critic_steps": 1,
    "batch_size": 4,
    "shards": 2,
    "images_per_epoch": 8,
    "reports_per_stage": 1,
    "bicubic_skip": True,
    "pixel_weight": 5.0,
    "average_decay": 0.5,
    "perceptual.network": "none",
    "validation.images": 1,
    "validation.max_side": 32,
    "validation.samples": 1,
    "validation.sliced_wasserstein": False,
}


def tiny(stages: int = 3, **changes: Any) -> SystemSettings:
    """Settings whose training takes seconds."""
    rows = ladder(4, 4 * 2**stages, epochs=1)
    base = ProgressiveGANSR.Settings().model_copy(update={"stages": rows})
    return override(base, _TINY | changes)
