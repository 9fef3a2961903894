"""What is measured and drawn of a state at a yield. Nothing here can change a weight.

Validation has the same held-out images at every stage, divided over the workers.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ganforge.assets import Assets
from ganforge.data.base import Data
from ganforge.data.batch import Batch
from ganforge.metrics import efflite0
from ganforge.metrics.set_metrics import chosen
from ganforge.networks.efficientnet_lite import EfficientNetLite0, is_efflite0
from ganforge.schedule import Plan, Progress
from ganforge.systems.base import System
from ganforge.training.grid import montage, sheets, strips
from ganforge.training.loop import Training
from ganforge.training.report import Report
from ganforge.training.workers import Workers


def measure(
    training: Training, plan: Plan, data: Data, workers: Workers, report: Report, assets: Assets
) -> Report:
    """A bare report with validation metrics and sample grids, where the plan has them.

    `assets` are the files that settings name, by content hash.
    """
    position = training.position
    # a stage's end is measured with the weights of its last step, at alpha = 1 after a fade
    progress = plan.progress(position.index, position.step)
    if plan.validates(position):
        found = validate(training.system, data, workers, progress, plan.seed, assets)
        report = replace(report, metrics=report.metrics | found)
    return draw(training, plan, data, workers.rank, report)


def draw(training: Training, plan: Plan, data: Data, rank: int, report: Report) -> Report:
    """A report with sample grids where the plan has them; on rank 0 alone."""
    position = training.position
    if rank or not plan.samples(position):
        return report
    batch = data.samples(position.index).to(plan.device)
    progress = plan.progress(position.index, position.step)
    samples, extra = draw_samples(training.system, batch, progress)
    return replace(report, samples=samples, extra=extra)


@torch.inference_mode()
def validate(
    system: System,
    data: Data,
    workers: Workers,
    progress: Progress,
    seed: int,
    assets: Assets | None = None,
) -> dict[str, float]:
    """Means over the held-out images and metrics of the whole set, as "validation/<name>"; equal
    on every rank.

    A chunk's metrics come from one worker; they are summed in image order in float64, so that the
    number of workers leaves no trace. Metrics of the set are left out right after a growth.
    `assets` are the files that settings name, by content hash.
    """
    measures = []
    features = _features(system, progress, assets or {})
    if progress.step > 0:
        measures = chosen(system.set_metrics, progress.settings, seed, assets or {})
    mine = {}
    for number in workers.round_robin(data.num_validation):
        batch = data.validation(progress.index, number).to(progress.alpha.device)
        metrics = {n: v.double().tolist() for n, v in system.validate(batch, progress).items()}
        if features is not None:
            metrics |= _looks(features, system, batch, progress)
        described = []
        if measures:
            assert batch.index is not None
            fake = system.generated(batch, progress)
            described = [
                tuple(measure.describe(images, batch.index) for images in (batch.target, fake))
                for measure in measures
            ]
        mine[number] = (metrics, described)
    everyone = workers.gather(mine)
    found = {}
    for name in everyone[0][0] if everyone else ():
        values = [value for metrics, _ in everyone for value in metrics[name]]
        found[f"validation/{name}"] = math.fsum(values) / len(values)
    if everyone:
        for number, measure in enumerate(measures):
            real, fake = zip(*(described[number] for _, described in everyone), strict=True)
            for name, value in measure.compare(real, fake).items():
                found[f"validation/{name}"] = value
    return found


def _features(system: System, progress: Progress, assets: Assets) -> EfficientNetLite0 | None:
    """The network that a paired system's images are compared by, where settings name it."""
    tensors = assets.get(progress.settings.validation.fid_network, {})
    return EfficientNetLite0(tensors) if system.paired and is_efflite0(tensors) else None


def _looks(
    features: EfficientNetLite0, system: System, batch: Batch, progress: Progress
) -> dict[str, list[float]]:
    """How differently each image looks from its target, and so of the system's baselines."""
    return {
        f"perceptual_efflite0{suffix}": [
            efflite0.measured(features, image, target)
            for image, target in zip(images, batch.target, strict=True)
        ]
        for suffix, images in system.against_target(batch, progress).items()
    }


@torch.inference_mode()
def draw_samples(
    system: System, batch: Batch, progress: Progress
) -> tuple[Tensor, dict[str, Tensor]]:
    """The sample grid of fixed held-out images, uint8 (H, W, 3), and other grids by name.

    A system that is given a source has a row for each image; one that is not has a sheet of what
    it makes next to a sheet of real images, which are not its targets.
    """
    titles = system.sample_titles
    panes = [pane.float().cpu() for pane in system.sample(batch, progress)]
    if batch.source is not None:
        grid = montage(panes, titles)
    else:
        grid = sheets(panes, titles, None if batch.label is None else batch.label.tolist())
    shown = system.strips(progress)
    return grid, {} if shown is None else {"samples/interpolation": strips(shown.float().cpu())}
