"""What a step launches on a GPU, and what an H100 could at most make of it, without a GPU.

    python -m tests.benchmarks.kernels [--only launches roofline grouped]

launches   operations that a turn starts, by a CPU that pretends to be a GPU: one by one, and with
           recorded passes, where a replay is one. A convolution's backward pass or a fused
           optimizer counts once and may be a few kernels. Networks are narrow here
roofline   FLOP and bytes of an iteration at full width, on tensors of no memory, and the least time
           for them: each operation takes as long as its arithmetic or its memory needs. Nothing is
           fused, so each one reads its inputs from memory and writes its outputs
grouped    a critic's pass over all shards at once, each with its own copy of the weights, next to
           one pass a shard: operations, seconds of the CPU, and whether the bits are the same

Limits of an H100 SXM are those of NVIDIA's data sheet ("NVIDIA H100 Tensor Core GPU", dense): 67
TFLOP/s in float32, 494 in TF32, 989 in bfloat16, and 3.35 TB/s of memory.
"""

import argparse
import copy
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ganforge.losses import gradient_penalty, wasserstein_critic
from ganforge.networks.progressive import GrowingCritic
from ganforge.training import capture
from ganforge.training.capture import Captures, Compute, Replay
from ganforge.training.loop import Loop, Means
from ganforge.training.workers import ShardPass, Workers
from tests.benchmarks.grown import grown_critic
from tests.gpu_checklist import CASES, Bench, benches
from tests.training.pretend_cuda import CUDA, Pretended, pretend_cuda

SECTIONS = ("launches", "roofline", "grouped")
META = torch.device("meta")
#: FLOP/s by arithmetic, and bytes a second of the memory
PEAKS = {"float32": 67e12, "tf32": 494e12, "bfloat16": 989e12}
BANDWIDTH = 3.35e12
#: what leaves the number of operations as it is, and lets a CPU count them in seconds
NARROW: dict[str, dict[str, Any]] = {
    "progressive_gan_sr": {"width": 8},
    "progan_a": {"width": 32},
    "srgan": {"batch_size": 4},
    "esrgan": {"batch_size": 4, "growth": 2},
}
#: as many turns as are needed to run once, record and replay
TURNS = 3
#: hand on memory and start no kernel, besides views
_FREE = ("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty")
_FREE = (*_FREE, "aten::detach", "aten::lift_fresh", "aten::_unsafe_view")


@dataclass
class Counted:
    """What stands for a CUDA graph: a replay is one launch, whatever it holds."""

    replays: int = 0

    def replay(self) -> None:
        self.replays += 1

    def record(self, compute: Compute, _: Replay | None) -> tuple[Replay, ShardPass | None]:
        return self, compute()


def launched(bench: Bench, graphs: bool) -> dict[str, int]:
    """Operations of a turn by player, once what can be recorded is."""
    system, recorder, found = copy.deepcopy(bench.system), Counted(), {}
    settings = bench.settings()
    with pretend_cuda() as seen, patch.object(capture, "check", lambda compute: compute()):
        plan = replace(bench.plan, device=CUDA)
        system.to(CUDA)
        recorded = Captures(recorder.record) if graphs and type(system).capturable else None
        loop = Loop(system, plan, bench.data, Workers(device=CUDA), Means(), recorded)
        for player in system.players:
            player.follow(reset=True)
            for turn in range(TURNS if graphs else 1):
                seen.launches.clear()
                recorder.replays = 0
                # not the tenth, in which the terms are read
                step = bench.first + player.every(settings) * (turn + 1)
                loop.turn(player, replace(plan.progress(bench.index, step), step=step))
            found[player.name] = _count(seen) + recorder.replays
    return found


def _count(seen: Pretended) -> int:
    return sum(seen.launches.values())


