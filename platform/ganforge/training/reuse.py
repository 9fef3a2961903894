"""How a run takes stages from the ledger instead of training them, and puts its own there."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from ganforge.schedule import Plan, Position
from ganforge.training.checkpoint import Snapshot, Store
from ganforge.training.ledger import Claim, Key, Ledger
from ganforge.training.lineage import Lineage
from ganforge.training.loop import Notice
from ganforge.training.run_record import rungs_inside
from ganforge.training.workers import Workers

logger = logging.getLogger("ganforge")
_LOOK_SECONDS = 0.5


class Departing(Exception):
    """The workers are to end while they wait for a stage that another run trains."""


class Reuse:
    """The ledger as one run uses it: the same answers on all of its workers.

    `noticed` is asked while the run waits for another one (see training/loop.py), and `waited` is
    told the seconds that it waits. `measured_alike` says of a manifest whether the scores in it are
    those that this run would have.
    """

    def __init__(
        self,
        ledger: Ledger,
        lineage: Lineage,
        plan: Plan,
        environment_id: str,
        workers: Workers,
        noticed: Callable[[], Notice] | None,
        waited: Callable[[float], None] = lambda seconds: None,
        measured_alike: Callable[[Mapping[str, Any]], bool] = lambda manifest: True,
    ):
        self._ledger, self._lineage, self._plan = ledger, lineage, plan
        self._environment_id, self._workers, self._noticed = environment_id, workers, noticed
        self._waited, self._measured_alike = waited, measured_alike
        self._claim: Claim | None = None
        self._unusable: set[Key] = set()
        self._said = False

    def key(self, index: int) -> Key:
        steps = self._plan.stages[index].steps
        return Key(index, self._lineage.stage_ids[index], self._environment_id, steps)

    def next(self, position: Position) -> Snapshot | None:
        """The end of the stage that is trained from `position` on, where the ledger has it.

        None: this run is to train it, and nobody else does meanwhile. Waits for a run that trains
        it now. Departing: the workers were asked to end while they waited.
        """
        index = position.index
        if position.step >= self._plan.stages[index].steps:
            index += 1
        if index >= len(self._plan.stages):
            return None
        key = self.key(index)
        while True:
            found = self._find(key)
            if all(self._workers.gather({self._workers.rank: found is not None})):
                return found
            if self._workers.rank == 0:
                self._claim = self._ledger.claim(key)
            # it may have been entered between the look and the claim
            mine = (self._claim is not None, self._find(key) is not None)
            claimed, there = self._workers.gather({self._workers.rank: mine})[0]
            if claimed and not there:
                return None
            self.release()
            if not there:
                self._wait()

    def _find(self, key: Key) -> Snapshot | None:
        found = None if key in self._unusable else self._ledger.find(key)
        if found is None:
            return None
        # a search compares scores at every rung: a stage whose rungs inside are not known would be
        # compared otherwise than one that was trained
        wanted = self._plan.rungs - 1
        inside = rungs_inside(found.manifest, self._plan).values()
        known = sum(rung.index == key.index for rung in inside)
        whole = known == wanted and (not wanted or self._measured_alike(found.manifest))
        return found if whole else None

    def drop(self, index: int, reason: str) -> None:
        """A stage's entry does not fit the networks: it is removed, and never taken again."""
        key = self.key(index)
        self._unusable.add(key)
        self._ledger.drop(key, reason)

    def _wait(self) -> None:
        if not self._said:
            self._said = True
            logger.warning("another run trains this very stage: waiting for it")
        asked = self._noticed() if self._noticed is not None else 0
        if self._workers.largest(asked) == 2:
            raise Departing
        began = time.monotonic()
        time.sleep(_LOOK_SECONDS)
        self._waited(time.monotonic() - began)

    def publish(self, index: int, store: Store, name: str) -> None:
        """Enter the stage's end that lies in the run's own store. For one process."""
        self._ledger.publish(self.key(index), store, name)
        if self._claim is not None:
            self._claim.release(done=True)
            self._claim = None

    def release(self) -> None:
        """Let others train the stage that this run has not ended."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None
