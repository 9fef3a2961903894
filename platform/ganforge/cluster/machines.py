"""The machines of a cluster: which there are, their capacity, and waiting for more."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from ganforge.settings import SettingsError

logger = logging.getLogger("ganforge")
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Slots:
    """The capacity of a cluster: for single workers, for trials, and described in words."""

    worker_slots: int
    trial_slots: int
    description: str


def alive() -> list[dict[str, Any]]:
    """The nodes that are alive now, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def hostname(node: dict[str, Any]) -> str:
    """A node's host name, with its address where that differs."""
    name, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
    return name if name == address else f"{name} ({address})"


def slots(workers: int, resources: dict[str, float]) -> Slots:
    """How many trials of `workers` workers fit on the nodes that are alive now."""
    nodes = [node["Resources"] for node in alive()]
    fits = sum(
        min(int(node.get(name, 0) // amount) for name, amount in resources.items())
        for node in nodes
    )
    has = ", ".join(f"{sum(node.get(name, 0) for node in nodes):g} {name}s" for name in resources)
    machines = "one machine" if len(nodes) == 1 else f"{len(nodes)} machines"
    return Slots(fits, fits // workers, f"{has} on {machines}")


def patience() -> float:
    """Seconds to wait for machines: GANFORGE_WAIT_SECONDS; longer where they are bought first."""
    given = os.environ.get("GANFORGE_WAIT_SECONDS") or str(_PATIENCE_SECONDS)
    try:
        return float(given)
    except ValueError:
        raise SettingsError(
            f"GANFORGE_WAIT_SECONDS = {given}: must be a number of seconds, such as 900"
        ) from None


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
    timeout_seconds: float | None = None,
) -> Slots:
    """Capacity for `trials` trials of `workers`; waits where machines may be coming, or be bought.

    What is missing is asked for as a placement group, which an autoscaler buys machines for. It is
    this job's: unlike a standing request it cannot outlive it, and keep machines running.
    SettingsError where it is unavailable, with what there is.
    """
    found = slots(workers, resources)
    if found.trial_slots < trials and joined:
        wanted = placement_group([dict(resources)] * (workers * trials))
        try:
            _wait(
                lambda: slots(workers, resources).trial_slots >= trials,
                timeout_seconds,
                f"{workers * trials} worker slots",
            )
        finally:
            remove_placement_group(wanted)
        found = slots(workers, resources)
    if found.trial_slots < trials:
        each = " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
        if trials == 1:
            raise SettingsError(
                f"workers = {workers}: each needs {each}, but there are {found.description}; "
                "lower workers or threads, or add machines"
            )
        raise SettingsError(
            f"concurrent = {trials}: {trials} trials of {workers} workers, each with {each}, need "
            f"{trials * workers} worker slots, but there are {found.description}, "
            f"{found.worker_slots} worker slots; "
            "lower concurrent or workers, or add machines"
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
