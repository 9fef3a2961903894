"""Ways to grow the flagship: PSNR on a benchmark against seconds of the processor.

    python tests/benchmarks/growth.py --data DIR --benchmark DIR --seeds 3 --seconds 600 --json OUT

Three arms with the same crops, learning rate and network: grown as described, grown preserving what
was trained, and preserving's last network at the last size from the first step on. Each is measured
on the whole benchmark (HR/ and LR/) a dozen times a stage, as validation images of its own, and
ends after so many seconds of one core, measuring included. OUT has an entry per arm and seed with
its curve; what it has is not run again. The table shows the means over seeds; --image draws them.
"""

import argparse
import json
import math
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ganforge.settings import override
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import StageSettings
from ganforge.training.prepare import prepare
from ganforge.training.run import run

SYSTEM = "progressive_gan_sr"
SIZES = (32, 64, 128)
#: epochs of 512 crops of the first two stages; the last one lasts until time is over
EARLY, IMAGES, LAST = 8, 512, 1000
ARMS: dict[str, dict[str, Any]] = {
    "described": {"growth": "described"},
    "preserving": {"growth": "preserving"},
    "one size": {"growth": "preserving", "stages.0.iterations": 1, "stages.1.iterations": 1},
}


def curve(arm: str, seed: int, data: Path, benchmark: Path, seconds: float) -> list[list[float]]:
    """[seconds, side of the stage, PSNR] after each measurement, until so many seconds."""
    kind = load_system(SYSTEM)
    stages = tuple(
        StageSettings(resolution=side, epochs=LAST if side == SIZES[-1] else EARLY)
        for side in SIZES
    )
    changes: dict[str, Any] = {
        "stages": stages,
        "width": 32,
        "images_per_epoch": IMAGES,
        "seed": seed,
        "threads": 1,
        "device": "cpu",
        "data.root": str(data),
        "data.smaller": "skip",
        "validation.root": str(benchmark / "HR"),
        "validation.images": 100,
        "validation.max_side": 2048,
        "validation.every_epochs": 1,
        "validation.sliced_wasserstein": False,
        "reports_per_stage": 1,
    }
    settings = override(kind.Settings(), kind.PRESETS["distortion"])
    settings = override(override(settings, changes), ARMS[arm])
    found, began = list[list[float]](), time.process_time()
    for report in run(prepare(SYSTEM, settings)):
        spent = time.process_time() - began
        if "validation/psnr" in report.metrics:
            side = SIZES[report.position.index]
            found.append([round(spent, 2), side, report.metrics["validation/psnr"]])
        if spent > seconds:
            break
    return found


def reached(points: list[list[float]], seconds: float) -> float:
    """PSNR of the last measurement up to then; not a number before the first one."""
    return next((psnr for spent, _, psnr in reversed(points) if spent <= seconds), math.nan)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--benchmark", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--processes", type=int, default=1, help="runs at a time, a core each")
    parser.add_argument("--json", type=Path, required=True, help="where the curves are kept")
    parser.add_argument("--image", type=Path, help="a PNG of the curves")
    given = parser.parse_args()
    found = json.loads(given.json.read_text()) if given.json.exists() else []
    have = {(one["arm"], one["seed"]) for one in found}
    # seed by seed, so that an interrupted comparison has all arms
    left = [(arm, seed) for seed in range(given.seeds) for arm in ARMS if (arm, seed) not in have]
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        runs = {
            pool.submit(curve, arm, seed, given.data, given.benchmark, given.seconds): (arm, seed)
            for arm, seed in left
        }
        for ended in as_completed(runs):
            (arm, seed), points = runs[ended], ended.result()
            found.append({"arm": arm, "seed": seed, "points": points})
            given.json.write_text(json.dumps(found))
            print(f"{arm}, seed {seed}: {points[-1]}", flush=True)
    found.sort(key=lambda one: (one["seed"], list(ARMS).index(one["arm"])))
    print("| seconds | " + " | ".join(ARMS) + " |\n" + "|---" * (len(ARMS) + 1) + "|")
    for part in (0.1, 0.2, 0.5, 1):
        at = part * min(one["points"][-1][0] for one in found)
        cells = []
        for arm in ARMS:
            psnr = [reached(one["points"], at) for one in found if one["arm"] == arm]
            cells.append(f"{sum(psnr) / len(psnr):.2f} ({min(psnr):.2f} to {max(psnr):.2f})")
        print(f"| {at:.0f} | {' | '.join(cells)} |")
    if given.image:
        draw(found, given.image)


def draw(found: list[dict[str, Any]], image: Path) -> None:
    """A line per arm and seed, a dot where a stage ends."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for number, arm in enumerate(ARMS):
        for one in (one for one in found if one["arm"] == arm):
            seconds, sides, psnr = zip(*one["points"], strict=True)
            label = arm if one["seed"] == 0 else None
            axes.plot(seconds, psnr, color=f"C{number}", linewidth=1, label=label)
            ends = [k for k in range(len(sides) - 1) if sides[k] != sides[k + 1]]
            axes.plot([seconds[k] for k in ends], [psnr[k] for k in ends], "o", color=f"C{number}")
    axes.set(xlabel="seconds of one core", ylabel="PSNR of the Y channel, dB")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(image, dpi=120)


if __name__ == "__main__":
    main()
