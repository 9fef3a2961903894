"""Everything that waits for a GPU, in one command of at most twenty minutes.

    python tests/gpu_checklist.py --json gpu.json --markdown gpu.md
    python tests/gpu_checklist.py --dry-run          the same on the CPU, with tiny networks

    facts      the card, its versions, and its own limits: copies, matrix products
    tests      pytest -m gpu: equal bits of two runs, captured and not, NCCL, lower precision
    table      seconds for 1,000 images shown to the critic: all stages of the flagship and ProGAN,
               SRGAN and ESRGAN, by precision, with and without CUDA graphs
    layout     the same with weights in NCHW and NHWC order, and without deterministic algorithms
    launches   what the host launches in an iteration, and the kernels that take the time

Training there needs neither Ray nor MLflow: torch, torchvision, pydantic and the packages of data/.
Batches lie in pinned memory, so that the table is of the step; images are noise.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ganforge.data.batch import Batch
from ganforge.schedule import Plan, Progress
from ganforge.settings import override
from ganforge.systems.base import Player, System
from ganforge.systems.catalog import load_system
from ganforge.training.capture import captures
from ganforge.training.lineage import environment
from ganforge.training.loop import Loop, Means, grow, memory_format
from ganforge.training.prepare import build_plan
from ganforge.training.run import be_deterministic
from ganforge.training.workers import Workers

SECTIONS = ("facts", "tests", "table", "layout", "launches")
PRECISIONS = ("float32", "tf32", "bfloat16")
IMAGES = 10**6  # the length of a stage: no cell gets that far


@dataclass(frozen=True)
class Case:
    """A system as the table has it; `stages` are resolutions, or none for all of its own."""

    name: str
    system: str
    preset: str
    changes: dict[str, Any] = field(default_factory=dict)
    largest: int = 256


CASES = (
    Case("flagship", "progressive_gan_sr", "paper", {"perceptual.network": "none"}),
    Case("ProGAN, width 512, 1 shard", "progan_a", "pggan"),
    Case("ProGAN, width 128, 4 shards", "progan_a", "paper"),
    Case("SRGAN ×4", "srgan", "paper", {"perceptual.network": "none"}),
    Case("ESRGAN ×4", "esrgan", "paper", {"perceptual.network": "none"}),
    Case(
        "flagship, 1 shard",
        "progressive_gan_sr",
        "paper",
        {"perceptual.network": "none", "shards": 1},
    ),
)
TINY = {"width": 8, "features": 8, "blocks": 1}


class Noise:
    """The same few batches again and again, in pinned memory: what a step costs by itself."""

    def __init__(self, system: System, settings: Any, resolution: int, device: torch.device):
        generator = torch.Generator().manual_seed(0)
        size = settings.batch_size // settings.shards
        scale = system.source_scale(settings)

        def images(side: int) -> torch.Tensor:
            made = torch.rand(size, settings.channels, side, side, generator=generator) * 2 - 1
            return made.pin_memory() if device.type == "cuda" else made

        source = (lambda: images(resolution // scale)) if scale > 1 else lambda: None
        numbers = torch.arange(size)
        self.batches = [
            Batch(images(resolution), source(), index=numbers) for _ in range(2 * settings.shards)
        ]

    def batch(self, index: int, step: int, shard: int) -> Batch:
        return self.batches[(step + shard) % len(self.batches)]


@dataclass
class Bench:
    """One system at one stage, past its fade."""

    system: System
    plan: Plan
    data: Any
    index: int
    first: int

    def loop(self, settings: Any) -> tuple[Loop, Plan]:
        plan = replace(self.plan, settings=tuple(settings for _ in self.plan.settings))
        recorded = captures(self.system, settings, plan.device)
        workers = Workers(device=plan.device)
        return Loop(self.system, plan, self.data, workers, Means(), recorded), plan

    def settings(self, **changes: Any) -> Any:
        return override(self.plan.settings[self.index], changes)

    def turns(self, settings: Any) -> list[tuple[Callable[[], None], float]]:
        """What gives each player one turn, and how many turns it has for a batch."""
        loop, plan = self.loop(settings)
        format = memory_format(plan.device, settings.precision)
        self.system.to(memory_format=format)  # pyright: ignore[reportCallIssue]
        found = []
        for player in self.system.players:
            player.follow(reset=True)
            progress = plan.progress(self.index, self.first)

            def turn(player: Player = player, progress: Progress = progress) -> None:
                loop.turn(player, progress)

            found.append((turn, 1 / player.every(settings)))
        return found


def benches(case: Case, device: torch.device, dry: bool) -> Iterator[tuple[int, Bench]]:
    """A case at each of its stages: (resolution, bench)."""
    kind = load_system(case.system)
    settings = override(kind.Settings(), kind.PRESETS.get(case.preset, {}) | case.changes)
    settings = override(settings, {"device": device.type, "images_per_epoch": IMAGES})
    rows = [row for row in settings.stages if row.resolution <= (32 if dry else case.largest)]
    rows = rows or list(settings.stages[:1])
    settings = override(settings, {"stages": tuple(row.model_dump() for row in rows)})
    if case.system in ("srgan", "esrgan"):
        # the last stage is the one against a discriminator
        rows = rows[-1:]
        settings = override(settings, {"stages": tuple(row.model_dump() for row in rows)})
    if dry:
        known = {key: value for key, value in TINY.items() if hasattr(settings, key)}
        settings = override(settings, known)
    plan = replace(build_plan(settings, (IMAGES,) * len(rows)), device=device)
    system = kind(settings, {})
    for index, stage in enumerate(plan.stages):
        grow(system, plan, index)
        first = -(-stage.fade_images // stage.batch_size)
        effective = plan.settings[index]
        data = Noise(system, effective, stage.resolution, device)
        yield stage.resolution, Bench(system, plan, data, index, first)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(run: Callable[[], None], device: torch.device, seconds: float) -> float:
    """Seconds of one call: the mean of those that fit, after two that record and warm up."""
    run()
    wait(device)
    began = time.perf_counter()
    run()
    wait(device)
    slow = time.perf_counter() - began > seconds
    if not slow:
        run()  # of one shard a step, the second recorded
        wait(device)
    began, count = time.perf_counter(), 0
    while count < (1 if slow else 3) or time.perf_counter() - began < seconds:
        run()
        count += 1
        if count % 5 == 0:
            wait(device)  # else the host is a queue ahead, and the clock is the host's
    wait(device)
    return (time.perf_counter() - began) / count


def by_image(bench: Bench, settings: Any, measured: Callable[[Callable[[], None]], float]) -> float:
    """What `measured` finds of each player's turn, for one image that the critic is shown."""
    turns = bench.turns(settings)
    return sum(measured(turn) * share for turn, share in turns) / settings.batch_size


