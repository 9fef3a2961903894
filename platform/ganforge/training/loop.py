"""The only training loop. It yields reports and does not know who listens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganforge.assets import Assets
from ganforge.data.base import Data
from ganforge.draws import reseed
from ganforge.schedule import Plan, Position, Progress
from ganforge.systems.base import Player, System
from ganforge.training.report import Report
from ganforge.training.validation import draw_samples, validate
from ganforge.training.workers import Workers


class NotFinite(RuntimeError):
    """A term left the real numbers: the run cannot go on from here."""


@dataclass
class Training:
    """All that survives a step, and so all that a checkpoint holds."""

    system: System
    position: Position


@dataclass
class Means:
    """Means of the terms since the last yield: every yield is a place where a run may begin, so
    that a resumed run reports the same figures."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, player: str, terms: dict[str, Tensor]) -> None:
        for name, value in terms.items():
            key = f"{player}/{name}"
            self.sums[key] = self.sums.get(key, torch.zeros_like(value)) + value
            self.counts[key] = self.counts.get(key, 0) + 1

    def take(self) -> dict[str, float]:
        means = {key: (value / self.counts[key]).item() for key, value in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


def train(
    training: Training, plan: Plan, data: Data, workers: Workers, assets: Assets | None = None
) -> Iterator[Report]:
    """Train through `plan` from where `training` is; yield a report where `plan.yields` says.

    The caller owns `training` and may store it at each yield, the only safe points. `assets` are
    the files that validation needs, by content hash.
    """
    system, means = training.system, Means()
    for index, stage in plan.stages_from(training.position):
        first = training.position.step_in(index)
        if first == 0:
            grow(system, plan, index)
            training.position = Position(index, 0)
            yield report(training, plan, data, workers, means, assets)
        for step in range(first, stage.steps):
            progress = plan.progress(index, step)
            for player in due(system.players, progress):
                take_turn(system, player, progress, plan, data, workers, means)
            training.position = Position(index, step + 1)
            if plan.yields(training.position):
                workers.gather_shard_buffers(system, stage.shards)
                yield report(training, plan, data, workers, means, assets)


def grow(system: System, plan: Plan, index: int) -> None:
    """Add what stage `index` adds; a function of the seed, the stage and the block."""
    reseed(plan.seed, index, "grow")
    system.grow(index)
    system.to(plan.device).to(memory_format=torch.channels_last)  # pyright: ignore
    for player in system.players:
        player.follow(reset=plan.settings[index].reset_optimizer)


def due(players: Sequence[Player], progress: Progress) -> Iterator[Player]:
    """The players whose turn it is: each on every `every`-th batch, after that many batches."""
    for player in players:
        if (progress.step + 1) % player.every(progress.settings) == 0:
            yield player


def take_turn(
    system: System,
    player: Player,
    progress: Progress,
    plan: Plan,
    data: Data,
    workers: Workers,
    means: Means,
) -> None:
    """One player's update: its shards' gradients, their fixed sum, one optimizer step."""
    index, step, shards = progress.index, progress.step, progress.stage.shards
    autocast = progress.settings.precision == "bfloat16"
    with workers.turn(system, player, shards) as turn:
        for shard in workers.shards(shards):
            batch = data.batch(index, step, shard).to(plan.device)
            turn.begin_shard()
            reseed(plan.seed, index, step, player.name, shard)
            with torch.autocast(plan.device.type, torch.bfloat16, enabled=autocast):
                terms = system.losses(player.name, batch, progress)
            turn.backward(shard, terms)
    if not turn.names:
        return
    gradients, terms = workers.reduce(turn)
    # reading a value back stalls a GPU, so there only every tenth step is looked at
    if plan.device.type == "cpu" or step % 10 == 0:
        check_finite(player, terms, progress)
    player.step(gradients, progress)
    means.add(player.name, terms)


def check_finite(player: Player, terms: dict[str, Tensor], progress: Progress) -> None:
    for name, value in terms.items():
        if not torch.isfinite(value):
            raise NotFinite(
                f"{player.name}/{name} is {value.item()} at stage {progress.index}, "
                f"step {progress.step}: lower the learning rates, or raise the penalty's weight"
            )


def report(
    training: Training,
    plan: Plan,
    data: Data,
    workers: Workers,
    means: Means,
    assets: Assets | None = None,
) -> Report:
    """The report at the present position; validation and samples where the plan has them."""
    position = training.position
    stage = plan.stages[position.index]
    kind = plan.yields(position)
    assert kind is not None
    # a stage's end is described with the weights of its last step, at alpha = 1 after a fade
    progress = plan.progress(position.index, position.step)
    metrics = means.take() | {
        "stage/index": float(position.index),
        "stage/resolution": float(stage.resolution),
        "stage/alpha": stage.alpha(position.step),
        "stage/done": plan.done(position),
    }
    if plan.validates(position):
        metrics |= validate(training.system, data, workers, progress, plan.seed, assets)
    samples, extra = None, {}
    if plan.samples(position) and workers.rank == 0:
        batch = data.samples(position.index).to(plan.device)
        samples, extra = draw_samples(training.system, batch, progress)
    return Report(position, kind, plan.images_before(position), metrics, samples, extra=extra)
