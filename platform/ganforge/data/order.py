"""Which sample stands where: an endless stream of epochs, a function of the seed alone.

Sample j of a step is number s = step · batch_size + j of its stage, so that batches run across the
borders of epochs and a set may be smaller than a batch.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ganforge.draws import permutation
from ganforge.schedule import Stage


def sample_numbers(stage: Stage, step: int, shard: int) -> range:
    """The sample numbers of one shard: a contiguous slice of the global batch."""
    first = step * stage.batch_size + shard * stage.shard_size
    return range(first, first + stage.shard_size)


def item(count: int, seed: int, number: int) -> int:
    """Which of `count` items sample `number` shows: each once per epoch, in an order drawn from
    (seed, epoch). The stage does not enter; crops and flips differ by stage."""
    epoch, place = divmod(number, count)
    return int(_order(count, seed, epoch)[place])


@lru_cache(maxsize=8)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    order = permutation(count, seed, "epoch", epoch).numpy()
    order.flags.writeable = False
    return order
