"""What the loop yields to whoever listens."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ganforge.schedule import Kind, Position


@dataclass(frozen=True)
class Report:
    """The state of a run at a position; a function of the position, the same on every rank.

    `images` is the number shown to the critic so far, all stages summed: the axis of every curve.
    `metrics` are named like "critic/wasserstein", "validation/psnr", "stage/alpha". `samples` is
    the sample grid, uint8 (H, W, 3), and `extra` are other grids by name. At a stage end `stage` is
    the row of stages.json and `averaged` the safetensors bytes of the averaged generator.
    """

    position: Position
    kind: Kind
    images: int
    metrics: dict[str, float]
    samples: Tensor | None = None
    stage: dict[str, Any] | None = field(default=None)
    averaged: bytes | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)
