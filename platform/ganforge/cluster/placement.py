"""Gives back what a stopped run's workers held."""

from collections.abc import Iterable

import ray
from ray._raylet import PlacementGroupID
from ray.util.placement_group import PlacementGroup, remove_placement_group


def release(groups: Iterable[str]) -> None:
    """Remove placement groups by their ids; those that are gone already are none."""
    for group in groups:
        if group:
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))


def held() -> dict[str, str]:
    """The placement groups that exist now: id to state."""
    table = ray.util.placement_group_table()
    return {key: row["state"] for key, row in table.items() if row["state"] != "REMOVED"}
