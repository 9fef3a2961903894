"""The most memory that a step takes, by shards, penalty and precision, next to a public recipe's.

    python -m tests.benchmarks.memory [--system progressive_gan_sr] [--width 64] [--sides 32 64 128]

Each cell is a process of its own: two steps on a batch of 16 after the fade, and the most that it
held above what it held before the first, with torch and the networks loaded. MiB.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.step import CHANGES, Step, bfloat16, loop_step, recipe_step, rows

COLUMNS = ("recipe", "1 shard", "4 shards", "4 shards, finite differences", "4 shards, bfloat16")


def held() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def step_of(column: str, system: str, width: int, side: int) -> Step:
    ((_, one, four),) = rows(system, width, [side])
    if column == "recipe":
        return recipe_step(one)
    changes: dict[str, Any] = {}
    if "finite" in column:
        changes["gradient_penalty_sigma"] = 0.1
    if "bfloat16" in column:
        changes = bfloat16(four)
    return loop_step(one if column == "1 shard" else four, **changes)


def measure(column: str, system: str, width: int, side: int) -> float:
    torch.set_num_threads(1)
    step = step_of(column, system, width, side)
    before = held()
    step()
    step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--system", choices=CHANGES, default="progressive_gan_sr")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--sides", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--column", choices=COLUMNS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.column:
        print(json.dumps(measure(given.column, given.system, given.width, given.sides[0])))
        return
    print(f"| {given.system}, px | {' | '.join(COLUMNS)} |")
    print("|" + "---|" * (len(COLUMNS) + 1), flush=True)
    for side in given.sides:
        cells = []
        for column in COLUMNS:
            command = [sys.executable, "-m", "tests.benchmarks.memory", "--system", given.system]
            command += ["--width", str(given.width), "--sides", str(side), "--column", column]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            cells.append(f"{json.loads(done.stdout):,.0f}")
        print(f"| {side} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
