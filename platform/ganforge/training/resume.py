"""What a run goes on from: the newest state in its store, one it is told to start at, nothing."""

import logging
from typing import Any

from ganforge.schedule import Plan
from ganforge.settings import SettingsError
from ganforge.training.checkpoint import Snapshot, Store
from ganforge.training.lineage import Lineage, Start, differences, digest
from ganforge.training.prepare import Prepared
from ganforge.training.workers import Workers

logger = logging.getLogger("ganforge")


def find(place: Store | None, resume: bool, workers: Workers) -> Snapshot | None:
    """The newest state in the store that verifies; the same one on every worker.

    Without `resume` the store must be empty: two runs in one place would delete each other's
    states.
    """
    if place is None:
        return None
    if workers.rank == 0 and resume:
        place.sweep()
    found = place.newest() if resume else None
    mark = digest(found.manifest) if found is not None else None
    seen = workers.gather({workers.rank: mark if resume else bool(place.names())})
    if not resume and any(seen):
        raise SettingsError(
            f"storage = {place.uri}: holds the states of a run already; resume it, "
            "or name another place"
        )
    if len(set(seen)) > 1:
        raise SettingsError(
            f"storage = {place.uri}: the workers do not see the same states there; use a "
            "place that all machines share"
        )
    return found


def started(found: Snapshot | None, start: Snapshot | None) -> Start | None:
    """Where the lineage of this run begins: as its own states record it, or at `start`."""
    given = None
    if start is not None:
        manifest = start.manifest
        earlier = [row["stage_id"] for row in manifest["stages"][: manifest["index"]]]
        given = Start((*earlier, manifest["stage_id"]), manifest["step"])
    if found is None:
        return given
    recorded = found.manifest["start"]
    began = Start(tuple(recorded["stage_ids"]), recorded["step"]) if recorded else None
    if given is not None and given != began:
        raise SettingsError("cannot resume: the stored run began at another state than this start")
    return began


def check_same(lineage: Lineage, plan: Plan, found: Snapshot) -> None:
    """Refuse to go on from the state of another run, naming what differs."""
    manifest, ids = found.manifest, lineage.stage_ids
    index, step = found.position.index, found.position.step
    if index < len(ids) and manifest["stage_id"] == ids[index]:
        length = plan.stages[index].steps
        if step < length or (step == length and manifest["kind"] == "stage"):
            return
        lines = [f"stages.{index}: the stored state is at step {step}, but the stage has {length}"]
    else:
        lines = differences(manifest["identity"], lineage.facts())
    raise SettingsError(
        "cannot resume: the stored state belongs to another run\n  " + "\n  ".join(lines)
    )


def check_place(prepared: Prepared, store: str) -> None:
    """What a worker would refuse on resuming, said by the driver before any record is touched."""
    found = Store(store).newest()
    if found is not None:
        check_same(prepared.lineage(started(found, None)), prepared.plan(), found)


def check_start(prepared: Prepared, plan: Plan, start: Snapshot) -> None:
    """A stage that is gone on with, and not left, must be the stage it was."""
    index, step = start.position.index, start.position.step
    if index >= len(plan.stages):
        raise SettingsError(
            f"start: the state is of stage {index}, but the settings have {len(plan.stages)} stages"
        )
    if step >= plan.stages[index].steps:
        return
    recorded, present = (
        {k: v for k, v in facts.items() if _concerns(k, index)}
        for facts in (start.manifest["identity"], prepared.lineage().facts())
    )
    lines = differences(recorded, present)
    if lines:
        raise SettingsError(
            f"start: stage {index} is not at its end (step {step} of {plan.stages[index].steps}), "
            "so it cannot go on under other settings\n  " + "\n  ".join(lines)
        )


def _concerns(key: str, index: int) -> bool:
    """Whether a line of `Lineage.facts` enters the id of stage `index` itself."""
    if key.startswith("stages."):
        return key.startswith(f"stages.{index}: ") and key != f"stages.{index}: steps"
    return True


def environment_from(present: dict[str, Any], snapshot: Snapshot | None) -> dict[str, Any]:
    """The environment of a run that goes on from `snapshot`.

    A state that passed through two environments is a function of both, and so names both.
    """
    if snapshot is None:
        return present
    recorded = snapshot.manifest["environment"]
    lines = differences({k: v for k, v in recorded.items() if k != "before"}, present)
    if not lines:
        return recorded
    logger.warning(
        "going on from a state of another environment, so the results are no longer those of an "
        "uninterrupted run bit by bit:\n  %s",
        "\n  ".join(lines),
    )
    return present | {"before": snapshot.manifest["environment_id"]}
