"""Weights and buffers of all lanes in one memory, into which the lanes' own systems look."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganforge.schedule import Progress
from ganforge.systems.base import Player, System
from ganforge.training.workers import floating, integers


class Part(NamedTuple):
    """Where one tensor of a lane lies in its row."""

    start: int
    shape: torch.Size
    stride: tuple[int, ...]

    def of(self, row: Tensor) -> Tensor:
        """The view of a row, (P,)."""
        return row.as_strided(self.shape, self.stride, row.storage_offset() + self.start)

    def stacked(self, rows: Tensor) -> Tensor:
        """The view of all rows, (K, P) to (K, …)."""
        offset = rows.storage_offset() + self.start
        return rows.as_strided((len(rows), *self.shape), (rows.stride(0), *self.stride), offset)


def parts_of(tensors: Sequence[Tensor]) -> list[Part]:
    """Dense tensors one after the other, each in the order in which it lies in memory."""
    found, start = [], 0
    for tensor in tensors:
        found.append(Part(start, tensor.shape, tensor.stride()))
        start += tensor.numel()
    return found


def gathered(lanes: Sequence[Sequence[Tensor]], parts: Sequence[Part]) -> Tensor:
    """Each lane's tensors as a row: (K, P)."""
    rows = lanes[0][0].new_empty(len(lanes), sum(tensor.numel() for tensor in lanes[0]))
    for row, tensors in zip(rows, lanes, strict=True):
        for part, tensor in zip(parts, tensors, strict=True):
            part.of(row).copy_(tensor)
    return rows


@dataclass
class Rows:
    """One player of every lane.

    `players` are the lanes' own, and `steppers` the same with the whole row as their only
    parameter, so that a step is one operation and not one for each parameter. `leaves` are copies
    of each parameter in all lanes, (K, …), by the name that it has in its system: there the lanes
    of one parameter lie next to each other, as grouped convolutions need them.
    """

    players: list[Player]
    steppers: list[Player]
    parts: list[Part]
    weights: Tensor
    averages: Tensor | None
    leaves: dict[str, Tensor]

    @classmethod
    @torch.no_grad()
    def of(cls, systems: Sequence[System], number: int) -> "Rows":
        """Player `number` of all lanes; the systems' weights become views of the rows."""
        players = [system.players[number] for system in systems]
        parts = parts_of(players[0].parameters)
        weights = gathered([player.parameters for player in players], parts)
        averages = None
        if players[0].average is not None:
            averages = gathered([list(_average(player).parameters()) for player in players], parts)
        for lane, player in enumerate(players):
            for part, parameter in zip(parts, player.parameters, strict=True):
                parameter.data = part.of(weights[lane])
            if averages is not None:
                for part, parameter in zip(parts, _average(player).parameters(), strict=True):
                    parameter.data = part.of(averages[lane])
        names = {id(tensor): name for name, tensor in systems[0].named_parameters()}
        leaves = {
            names[id(parameter)]: _together(part.stacked(weights))
            for part, parameter in zip(parts, players[0].parameters, strict=True)
        }
        steppers = [
            _stepper(player, row) for player, row in zip(players, weights.unbind(), strict=True)
        ]
        return cls(players, steppers, parts, weights, averages, leaves)

    @property
    def size(self) -> int:
        """Numbers of one lane's row."""
        return self.weights.shape[1]

    def requires_grad_(self, wanted: bool) -> None:
        for leaf in self.leaves.values():
            leaf.requires_grad_(wanted)

    def step(self, lane: int, gradients: Tensor, progress: Progress) -> None:
        """One lane's optimizer step with its row of gradients, (P,), then its average."""
        self.steppers[lane].step([gradients], progress)
        if self.averages is not None:
            weight = 1 - self.players[lane].decay(progress.settings)
            self.averages[lane].lerp_(self.weights[lane], weight)

    @torch.no_grad()
    def refresh(self) -> None:
        """Let the leaves follow the rows after a step."""
        for part, leaf in zip(self.parts, self.leaves.values(), strict=True):
            leaf.copy_(part.stacked(self.weights))

    @torch.no_grad()
    def write_back(self) -> None:
        """Give the lanes' own players what their steppers have: the optimizers' states, and the
        averages' buffers."""
        for player, stepper in zip(self.players, self.steppers, strict=True):
            state = stepper.optimizer.state.get(stepper.parameters[0], {})
            for part, parameter in zip(self.parts, player.parameters, strict=True):
                player.optimizer.state[parameter] = {
                    key: _own(value, part, self.size) for key, value in state.items()
                }
            if player.average is not None:
                buffers = zip(player.average.buffers(), player.module.buffers(), strict=True)
                for mine, theirs in buffers:
                    mine.copy_(theirs)

    @torch.no_grad()
    def release(self) -> None:
        """Give the lanes' systems memory of their own."""
        for player in self.players:
            modules = [player.module, *([player.average] if player.average is not None else [])]
            for parameter in (p for module in modules for p in module.parameters()):
                parameter.data = parameter.data.clone()


def _together(stacked: Tensor) -> Tensor:
    """A copy of (K, …) whose lanes follow one another in memory, each in its own order."""
    if stacked.dim() != 5:
        return stacked.clone(memory_format=torch.contiguous_format)
    return stacked.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def _average(player: Player) -> nn.Module:
    assert player.average is not None
    return player.average


def _stepper(player: Player, row: Tensor) -> Player:
    parameter = nn.Parameter(row)
    optimizer: Any = type(player.optimizer)
    return replace(player, optimizer=optimizer([parameter]), parameters=[parameter], average=None)


def _own(value: Any, part: Part, size: int) -> Any:
    """One parameter's own share of an optimizer's state for a row: moments, or a count of steps."""
    if not isinstance(value, Tensor):
        return value
    return part.of(value).clone() if value.numel() == size and value.dim() else value.clone()


@dataclass
class Buffers:
    """The floating buffers of all lanes, stacked, by the name that they have in their system; the
    integer ones, which count steps, are those of lane 0's system."""

    systems: Sequence[System]
    stacked: dict[str, Tensor]
    counts: dict[str, Tensor]

    @classmethod
    @torch.no_grad()
    def of(cls, systems: Sequence[System]) -> "Buffers":
        """The systems' floating buffers become views of the stacked ones."""
        of_lanes = [floating(system) for system in systems]
        stacked = {name: torch.stack([own[name] for own in of_lanes]) for name in of_lanes[0]}
        for lane, own in enumerate(of_lanes):
            for name, buffer in own.items():
                buffer.data = stacked[name][lane]
        return cls(systems, stacked, integers(systems[0]))

    def of_module(self, module: nn.Module) -> tuple[list[str], list[str]]:
        """The names of the floating and of the integer ones of a module of lane 0, in its order."""
        names = {id(buffer): name for name, buffer in self.systems[0].named_buffers()}
        found = (floating(module), integers(module))
        first, second = ([names[id(one)] for one in kind.values()] for kind in found)
        return first, second

    def copies(self) -> dict[str, Tensor]:
        return {name: one.clone() for name, one in (self.stacked | self.counts).items()}

    @torch.no_grad()
    def restore(self, before: dict[str, Tensor]) -> None:
        for name, buffer in (self.stacked | self.counts).items():
            buffer.copy_(before[name])

    @torch.no_grad()
    def write_back(self) -> None:
        for system in self.systems[1:]:
            for name, buffer in integers(system).items():
                buffer.copy_(self.counts[name])

    @torch.no_grad()
    def release(self) -> None:
        """Give the lanes' systems memory of their own."""
        for system in self.systems:
            for buffer in floating(system).values():
                buffer.data = buffer.data.clone()
