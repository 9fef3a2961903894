"""Several processes of one machine as the workers of a run: for tests, without a cluster."""

import multiprocessing
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import start_processes

from ganforge.training.workers import in_group

#: imported once, by the process that the workers are forked from: it takes longer than a small run
_IMPORTED = ["ganforge.training.run", "torchvision.transforms.v2"]


def run_multiprocess(world: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """What `function(rank, world, *args)` returns on each rank, in order of ranks.

    With more than one rank each is a new process, and torch.distributed's default group stands.
    They have the environment variables of the first call in this process.
    """
    with tempfile.TemporaryDirectory() as folder:
        if world == 1:
            torch.set_num_threads(1)
            return [function(0, 1, *args)]
        multiprocessing.set_forkserver_preload(_IMPORTED)
        given = (world, folder, function, args)
        start_processes(_enter, given, nprocs=world, start_method="forkserver")
        return [pickle.loads(Path(folder, str(r)).read_bytes()) for r in range(world)]


def _enter(rank: int, world: int, folder: str, function: Callable[..., Any], args: tuple) -> None:
    torch.set_num_threads(1)
    with in_group(rank, world, f"file://{folder}/group"):
        result = function(rank, world, *args)
        Path(folder, str(rank)).write_bytes(pickle.dumps(result))