class Roofline(TorchDispatchMode):
    """FLOP and bytes of what is computed, and the least seconds for them by arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.flop, self.bytes = 0, 0.0, 0.0
        self.seconds = dict.fromkeys(PEAKS, 0.0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.is_view or func._schema.name in _FREE:
            return out
        formula = flop_registry.get(func._overloadpacket)
        flop = 0.0 if formula is None else float(formula(*args, **(kwargs or {}), out_val=out))
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
        moved = float(sum(tensor.nbytes for tensor in tensors))
        self.operations += 1
        self.flop += flop
        self.bytes += moved
        for name, peak in PEAKS.items():
            width = 0.5 if name == "bfloat16" else 1.0
            self.seconds[name] += max(flop / peak, moved * width / BANDWIDTH)
        return out


@contextmanager
def meta_trains() -> Iterator[None]:
    """Tensors of no memory pass for those of a GPU where torch asks what a device can do."""
    with (
        warnings.catch_warnings(),
        patch("torch.autocast", lambda *_, **__: nullcontext()),
        patch("torch.optim.optimizer._get_fused_kernels_supported_devices", lambda: ["meta"]),
    ):
        warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter")
        yield


def roofline(bench: Bench) -> tuple[dict[str, float], float, float]:
    """The critic's turns and the generator's share of them: (seconds for 1,000 images by
    arithmetic, GFLOP and GB for one image)."""
    settings, system = bench.settings(), copy.deepcopy(bench.system)
    plan = replace(bench.plan, device=META)
    seconds = dict.fromkeys(PEAKS, 0.0)
    gflop = gigabytes = 0.0
    with meta_trains():
        system.to(META)
        loop = Loop(system, plan, bench.data, Workers(device=META), Means())
        for player in system.players:
            player.follow(reset=True)
            player.optimizer.param_groups[0]["fused"] = True
            every = player.every(settings)
            step = bench.first - bench.first % (10 * every) + every
            with Roofline() as found:
                loop.turn(player, replace(plan.progress(bench.index, step), step=step))
            share = 1 / every / settings.batch_size
            gflop += found.flop / 1e9 * share
            gigabytes += found.bytes / 1e9 * share
            for name in PEAKS:
                seconds[name] += found.seconds[name] * share * 1e3
    return seconds, gflop, gigabytes


class Grouped(nn.Module):
    """A critic whose images come in groups, one after the other, each with weights of its own."""

    def __init__(self, critic: GrowingCritic, groups: int):
        super().__init__()
        self.inner = [critic]  # in a list: its weights are not this module's
        self.groups = groups
        self.stacked = {
            name: weights.detach().expand(groups, *weights.shape).clone().requires_grad_()
            for name, weights in critic.named_parameters()
        }

    def forward(self, images: Tensor, fading: bool, alpha: Tensor) -> Tensor:
        def one(weights: dict[str, Tensor], part: Tensor) -> Tensor:
            return functional_call(self.inner[0], weights, (part, fading, alpha))

        parts = images.unflatten(0, (self.groups, -1))
        return vmap(one, randomness="error")(self.stacked, parts).flatten(0, 1)


def critic_gradients(
    critic: nn.Module, weights: list[Tensor], real: Tensor, fake: Tensor
) -> list[Tensor]:
    """Of Wasserstein's terms and the penalty, with the random point in the middle."""
    alpha = torch.ones(())

    def scores(images: Tensor) -> Tensor:
        return critic(images, False, alpha)

    with patch("torch.rand", lambda *size, **options: torch.full(size, 0.5)):
        penalty = gradient_penalty(scores, real, fake)
    total = wasserstein_critic(scores(real), scores(fake)) + 10 * penalty
    return list(torch.autograd.grad(total, weights))


