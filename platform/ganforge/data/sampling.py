"""Which images a batch shows and what is drawn for them, as functions of the seed and the position.

Sample j of a step is number s = step · batch_size + j of its stage, so that batches run across the
borders of epochs and a set may be smaller than a batch.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ganforge.data.batch import Batch
from ganforge.data.image_table import Numbers
from ganforge.draws import Draws, derive, permutation
from ganforge.schedule import Stage

T = TypeVar("T")


def sample_numbers(stage: Stage, step: int, shard: int) -> range:
    """The sample numbers of one shard: a contiguous slice of the global batch."""
    first = step * stage.batch_size + shard * stage.shard_size
    return range(first, first + stage.shard_size)


def item(count: int, seed: int, number: int) -> int:
    """Which of `count` items sample `number` shows: each once per epoch, in an order drawn from
    (seed, epoch). The stage does not enter; crops and flips differ by stage."""
    epoch, position = divmod(number, count)
    return int(_order(count, seed, epoch)[position])


@dataclass(frozen=True)
class Epoch(Generic[T]):
    """The items that an epoch shows: those of each group, and how many samples it has of each.

    One group has as many samples as items. Of several, each goes through its items in an order of
    its own, from epoch to epoch, so that every item is shown as often as the others of its group,
    also where an epoch has fewer samples than the group has items.
    """

    groups: tuple[Sequence[T], ...]
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return sum(self.counts)

    def at(self, seed: int, number: int) -> T:
        """What sample `number` shows: a function of (seed, number)."""
        slot = item(len(self), seed, number)
        if len(self.groups) == 1:
            return self.groups[0][slot]
        epoch, group = number // len(self), 0
        while slot >= self.counts[group]:
            slot -= self.counts[group]
            group += 1
        items, shown = self.groups[group], epoch * self.counts[group] + slot
        return items[item(len(items), derive(seed, "root", group), shown)]


def epoch_of(items: Sequence[T], roots: Sequence[int], weights: Sequence[float]) -> Epoch[T]:
    """An epoch of all items, or with `weights` of those of each root in these parts, at least one
    sample of each. `roots` has the root of every item, numbers into `weights`."""
    if not weights:
        return Epoch((items,), (len(items),))
    groups = [
        [one for one, root in zip(items, roots, strict=True) if root == number]
        for number in range(len(weights))
    ]
    return weighted(groups, len(items), weights)


def weighted(groups: Sequence[Sequence[T]], total: int, weights: Sequence[float]) -> Epoch[T]:
    """An epoch of `total` samples that shows groups in the parts `weights`."""
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [int(part) for part in exact]
    order = sorted(range(len(exact)), key=lambda n: (counts[n] - exact[n], n))
    for number in order[: total - sum(counts)]:
        counts[number] += 1
    return Epoch(tuple(groups), tuple(max(1, count) for count in counts))


def repeated(
    train: Numbers, roots: Numbers, counts: NDArray[np.int64] | None, weights: Sequence[float]
) -> Epoch[int]:
    """An epoch of images, each as often as it counts (None: once); `roots` are theirs, or none."""
    if counts is not None:
        train = Numbers(np.repeat(train.array, counts))
        roots = Numbers(np.repeat(roots.array, counts)) if roots else roots
    if not weights:
        return epoch_of(train, (), ())
    # by folder: each group an array
    groups = [Numbers(train.array[roots.array == number]) for number in range(len(weights))]
    return weighted(groups, len(train), weights)


# several sets of several folders are gone through at a time
@lru_cache(maxsize=32)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int32]:
    order = permutation(count, seed, "epoch", epoch).numpy().astype(np.int32)
    order.flags.writeable = False
    return order


def draw_window(draws: Draws, height: int, width: int, side: int) -> tuple[int, int]:
    """Top and left of a window of `side` anywhere in an image."""
    return draws.below(height - side + 1), draws.below(width - side + 1)


def between(draws: Draws, limits: Sequence[float]) -> float:
    """A number drawn evenly between two limits; their value if they are equal."""
    low, high = limits
    return low + (high - low) * draws.below(1 << 20) / (1 << 20)


def chance(draws: Draws, probability: float) -> bool:
    """True with this probability: never with 0, always with 1."""
    return between(draws, (0, 1)) < probability


Key = tuple[int, int, int]  # stage, step, shard
Make = Callable[[int, int, int], Batch]


class Prefetch:
    """`make(index, step, shard)`; meanwhile a thread makes the next step's batch of the same shard.

    That changes no result. The thread starts with the first batch (a process may fork before) and
    ends with this object. Without `ahead` there is no thread.
    """

    def __init__(self, stages: Sequence[Stage], *, ahead: bool = True):
        self._stages, self._enabled = stages, ahead
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: dict[Key, Future[Batch]] = {}

    # `make` is not kept: as a method of the owner it would close a cycle that holds the thread
    def __call__(self, make: Make, index: int, step: int, shard: int) -> Batch:
        if not self._enabled:
            return make(index, step, shard)
        made = self._ahead.pop((index, step, shard), None)
        for key in [k for k in self._ahead if k[0] != index or k[1] not in (step, step + 1)]:
            self._ahead.pop(key).cancel()
        after = (index, step + 1, shard)
        if step + 1 < self._stages[index].steps and after not in self._ahead:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="prefetch")
            self._ahead[after] = self._thread.submit(make, *after)
        return make(index, step, shard) if made is None else made.result()

    def close(self) -> None:
        """Stop the thread; a later call starts it again."""
        self._ahead.clear()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None
