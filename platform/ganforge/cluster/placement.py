"""Placement groups of worker groups: where they lie, and their release after a stopped run."""

from collections.abc import Iterable

import ray
from ray._raylet import PlacementGroupID
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def by_id(group: str) -> PlacementGroup:
    return PlacementGroup(PlacementGroupID(bytes.fromhex(group)))


def release(group_ids: Iterable[str]) -> None:
    """Remove placement groups by their ids; one that is gone already is not an error."""
    for group in group_ids:
        if group:
            remove_placement_group(by_id(group))


def here() -> NodeAffinitySchedulingStrategy:
    """For an actor without CPUs that belongs to this process: on any other machine it would be lost
    with that machine."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def held(name: str = "") -> dict[str, str]:
    """The states of the placement groups that exist now, by id, whose names begin with `name`."""
    table = ray.util.placement_group_table()
    return {
        key: row["state"]
        for key, row in table.items()
        if row["state"] != "REMOVED" and row["name"].startswith(name)
    }


def others_wait(*own: str) -> bool:
    """Whether a placement group waits for room whose name begins with none of `own`."""
    rows = ray.util.placement_group_table().values()
    done = ("CREATED", "REMOVED")
    return any(row["state"] not in done and not row["name"].startswith(own) for row in rows)


def machines_of(group: str) -> list[str]:
    """The hosts on which a placement group lies, by its id; empty before it is placed."""
    row = ray.util.placement_group_table().get(group, {})
    names = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}
    return [names[node] for node in (row.get("bundles_to_node_id") or {}).values() if node in names]
