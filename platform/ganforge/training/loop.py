"""The only training loop. It yields reports and does not know who listens."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from ganforge.data.base import Data
from ganforge.data.batch import Batch
from ganforge.draws import reseed
from ganforge.precision import tf32
from ganforge.schedule import Kind, Plan, Position, Progress
from ganforge.systems.base import Player, System
from ganforge.training.capture import Captures, captures
from ganforge.training.report import Report
from ganforge.training.workers import ShardPass, Turn, Workers, shard_pass

_ADVICE = "lower the learning rates, or raise the penalty's weight"


class NotFinite(RuntimeError):
    """A term left the real numbers: the run cannot continue from here."""


class Collapsed(NotFinite):
    """All that a generator makes is nearly one image: training on seldom brings it back."""


@dataclass
class Means:
    """Means of the terms since the plan's last report. They are part of a state that is stored
    between two reports, so that a resumed run reports the same means."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, player: str, terms: dict[str, Tensor]) -> None:
        for name, value in terms.items():
            key = f"{player}/{name}"
            self.sums[key] = self.sums.get(key, torch.zeros_like(value)) + value
            self.counts[key] = self.counts.get(key, 0) + 1

    def values(self) -> dict[str, float]:
        """The means, read back at once: a GPU is waited for each time."""
        if not self.sums:
            return {}
        means = torch.stack([value / self.counts[key] for key, value in self.sums.items()])
        return dict(zip(self.sums, means.tolist(), strict=True))

    def take(self) -> dict[str, float]:
        means = self.values()
        self.sums, self.counts = {}, {}
        return means


@dataclass
class Training:
    """All that survives a step, and so all that a checkpoint holds. `rollbacks` are the positions
    at which the run diverged and went back."""

    system: System
    position: Position
    rollbacks: tuple[Position, ...] = ()
    means: Means = field(default_factory=Means)


