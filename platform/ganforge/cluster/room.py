"""Room for workers: what is free, what is held for a run that is to grow, and who else waits."""

from collections.abc import Callable, Container, Mapping
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from ganforge.cluster.machines import alive, answers, fitting
from ganforge.cluster.placement import by_id, others_wait

Resources = Mapping[str, float]
#: what placement groups are called that are held for a run that is to grow
GROWTH = "ganforge room to grow"


class ClusterRoom:
    """Room in the cluster that this process is connected to, for workers that need `resources`
    each. `available` are the free resources of each machine, by its id; `draining` are the machines
    that are about to be taken away, on which Ray starts nothing any more."""

    def __init__(
        self,
        resources: Resources,
        available: Callable[[], Mapping[str, Resources]],
        draining: Callable[[], Container[str]],
    ) -> None:
        self.resources, self.available, self.draining = resources, available, draining
        self._reserved: tuple[int, PlacementGroup] | None = None

    def whole(self) -> int:
        return fitting([node["Resources"] for node in self._usable(alive())], self.resources)

    def free(self, group: str = "") -> int:
        found = {node: fitting([free], self.resources) for node, free in self.available().items()}
        own = _row(by_id(group)) if group else {}
        for node in (own.get("bundles_to_node_id") or {}).values():
            found[node] = found.get(node, 0) + 1
        machines = [node for node in alive() if found.get(node["NodeID"])]
        return sum(found[node["NodeID"]] for node in self._usable(machines))

    def _usable(self, nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        leaving = self.draining()
        return [node for node in nodes if node["NodeID"] not in leaving and answers(node)]

    def reserve(self, workers: int) -> None:
        if self._reserved is not None and self._reserved[0] == workers:
            return
        self.give_back()
        self._reserved = workers, placement_group([dict(self.resources)] * workers, name=GROWTH)

    def held(self) -> int:
        if self._reserved is None:
            return 0
        workers, group = self._reserved
        return workers if _row(group).get("state") == "CREATED" else 0

    def give_back(self) -> None:
        if self._reserved is not None:
            remove_placement_group(self._reserved[1])
            self._reserved = None

    def others_wait(self) -> bool:
        return others_wait(GROWTH)


def _row(group: PlacementGroup) -> dict[str, Any]:
    """One line of the table of all groups that there ever were."""
    return ray.util.placement_group_table(group)
