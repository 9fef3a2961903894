"""Images from one model through others, one after the other, and the record of that chain."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganforge.inference.enlarge import enlarge
from ganforge.inference.images import photo_of
from ganforge.inference.model import Model
from ganforge.inference.tiles import check_memory
from ganforge.training.checkpoint import pack


@dataclass(frozen=True)
class Link:
    """A model of a chain: what it was named by, without folders of this machine, the run it is
    recorded in, and the sha256 of its weights as a safetensors file."""

    model: str
    run_id: str | None
    system: str
    stage: int
    scale: int
    sha256: str


def link(model: Model, reference: str, run_id: str | None) -> Link:
    """The record of a loaded model."""
    weights = pack(dict(model.network.state_dict()))
    recorded = ":/" in reference or re.fullmatch("[0-9a-f]{32}", reference)
    name = reference if recorded else reference.rstrip("/").rpartition("/")[2]
    digest = hashlib.sha256(weights).hexdigest()
    return Link(name, run_id, model.system, model.stage, model.scale, digest)


def refined(levels: NDArray[Any], models: Sequence[Model], tile: int | None) -> NDArray[Any]:
    """Levels (H, W, C) uint8 through models of images, in order. Between two of them they are
    rounded to 8 bits: so the result is that of a command for each model, with files between."""
    for model in models:
        height, width = levels.shape[:2]
        if tile is None:
            check_memory(model.network, model.channels, height, width, "an image of this chain")
        photo = photo_of(np.ascontiguousarray(levels), 8)
        levels = enlarge(
            model.network, photo, scale=model.scale, channels=model.channels, tile=tile
        )
    return levels