class Flops(TorchDispatchMode):
    """Floating-point operations of convolutions and matrix products, by torch's own formulas.

    torch's FlopCounterMode follows modules too, and fails where a gradient is asked for inside.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def flops(run: Callable[[], None]) -> float:
    with Flops() as counter:
        run()
    return float(counter.total)


def facts(device: torch.device, seconds: float) -> dict[str, Any]:
    """The card and what it reaches by itself: bytes copied and products of matrices a second."""
    found: dict[str, Any] = environment(device, 1)
    side = 8192 if device.type == "cuda" else 512

    def rate(dtype: torch.dtype, tf32: bool) -> float:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        first, second = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        took = timed(lambda: torch.matmul(first, second), device, seconds)
        torch.backends.cuda.matmul.allow_tf32 = False
        return 2 * side**3 / took / 1e12

    found["tflops"] = {
        "float32": rate(torch.float32, False),
        "tf32": rate(torch.float32, True),
        "bfloat16": rate(torch.bfloat16, False),
    }
    source = torch.randn(2**28 if device.type == "cuda" else 2**20, device=device)
    target = torch.empty_like(source)
    took = timed(lambda: target.copy_(source), device, seconds)
    found["copy_gb_per_second"] = 2 * source.nbytes / took / 1e9
    return found


#: columns of the table: precision, of the penalty, whether as CUDA graphs
COLUMNS = {
    "float32": ("float32", "float32", False),
    "float32 graphs": ("float32", "float32", True),
    "tf32": ("tf32", "float32", False),
    "tf32 graphs": ("tf32", "float32", True),
    "bfloat16 graphs": ("bfloat16", "float32", True),
    "bfloat16, penalty tf32, graphs": ("bfloat16", "tf32", True),
    "all bfloat16, graphs": ("bfloat16", "bfloat16", True),
}


def table(device: torch.device, seconds: float, dry: bool, until: float) -> list[dict[str, Any]]:
    rows = []
    for case in CASES:
        for resolution, bench in benches(case, device, dry):
            if time.perf_counter() > until:
                print("the time is over: what is missing was not measured", flush=True)
                return rows
            row: dict[str, Any] = {"case": case.name, "resolution": resolution}
            row["batch"] = bench.settings().batch_size
            row["gflop"] = by_image(bench, bench.settings(cuda_graphs=False), flops) / 1e9
            penalised = "gradient_penalty_precision" in type(bench.settings()).model_fields
            for title, (precision, penalty, graphs) in COLUMNS.items():
                changes = {"precision": precision, "cuda_graphs": graphs}
                if penalised:
                    changes["gradient_penalty_precision"] = penalty
                elif penalty != "float32":
                    continue
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                settings = bench.settings(**changes)
                took = by_image(bench, settings, lambda turn: timed(turn, device, seconds))
                row[title] = took * 1000
                if device.type == "cuda":
                    row["gib " + title] = torch.cuda.max_memory_reserved() / 2**30
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


def layouts(device: torch.device, seconds: float, dry: bool) -> list[dict[str, Any]]:
    """Both orders of memory, whatever the loop would take, and algorithms that need not repeat."""
    rows = []
    for case, wanted in ((CASES[0], (32, 128)), (CASES[1], (16, 64)), (CASES[4], None)):
        for resolution, bench in benches(case, device, dry):
            if wanted is not None and resolution not in wanted and not dry:
                continue
            row: dict[str, Any] = {"case": case.name, "resolution": resolution}
            for title, order in (("NCHW", torch.contiguous_format), ("NHWC", torch.channels_last)):
                for precision in PRECISIONS:
                    with patch(f"{__name__}.memory_format", lambda *_, order=order: order):
                        settings = bench.settings(precision=precision)
                        took = by_image(bench, settings, lambda turn: timed(turn, device, seconds))
                    row[f"{title} {precision}"] = took * 1000
            for precision in PRECISIONS if device.type == "cuda" else ():
                settings = bench.settings(precision=precision)
                be_deterministic(override(settings, {"deterministic": False}), device)
                took = by_image(bench, settings, lambda turn: timed(turn, device, seconds))
                row[f"any algorithm {precision}"] = took * 1000
                be_deterministic(settings, device)
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


def launches(device: torch.device, dry: bool) -> list[dict[str, Any]]:
    from torch.profiler import ProfilerActivity, profile

    rows = []
    for case, wanted in (
        (CASES[0], (32, 128)), (CASES[1], (16, 64)), (CASES[2], (64,)), (CASES[4], None)
    ):  # fmt: skip
        for resolution, bench in benches(case, device, dry):
            if wanted is not None and resolution not in wanted and not dry:
                continue
            for graphs in (False, True):
                turns = bench.turns(bench.settings(cuda_graphs=graphs))
                for player, (run, _) in zip(bench.system.players, turns, strict=True):
                    for _ in range(3):
                        run()
                    wait(device)
                    activities = [ProfilerActivity.CPU]
                    if device.type == "cuda":
                        activities.append(ProfilerActivity.CUDA)
                    with profile(activities=activities) as found:
                        run()
                        wait(device)
                    averages = found.key_averages()
                    calls = {
                        e.key: e.count
                        for e in averages
                        if e.key.startswith(("cudaLaunch", "cuLaunch", "cudaGraphLaunch"))
                        or e.key in ("cudaMemcpyAsync", "cudaMemsetAsync")
                    }
                    busiest = sorted(averages, key=lambda e: -e.self_device_time_total)[:12]
                    rows.append(
                        {
                            "case": case.name,
                            "resolution": resolution,
                            "player": player.name,
                            "graphs": graphs,
                            "calls": calls,
                            "busiest": [
                                (e.key[:90], round(e.self_device_time_total), e.count)
                                for e in busiest
                            ],
                        }
                    )
                    print(json.dumps(rows[-1] | {"busiest": []}), flush=True)
    return rows


def tests(chosen: str) -> dict[str, Any]:
    began = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "gpu", "-W", "default"]
    command += ["-rs", "--timeout", "600", "tests/training/test_gpu.py"]
    command += ["-k", chosen] if chosen else []
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    last = done.stdout.strip().splitlines()[-1:] or [""]
    return {
        "returncode": done.returncode,
        "seconds": time.perf_counter() - began,
        "summary": last[0],
    }


def as_markdown(found: dict[str, Any]) -> str:
    """The table as it stands in docs/benchmarks.md."""
    lines: list[str] = []
    if rows := found.get("table"):
        columns = list(COLUMNS)
        lines += ["| system | px | batch | GFLOP an image | " + " | ".join(columns) + " |"]
        lines += ["|" + "---|" * (len(columns) + 4)]
        for row in rows:
            cells = [f"{row[c]:.3g}" if c in row else "–" for c in columns]
            start = [row["case"], row["resolution"], row["batch"], f"{row['gflop']:.3g}"]
            lines.append("| " + " | ".join(map(str, [*start, *cells])) + " |")
    if rows := found.get("layout"):
        columns = [key for key in rows[0] if key not in ("case", "resolution")]
        lines += ["", "| system | px | " + " | ".join(columns) + " |"]
        lines += ["|" + "---|" * (len(columns) + 2)]
        for row in rows:
            cells = [f"{row[c]:.3g}" for c in columns]
            lines.append(f"| {row['case']} | {row['resolution']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, with tiny networks")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each cell of the tables")
    parser.add_argument("--budget", type=float, default=600, help="seconds of the table")
    parser.add_argument("--tests", default="", help="which of the tests, as for pytest -k")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args(arguments)
    dry = options.dry_run
    if not dry and not torch.cuda.is_available():
        print("this machine has no CUDA device; --dry-run does the same on the CPU")
        return 2
    device = torch.device("cpu" if dry else "cuda")
    seconds = 0.0 if dry else options.seconds
    be_deterministic(load_system("srgan").Settings(), device)
    found: dict[str, Any] = {}
    sections: dict[str, Callable[[], Any]] = {
        "facts": lambda: facts(device, seconds),
        "tests": lambda: tests(options.tests),
        "table": lambda: table(device, seconds, dry, time.perf_counter() + options.budget),
        "layout": lambda: layouts(device, seconds, dry),
        "launches": lambda: launches(device, dry),
    }
    failed = False
    for name in options.only:
        began = time.perf_counter()
        found[name] = sections[name]()
        failed |= name == "tests" and found[name]["returncode"] not in (0, 5)
        print(f"--- {name}: {time.perf_counter() - began:.0f} s", flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1))
        if options.markdown:
            options.markdown.write_text(as_markdown(found))
    print(as_markdown(found))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
