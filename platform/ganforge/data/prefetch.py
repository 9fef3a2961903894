"""Work done ahead of time on one thread; whether it was done changes no result."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ganforge.data.batch import Batch
from ganforge.schedule import Stage

Key = tuple[int, int, int]  # stage, step, shard


class Prefetch:
    """`make(index, step, shard)`, where the next step's batch of the same shard is made meanwhile.

    The thread starts with the first batch (a process may fork before) and ends with this object.
    """

    def __init__(self, make: Callable[[int, int, int], Batch], stages: tuple[Stage, ...]):
        self._make, self._stages = make, stages
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: dict[Key, Future[Batch]] = {}

    def __call__(self, index: int, step: int, shard: int) -> Batch:
        made = self._ahead.pop((index, step, shard), None)
        for key in [k for k in self._ahead if k[0] != index or k[1] not in (step, step + 1)]:
            self._ahead.pop(key).cancel()
        after = (index, step + 1, shard)
        if step + 1 < self._stages[index].steps and after not in self._ahead:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="prefetch")
            self._ahead[after] = self._thread.submit(self._make, *after)
        return self._make(index, step, shard) if made is None else made.result()

    def close(self) -> None:
        """Stop the thread; a later call starts it again."""
        self._ahead.clear()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None
