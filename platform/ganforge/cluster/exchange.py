"""Stage ends as gates: a trial waits there until the search has decided whether it goes on.

Tune stops a trial by killing its driver, at a moment of its own. The controller may then still be
replacing the workers that it lost, and what it reserves last is never given back (measured: one CPU
lost per such trial). A trial that is told to stop returns, with everything given back, and ends on
the state of its stage end.
"""

import asyncio
from typing import Any

import ray


class _Gate:
    def __init__(self) -> None:
        self._decisions: dict[tuple[int, int], bool] = {}
        self._changed = asyncio.Condition()

    async def decide(self, trial: int, stages_done: int, go_on: bool) -> None:
        async with self._changed:
            self._decisions[trial, stages_done] = go_on
            self._changed.notify_all()

    async def wait(self, trial: int, stages_done: int) -> bool:
        async with self._changed:
            await self._changed.wait_for(lambda: (trial, stages_done) in self._decisions)
            return self._decisions[trial, stages_done]


class Gate:
    """The decisions of one search, in an actor of their own."""

    def __init__(self) -> None:
        actor: Any = ray.remote(_Gate)
        self.handle: Any = actor.options(num_cpus=0, max_concurrency=1000).remote()

    def decide(self, trial: int, stages_done: int, go_on: bool) -> None:
        """Let a trial go on, or end, after so many stages."""
        self.handle.decide.remote(trial, stages_done, go_on)

    def close(self) -> None:
        ray.kill(self.handle)
