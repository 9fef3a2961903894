"""Whether torch.compile is worth offering, on a CPU, where no second derivative is needed.

    python -m tests.benchmarks.compiled [--width 64] [--side 32] [--rounds 7]

A pixel stage's turn of the flagship's generator, as it is and with the generator compiled: seconds
of the processor in turns, those of compiling, whether the gradients keep their bits, and how far
they are from those in float64. Then the critic's turn with its penalty, compiled: what torch says,
or how far the gradient is from the whole one.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ganforge.losses import gradient_penalty, mean_absolute
from ganforge.networks.progressive import GrowingUpscaler
from tests.benchmarks.grown import grown_critic

Gradients = list[Tensor]


def upscaler(width: int, dtype: torch.dtype) -> GrowingUpscaler:
    torch.manual_seed(0)
    found = GrowingUpscaler(3, width, 2, bicubic_skip=False, preserving=False)
    found.grow_base()
    found.grow_block(0, width)
    found.grow_head(0)
    return found.to(dtype=dtype, memory_format=torch.channels_last)  # pyright: ignore


def images(side: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(side)
    made = torch.rand(16, 3, side, side, generator=generator) * 2 - 1
    return made.to(dtype=dtype, memory_format=torch.channels_last)


def pixel_gradients(call: Callable[..., Tensor], network: nn.Module, side: int) -> Gradients:
    """Of mean |hr - G(lr)|."""
    dtype = next(network.parameters()).dtype
    fake = call(images(side // 2, dtype), False, torch.ones((), dtype=dtype))
    loss = mean_absolute(images(side, dtype), fake)
    return list(torch.autograd.grad(loss, list(network.parameters())))


def penalty_gradients(call: Callable[..., Tensor], network: nn.Module, side: int) -> Gradients:
    torch.manual_seed(1)
    value = gradient_penalty(
        lambda given: call(given, False, torch.ones(())), images(side), -images(side)
    )
    found = torch.autograd.grad(value, list(network.parameters()), allow_unused=True)
    return [torch.zeros(()) if g is None else g for g in found]


def distance(found: Gradients, wanted: Gradients) -> float:
    """‖found - wanted‖ by ‖wanted‖, over all gradients."""
    pairs = zip(found, wanted, strict=True)
    apart = sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
    return (apart / sum(float(b.double().square().sum()) for b in wanted)) ** 0.5


def cpu_seconds(run: Callable[[], Any]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    side, network = given.side, upscaler(given.width, torch.float32)
    compiled = torch.compile(network)
    began = time.perf_counter()
    quick = pixel_gradients(compiled, network, side)
    print(f"pixel turn at {side} px, width {given.width}: compiled in "
          f"{time.perf_counter() - began:.0f} s")  # fmt: skip
    plain = pixel_gradients(network, network, side)
    exact_network = upscaler(given.width, torch.float64)
    exact = pixel_gradients(exact_network, exact_network, side)
    same = all(torch.equal(a, b) for a, b in zip(quick, plain, strict=True))
    print(f"the same bits: {same}; from float64: {distance(plain, exact):.1e} as it is, "
          f"{distance(quick, exact):.1e} compiled")  # fmt: skip
    ratios = []
    for _ in range(given.rounds):
        before = cpu_seconds(lambda: pixel_gradients(network, network, side))
        ratios.append(before / cpu_seconds(lambda: pixel_gradients(compiled, network, side)))
    print(f"times as fast: {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")
    judge = grown_critic(given.width, side)
    whole = penalty_gradients(judge, judge, side)
    try:
        found = penalty_gradients(torch.compile(judge), judge, side)
        print(f"penalty, compiled: its gradient is {distance(found, whole):.1e} off")
    except RuntimeError as error:
        print(f"penalty, compiled: refused: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main()
