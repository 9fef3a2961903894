"""Several processes of one machine as the workers of a run: for tests, without a cluster."""

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import spawn

from ganforge.training.workers import in_group


def run_multiprocess(world: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """What `function(rank, world, *args)` returns on each rank, in order of ranks.

    With more than one rank each is a new process, and torch.distributed's default group stands.
    """
    with tempfile.TemporaryDirectory() as folder:
        if world == 1:
            torch.set_num_threads(1)
            return [function(0, 1, *args)]
        spawn(_enter, (world, folder, function, args), nprocs=world)
        return [pickle.loads(Path(folder, str(r)).read_bytes()) for r in range(world)]


def _enter(rank: int, world: int, folder: str, function: Callable[..., Any], args: tuple) -> None:
    torch.set_num_threads(1)
    with in_group(rank, world, f"file://{folder}/group"):
        result = function(rank, world, *args)
        Path(folder, str(rank)).write_bytes(pickle.dumps(result))