@dataclass(frozen=True)
class Loop:
    """What every turn of a run needs."""

    system: System
    plan: Plan
    data: Data
    workers: Workers
    means: Means
    #: where passes are replayed as CUDA graphs
    captures: Captures | None = None

    def turn(self, player: Player, progress: Progress) -> None:
        """One player's update: its shards' gradients, their fixed sum, one optimizer step."""
        seed, device = self.plan.seed, self.plan.device
        index, step, shards = progress.index, progress.step, progress.stage.shards
        rounded = device.type == "cuda" and rounds(progress.settings)
        with self.workers.turn(self.system, player, shards) as turn, tf32(rounded):
            compute = partial(self._pass, player)
            for shard in self.workers.shards(shards):
                batch = self.data.batch(index, step, shard)

                def begin(shard: int = shard, turn: Turn = turn) -> None:
                    turn.begin_shard()
                    reseed(seed, index, step, player.name, shard)

                if self.captures is None:
                    begin()
                    found = compute(batch.to(device), progress)
                else:
                    found = self.captures.run(player.name, compute, batch, progress, begin)
                turn.take(shard, found)
        if not turn.names:
            return
        gradients, terms = self.workers.reduce(turn)
        if read_at_once(device, step // player.every(progress.settings)):
            check_finite(player, terms, progress)
        player.step(gradients, progress)
        self.means.add(player.name, terms)

    def _pass(self, player: Player, batch: Batch, progress: Progress) -> ShardPass | None:
        """One shard's losses and gradients."""
        autocast = progress.settings.precision == "bfloat16"
        with torch.autocast(batch.target.device.type, torch.bfloat16, enabled=autocast):
            terms = self.system.losses(player.name, batch, progress)
        return shard_pass(player, terms)

    def report(self, position: Position) -> Report:
        """The bare report at a position at which the plan yields.

        Raises NotFinite for terms since the last yield and, where the state is stored, for weights.
        """
        kind, stage = self.plan.yields(position), self.plan.stages[position.index]
        assert kind is not None
        means = self.means.take()
        check_means(means, position)
        if self.plan.stores(position):
            check_weights(self.system, position)
        metrics = means | {
            "stage/index": float(position.index),
            "stage/resolution": float(stage.resolution),
            "stage/alpha": stage.alpha(position.step),
            "stage/done": self.plan.done(position),
        }
        return Report(position, kind, self.plan.images_before(position), metrics)


#: what a worker may be asked for between two batches: nothing, to store, to store and end
Notice = Literal[0, 1, 2]
_NOTICES: dict[int, Kind] = {1: "notice", 2: "departure"}


def train(
    training: Training,
    plan: Plan,
    data: Data,
    workers: Workers,
    noticed: Callable[[], Notice] | None = None,
) -> Iterator[Report]:
    """Train through `plan` from where `training` is; yield a report where `plan.yields` says.

    The caller owns `training` and may measure and store it at each yield, the only safe points.
    Each rollback has halved the learning rates. Where `noticed()` asks one worker for a state, all
    yield a notice at the same batch: nothing that the training computes depends on where that is.
    """
    plan = replace(plan, rate=0.5 ** len(training.rollbacks))
    settings = plan.settings[training.position.index]
    recorded = captures(training.system, settings, plan.device)
    loop = Loop(training.system, plan, data, workers, training.means, recorded)
    for index, stage in plan.stages_from(training.position):
        first = training.position.step_in(index)
        if first == 0:
            grow(training.system, plan, index)
            training.position = Position(index, 0)
            yield loop.report(training.position)
        for step in range(first, stage.steps):
            progress = plan.progress(index, step)
            for player in due(training.system.players, progress):
                loop.turn(player, progress)
            training.position = Position(index, step + 1)
            if plan.yields(training.position):
                workers.gather_shard_buffers(training.system, stage.shards)
                yield loop.report(training.position)
            elif noticed is not None and (asked := workers.largest(noticed())):
                workers.gather_shard_buffers(training.system, stage.shards)
                check_means(training.means.values(), training.position)
                check_weights(training.system, training.position)
                images = plan.images_before(training.position)
                yield Report(training.position, _NOTICES[asked], images, {})


def grow(system: System, plan: Plan, index: int) -> None:
    """Add what stage `index` adds: a function of the seed, the stage and the block, or of the
    weights that the run begins with."""
    reseed(plan.seed, index, "grow")
    present = system.names() if index else set[str]()
    system.grow(index)
    system.begin_with(present)
    layout = memory_format(plan.device, plan.settings[index].precision)
    system.to(plan.device).to(memory_format=layout)  # pyright: ignore
    for player in system.players:
        player.follow(reset=plan.settings[index].reset_optimizer)


def memory_format(device: torch.device, precision: str) -> torch.memory_format:
    """The order in which weights, and so features, lie in memory.

    Channels last, but for full float32 on a GPU: there NCHW took 5 to 37 % less time for two of
    three systems, and 3 to 16 % more for one (measured on an H100, docs/benchmarks.md).
    """
    plain = device.type == "cuda" and precision == "float32"
    return torch.contiguous_format if plain else torch.channels_last


def due(players: Sequence[Player], progress: Progress) -> Iterator[Player]:
    """The players whose turn it is: each on every `every`-th batch, after that many batches."""
    for player in players:
        if (progress.step + 1) % player.every(progress.settings) == 0:
            yield player


def rounds(settings: Any) -> bool:
    """Whether float32 operations of a GPU round to TF32: all of training, or, next to bfloat16,
    what is not in bfloat16, which is the penalty."""
    return "tf32" in (settings.precision, getattr(settings, "gradient_penalty_precision", ""))


def read_at_once(device: torch.device, turn: int) -> bool:
    """Whether the terms of a player's `turn`-th turn are read right after it.

    Reading a value back stalls a GPU: there it is done at every tenth turn of the player, whatever
    the number of batches between its turns, and for the means of all turns at the next yield.
    """
    return device.type == "cpu" or turn % 10 == 0


def check_finite(player: Player, terms: dict[str, Tensor], progress: Progress) -> None:
    values = torch.stack(list(terms.values())).tolist()
    for name, value in zip(terms, values, strict=True):
        if not math.isfinite(value):
            raise NotFinite(
                f"{player.name}/{name} is {value} at stage {progress.index}, "
                f"step {progress.step}: {_ADVICE}"
            )


def check_means(means: dict[str, float], position: Position) -> None:
    """Means of terms, before they are reported or a state is stored."""
    wrong = [f"{name} is {value}" for name, value in means.items() if not math.isfinite(value)]
    if wrong:
        raise NotFinite(f"{', '.join(wrong)} in the mean of the steps before {position}: {_ADVICE}")


def check_weights(system: System, position: Position) -> None:
    """The weights that are about to be stored: the last step's gradients are in no term."""
    for player in system.players:
        named = dict(player.module.named_parameters())
        finite = torch.stack([torch.isfinite(weights).all() for weights in named.values()])
        for name, right in zip(named, finite.tolist(), strict=True):
            if not right:
                raise NotFinite(
                    f"{player.name}: the weights {name} are not finite at {position}: {_ADVICE}"
                )
