"""Between runs and their driver: summaries out, decisions in. One actor for a whole search.

A trial waits at a stage's end until the search has decided whether it goes on. Tune would stop it
by killing its driver, at a moment of its own: the controller may then be replacing the workers that
it lost, and what it reserves last is never given back (measured: one CPU lost per such trial). A
trial that is told to stop returns, gives everything back, and ends on the state of its stage's end.

Ray's own way from Train to Tune is not taken either: it loses the last reports of a run that ends
before they are read (measured: three of ten).
"""

import asyncio
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Summary = dict[str, Any]


class _TrialCoordinator:
    def __init__(self) -> None:
        self._told: dict[int, list[Summary]] = {}
        self._decisions: dict[tuple[int, int], bool] = {}
        self._changed = asyncio.Condition()

    async def tell(self, trial: int, summary: Summary) -> None:
        async with self._changed:
            self._told.setdefault(trial, []).append(summary)
            self._changed.notify_all()

    async def hear(self, trial: int, timeout_seconds: float) -> list[Summary]:
        """What was told since the last call; waits for something, but not for ever."""
        async with self._changed:
            waiting = self._changed.wait_for(lambda: self._told.get(trial))
            try:
                await asyncio.wait_for(waiting, timeout_seconds)
            except TimeoutError:
                return []
            return self._told.pop(trial)

    async def decide(self, trial: int, stages_done: int, go_on: bool) -> None:
        async with self._changed:
            self._decisions[trial, stages_done] = go_on
            self._changed.notify_all()

    async def decision(self, trial: int, stages_done: int) -> bool:
        async with self._changed:
            await self._changed.wait_for(lambda: (trial, stages_done) in self._decisions)
            return self._decisions[trial, stages_done]


class TrialCoordinator:
    """The actor, and this process's way to it."""

    def __init__(self) -> None:
        actor: Any = ray.remote(_TrialCoordinator)
        # an actor without CPUs may come to lie on any machine, and would be lost with it
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.actor: Any = actor.options(
            num_cpus=0, max_concurrency=1000, scheduling_strategy=here
        ).remote()

    def decide(self, trial: int, stages_done: int, go_on: bool) -> None:
        """Let a trial go on, or end, after so many stages."""
        self.actor.decide.remote(trial, stages_done, go_on)

    def close(self) -> None:
        ray.kill(self.actor)
