"""Several settings of one stage as one program, next to the same ones after each other.

    python -m tests.benchmarks.lanes [--systems dcgan progan_a] [--widths 8 16 32] [--side 16]
                                     [--lanes 8] [--batch 8] [--shards 2] [--rounds 7] [--runs]

A step is every player's turn on noise, optimizer and average included, on one thread. Both sides of
a row are measured in turns, in seconds of the processor, and what is shown are medians of ratios
within a round: the machine may be busy with other work. Reports, validation and start-up are none
of it. A column says which part of a step by itself is there whatever its width, by a step of width
4: calls of operations, from which lanes save, and not arithmetic, from which they do not.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ganforge.schedule import Plan, Position
from ganforge.settings import override
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import StageSettings
from ganforge.training.lanes.alike import SYSTEMS
from ganforge.training.lanes.program import Program
from ganforge.training.lanes.run import run_lanes
from ganforge.training.loop import Loop, Means, Training, due, grow
from ganforge.training.prepare import build_plan, prepare
from ganforge.training.run import run
from ganforge.training.workers import Workers
from tests.gpu_checklist import Noise

CPU = torch.device("cpu")
IMAGES = 4096
#: a width at which nearly nothing is arithmetic
LEAST = 4
Step = Callable[[], None]


def changed(plain: Any, given: argparse.Namespace, width: int) -> dict[str, Any]:
    """One stage of the size that is asked for, with a turn of every player on each batch."""
    changes: dict[str, Any] = {
        "width" if hasattr(plain, "width") else "features": width,
        "stages": (StageSettings(resolution=given.side, epochs=1),),
        "batch_size": given.batch,
        "shards": given.shards,
        "images_per_epoch": IMAGES,
    }
    if hasattr(plain, "critic_steps"):
        changes["critic_steps"] = 1
    if hasattr(plain, "perceptual"):
        changes["perceptual.network"] = "none"
    return changes


def begun(system: str, number: int, given: argparse.Namespace, width: int) -> tuple[Training, Plan]:
    """Lane `number` at its only stage: other learning rates and penalties than its neighbours."""
    kind = load_system(system)
    plain = kind.Settings()
    changes = changed(plain, given, width)
    changes["generator.learning_rate"] = 1e-3 * (1 + number / given.lanes)
    if hasattr(plain, "gradient_penalty_weight"):
        changes["gradient_penalty_weight"] = 10.0 + number
    settings = override(plain, changes)
    plan = build_plan(settings, (IMAGES,))
    training = Training(kind(settings, {}), Position())
    grow(training.system, plan, 0)
    return training, plan


def alone(system: str, given: argparse.Namespace, width: int) -> Step:
    """A step of the loop."""
    training, plan = begun(system, 0, given, width)
    data = Noise(training.system, plan.settings[0], given.side, CPU)
    loop = Loop(training.system, plan, data, Workers(), Means())  # pyright: ignore
    progress = plan.progress(0, 0)

    def step() -> None:
        for player in due(training.system.players, progress):
            loop.turn(player, progress)

    return step


def together(system: str, given: argparse.Namespace, width: int) -> Step:
    """A step of the program of all lanes."""
    pairs = [begun(system, number, given, width) for number in range(given.lanes)]
    data = Noise(pairs[0][0].system, pairs[0][1].settings[0], given.side, CPU)
    program = Program.of(*zip(*pairs, strict=True), data)  # pyright: ignore
    return lambda: program.step(0)


def cpu_seconds(step: Step, times: int = 1) -> float:
    began = time.process_time()
    for _ in range(times):
        step()
    return time.process_time() - began


def row(system: str, width: int, given: argparse.Namespace) -> str:
    """One line of the table."""
    sides = [alone(system, given, LEAST), alone(system, given, width)]
    lanes = together(system, given, width)
    for step in (*sides, lanes):
        cpu_seconds(step, 2)  # the first ones allocate
    gains, calls, singles = [], [], []
    for _ in range(given.rounds):
        least, single = (cpu_seconds(step, given.lanes) for step in sides)
        gains.append(single / cpu_seconds(lanes))
        calls.append(least / single)
        singles.append(single / given.lanes)
    median = statistics.median
    cells = [f"{median(singles) * 1e3:.1f}", f"{min(1, median(calls)):.0%}", f"{median(gains):.2f}"]
    return f"| {system} | {width} | {' | '.join(cells)} |"


def whole_runs(system: str, width: int, given: argparse.Namespace) -> str:
    """One line: seconds of all runs after each other, and of their lanes."""
    kind = load_system(system)
    quick = override(kind.Settings(), kind.PRESETS["quick"] | {"keep": "last"})
    changes = changed(quick, given, width) | {"images_per_epoch": 64 * given.batch}
    first = prepare(system, override(quick, changes))
    runs = [
        replace(first, settings=override(first.settings, {"generator.learning_rate": 1e-3 * rate}))
        for rate in range(1, given.lanes + 1)
    ]

    def one_by_one(folder: Path) -> None:
        for number, one in enumerate(runs):
            for _ in run(one, store=str(folder / str(number))):
                pass

    def at_once(folder: Path) -> None:
        for _ in run_lanes(runs, [str(folder / str(number)) for number in range(len(runs))]):
            pass

    found: list[tuple[float, float]] = []
    for _ in range(max(2, given.rounds // 3)):
        seconds = []
        for each in (one_by_one, at_once):
            with tempfile.TemporaryDirectory() as folder:
                seconds.append(cpu_seconds(lambda: each(Path(folder))))  # noqa: B023
        found.append((seconds[0], seconds[1]))
    del found[0]  # the first one imports
    alone_seconds, lanes_seconds = (statistics.median(side) for side in zip(*found, strict=True))
    gain = statistics.median(a / b for a, b in found)
    return f"| {system} | {width} | {alone_seconds:.1f} | {lanes_seconds:.1f} | {gain:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--widths", nargs="+", type=int, default=[8, 16, 32])
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", action="store_true", help="whole stages")
    given = parser.parse_args()
    torch.set_num_threads(1)
    images = f"{given.shards} × {given.batch // given.shards} images"
    print(f"{given.lanes} lanes, {given.side} px, {images}\n")
    columns = ["ms of a step alone", f"as much at width {LEAST}"]
    if given.runs:
        columns = [f"{given.lanes} runs after each other, s", "as lanes, s"]
    print(f"| system | width | {' | '.join(columns)} | times as fast |")
    print("|" + "---|" * 5, flush=True)
    measured = whole_runs if given.runs else row
    for system in given.systems:
        for width in given.widths:
            print(measured(system, width, given), flush=True)


if __name__ == "__main__":
    main()
