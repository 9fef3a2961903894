"""The first stage of several runs as one program."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ganforge.data.base import Data
from ganforge.draws import reseed
from ganforge.schedule import Plan, Position, Progress
from ganforge.systems.base import System
from ganforge.training.lanes.alike import check_alike, joined
from ganforge.training.lanes.rows import Buffers, Part, Rows, parts_of
from ganforge.training.lanes.tensor import Lanes
from ganforge.training.loop import Loop, Means, NotFinite, Training, check_finite, due, grow
from ganforge.training.report import Report
from ganforge.training.workers import Node, Workers, add


class _Objectives(nn.Module):
    """A system's objectives as the forward pass of a module, whose weights can be others."""

    def __init__(self, system: System):
        super().__init__()
        self.system = system

    def forward(self, *arguments: Any) -> dict[str, Tensor]:
        return self.system.losses(*arguments)


@dataclass(frozen=True)
class Side:
    """One player of all lanes, and its buffers: the names of the floating ones and of counts.

    `layout` is where its gradients and floating buffers lie in the vector of a shard.
    """

    name: str
    rows: Rows
    buffers: list[str]
    counts: list[str]
    layout: list[Part]

    @classmethod
    def of(cls, systems: Sequence[System], number: int, buffers: Buffers) -> "Side":
        rows, player = Rows.of(systems, number), systems[0].players[number]
        floats, counts = buffers.of_module(player.module)
        layout = parts_of([*player.parameters, *(buffers.stacked[name][0] for name in floats)])
        return cls(player.name, rows, floats, counts, layout)

    @property
    def size(self) -> int:
        """Numbers of the layout."""
        return self.layout[-1].start + self.layout[-1].shape.numel()


