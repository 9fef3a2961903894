"""The machines of a cluster: which there are, their capacity, and waiting for more."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import state
from ray.util.placement_group import placement_group, remove_placement_group

from ganforge.settings import SettingsError

logger = logging.getLogger("ganforge")
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_GROW_SECONDS = 60.0
_ANSWER_SECONDS = 1.0


@dataclass(frozen=True)
class Slots:
    """The capacity of a cluster: for single workers, for trials, and described in words."""

    worker_slots: int
    trial_slots: int
    description: str


def alive() -> list[dict[str, Any]]:
    """The nodes that are alive now, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def answers(node: Mapping[str, Any]) -> bool:
    """Whether Ray still listens on a node: it is missed there only after a quarter of a minute, for
    which what needs that node would wait."""
    address = node["NodeManagerAddress"], node["NodeManagerPort"]
    try:
        with socket.create_connection(address, timeout=_ANSWER_SECONDS):
            return True
    except OSError:
        return False


def hostname(node: dict[str, Any]) -> str:
    """A node's host name, with its address where that differs."""
    name, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
    return name if name == address else f"{name} ({address})"


def fitting(nodes: Iterable[Mapping[str, float]], resources: Mapping[str, float]) -> int:
    """How many workers fit on nodes that have so much."""
    return sum(
        min(int(node.get(name, 0) // amount) for name, amount in resources.items())
        for node in nodes
    )


def slots(workers: int, resources: dict[str, float], fewest: int | None = None) -> Slots:
    """How many trials of `workers` workers fit on the nodes that are alive now; of those that also
    run with `fewest` one more where that many are left over."""
    nodes = [node["Resources"] for node in alive()]
    fits = fitting(nodes, resources)
    trials = fits // workers + (fewest is not None and fits % workers >= fewest)
    has = ", ".join(f"{sum(node.get(name, 0) for node in nodes):g} {name}s" for name in resources)
    machines = "one machine" if len(nodes) == 1 else f"{len(nodes)} machines"
    return Slots(fits, trials, f"{has} on {machines}")


def patience() -> float:
    """Seconds to wait for machines: GANFORGE_WAIT_SECONDS; longer where they are bought first."""
    return _seconds("GANFORGE_WAIT_SECONDS", _PATIENCE_SECONDS)


def grow_seconds() -> float:
    """Seconds that a run trains with fewer workers before it takes more: GANFORGE_GROW_SECONDS.

    To be replaced costs all of its workers some seconds, which the further ones have to make up.
    """
    return _seconds("GANFORGE_GROW_SECONDS", _GROW_SECONDS)


def _seconds(name: str, usual: float) -> float:
    given = os.environ.get(name) or str(usual)
    try:
        return float(given)
    except ValueError:
        raise SettingsError(f"{name} = {given}: must be a number of seconds, such as 900") from None


def wait_for_nodes(expected: int | None, timeout_seconds: float | None = None) -> None:
    """Wait until `expected` machines, the head included, are there. SettingsError if they are not.

    `ray up` returns when the head answers; the others join 15 to 30 seconds later (measured).
    """
    if expected is None:
        return
    if _wait(lambda: len(alive()) >= expected, timeout_seconds, f"{expected} machines"):
        return
    there = alive()
    names = ", ".join(map(hostname, there))
    raise SettingsError(
        f"nodes = {expected}: there {'is' if len(there) == 1 else 'are'} {len(there)} ({names}); "
        "`ray status` on the head shows why the others are missing; or expect fewer"
    )


def wait_for_slots(
    workers: int,
    resources: dict[str, float],
    *,
    joined: bool,
    trials: int = 1,
    fewest: int | None = None,
    timeout_seconds: float | None = None,
) -> Slots:
    """Capacity for `trials` trials of `workers`; waits where machines may be coming, or be bought.
    Trials that also run with `fewest` workers need no more than those.

    What is missing is asked for as a placement group, which an autoscaler buys machines for. It is
    this job's: unlike a standing request it cannot outlive it, and keep machines running.
    SettingsError where it is unavailable, with what there is.
    """
    found = slots(workers, resources, fewest)
    key, needed = ("workers", workers) if fewest is None else ("workers_at_least", fewest)
    if found.worker_slots < needed * trials and joined:
        wanted = placement_group([dict(resources)] * (needed * trials))
        try:
            _wait(
                lambda: slots(workers, resources).worker_slots >= needed * trials,
                timeout_seconds,
                f"{needed * trials} worker slots",
            )
        finally:
            remove_placement_group(wanted)
        found = slots(workers, resources, fewest)
    if found.worker_slots < needed * trials:
        each = " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
        if trials == 1:
            raise SettingsError(
                f"{key} = {needed}: each needs {each}, but there are {found.description}; "
                f"lower {key} or threads, or add machines"
            )
        raise SettingsError(
            f"concurrent = {trials}: {trials} trials of {needed} workers, each with {each}, need "
            f"{trials * needed} worker slots, but there are {found.description}, "
            f"{found.worker_slots} worker slots; "
            f"lower concurrent or {key}, or add machines"
        )
    return found


def _wait(there: Callable[[], bool], timeout_seconds: float | None, what: str) -> bool:
    until = time.monotonic() + (patience() if timeout_seconds is None else timeout_seconds)
    warned = False
    while not there():
        if time.monotonic() >= until:
            return False
        if not warned:
            logger.warning("waiting for %s: %s", what, ", ".join(map(hostname, alive())))
            warned = True
        time.sleep(_LOOK_SECONDS)
    return True


def draining_nodes() -> dict[str, int]:
    """The machines that are about to be taken away: ids, and deadlines in ms (0: not known)."""
    return state.get_draining_nodes() or {}
