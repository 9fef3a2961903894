"""Notices that a worker may end soon: its machine is taken away, the command was asked to end, or
there is room for more workers, with which the run is to continue.

The training stores a state at the next boundary between two batches. Ray Train's own watcher of
machines is left out: it takes an actor, that is a process, for each trial, and prints errors when
that is killed; a thread of the worker that concerns it sees the same.
"""

import threading
import time
from typing import Any

import ray
from ray.exceptions import RayError

from ganforge.cluster.machines import draining_nodes
from ganforge.training.loop import Notice

_LOOK_SECONDS = 5.0
#: how long the coordinator is asked to wait: a trial that is over still holds the call so long
_WAIT_SECONDS = 30.0
#: a machine that is taken away works until then: its newest state is never much older than this
_AGAIN_SECONDS = 20.0


class Notices:
    """What one worker is asked for between two batches; the training asks by calling it."""

    def __init__(self, coordinator: Any, trial: int, rank: int):
        self._departing = threading.Event()
        self._drained = threading.Event()
        self._over = threading.Event()
        self._node = ray.get_runtime_context().get_node_id()
        threading.Thread(target=self._watch_machine, name="machine", daemon=True).start()
        if rank == 0:  # one is enough: the workers agree
            threading.Thread(
                target=self._await_departure,
                args=(coordinator, trial),
                name="departure",
                daemon=True,
            ).start()

    def __call__(self) -> Notice:
        if self._departing.is_set():
            return 2
        if self._drained.is_set():
            self._drained.clear()
            return 1
        return 0

    def close(self) -> None:
        self._over.set()

    def _await_departure(self, coordinator: Any, trial: int) -> None:
        while not self._over.is_set():
            try:
                asked = ray.get(coordinator.departure.remote(trial, _WAIT_SECONDS))
            except RayError:
                return  # the command is gone: this process ends with it
            if asked:
                self._departing.set()
                return

    def _watch_machine(self) -> None:
        asked = 0.0
        while not self._over.wait(_LOOK_SECONDS):
            try:
                taken = self._node in draining_nodes()
            except Exception:  # the head may be gone for a moment: a notice is a favour
                continue
            if taken and (not asked or time.monotonic() - asked > _AGAIN_SECONDS):
                asked = time.monotonic()
                self._drained.set()
