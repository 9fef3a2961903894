"""Ray Train's groups of workers with some of their behaviour changed.

Private hooks of Ray 2.60, as in ray_trainer.py: pyproject.toml pins the minor version.
"""

import logging
import secrets
import threading
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train.v2._internal.execution.checkpoint.sync_actor import SynchronizationActor
from ray.train.v2._internal.execution.worker_group import WorkerGroup, worker_group
from ray.train.v2._internal.execution.worker_group.placement_group_handle import (
    DefaultPlacementGroupHandle,
)
from ray.train.v2._internal.execution.worker_group.worker import Worker
from ray.util.placement_group import placement_group

from ganforge.cluster.kept_workers import Kept, KeptWorkers
from ganforge.cluster.machines import draining_nodes

logger = logging.getLogger("ganforge")
_ANSWER_SECONDS, _TIDY_SECONDS = 10.0, 30.0


class InheritingWorkers(WorkerGroup):
    """Workers with their machine's environment alone: Ray Train's variables are in it already
    (cluster/session.py), and an environment of their own costs a third of a second (measured)."""

    @staticmethod
    def _get_worker_runtime_env(custom_runtime_env: Any) -> Any:
        return dict(custom_runtime_env)


class _Meetings:
    """Where the workers of a group meet to report: Ray Train starts an actor for each group, which
    is a process; a group that begins with kept workers has theirs. A group is started in a thread
    of its own."""

    def __init__(self, actor_class: Any):
        self._class, self._kept = actor_class, threading.local()

    def use(self, meeting: Any) -> None:
        """The next group that this thread starts has this one; None for a new one."""
        self._kept.meeting = meeting

    def options(self, **options: Any) -> Any:
        return self if getattr(self._kept, "meeting", None) else self._class.options(**options)

    def remote(self, **arguments: Any) -> Any:
        return self._kept.meeting


_meetings = _Meetings(SynchronizationActor)
setattr(worker_group, "SynchronizationActor", _meetings)  # noqa: B010


def keeping(kept: KeptWorkers) -> type[WorkerGroup]:
    """The class of groups that begin with workers of `kept`, and leave theirs there."""

    class KeepingWorkers(InheritingWorkers):
        _shape: Any = None
        _taken: Kept | None = None

        def _create_placement_group(self, scaling_config: Any, worker_group_context: Any) -> Any:
            context = worker_group_context
            resources = dict(context.resources_per_worker)
            self._shape = (*sorted(resources.items()), context.num_workers)
            self._taken = kept.take(self._shape)
            while self._taken is not None and not answers(self._taken):
                self._taken.end()
                self._taken = kept.take(self._shape)
            _meetings.use(self._taken and self._taken.meeting)
            if self._taken is not None:
                return self._taken.group
            kept.make_way()
            bundles = [resources] * context.num_workers
            name = f"{kept.name}-{secrets.token_hex(8)}"
            group = placement_group(bundles, context.placement_strategy, name=name)
            return DefaultPlacementGroupHandle(group)

        def _create_workers(self, *arguments: Any, **options: Any) -> list[Worker]:
            if self._taken is None:
                return super()._create_workers(*arguments, **options)
            again = [
                Worker(w.actor, w.metadata, w.resources, None, None, w.placement_group_bundle_index)
                for w in self._taken.workers
            ]
            return self._assign_worker_ranks(again, 0, None, None)

        def shutdown(self) -> None:
            status, state = self._latest_poll_status, self._worker_group_state
            if state is not None and status is not None and status.finished and not status.errors:
                self._worker_group_state = _Leaving(  # pyright: ignore[reportAttributeAccessIssue]
                    state, lambda: leave(state, self._shape, kept)
                )
            super().shutdown()

    return KeepingWorkers


class _Leaving:
    """The state of a group whose workers do not end with it."""

    def __init__(self, state: Any, leave: Callable[[], None]):
        self._state, self.shutdown = state, leave

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)


def answers(kept: Kept) -> bool:
    """Whether all workers live, on machines that stay."""
    leaving = draining_nodes()
    if any(worker.metadata.node_id in leaving for worker in kept.workers):
        return False
    try:
        asked = [worker.actor.get_metadata.remote() for worker in kept.workers]
        ray.get([*asked, kept.meeting.get_counter.remote()], timeout=_ANSWER_SECONDS)
    except RayError:
        return False
    return True


def leave(state: Any, shape: Any, kept: KeptWorkers) -> None:
    """Leave the workers of a group that is over to `kept`, tidied; end those that cannot be."""
    try:
        ray.get([worker.actor.shutdown.remote() for worker in state.workers], timeout=_TIDY_SECONDS)
        asked = [worker.actor.execute.remote(tidy) for worker in state.workers]
        asked.append(state.sync_actor.set_required_ranks.remote(None))
        *_, inside = ray.get([*asked, state.sync_actor.get_counter.remote()], timeout=_TIDY_SECONDS)
    except RayError as error:
        logger.info("workers are not kept: %s", error)
        inside = -1
    if inside != 0:
        state.shutdown()
        return
    kept.give(
        Kept(shape, state.placement_group_handle, state.workers, state.sync_actor, state.shutdown)
    )


def tidy() -> None:
    """In a worker between two trials: give memory back, and end what belongs to the first."""
    import gc

    import torch

    from ganforge.training.memory import forget_peak, give_back

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    gc.collect()
    give_back()
    forget_peak()
