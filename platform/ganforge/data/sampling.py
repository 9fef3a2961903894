"""Which images a batch shows and what is drawn for them, as functions of the seed and the position.

Sample j of a step is number s = step · batch_size + j of its stage, so that batches run across the
borders of epochs and a set may be smaller than a batch.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ganforge.data.batch import Batch
from ganforge.draws import Draws, permutation
from ganforge.schedule import Stage


def sample_numbers(stage: Stage, step: int, shard: int) -> range:
    """The sample numbers of one shard: a contiguous slice of the global batch."""
    first = step * stage.batch_size + shard * stage.shard_size
    return range(first, first + stage.shard_size)


def item(count: int, seed: int, number: int) -> int:
    """Which of `count` items sample `number` shows: each once per epoch, in an order drawn from
    (seed, epoch). The stage does not enter; crops and flips differ by stage."""
    epoch, position = divmod(number, count)
    return int(_order(count, seed, epoch)[position])


@lru_cache(maxsize=8)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    order = permutation(count, seed, "epoch", epoch).numpy()
    order.flags.writeable = False
    return order


def draw_window(draws: Draws, height: int, width: int, side: int) -> tuple[int, int]:
    """Top and left of a window of `side` anywhere in an image."""
    return draws.below(height - side + 1), draws.below(width - side + 1)


def between(draws: Draws, limits: Sequence[float]) -> float:
    """A number drawn evenly between two limits; their value if they are equal."""
    low, high = limits
    return low + (high - low) * draws.below(1 << 20) / (1 << 20)


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
