"""A run whose number of workers changes: as many as there is room for, within a range.

No bit depends on how many workers compute the shards of a batch. So a run that has lost a machine
continues with the workers that are left, and takes more when there is room for them: its workers
store a state between two batches and end, and a larger group continues from it.
"""

import time
from collections.abc import Callable
from typing import Protocol

#: how long a group that cannot be whole waits for what has just been given back
_PATIENCE_SECONDS = 4.0
_LOOK_SECONDS = 2.0
#: how long room must have been held before a run takes it: the next trial asks within that time
_HELD_SECONDS = 5.0
#: a request that came while workers were starting is lost, and made again after this time at least
_AGAIN_SECONDS = 60.0


class Regroup(Exception):
    """The workers have stored a state and ended, so that the run continues with more of them."""


class Room(Protocol):
    """Room for workers in a cluster (cluster/room.py)."""

    def whole(self) -> int:
        """The workers that would fit if nobody else was there."""
        ...

    def free(self, group: str = "") -> int:
        """The workers that fit now, with those in the placement group `group`."""
        ...

    def reserve(self, workers: int) -> None:
        """Ask for room for so many workers, and hold it; in place of what was asked for before."""
        ...

    def held(self) -> int:
        """The workers for which room is held."""
        ...

    def give_back(self) -> None:
        """Ask for nothing, and hold nothing."""
        ...

    def others_wait(self) -> bool:
        """Whether workers of another run wait for room."""
        ...


class Crew:
    """The workers of one run: `fewest` to `most`. `regroup` has them store a state and end."""

    def __init__(
        self,
        fewest: int,
        most: int,
        room: Room,
        regroup: Callable[[], object],
        grow_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.fewest, self.most, self.room, self.clock = fewest, most, room, clock
        self._regroup, self._grow_seconds = regroup, grow_seconds
        self._group = ""
        self._deciding: float | None = None
        self._began: float | None = None
        self._looked = float("-inf")
        self._held_since: float | None = None
        #: when the workers were asked to regroup
        self._asked: float | None = None

    def start_size(self) -> int | None:
        """How many workers to begin or continue with; None: not decided yet, to be asked again."""
        now = self.clock()
        if self._deciding is None:
            self._deciding = now
            self.room.give_back()
        fit = min(self.room.free(self._group), self.most)
        late = now - self._deciding >= _PATIENCE_SECONDS
        if fit < min(self.room.whole(), self.most) and not late:
            return None
        self._deciding = self._began = self._held_since = None
        self._asked, self._group = None, ""
        # where not even those fit they are waited for, as those of any run
        return max(fit, self.fewest)

    def look(self, present: int, group: str) -> None:
        """While `present` workers train in the placement group `group`: hold room for those that
        are missing, which also has machines bought for them, and regroup once there is some."""
        now = self.clock()
        self._group = group
        self._began = now if self._began is None else self._began
        missing = self.most - present
        if not missing or now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        if self.room.others_wait():
            self.room.give_back()
            self._held_since = None
            return
        if self._asked is not None and now - self._asked < max(self._grow_seconds, _AGAIN_SECONDS):
            return
        held = self.room.held()
        if held < missing:
            # room for a part of them is taken, too
            self.room.reserve(min(missing, held + self.room.free()) or missing)
        if not held:
            self._held_since = None
            return
        self._held_since = now if self._held_since is None else self._held_since
        long_enough = now - self._held_since >= _HELD_SECONDS
        if long_enough and now - self._began >= self._grow_seconds:
            self._asked = now
            self._regroup()

    def close(self) -> None:
        """The run is over."""
        self.room.give_back()
