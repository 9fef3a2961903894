"""Between runs and their driver: summaries out, decisions in. One actor for a whole search.

A trial waits at a rung until the search has decided whether it continues. Tune would stop it
by killing its driver, at a moment of its own: the controller may then be replacing the workers that
it lost, and what it reserves last is never released (measured: one CPU lost per such trial). A
trial that is to stop returns by itself, releases everything, and ends on the rung's state.

Ray's own way from Train to Tune is not taken either: it loses the last reports of a run that ends
before they are read (measured: three of ten).
"""

import asyncio
from typing import Any

import ray

from ganforge.cluster.placement import here

Summary = dict[str, Any]


class _TrialCoordinator:
    def __init__(self) -> None:
        self._reported: dict[int, list[Summary]] = {}
        #: by trial, by rung
        self._decisions: dict[int, dict[int, bool]] = {}
        self._changed = asyncio.Condition()
        self._kills: dict[int, dict[str, int]] = {}
        self._last: dict[int, Summary] = {}
        self._departing = False
        self._regrouping: set[int] = set()

    async def started(self, trial: int, machine: str, kernel_kills: int) -> None:
        """A worker of a trial starts on a machine, whose kernel has ended that many processes."""
        self._kills.setdefault(trial, {})[machine] = kernel_kills
        self._regrouping.discard(trial)

    async def before(self, trial: int) -> tuple[dict[str, int], Summary]:
        """What is known of a trial when it fails: its machines as they were, its last report."""
        return self._kills.get(trial, {}), self._last.get(trial, {})

    async def depart(self) -> None:
        async with self._changed:
            self._departing = True
            self._changed.notify_all()

    async def regroup(self, trial: int) -> None:
        async with self._changed:
            self._regrouping.add(trial)
            self._changed.notify_all()

    async def departure(self, trial: int, timeout_seconds: float) -> bool:
        """Whether a trial's workers are to store their state and end: at once when they are, else
        after `timeout_seconds`. A call for ever would be answered to nobody once the trial is over,
        and the actor answers no one else while a thousand wait."""
        async with self._changed:
            asked = self._changed.wait_for(lambda: self._departing or trial in self._regrouping)
            try:
                return await asyncio.wait_for(asked, timeout_seconds)
            except TimeoutError:
                return False

    async def regroups(self, trial: int) -> bool:
        """Whether a trial whose workers end continues at once, with others."""
        return trial in self._regrouping and not self._departing

    async def report(self, trial: int, summary: Summary) -> None:
        if "index" in summary:
            self._last[trial] = summary
        async with self._changed:
            self._reported.setdefault(trial, []).append(summary)
            self._changed.notify_all()

    async def summaries(self, trial: int, timeout_seconds: float) -> list[Summary]:
        """What was reported since the last call; waits `timeout_seconds` for something."""
        async with self._changed:
            waiting = self._changed.wait_for(lambda: self._reported.get(trial))
            try:
                await asyncio.wait_for(waiting, timeout_seconds)
            except TimeoutError:
                return []
            return self._reported.pop(trial)

    async def decide(self, trial: int, rung: int, proceed: bool) -> None:
        async with self._changed:
            self._decisions.setdefault(trial, {})[rung] = proceed
            self._changed.notify_all()

    async def resume(self, trial: int, rung: int) -> None:
        mine = self._decisions.setdefault(trial, {})
        for later in [number for number in mine if number > rung]:
            del mine[later]
        await self.decide(trial, rung, True)

    async def decision(self, trial: int, rung: int) -> bool:
        async with self._changed:
            await self._changed.wait_for(lambda: rung in self._decisions.get(trial, {}))
            return self._decisions[trial][rung]


class TrialCoordinator:
    """The actor, and this process's way to it."""

    def __init__(self) -> None:
        self.departing = False
        actor: Any = ray.remote(_TrialCoordinator)
        self.actor: Any = actor.options(
            num_cpus=0, max_concurrency=1000, scheduling_strategy=here()
        ).remote()

    def depart(self) -> None:
        """Have all workers store a state between two batches, and end; no trial begins any more."""
        self.departing = True
        self.actor.depart.remote()

    def decide(self, trial: int, rung: int, proceed: bool) -> None:
        """Let a trial that has reached a rung continue, or end."""
        self.actor.decide.remote(trial, rung, proceed)

    def resume(self, trial: int, rung: int) -> None:
        """A trial that was paused, or cut off, asks about its last rung once more, and continues
        there; what was decided of later ones is decided anew."""
        self.actor.resume.remote(trial, rung)

    def close(self) -> None:
        ray.kill(self.actor)
