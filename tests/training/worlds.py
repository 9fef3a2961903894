"""Run a function in several processes that form one torch.distributed group."""

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def in_world(world: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """What `function(rank, world, *args)` returns on each rank, in order of ranks."""
    with tempfile.TemporaryDirectory() as folder:
        if world == 1:
            torch.set_num_threads(1)
            return [function(0, 1, *args)]
        mp.spawn(_enter, (world, folder, function, args), nprocs=world)
        return [pickle.loads(Path(folder, str(r)).read_bytes()) for r in range(world)]


def _enter(rank: int, world: int, folder: str, function: Callable[..., Any], args: tuple) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=world)
    result = function(rank, world, *args)
    Path(folder, str(rank)).write_bytes(pickle.dumps(result))
    dist.barrier()
    dist.destroy_process_group()
