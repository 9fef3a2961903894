"""What several workers save: seconds of the processor in the busiest of them, and in all.

    python -m tests.benchmarks.scaling [--width 64] [--side 32] [--steps 6] [--workers 1 2 4]

Each worker is a process with one thread, in a group of torch.distributed over gloo, as Ray Train
starts them, and does its shards of the flagship's step: a critic's turn and a generator's, on a
batch of 16 in four shards. Were each on a core of its own, a step could take no less than what the
busiest worker computes; waiting for the others costs no processor time. `exchanged` is what one
worker sends in a step, and all end with the same bits, else this fails.
"""

import argparse
import time

import torch

from ganforge.training.checkpoint import state_hashes
from ganforge.training.loop import Loop, Means
from ganforge.training.multiprocess import run_multiprocess
from ganforge.training.workers import Workers, owned, subtrees
from tests.benchmarks.step import rows

SYSTEM, SHARDS = "progressive_gan_sr", 4


def trained(
    rank: int, world: int, width: int, side: int, steps: int
) -> tuple[float, float, dict[str, str]]:
    """(seconds of the processor a step, bytes sent in one, hashes at the end) of one worker."""
    torch.set_num_threads(1)
    ((_, _, bench),) = rows(SYSTEM, width, [side])
    loop = Loop(bench.system, bench.plan, bench.data, Workers(rank, world), Means())
    for player in bench.system.players:
        player.follow(reset=True)

    def step(number: int) -> None:
        progress = bench.plan.progress(bench.index, bench.first + number)
        for player in bench.system.players:
            loop.turn(player, progress)

    step(0)
    began = time.process_time()
    for number in range(1, steps + 1):
        step(number)
    taken = (time.process_time() - began) / steps
    nodes = len(subtrees(SHARDS, owned(SHARDS, rank, world)))
    numbers = sum(p.numel() for player in bench.system.players for p in player.parameters)
    return taken, 4.0 * nodes * numbers * (world > 1), state_hashes(bench.system)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    given = parser.parse_args()
    print("| workers | busiest, ms of the processor a step | times less | all, against one | "
          "exchanged MiB a step |")  # fmt: skip
    print("|" + "---|" * 5, flush=True)
    alone, bits = 0.0, {}
    for world in given.workers:
        found = run_multiprocess(world, trained, given.width, given.side, given.steps)
        busiest = max(seconds for seconds, _, _ in found)
        whole = sum(seconds for seconds, _, _ in found)
        alone = alone or whole
        bits = bits or found[0][2]
        if any(hashes != bits for _, _, hashes in found):
            raise SystemExit(f"{world} workers end in other bits than {given.workers[0]}")
        print(
            f"| {world} | {busiest * 1000:.0f} | {alone / busiest:.2f} | {whole / alone:.2f} | "
            f"{found[0][1] / 2**20:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
