"""Runs with sample grids in a store, without training; the grids are drawn as in training."""

import io
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import torch
from mlflow.entities import Metric, Param, RunInfo
from PIL import Image

from ganforge.layers import upsample_bicubic, upsample_nearest
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR
from ganforge.tracking.client import experiment_id, open_client
from ganforge.tracking.recorder import GRID, grid_files
from ganforge.training.grid import montage

TITLES = ProgressiveGANSR.sample_titles


@dataclass(frozen=True)
class Recorded:
    """A store with runs, and the pixels (N, side, side, 3) of the images that each generated, by
    run id and stage."""

    uri: str
    runs: list[str]
    generated: dict[tuple[str, int], np.ndarray]
    targets: dict[int, np.ndarray]


def photograph(number: int, side: int) -> np.ndarray:
    """(side, side, 3) in [-1, 1]: smooth waves with an edge, another for each number."""
    y, x = np.mgrid[0:side, 0:side] / side
    found = [np.sin(6 * x * (1 + number % 3) + c) * np.cos(5 * y + number + c) for c in range(3)]
    found = np.stack(found, -1) * 0.7
    found[(x + y * (1 + number % 2)) > 1.1] *= -0.8
    return found.clip(-1, 1)


def record(
    folder: Path,
    num_runs: int = 3,
    *,
    images: int = 2,
    sides: tuple[int, ...] = (16, 32),
    experiment: str = "faces",
    noise: float = 0.02,
    best: int = 1,
    num_stages: dict[int, int] | None = None,
) -> Recorded:
    """Runs of a search, whose stages have these sides, each twice the one before; run `best` adds
    the most to bicubic. A run has as many stages as
    `num_stages` gives it, by default all."""
    uri = f"sqlite:///{folder}/mlflow.db"
    client = open_client(uri)
    store = experiment_id(client, uri, experiment)
    draws = np.random.default_rng(0)
    targets: dict[int, np.ndarray] = {}
    generated: dict[tuple[str, int], np.ndarray] = {}
    runs = []
    for number in range(num_runs):
        searched = {"generator.learning_rate": 1e-4 * (1 + number), "width": 8 * (1 + number % 4)}
        tags = {"kind": "trial", "system": "progressive_gan_sr", "search": f"{experiment}-search"}
        name = f"trial {number}"
        run = client.create_run(store, tags=tags | {"outcome": "finished"}, run_name=name).info
        runs.append(run.run_id)
        for stage in range((num_stages or {}).get(number, len(sides))):
            side = sides[stage]
            planes = np.stack([photograph(n, side) for n in range(images)])
            target = torch.from_numpy(planes).permute(0, 3, 1, 2).float()
            low = torch.nn.functional.avg_pool2d(target, 2)
            bicubic = upsample_bicubic(low, 2).clamp(-1, 1)
            part = 0.9 if number == best else 0.5 * number / num_runs
            made = bicubic + part * (target - bicubic)
            made = made + noise * torch.from_numpy(draws.standard_normal(made.shape)).float()
            panes = [upsample_nearest(low, 2), bicubic, made.clamp(-1, 1), target]
            grid = Image.fromarray(montage(panes, TITLES).numpy())
            content = io.BytesIO()
            grid.save(content, "PNG")
            mark = 100 * (stage + 1)
            files = [(f"grids/stage-{stage}-{10:06d}.png", content.getvalue())]
            for path, data in [*files, *grid_files(GRID, grid, mark)]:
                put(run, path, data)
            generated[run.run_id, stage] = levels(panes[2])
            targets[stage] = levels(target)
        score = 30.0 + (5 if number == best else number / num_runs)
        params = searched | {"resolutions": " ".join(map(str, sides))}
        client.log_batch(
            run.run_id,
            metrics=[Metric("validation/psnr", score, 1, 1)],
            params=[Param(name, str(value)) for name, value in params.items()],
        )
        client.set_terminated(run.run_id)
    return Recorded(uri, runs, generated, targets)


def levels(images: torch.Tensor) -> np.ndarray:
    """(N, 3, H, W) in [-1, 1] to (N, H, W, 3) uint8."""
    found = ((images.double() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return found.permute(0, 2, 3, 1).contiguous().numpy()


def put(run: RunInfo, path: str, content: bytes) -> None:
    """Log bytes under a path of a run, quickly: the store is a folder of this machine."""
    root = Path(unquote(str(run.artifact_uri).removeprefix("file://")))
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
