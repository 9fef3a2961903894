"""A shard's pass as a CUDA graph: its kernels in one launch, with the bits of one by one.

A pass is recorded for each part of a stage (player, fading or not, shapes of the batch) and
replayed for every shard of it, each with its own images, seed and alpha, so that any number of
workers replays the same kernels. What is recorded must be a function of those alone: a pass that
reads a tensor back, draws on the CPU or reads the step's number would repeat the first one's, and
is refused with its reason, then runs kernel by kernel.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from ganforge.data.batch import Batch
from ganforge.schedule import Progress
from ganforge.systems.base import System
from ganforge.training.workers import ShardPass

logger = logging.getLogger("ganforge")

Pass = Callable[[Batch, Progress], ShardPass | None]
Key = tuple[Any, ...]


class NotCapturable(RuntimeError):
    """Why a pass is not one function of its tensors."""


class StagePart(Progress):
    """Progress as far as a recorded pass may know it: the step's number would stay the first."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("step", "rate"):
            raise NotCapturable(f"its losses read progress.{name}")
        return super().__getattribute__(name)


class Replay(Protocol):
    def replay(self) -> None:
        """Do again what was recorded, on what its tensors hold now."""
        ...


Compute = Callable[[], ShardPass | None]
#: records a function's kernels: what replays them, and what the function returned; next to another
#: recorded pass of the stage, if there is one
Record = Callable[[Compute, Replay | None], tuple[Replay, ShardPass | None]]


@dataclass
class Captured:
    """One recorded pass and the tensors that it reads and writes."""

    graph: Replay
    batch: Batch
    alpha: torch.Tensor
    found: ShardPass

    def __call__(self, batch: Batch, progress: Progress) -> ShardPass:
        """The pass on another batch. The vector is a copy: the next replay writes the same one."""
        self.batch.copy_(batch.pinned())
        self.alpha.copy_(progress.alpha)
        self.graph.replay()
        return self.found._replace(vector=self.found.vector.clone())


@dataclass
class Captures:
    """The recorded passes of the stage that is being trained."""

    record: Record
    index: int = -1
    found: dict[Key, Captured | None] = field(default_factory=dict)
    seen: set[Key] = field(default_factory=set)
    #: why a player's passes are not recorded
    refused: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        player: str,
        compute: Pass,
        batch: Batch,
        progress: Progress,
        begin: Callable[[], None],
    ) -> ShardPass | None:
        """`compute` for a batch in the host's memory. `begin` puts back what a pass changes: seeds
        and buffers.

        The first pass of a part runs as it is: memory, handles and networks that move to the device
        when they are first used are made then.
        """
        if progress.index != self.index:
            self.index, self.found, self.seen = progress.index, {}, set()
        key = (player, progress.fading, *batch.shapes())
        if key not in self.found and key in self.seen:
            self.found[key] = self._capture(player, compute, batch, progress, begin)
        self.seen.add(key)
        begin()
        captured = self.found.get(key)
        if captured is not None:
            return captured(batch, progress)
        return compute(batch.to(progress.alpha.device), progress)

    def _capture(
        self,
        player: str,
        compute: Pass,
        batch: Batch,
        progress: Progress,
        begin: Callable[[], None],
    ) -> Captured | None:
        alpha = progress.alpha.clone()
        batch = batch.to(alpha.device).clone()
        values = {name: getattr(progress, name) for name in ("index", "stage", "step", "settings")}
        part = StagePart(**values, fading=progress.fading, alpha=alpha)
        try:
            begin()
            if check(lambda: compute(batch, part)) is None:
                return None  # the player sits out: there is nothing to record
        except NotCapturable as error:
            if player not in self.refused:
                logger.info("%s: no CUDA graphs, %s", player, error)
            self.refused[player] = str(error)
            return None
        begin()
        others = (captured.graph for captured in self.found.values() if captured is not None)
        try:
            graph, found = self.record(lambda: compute(batch, part), next(others, None))
        except RuntimeError as error:
            # not to be continued from: torch's generator still counts as recorded
            raise RuntimeError(
                f"{player}: recording a CUDA graph failed: {error}. Fix: cuda_graphs = false"
            ) from error
        assert found is not None
        return Captured(graph, batch, alpha, found)


def check(compute: Callable[[], Any]) -> Any:
    """What a pass gives, run once; NotCapturable where it needs the host."""
    drawn = torch.default_generator.get_state()
    waiting = torch.cuda.get_sync_debug_mode() if torch.cuda.is_initialized() else None
    if waiting is not None:
        torch.cuda.set_sync_debug_mode("error")
    try:
        found = compute()
    except RuntimeError as error:
        if waiting is not None and "synchronizing" in str(error):
            raise NotCapturable("its losses read a tensor of the GPU back") from None
        raise
    finally:
        if waiting is not None:
            torch.cuda.set_sync_debug_mode(waiting)
    if not torch.equal(drawn, torch.default_generator.get_state()):
        raise NotCapturable("its losses draw on the CPU")
    return found


def cuda_graph(compute: Compute, other: Replay | None) -> tuple[Replay, ShardPass | None]:
    """Record a CUDA graph in the memory of another, as long as that one lives: one is replayed at a
    time, and what it leaves is copied before the next."""
    graph = torch.cuda.CUDAGraph()
    pool = other.pool() if isinstance(other, torch.cuda.CUDAGraph) else None
    # the thread that loads images may allocate meanwhile
    with torch.cuda.graph(graph, pool, capture_error_mode="thread_local"):
        found = compute()
    return graph, found


def captures(system: System, settings: Any, device: torch.device) -> Captures | None:
    """Where passes are recorded: on a GPU, unless the settings say otherwise, and for systems that
    promise it. A class that derives from one makes the promise anew."""
    promised = bool(vars(type(system)).get("capturable", False))
    wanted = device.type == "cuda" and settings.cuda_graphs and promised
    # what belongs to a shard is not put back after the pass that is only looked at
    wanted = wanted and not system.shard_buffers
    return Captures(cuda_graph) if wanted else None
