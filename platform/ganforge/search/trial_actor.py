"""What Tune's actor of a trial does: it has the trial driven elsewhere (cluster/trial_drivers.py),
and passes its summaries on.

Every trial that runs has such an actor on the head, so this file and what it imports stay light:
neither torch nor Ray Train's torch trainer (tests/search/test_trial_actor.py measures it).
"""

from collections.abc import Callable
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError, RayError

from ganforge.cluster.placement import release

_WAIT_SECONDS = 0.5
#: how often the driving process may die in one trial
_DEATHS = 3


def trial_actor(drivers: Any, coordinator: Any) -> Callable[[dict[str, Any]], None]:
    """Tune's function of a trial, whose configuration is what `drivers` take."""

    def drive(config: dict[str, Any]) -> None:
        _drive(config, drivers, coordinator)

    return drive


def _drive(config: dict[str, Any], drivers: Any, coordinator: Any) -> None:
    trial, groups, failed = config["trial"], list[str](), ""
    for death in range(_DEATHS + 1):
        driven = drivers.drive.remote(config)
        _pass_on(trial, driven, coordinator, groups)
        try:
            failed = ray.get(driven)
        except RayActorError:
            # the process is being started anew; its workers died with it, what they held did not
            release(groups)
            failed = f"the process that drives the trials died {death + 1} times"
            continue
        break
    if failed:
        tune.report({"failed": failed})


def _pass_on(trial: int, driven: Any, coordinator: Any, groups: list[str]) -> None:
    """Report every summary of a trial to Tune until it is over and none is left."""
    while True:
        over = bool(ray.wait([driven], timeout=0)[0])
        try:
            summaries = ray.get(coordinator.summaries.remote(trial, 0 if over else _WAIT_SECONDS))
        except RayError:
            return
        for summary in summaries:
            if group := summary.get("placement_group"):
                groups.append(group)
            tune.report(summary)
        if over and not summaries:
            return
