"""The machines of a cluster: which there are, how much fits on them, and waiting for more."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from ganforge.settings import SettingsError

logger = logging.getLogger("ganforge")
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Slots:
    """How many worker groups a cluster has room for, and the words for it."""

    workers: int
    groups: int
    words: str


def alive() -> list[dict[str, Any]]:
    """The nodes that are alive now, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def hostname(node: dict[str, Any]) -> str:
    """What a person calls a node: its host's name, with the address where that says more."""
    name, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
    return name if name == address else f"{name} ({address})"


def slots(workers: int, resources: dict[str, float]) -> Slots:
    """How many groups of `workers` fit on the nodes that are alive now."""
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
        "look at `ray status` on the head for what keeps the others, or expect fewer"
    )


def wait_for_slots(
    workers: int,
    resources: dict[str, float],
    *,
    joined: bool,
    groups: int = 1,
    timeout_seconds: float | None = None,
) -> Slots:
    """Room for `groups` groups of `workers`; waits where machines may be coming, or be bought.

    What is missing is asked for as a placement group, which an autoscaler buys machines for. It is
    this job's: unlike a standing request it cannot outlive it, and keep machines running.
    SettingsError where it cannot be had, with what there is.
    """
    found = slots(workers, resources)
    if found.groups < groups and joined:
        wanted = placement_group([dict(resources)] * (workers * groups))
        try:
            _wait(
                lambda: slots(workers, resources).groups >= groups,
                timeout_seconds,
                f"room for {workers * groups} workers",
            )
        finally:
            _withdraw(wanted)
        found = slots(workers, resources)
    if found.groups < groups:
        each = " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
        if groups == 1:
            raise SettingsError(
                f"workers = {workers}: each needs {each}, but there are {found.words}; "
                "lower workers or threads, or add machines"
            )
        raise SettingsError(
            f"concurrent = {groups}: {groups} trials of {workers} workers, each with {each}, need "
            f"{groups * workers} places, but there are {found.words}, {found.workers} places; "
            "lower concurrent or workers, or add machines"
        )
    return found


def _wait(there: Callable[[], bool], timeout_seconds: float | None, what: str) -> bool:
    until = time.monotonic() + (patience() if timeout_seconds is None else timeout_seconds)
    told = False
    while not there():
        if time.monotonic() >= until:
            return False
        if not told:
            logger.warning("waiting for %s: %s", what, ", ".join(map(hostname, alive())))
            told = True
        time.sleep(_LOOK_SECONDS)
    return True


def _withdraw(wanted: PlacementGroup) -> None:
    remove_placement_group(wanted)


def machines_of(group: str) -> list[str]:
    """The hosts on which a placement group lies, by its id; empty while it lies nowhere."""
    row = ray.util.placement_group_table().get(group, {})
    names = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}
    return [names[node] for node in (row.get("bundles_to_node_id") or {}).values() if node in names]
