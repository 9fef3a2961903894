"""Validation at a position: the same held-out pictures at every stage, dealt over the workers."""

import math

import torch
from torch import Tensor

from ganforge.data.base import Data
from ganforge.data.batch import Batch
from ganforge.schedule import Progress
from ganforge.systems.base import System
from ganforge.training.grid import montage
from ganforge.training.wasserstein import descriptors, sliced_wasserstein
from ganforge.training.workers import Workers


@torch.inference_mode()
def validate(
    system: System, data: Data, workers: Workers, progress: Progress, seed: int
) -> dict[str, float]:
    """Means over the held-out pictures, as "validation/<name>"; equal on every rank.

    A picture's figures come from one worker; they are summed in picture order in float64, so that
    the number of workers leaves no trace. Sliced Wasserstein distance at stage ends alone.
    """
    settings = progress.settings.validation
    distances = settings.sliced_wasserstein and progress.step == progress.stage.steps
    mine = {}
    for number in workers.deal(data.num_validation):
        batch = data.validation(number).to(progress.alpha.device)
        figures = {n: v.double().mean().item() for n, v in system.validate(batch, progress).items()}
        pair = ()
        if distances:
            fake = system.generated(batch, progress)
            pair = tuple(
                descriptors(images[0].float().cpu(), seed, "swd", number)
                for images in (batch.target, fake)
            )
        mine[number] = (figures, pair)
    everyone = workers.gather(mine)
    found = {
        f"validation/{name}": math.fsum(row[0][name] for row in everyone) / len(everyone)
        for name in (everyone[0][0] if everyone else {})
    }
    if distances and everyone:
        real, fake = zip(*(row[1] for row in everyone), strict=True)
        for level, value in sliced_wasserstein(list(real), list(fake), seed, "swd").items():
            found[f"validation/swd_{level}" if level != "mean" else "validation/swd"] = value
    return found


@torch.inference_mode()
def draw_samples(system: System, batch: Batch, progress: Progress) -> Tensor:
    """The sample grid of fixed held-out pictures, uint8 (H, W, 3)."""
    titles = system.sample_titles
    return montage([pane.float().cpu() for pane in system.sample(batch, progress)], titles)
