"""A step of the loop next to a step as public recipes write it, and next to its convolutions alone.

    python -m tests.benchmarks.step [--systems progressive_gan_sr progan_a] [--sides 16 32 64]
                                    [--width 64] [--threads 1] [--rounds 7] [--profile]

A step is a critic's turn and a generator's on a batch of 16 after the fade, on noise. All sides of
a row are measured in turns, one step each, in seconds of the processor, and what is shown are
medians of ratios within a turn: the machine may be busy with other work. The recipe is
recipe.py's, with the same networks.

The convolutions are those of the step with one shard, each kind timed by itself on tensors of its
shape and order of memory, as many times as the step has it: what the step would take if nothing
else took time. `--profile` shows where the time of a step of four shards goes.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from ganforge.data.batch import Batch
from ganforge.systems.settings import ladder
from tests.benchmarks.recipe import Recipe
from tests.gpu_checklist import Bench, Case, benches

CPU = torch.device("cpu")
BATCH = 16
CHANGES: dict[str, dict[str, Any]] = {
    "progressive_gan_sr": {
        "perceptual.network": "none",
        "stages": ladder(8, 256, epochs=2, fade_epochs=1),
    },
    "progan_a": {"stages": ladder(4, 256, scale=1, epochs=2, fade_epochs=1)},
    "progan_t": {"stages": ladder(4, 256, scale=1, epochs=2, fade_epochs=1)},
}
CONVOLUTIONS = ("aten::convolution", "aten::convolution_backward")
Step = Callable[[], None]


class Convolutions(TorchDispatchMode):
    """The convolutions of a step, by everything that their time depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[Any] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in CONVOLUTIONS:
            self.calls[func, tuple(map(_described, args))] += 1
        return func(*args, **(kwargs or {}))

    def alone(self) -> Step:
        """All of them again, and nothing else."""
        made = [
            (func, [_made(one) for one in args], count)
            for (func, args), count in self.calls.items()
        ]

        def run() -> None:
            for func, args, count in made:
                for _ in range(count):
                    func(*args)

        return run


def _described(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return (Tensor, argument.shape, argument.stride(), argument.dtype)
    return tuple(argument) if isinstance(argument, list) else argument


def _made(described: Any) -> Any:
    if isinstance(described, tuple) and described and described[0] is Tensor:
        _, shape, stride, dtype = described
        return torch.empty_strided(shape, stride, dtype=dtype).uniform_(-1, 1)
    return list(described) if isinstance(described, tuple) else described


def rows(system: str, width: int, sides: list[int]) -> Iterator[tuple[int, Bench, Bench]]:
    """(resolution, with one shard, with four), at each of `sides`."""
    base = CHANGES[system] | {"width": width, "critic_steps": 1, "batch_size": BATCH}
    last = max(sides)

    def of(shards: int) -> Iterator[tuple[int, Bench]]:
        return benches(Case(system, system, "paper", base | {"shards": shards}, last), CPU, False)

    for (side, one), (_, four) in zip(of(1), of(4), strict=True):
        if side in sides:
            yield side, one, four


def loop_step(bench: Bench, **changes: Any) -> Step:
    turns = bench.turns(bench.settings(**changes))

    def step() -> None:
        for turn, _ in turns:
            turn()

    return step


def recipe_step(bench: Bench) -> Step:
    system = bench.system
    recipe = Recipe(
        system.get_submodule("generator"),
        system.get_submodule("critic"),
        getattr(bench.settings(), "latent_size", None),
    )
    batch: Batch = bench.data.batch(0, 0, 0)
    return lambda: recipe.step(batch)


def cpu_seconds(step: Step) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


def measure(sides: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of the processor by side, in turns; the first is not counted."""
    for step in sides.values():
        step()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, step in sides.items():
            found[name].append(cpu_seconds(step))
    return found


def ratio(found: dict[str, list[float]], above: str, below: str) -> float:
    return statistics.median(a / b for a, b in zip(found[above], found[below], strict=True))


def where_time_goes(step: Step) -> str:
    """Operations by their own share of a step."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        step()
    averages = found.key_averages()
    whole = sum(event.self_cpu_time_total for event in averages)
    busiest = sorted(averages, key=lambda event: -event.self_cpu_time_total)[:12]
    return ", ".join(
        f"{event.key.removeprefix('aten::')} {event.self_cpu_time_total / whole:.1%} "
        f"({event.count})"
        for event in busiest
    )


def bfloat16(bench: Bench) -> dict[str, Any]:
    return {"precision": "bfloat16", "gradient_penalty_precision": "bfloat16"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--systems", nargs="+", choices=CHANGES, default=["progressive_gan_sr"])
    parser.add_argument("--sides", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        "| system | px | recipe ms | 1 shard | 4 shards | bfloat16, 1 shard | "
        "4 shards against 1 | convolutions' share, 1 shard | "
        "convolutions alone, bfloat16 |"
    )
    print("|" + "---|" * 9, flush=True)
    for system in given.systems:
        for side, one, four in rows(system, given.width, given.sides):
            whole = loop_step(one)
            narrow = loop_step(one, **bfloat16(one))
            with Convolutions() as seen:
                whole()
            with Convolutions() as narrowed:
                narrow()
            found = measure(
                {
                    "recipe": recipe_step(one),
                    "one": whole,
                    "four": loop_step(four),
                    "bfloat16": narrow,
                    "convolutions": seen.alone(),
                    "in bfloat16": narrowed.alone(),
                },
                given.rounds,
            )
            times = [f"{ratio(found, 'recipe', name):.2f}" for name in ("one", "four", "bfloat16")]
            print(
                f"| {system} | {side} | {statistics.median(found['recipe']) * 1000:.0f} | "
                f"{' | '.join(times)} | {ratio(found, 'four', 'one'):.2f} | "
                f"{ratio(found, 'convolutions', 'one'):.0%} | "
                f"{ratio(found, 'convolutions', 'in bfloat16'):.2f} |",
                flush=True,
            )
            if given.profile:
                print(f"{system}, {side} px: {where_time_goes(loop_step(four))}", flush=True)


if __name__ == "__main__":
    main()
