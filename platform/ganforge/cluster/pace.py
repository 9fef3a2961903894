"""How long a batch takes at the beginning of a stage, before the first report that says so."""

import time
from collections.abc import Callable
from typing import Any

from ganforge.training.loop import Notice

#: the first batch of a stage is left out: it allocates memory and chooses kernels
_FIRST, _LAST = 1, 3


class Pace:
    """Stands before what is asked between two batches and sends, once a stage, {"pace": {"index":
    the stage, "seconds": of one batch}}. What is computed does not depend on it."""

    def __init__(self, noticed: Callable[[], Notice], send: Callable[[dict[str, Any]], object]):
        self._noticed, self._send = noticed, send
        self._index: int | None = None
        self._batches = 0
        self._since = 0.0

    def begin(self, index: int) -> None:
        """Stage `index` begins."""
        self._index, self._batches = index, 0

    def __call__(self) -> Notice:
        if self._index is not None:
            self._batches += 1
            if self._batches == _FIRST:
                self._since = time.monotonic()
            elif self._batches == _LAST:
                seconds = (time.monotonic() - self._since) / (_LAST - _FIRST)
                self._send({"pace": {"index": self._index, "seconds": seconds}})
                self._index = None
        return self._noticed()
