"""Any number of workers, the same bits: shards, turns and the fixed reduction tree.

A global batch is cut into shards. Each shard has its own forward and backward pass; their gradients
are summed by one binary tree over shard numbers, whichever worker computed them. A ring all-reduce
has no fixed order for more than two ranks, and floating-point sums depend on the order.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ganforge.systems.base import Player, System

Node = tuple[int, int]  # a subtree: shards [low, high)


def middle(low: int, high: int) -> int:
    """Where the tree divides [low, high): at the largest aligned power of two."""
    return low + (1 << ((high - low - 1).bit_length() - 1))


@lru_cache(maxsize=64)
def parents(shards: int) -> dict[Node, tuple[Node, Node, Node]]:
    """Each subtree but the whole, to (its parent, left half, right half)."""
    found: dict[Node, tuple[Node, Node, Node]] = {}
    stack = [(0, shards)]
    while stack:
        low, high = stack.pop()
        if high - low > 1:
            half = middle(low, high)
            left, right = (low, half), (half, high)
            found[left] = found[right] = ((low, high), left, right)
            stack += [left, right]
    return found


def owned(shards: int, rank: int, world: int) -> range:
    """The shards s of worker `rank`: those with floor(s·world / shards) = rank."""
    return range(-(-rank * shards // world), -(-(rank + 1) * shards // world))


def subtrees(shards: int, mine: range) -> list[Node]:
    """The maximal subtrees that lie inside a contiguous range of shards, from left to right."""
    found, stack = [], [(0, shards)]
    while stack:
        low, high = stack.pop()
        if mine.start <= low and high <= mine.stop:
            found.append((low, high))
        elif high - low > 1 and low < mine.stop and mine.start < high:
            half = middle(low, high)
            stack += [(half, high), (low, half)]
    return found


def add(nodes: dict[Node, Tensor], node: Node, value: Tensor, shards: int) -> None:
    """Put a subtree's sum among `nodes`, and join it with its sibling wherever both are there."""
    nodes[node] = value
    up = parents(shards)
    while node in up:
        parent, left, right = up[node]
        if left not in nodes or right not in nodes:
            return
        nodes[parent] = nodes.pop(left).add_(nodes.pop(right))
        node = parent


class ShardPass(NamedTuple):
    """One shard's gradients, floating buffers and terms as one vector, in this order; the terms'
    names, and which parameters have a gradient."""

    vector: Tensor
    names: tuple[str, ...]
    used: tuple[bool, ...]


