"""What a search shows of its trials, as events for listeners of the user's."""

from pathlib import PurePosixPath

from ganforge.events import Event, Kind, Listeners
from ganforge.search.trial import Trial
from ganforge.settings import flatten

_KINDS: dict[str, Kind] = {
    "started": "started",
    "progress": "report",
    "rung": "report",
    "stage": "report",
    "paused": "ended",
    "ended": "ended",
}


def pass_on(listeners: Listeners, trial: Trial, event: str) -> None:
    """Give listeners what happened to a trial, where that concerns them."""
    kind = _KINDS.get(event)
    # a report of a worker that has just begun has no metrics yet
    if not listeners or kind is None or (kind == "report" and not trial.metrics):
        return
    reported = kind == "report"
    listeners(
        Event(
            kind,
            "/".join(PurePosixPath(trial.folder).parts[-2:]),
            trial.run.run_id if trial.run is not None else "",
            flatten(trial.settings),
            trial.params,
            trial.number,
            trial.index,
            trial.step,
            trial.images,
            trial.metrics if reported else {},
            trial.grid if reported else None,
            trial.outcome if kind == "ended" else "",
        )
    )
