"""What exactness costs: a sharded step of the loop beside a plain whole-batch step.

    python tests/benchmarks/shards.py [--steps 20] [--width 64]

Both train ProgressiveGAN-SR with the same batches, alternating block by block in one process, so
that a noisy machine is noisy for both. The plain step is one forward and backward pass over the
whole batch per player: what `shards = 1` runs. The hashes of 1 … 4 workers are printed as well.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ganforge.data.prepare import open_data
from ganforge.schedule import Position
from ganforge.settings import override
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR, Settings
from ganforge.systems.settings import ladder
from ganforge.training.loop import Means, Training, due, grow, take_turn
from ganforge.training.prepare import prepare
from ganforge.training.workers import Workers


def images(folder: Path) -> None:
    y, x = np.mgrid[0:160, 0:160] / 9.0
    for number in range(6):
        waves = [np.sin(x * (1 + number / 3) + c) * np.cos(y + c) * 100 + 128 for c in range(3)]
        Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(folder / f"{number}.png")


class Side:
    """One way of taking steps, with its own networks."""

    def __init__(self, root: str, shards: int, width: int):
        changes = {
            "width": width, "shards": shards, "data.root": root, "data.view": "crop",
            "perceptual.network": "none", "critic_steps": 1, "images_per_epoch": 160,
            "stages": ladder(16, 32, epochs=100), "device": "cpu",
        }  # fmt: skip
        prepared = prepare("progressive_gan_sr", override(Settings(), changes))
        self.plan = prepared.plan()
        self.data = open_data("super_resolution", prepared.settings, self.plan.stages, 2, 0)
        self.training = Training(ProgressiveGANSR(prepared.settings, {}), Position())
        grow(self.training.system, self.plan, 0)
        self.step = 0

    def steps(self, count: int) -> float:
        """Seconds of one step, over `count` steps."""
        began = time.perf_counter()
        for _ in range(count):
            progress = self.plan.progress(0, self.step)
            for player in due(self.training.system.players, progress):
                take_turn(
                    self.training.system, player, progress, self.plan, self.data, Workers(), Means()
                )
            self.step += 1
        return (time.perf_counter() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--width", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        images(Path(folder))
        sides = {shards: Side(folder, shards, given.width) for shards in (1, 2, 4)}
        for side in sides.values():
            side.steps(2)
        seconds: dict[int, list[float]] = {shards: [] for shards in sides}
        for _ in range(max(1, given.steps // 4)):
            for shards, side in sides.items():
                seconds[shards].append(side.steps(4))
        whole = statistics.median(seconds[1])
        print(f"batch 16, width {given.width}, target 32 px, one thread")
        for shards, found in seconds.items():
            median = statistics.median(found)
            ratio = median / whole
            print(f"shards {shards}: {median * 1000:7.1f} ms a step, {ratio:.2f} of whole-batch")
        for side in sides.values():
            side.data.close()


if __name__ == "__main__":
    main()
