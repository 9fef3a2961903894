"""One process that drives the trials of a search: Ray Train's controllers, each in a thread.

A controller of its own, and an actor of Tune's that imports Ray Train's torch trainer, cost 1.4 GB
of the head's memory a trial and seconds before each (measured). Tune's actor of a trial only waits
for what this process returns (search/trial_actor.py), and needs neither.

The workers that a trial ends with are kept for the next one (cluster/kept_workers.py). Where this
process dies, the workers that it owns die with it; Ray starts it anew, and each trial continues
from its newest stored state.
"""

import secrets
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from ganforge.cluster.kept_workers import KeptWorkers
from ganforge.cluster.placement import held, here, release

if TYPE_CHECKING:
    from ganforge.cluster.job import Job


_CLOSE_SECONDS = 10.0


class _TrialDrivers:
    def __init__(self, name: str) -> None:
        self._abandoned: dict[int, threading.Event] = {}
        self._kept = KeptWorkers(name)

    def drive(self, trial: dict[str, Any]) -> str:
        """Train a trial; why it failed, or "". `trial` has the search's `job`, an object of Ray's,
        and the fields of it that are the trial's own."""
        # here and not above: this file is imported wherever the actor's handle goes
        from ganforge.cluster.controller_logging import configure_once
        from ganforge.cluster.ray_trainer import reason
        from ganforge.cluster.train import trainer

        whole: Job = ray.get(trial["job"])
        job = replace(whole, **{key: trial[key] for key in trial if key != "job"})
        abandoned = self._abandoned[job.trial] = threading.Event()
        configure_once()
        try:
            trainer(job, f"trial-{job.trial:04d}", abandoned.is_set, self._kept).fit()
        except Exception as error:
            # returned and not raised: Tune would print forty lines and throw its actor away
            return reason(error)
        return ""

    def abandon(self, trial: int) -> None:
        """Start no workers for a trial any more: nobody waits for it."""
        if trial in self._abandoned:
            self._abandoned[trial].set()

    def close(self) -> None:
        """End the workers that wait for a trial."""
        self._kept.close()


class TrialDrivers:
    """The actor, and the search's way to it; up to `slots` trials run at a time."""

    def __init__(self, slots: int):
        actor: Any = ray.remote(_TrialDrivers)
        self._name = f"ganforge-{secrets.token_hex(8)}"
        self.actor: Any = actor.options(
            num_cpus=0,
            # trials that are abandoned take a moment to end
            max_concurrency=2 * slots + 1,
            max_restarts=-1,
            scheduling_strategy=here(),
        ).remote(self._name)

    def abandon(self, trial: int) -> None:
        """Start no workers for a trial any more."""
        self.actor.abandon.remote(trial)

    def close(self) -> None:
        """End the process, and all workers that are left of it."""
        with suppress(RayError):
            ray.get(self.actor.close.remote(), timeout=_CLOSE_SECONDS)
        ray.kill(self.actor)
        with suppress(RayError):
            release(held(self._name))
