"""A search as the events of its journal have made it. It takes events in, and decides nothing.

A search that runs (study.py) writes down each event and takes it in; a resumed one takes in those
that its journal has, through a fresh sampler, and ends in the state that it was interrupted in.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ganforge.search.editing import apply
from ganforge.search.journal import Event
from ganforge.search.limits import Ended
from ganforge.search.objectives import Objectives
from ganforge.search.repeats import Repetitions
from ganforge.search.sampler import Sampler
from ganforge.search.stage_facts import restore, rung_of
from ganforge.search.strategies.base import Branch, Point
from ganforge.search.trial import Configure, Trial
from ganforge.settings import SettingsError
from ganforge.systems.base import Metric
from ganforge.tracking.run_ref import RunRef


class SearchRecord:
    """The trials of a search, and what its sampler knows.

    `configure` gives a point's settings and plan, `folder` where a trial's states lie. With several
    `objectives` the sampler is given their values, else scores.
    """

    def __init__(
        self,
        sampler: Sampler,
        metric: Metric,
        configure: Configure,
        folder: Callable[[int], str],
        seeds: int = 1,
        objectives: Objectives | None = None,
    ):
        self.sampler, self.metric, self.objectives = sampler, metric, objectives
        self.configure, self.folder = configure, folder
        self.trials: dict[int, Trial] = {}
        self.repetitions = Repetitions(self.trials, seeds, metric.mode)
        #: why settings refused points that were drawn, one for each
        self.refused: list[str] = []
        #: why the sampler has no more points, where it has none
        self.ended = ""
        #: events after which a strategy may decide otherwise than before them
        self.changes = 0
        #: the first trials of their configurations that have ended
        self.over = Ended(metric.mode)
        #: seconds times workers of all that was trained, as it was reported; and by trial
        self.device_seconds = 0.0
        self._devices: dict[int, float] = {}

    # ---- points and trials ----

    def draw(self, point: Point | None) -> dict[str, Any] | None:
        """A strategy's point, or the sampler's next; None where there is none: `ended` says why."""
        try:
            found = self.sampler.ask() if point is None else self.sampler.begin(point)
        except SettingsError as error:
            self.ended = str(error)
            return None
        if found is None:
            if point is not None:
                raise ValueError(f"the strategy began a point that was tried before: {point}")
            self.ended = "every point of the space was tried"
        return found

    def add(self, trial: Trial) -> Trial | None:
        """A new trial. What its branch replaces, to be ended, where that is not over yet."""
        self.changes += 1
        self.trials[trial.number] = trial
        if trial.branch is None or trial.branch.replaces is None:
            return None
        old = self.trials[trial.branch.replaces]
        if old.ended:
            return None
        old.stop, old.paused, old.state = True, False, "waiting"
        return old

    def repetition(self, number: int, first: Trial, repetition: int) -> Trial:
        """Trial `number`: the configuration of another one, with another seed."""
        seed = first.settings.seed + repetition
        prepared, plan = self.configure(first.params | {"seed": seed})
        trial = Trial(number, first.params, prepared, plan, self.folder(number))
        trial.repeats, trial.repetition = first.number, repetition
        return trial

    def refuse(self, point: Mapping[str, Any], reason: str) -> None:
        """The settings refused a point that was drawn."""
        self.changes += 1
        self.refused.append(reason)
        self.sampler.refuse(point, reason)

    # ---- events ----

    def replay(self, event: Event) -> None:
        """Take in an event of an earlier process: points are drawn again, and must be those.

        SettingsError where they are not; other errors where it is not an event of this search.
        """
        if event["event"] == "suggested":
            self._suggested(event)
        elif event["event"] == "refused":
            self._draw_again(event)
            self.refuse(event["params"], event["reason"])
        else:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take in an event by which no point is drawn."""
        kind = event["event"]
        if kind == "edited":
            self.changes += 1
            self.ended = ""
            apply(event, self.sampler)
        elif kind == "confirming":
            self.changes += 1
            self.repetitions.confirmed |= dict.fromkeys(event["trials"], event["seeds"])
        elif kind in _OF_TRIALS:
            _OF_TRIALS[kind](self, self.trials[event["trial"]], event)

    def _reported(self, trial: Trial, event: Event) -> None:
        self.changes += 1
        rung, score = rung_of(event), event["score"]
        trial.scores[rung] = score
        if "values" in event:
            trial.values[rung] = tuple(event["values"])
        if trial.repeats is None:
            self.sampler.report(trial.params, rung, score)
        restore(trial, event, self.metric.name)
        used = sum(part.devices for part in trial.trained)
        self.device_seconds += used - self._devices.get(trial.number, 0.0)
        self._devices[trial.number] = used

    def _decided(self, trial: Trial, event: Event) -> None:
        # as it was decided: computed again it is the same, or this version decides otherwise
        # (journals of version 0.1 say go_on)
        continues = event["continues"] if "continues" in event else event["go_on"]
        trial.stop, trial.paused = not continues, event.get("paused", False)
        trial.over_limit = event.get("over_limit", False)

    def _continued(self, trial: Trial, event: Event) -> None:
        self.changes += 1
        trial.stop, trial.paused, trial.resumed, trial.state = False, False, True, "waiting"

    def _reported_end(self, trial: Trial, event: Event) -> None:
        state = event["state"]
        trial.reported, trial.failed = True, state == "failed"
        if (found := self.repetitions.reportable(trial, state)) is not None:
            first, how, score = found
            assert how in ("finished", "stopped", "failed")
            values = score if self.objectives is None else first.last_values
            self.sampler.report_end(first.params, how, values)

    def _ended(self, trial: Trial, event: Event) -> None:
        trial.finish(event["state"], event["reason"])
        trial.seconds = event["seconds"]
        trial.lost_seconds = event.get("lost", 0.0)
        trial.device_seconds = event.get("device_seconds", trial.device_seconds)
        trial.lost_device_seconds = event.get("lost_device_seconds", 0.0)
        if trial.repeats is None and trial.ended:
            self.over.add(trial)

    # ---- events by which points are drawn ----

    def _suggested(self, event: Event) -> None:
        number, params = event["trial"], event["params"]
        if "refused" in event:  # which versions before 0.3 counted as trials
            raise SettingsError(
                "it was begun with an earlier version of ganforge, which drew its points "
                "otherwise; resume it with that version, or start a new search"
            )
        if number != len(self.trials):
            raise ValueError(f"its trial is number {number}, after {len(self.trials)} trials")
        run = RunRef(**event["run"]) if event["run"] else None
        if "repeats" in event:
            trial = self.repetition(number, self.trials[event["repeats"]], event["repetition"])
        else:
            self._draw_again(event)
            branch = _branch(event)
            trial = Trial(
                number, params, *self.configure(params), self.folder(number), branch=branch
            )
        trial.run = run
        self.add(trial)

    def _draw_again(self, event: Event) -> None:
        params = event["params"]
        found = self.draw(params if event.get("given") else None)
        if found != params:
            raise SettingsError(
                f"what was suggested as {params} would now be {found}; resume with the versions of "
                "ganforge, optuna and numpy it was begun with"
            )


#: by kind of event what it does to its trial (version 0.2 said `told`)
_OF_TRIALS: dict[str, Callable[[SearchRecord, Trial, Event], None]] = {
    "reported": SearchRecord._reported,
    "decided": SearchRecord._decided,
    "continued": SearchRecord._continued,
    "reported end": SearchRecord._reported_end,
    "told": SearchRecord._reported_end,
    "ended": SearchRecord._ended,
}


def _branch(event: Event) -> Branch | None:
    if "branch" not in event:
        return None
    found = Branch(**event["branch"])
    if not all(type(n) is int for n in (found.parent, found.rung, found.replaces or 0)):
        raise ValueError(f"its branch is {event['branch']}")
    return found