def grouped(width: int, side: int, shards: int, batch: int) -> str:
    """One row: how a grouped pass compares with one for each shard."""
    critic = grown_critic(width, side)
    real, fake = (
        torch.rand(batch, 3, side, side).mul(2).sub(1).to(memory_format=torch.channels_last)
        for _ in range(2)
    )
    together = Grouped(critic, shards)
    names = [name for name, _ in critic.named_parameters()]

    def separately() -> list[list[Tensor]]:
        halves = zip(real.chunk(shards), fake.chunk(shards), strict=True)
        return [critic_gradients(critic, list(critic.parameters()), *pair) for pair in halves]

    def at_once() -> list[Tensor]:
        weights = [together.stacked[name] for name in names]
        return [g * shards for g in critic_gradients(together, weights, real, fake)]

    apart, joined = separately(), at_once()
    same = all(
        torch.equal(own, all_of[shard])
        for shard, of_shard in enumerate(apart)
        for own, all_of in zip(of_shard, joined, strict=True)
    )
    worst = max(
        float((own - all_of[shard]).norm() / own.norm().clamp_min(1e-30))
        for shard, of_shard in enumerate(apart)
        for own, all_of in zip(of_shard, joined, strict=True)
    )
    counts = []
    for run in (separately, at_once):
        with Roofline() as counter:
            run()
        counts.append(counter.operations)
    seconds: list[list[float]] = [[], []]
    for _ in range(7):
        for run, taken in zip((separately, at_once), seconds, strict=True):
            taken.append(cpu_seconds(run))
    ratio = min(seconds[1]) / min(seconds[0])
    bits = "yes" if same else f"no ({worst:.0e})"
    cells = [str(width), str(side), f"{shards} × {batch // shards}"]
    cells += [f"{counts[0]:,}", f"{counts[1]:,}", f"{ratio:.2f}", bits]
    return f"| {' | '.join(cells)} |"


def cpu_seconds(run: Callable[[], Any]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def print_launches(systems: str) -> None:
    print("| system | px | shards | players | one by one | with recorded passes |")
    print("|" + "---|" * 6)
    for case in (case for case in CASES if systems in case.name):
        narrow = replace(case, changes=case.changes | NARROW[case.system])
        for resolution, bench in benches(narrow, torch.device("cpu"), False):
            if resolution not in (32, 64, 96, 128):
                continue
            plain, recorded = launched(bench, False), launched(bench, True)
            print(
                f"| {case.name} | {resolution} | {bench.settings().shards} | {' + '.join(plain)} | "
                f"{_sum(plain)} | {_sum(recorded)} |",
                flush=True,
            )
            if resolution >= 128:
                break


def _sum(counts: dict[str, int]) -> str:
    return f"{' + '.join(f'{n:,}' for n in counts.values())} = {sum(counts.values()):,}"


def print_roofline() -> None:
    print(
        "| system | px | GFLOP an image | GB an image | FLOP a byte | float32 | tf32 | bfloat16 |"
    )
    print("|" + "---|" * 8)
    for case in CASES:
        for resolution, bench in benches(case, torch.device("cpu"), False):
            least, gflop, gigabytes = roofline(bench)
            cells = " | ".join(f"{least[name]:.3g}" for name in PEAKS)
            print(
                f"| {case.name} | {resolution} | {gflop:,.4g} | {gigabytes:.3g} | "
                f"{gflop / gigabytes:.0f} | {cells} |",
                flush=True,
            )


def print_grouped() -> None:
    torch.set_num_threads(1)
    print("| width | px | shards | operations, one by one | grouped | CPU-seconds | same bits |")
    print("|" + "---|" * 7)
    for width, side in ((16, 32), (64, 32), (64, 64), (128, 32)):
        print(grouped(width, side, 4, 16), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--systems", default="", help="launches of those whose names hold this")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    given = parser.parse_args()
    sections: dict[str, Callable[[], None]] = {
        "launches": lambda: print_launches(given.systems),
        "roofline": print_roofline,
        "grouped": print_grouped,
    }
    for section in given.only:
        sections[section]()
        print()


if __name__ == "__main__":
    main()
