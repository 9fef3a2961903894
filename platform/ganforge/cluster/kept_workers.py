"""Workers that one trial of a search ends with, and the next one begins with.

A worker's process takes seconds to start and to import torch, and as long as a short rung trains.
A trial that ended in order leaves its workers here, with what they hold of the machines, for the
next trial that asks for the same; after a while without one they are ended. What a trial computes
does not hang on it: every draw is seeded, and a run sets all that a process keeps. What a user's
own code keeps in a process is not known, so its workers are not kept.
"""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ganforge.cluster.placement import held, others_wait, release
from ganforge.cluster.room import GROWTH
from ganforge.systems import SYSTEMS

if TYPE_CHECKING:
    from ganforge.training.prepare import Prepared

IDLE_SECONDS = 20.0
#: Ray looks once a second at most whether who waits for room fits by now (and an order it has not)
_MAKE_WAY_SECONDS = 5.0


@dataclass(eq=False)
class Kept:
    """Workers by what they hold: their placement group, and the actor at which they meet. `end`
    ends them all."""

    shape: Hashable
    group: Any
    workers: list[Any]
    meeting: Any
    end: Callable[[], None]
    timer: threading.Timer | None = field(default=None, repr=False)


def keeps_workers(prepared: "Prepared") -> bool:
    """Whether trials of this search pass their workers on: not those of a user's own code, in a
    file or installed, nor those that come and go while a trial runs."""
    own = prepared.sources or prepared.system not in SYSTEMS
    return not own and prepared.settings.workers_at_least is None


class KeptWorkers:
    """The workers without a trial. The names of placement groups begin with `name`: those that an
    earlier process of this name has left are removed."""

    def __init__(self, name: str, idle_seconds: float = IDLE_SECONDS):
        self.name, self._idle_seconds = name, idle_seconds
        self._lock = threading.Lock()
        self._kept: list[Kept] = []
        self._closed = False
        self._made_way = False
        release(held(name))

    def take(self, shape: Hashable) -> Kept | None:
        """Workers of this shape, which are no longer here; the latest, whose memory is warm."""
        with self._lock:
            for kept in reversed(self._kept):
                if kept.shape == shape:
                    self._kept.remove(kept)
                    if kept.timer is not None:
                        kept.timer.cancel()
                    return kept
        return None

    def give(self, kept: Kept) -> None:
        """Keep workers for a while; end them where somebody else waits for room, who would never
        get it from trials that follow one another at once."""
        if self._others_wait():
            kept.end()
            self._made_way = True
            return
        kept.timer = threading.Timer(self._idle_seconds, self._expire, [kept])
        kept.timer.daemon = True
        with self._lock:
            if not self._closed:
                self._kept.append(kept)
                kept.timer.start()
                return
        kept.end()

    def make_way(self) -> None:
        """Before workers are asked for in place of those that were ended for others: give these a
        moment to take the room."""
        until = time.monotonic() + _MAKE_WAY_SECONDS
        while self._made_way and self._others_wait() and time.monotonic() < until:
            time.sleep(0.1)
        self._made_way = False

    def _others_wait(self) -> bool:
        return others_wait(self.name, GROWTH)

    def _expire(self, kept: Kept) -> None:
        with self._lock:
            if kept not in self._kept:
                return
            self._kept.remove(kept)
        kept.end()

    def close(self) -> None:
        """End all, now and from now on."""
        with self._lock:
            self._closed, left, self._kept = True, self._kept, []
        for kept in left:
            if kept.timer is not None:
                kept.timer.cancel()
            kept.end()