def shard_pass(player: Player, terms: dict[str, Tensor]) -> ShardPass | None:
    """Gradients of the summed terms of one shard; None where there are none."""
    if not terms:
        return None
    parameters = player.parameters
    total = torch.stack([term.sum() for term in terms.values()]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    used = tuple(gradient is not None for gradient in gradients)
    dtype = parameters[0].dtype
    with torch.no_grad():
        pairs = zip(gradients, parameters, strict=True)
        parts = [in_memory_order(g, p) for g, p in pairs if g is not None]
        parts += [b.reshape(-1).to(dtype) for b in floating(player.module).values()]
        parts += [term.detach().reshape(1).to(dtype) for term in terms.values()]
        return ShardPass(torch.cat(parts), tuple(terms), used)


def in_memory_order(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The elements of a gradient, (n,), in the order in which its parameter's lie in memory: there
    an optimizer's step reads both in a row, and a gradient that lies so already is not copied."""
    if gradient.stride() != parameter.stride():
        gradient = torch.empty_like(parameter).copy_(gradient)
    return gradient.as_strided((gradient.numel(),), (1,))


@dataclass
class Turn:
    """One player's update at one step: what its shards leave behind."""

    system: System
    player: Player
    shards: int
    nodes: dict[Node, Tensor] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    used: tuple[bool, ...] = ()
    integers: dict[str, Tensor] = field(default_factory=dict)
    before: dict[str, Tensor] = field(default_factory=dict)

    def begin_shard(self) -> None:
        """Every shard starts from the buffers the turn started from."""
        restore(self.system, self.before)

    def take(self, shard: int, found: ShardPass | None) -> None:
        """What one shard's pass left behind; None sits the turn out."""
        if found is None:
            return
        if self.names and (found.names, found.used) != (self.names, self.used):
            raise RuntimeError(f"{self.player.name}: terms or parameters differ between shards")
        self.names, self.used = found.names, found.used
        add(self.nodes, (shard, shard + 1), found.vector, self.shards)
        if shard == 0:
            self.integers = {n: b.clone() for n, b in integers(self.player.module).items()}


@contextmanager
def in_group(rank: int, world: int, uri: str) -> Iterator[None]:
    """This process as one of a group of CPU processes that meet at `uri` (file:// or tcp://)."""
    dist.init_process_group("gloo", uri, rank=rank, world_size=world)
    try:
        yield
        dist.barrier()
    finally:
        dist.destroy_process_group()


class Workers:
    """This process among the workers of a run. One process without a group is a world of one."""

    def __init__(self, rank: int = 0, world: int = 1, device: torch.device | None = None):
        self.rank, self.world = rank, world
        self.device = device or torch.device("cpu")
        #: a group for numbers in memory, where the default one moves those of GPUs
        self._aside: dist.ProcessGroup | None = None

    def shards(self, shards: int) -> range:
        return owned(shards, self.rank, self.world)

    @contextmanager
    def turn(self, system: System, player: Player, shards: int) -> Iterator[Turn]:
        """The other players' parameters are frozen; their buffers are as before afterwards."""
        for other in system.players:
            for parameter in other.parameters:
                parameter.requires_grad_(other is player)
        before = {name: b.clone() for name, b in _shared_buffers(system).items()}
        turn = Turn(system, player, shards, before=before)
        try:
            yield turn
        finally:
            restore(system, before)
            for other in system.players:
                for parameter in other.parameters:
                    parameter.requires_grad_(True)

    def reduce(self, turn: Turn) -> tuple[list[Tensor | None], dict[str, Tensor]]:
        """Mean gradients by parameter and mean terms by name; equal bits on every rank.

        The player's floating buffers become the shards' means, integer ones take shard 0's value.
        """
        total = self._whole(turn) / turn.shards
        gradients: list[Tensor | None] = []
        offset = 0

        def take(like: Tensor) -> Tensor:
            nonlocal offset
            part = total[offset : offset + like.numel()]
            offset += like.numel()
            return part

        for parameter, used in zip(turn.player.parameters, turn.used, strict=True):
            like = (parameter.shape, parameter.stride())
            gradients.append(take(parameter).as_strided(*like) if used else None)
        with torch.no_grad():
            for buffer in floating(turn.player.module).values():
                buffer.copy_(take(buffer).reshape(buffer.shape))
            for name, buffer in integers(turn.player.module).items():
                buffer.copy_(self._from_first(turn.integers.get(name, buffer)))
        return gradients, dict(zip(turn.names, total[offset:], strict=True))

    def _whole(self, turn: Turn) -> Tensor:
        if self.world == 1:
            return turn.nodes[0, turn.shards]
        everyone = [
            subtrees(turn.shards, owned(turn.shards, r, self.world)) for r in range(self.world)
        ]
        rows = max(map(len, everyone))
        mine = torch.stack([turn.nodes[node] for node in everyone[self.rank]])
        sent = mine.new_zeros(rows, mine.shape[1])
        sent[: len(mine)] = mine
        received = mine.new_empty(self.world, rows, mine.shape[1])
        dist.all_gather(list(received.unbind()), sent)
        nodes: dict[Node, Tensor] = {}
        for rank, theirs in enumerate(everyone):
            for row, node in enumerate(theirs):
                add(nodes, node, received[rank, row], turn.shards)
        return nodes[0, turn.shards]

    def _from_first(self, tensor: Tensor) -> Tensor:
        if self.world > 1:
            tensor = tensor.contiguous()
            dist.broadcast(tensor, src=0)
        return tensor

    def largest(self, mine: int) -> int:
        """The largest of everybody's numbers, on every rank. The numbers do not touch a GPU, which
        would wait for them."""
        if self.world == 1:
            return mine
        if self._aside is None and dist.get_backend() != "gloo":
            made = dist.new_group(backend="gloo")
            assert isinstance(made, dist.ProcessGroup)  # of all ranks, so of this one
            self._aside = made
        numbers = torch.tensor([mine], dtype=torch.int64)
        dist.all_reduce(numbers, op=dist.ReduceOp.MAX, group=self._aside)
        return int(numbers.item())

    def gather(self, mine: dict[int, Any]) -> list[Any]:
        """Everybody's numbered values, in the order of their numbers, on every rank."""
        parts: list[Any] = [mine]
        if self.world > 1:
            parts = [None] * self.world
            dist.all_gather_object(parts, mine)
        joined = {number: value for part in parts for number, value in part.items()}
        return [joined[number] for number in sorted(joined)]

    def gather_shard_buffers(self, system: System, shards: int) -> None:
        """Let every rank hold every shard's rows of the buffers that belong to a shard; settings
        may do without some of them."""
        if self.world == 1:
            return
        buffers = dict(system.named_buffers())
        for name in (name for name in system.shard_buffers if name in buffers):
            rows = {s: buffers[name][s].cpu() for s in self.shards(shards)}
            buffers[name].copy_(torch.stack(self.gather(rows)))

    def round_robin(self, count: int) -> range:
        """The numbers in 0 … count-1 that this worker does, of work dealt out singly."""
        return range(self.rank, count, self.world)


def floating(module: nn.Module) -> dict[str, Tensor]:
    return {n: b for n, b in module.named_buffers() if b.is_floating_point()}


def integers(module: nn.Module) -> dict[str, Tensor]:
    return {n: b for n, b in module.named_buffers() if not b.is_floating_point()}


def _shared_buffers(system: System) -> dict[str, Tensor]:
    kept = set(system.shard_buffers)
    return {name: b for name, b in system.named_buffers() if name not in kept}


@torch.no_grad()
def restore(system: System, before: dict[str, Tensor]) -> None:
    """Put buffers back to the values they had before a turn."""
    for name, buffer in _shared_buffers(system).items():
        buffer.copy_(before[name])