@dataclass
class Program:
    """Stage 0 of all lanes. `stopped` are the lanes that left the real numbers, and why."""

    lanes: Sequence[Training]
    plans: Sequence[Plan]
    data: Data
    objectives: _Objectives
    sides: dict[str, Side]
    buffers: Buffers
    settings: Any
    means: Means = field(default_factory=Means)
    stopped: dict[int, NotFinite] = field(default_factory=dict)

    @classmethod
    def of(cls, lanes: Sequence[Training], plans: Sequence[Plan], data: Data) -> "Program":
        """Of systems that have grown to their first stage: they look into the program's memory."""
        systems = [lane.system for lane in lanes]
        buffers = Buffers.of(systems)
        made = [Side.of(systems, number, buffers) for number in range(len(systems[0].players))]
        settings = joined([plan.settings[0] for plan in plans], made[0].rows.weights.dtype)
        sides = {side.name: side for side in made}
        return cls(lanes, plans, data, _Objectives(systems[0]), sides, buffers, settings)

    def step(self, step: int) -> None:
        """Every player's turn that is due."""
        progress = [plan.progress(0, step) for plan in self.plans]
        for player in due(self.lanes[0].system.players, progress[0]):
            self._turn(self.sides[player.name], progress)

    def _turn(self, side: Side, progress: Sequence[Progress]) -> None:
        """One player's update in every lane: as `Loop.turn`, with a row for each lane."""
        stage, step = progress[0].stage, progress[0].step
        for other in self.sides.values():
            other.rows.requires_grad_(other is side)
        values = self._values()
        before, counts = self.buffers.copies(), dict[str, Tensor]()
        shared = replace(progress[0], settings=self.settings)
        nodes: dict[Node, Tensor] = {}
        terms: list[str] = []
        for shard in range(stage.shards):
            self.buffers.restore(before)
            batch = self.data.batch(0, step, shard)
            reseed(self.plans[0].seed, 0, step, side.name, shard)
            found = functional_call(self.objectives, values, (side.name, batch, shared))
            if not found:
                break
            add(nodes, (shard, shard + 1), self._vector(side, found), stage.shards)
            if shard == 0:
                terms = list(found)
                counts = {name: self.buffers.counts[name].clone() for name in side.counts}
        self.buffers.restore(before)
        if nodes:
            total = nodes[0, stage.shards] / stage.shards
            self._keep_buffers(side, total, counts)
            self._apply(side, total, terms, progress)

    def _values(self) -> dict[str, Tensor]:
        """What stands in for the weights and floating buffers of lane 0's system."""
        values = dict(self.buffers.stacked)
        for side in self.sides.values():
            values |= side.rows.leaves
        return {f"system.{name}": Lanes(value) for name, value in values.items()}

    def _vector(self, side: Side, terms: dict[str, Tensor]) -> Tensor:
        """Gradients, floating buffers and terms of one shard, a row for each lane: (K, n)."""
        values = torch.stack([_one_a_lane(term, len(self.lanes)) for term in terms.values()], 1)
        leaves = side.rows.leaves
        gradients = torch.autograd.grad(values.sum(), list(leaves.values()), allow_unused=True)
        with torch.no_grad():
            vector = values.new_empty(len(self.lanes), side.size + len(terms))
            buffers = [self.buffers.stacked[name] for name in side.buffers]
            found = zip([*leaves, *side.buffers], [*gradients, *buffers], side.layout, strict=True)
            for name, value, part in found:
                if value is None:
                    raise RuntimeError(f"lanes: nothing trains {name}")
                part.stacked(vector).copy_(value)
            vector[:, side.size :] = values
            return vector

    @torch.no_grad()
    def _keep_buffers(self, side: Side, total: Tensor, counts: dict[str, Tensor]) -> None:
        """A player's floating buffers are the means over shards, its counts those of shard 0."""
        for name, part in zip(side.buffers, side.layout[len(side.rows.parts) :], strict=True):
            self.buffers.stacked[name].copy_(part.stacked(total))
        for name, count in counts.items():
            self.buffers.counts[name].copy_(count)

    def _apply(
        self, side: Side, total: Tensor, terms: Sequence[str], progress: Sequence[Progress]
    ) -> None:
        """A step of each lane that goes on."""
        values = total[:, side.size :]
        finite = torch.isfinite(values).all(dim=1).tolist()
        for lane, player in enumerate(side.rows.players):
            if lane in self.stopped:
                continue
            try:
                if not finite[lane]:
                    check_finite(
                        player, dict(zip(terms, values[lane], strict=True)), progress[lane]
                    )
                side.rows.step(lane, total[lane, : side.rows.size], progress[lane])
            except NotFinite as error:
                self.stopped[lane] = error
        side.rows.refresh()
        self.means.add(side.name, dict(zip(terms, values.unbind(1), strict=True)))

    def reports(self, position: Position) -> list["Report | NotFinite"]:
        """What each lane has to say at a position at which its plan yields; from now on its system
        is as one that was trained alone."""
        self.buffers.write_back()
        for side in self.sides.values():
            side.rows.write_back()
        found: list[Report | NotFinite] = []
        for number, (lane, plan) in enumerate(zip(self.lanes, self.plans, strict=True)):
            if number not in self.stopped:
                lane.position = position
                lane.means.sums = {key: one[number] for key, one in self.means.sums.items()}
                lane.means.counts = dict(self.means.counts)
                loop = Loop(lane.system, plan, self.data, Workers(), lane.means)
                try:
                    found.append(loop.report(position))
                    continue
                except NotFinite as error:
                    self.stopped[number] = error
            found.append(self.stopped[number])
        self.means = Means()
        return found

    def release(self) -> None:
        """Give the lanes' systems memory of their own."""
        for side in self.sides.values():
            side.rows.release()
        self.buffers.release()


def _one_a_lane(term: Tensor, lanes: int) -> Tensor:
    """The value of a term in each lane, (K,)."""
    if not isinstance(term, Lanes):
        return term.sum().expand(lanes)
    return term.stacked.flatten(1).sum(dim=1) if term.dim() else term.stacked


def train_lanes(
    lanes: Sequence[Training], plans: Sequence[Plan], data: Data
) -> Iterator[list[Report | NotFinite]]:
    """Train stage 0 of all `lanes` as one program; at each position at which `train` yields, yield
    what it does for each lane.

    A lane that leaves the real numbers stops, and the others go on: from then on its error stands
    in place of its reports. `data` is that of any lane: what decides it is equal in all of them.
    The caller may measure and store the lanes at each yield, and `train` continues any of them when
    the stage has ended.
    """
    check_alike([lane.system for lane in lanes], plans)
    for lane, plan in zip(lanes, plans, strict=True):
        grow(lane.system, plan, 0)
    program, plan = Program.of(lanes, plans, data), plans[0]
    try:
        yield program.reports(Position(0, 0))
        for step in range(plan.stages[0].steps):
            program.step(step)
            position = Position(0, step + 1)
            over = len(program.stopped) == len(lanes)
            if over or plan.yields(position):
                yield program.reports(position)
            if over:
                return
    finally:
        program.release()
