"""A search in MLflow, seen from the driver: one parent, one child per trial, all of them ended.

If the store fails, the search continues; what it did not take is kept (tracking/driver.py).
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.study import Study

from ganforge.search.costs import Costs, trial_costs
from ganforge.search.objectives import COMPUTED, Objectives
from ganforge.search.pages import copies, logarithmic, search_page, search_view, trial_page
from ganforge.search.repeats import Standing, configuration
from ganforge.search.report.build import build_report
from ganforge.search.report.collect import newest_grids, study_facts
from ganforge.search.report.facts import StudyFacts
from ganforge.search.trial import Trial
from ganforge.systems.base import Metric
from ganforge.tracking.artifacts import input_files
from ganforge.tracking.description import compare_command
from ganforge.tracking.driver import DriverClient
from ganforge.tracking.palette import colour
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.runs import Opening, Status, close_orphans
from ganforge.tracking.view import ship_view
from ganforge.training.prepare import Prepared

logger = logging.getLogger("ganforge")
_CLOSE_SECONDS = 10.0
_STATUS: dict[str, Status] = {
    "finished": "FINISHED",
    "paused": "FINISHED",
    "stopped": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
}


@dataclass
class SearchTracking:
    """Opens and ends the runs of one search; `folder` is the driver's own, for what is not sent."""

    uri: str
    experiment: str
    search_id: str
    prepared: Prepared
    space: Mapping[str, str]
    metric: Metric
    folder: Path
    distributions: Mapping[str, Any] = field(default_factory=dict)
    objectives: Objectives | None = None
    parent: RunRef | None = None
    view: str = ""
    problem: str = ""

    @cached_property
    def client(self) -> DriverClient:
        """The way to the store, opened with the first run."""
        return DriverClient(self.uri, self.experiment, self.folder)

    @property
    def trouble(self) -> str:
        return self.problem or self.client.trouble

    def open_parent(self) -> None:
        """Make the search's own run."""
        note = search_page(
            self.prepared, self.search_id, self.metric.name, self.space, uri=self.uri
        )
        self.parent = self._open("search", self.search_id, note, {}, None)
        self.client.files(self.parent, input_files(self.prepared))
        self._close_orphans()
        self._ship_view()

    def continue_parent(self, parent: RunRef | None) -> None:
        self.parent = parent
        if parent is not None:
            self.client.resume(parent)
            self.client.flush(_CLOSE_SECONDS)
        self._close_orphans()
        self._ship_view()

    def _ship_view(self) -> None:
        if self._recorded():
            view = search_view(
                self.search_id, self.metric.name, self.metric.mode, self.distributions
            )
            self.view = self._try(lambda: ship_view(self.uri, self.experiment, view)) or ""

    def facts(self, trials: Sequence[Trial], best: Trial, study: Study, costs: Costs) -> StudyFacts:
        """What the report of these trials speaks of."""
        title = f"Search {self.search_id} of {self.prepared.system}"
        scales = logarithmic(self.distributions)
        compare = compare_command(self.uri, self.search_id)
        return study_facts(
            title, trials, best, study, self.metric, scales, costs, self.objectives, compare
        )

    def log_report(self, facts: StudyFacts) -> None:
        """Log the study report to the search's run."""
        if self.parent is None or not self._recorded():
            return
        # the animation is made of the grids that are in the record
        self.client.flush(_CLOSE_SECONDS)
        made = self._try(lambda: build_report(facts))
        if made is not None:
            self.client.files(self.parent, made[0])

    def newest_grids(self, trials: Sequence[Trial]) -> Iterator[tuple[Trial, bytes]]:
        """The newest sample grid of each of these trials, as far as the record has them."""
        return newest_grids(trials) if self._recorded() else iter(())

    def _recorded(self) -> bool:
        """Whether the search's run is in the store: a store that is down has no id for it."""
        return self.parent is not None and bool(self.client.known(self.parent).run_id)

    def _close_orphans(self) -> None:
        # what a driver that is known to be dead left RUNNING; a store that is down has none to show
        if self._recorded():
            self._try(lambda: close_orphans(self.uri, self.experiment))

    def open_trial(self, trial: Trial) -> RunRef:
        """Make a trial's run, before it starts."""
        note = trial_page(self.prepared, self.search_id, self.metric.name, trial)
        searched = trial.params | copies(trial.params, self.distributions)
        return self._open("trial", f"trial {trial.number}", note, searched, trial)

    def _open(
        self, kind: Any, name: str, note: str, searched: dict[str, Any], trial: Trial | None
    ) -> RunRef:
        tags = {"search": self.search_id, "warnings": "; ".join(self.prepared.warnings) or "none"}
        if trial is not None:
            tags |= {"trial": str(trial.number), "storage": trial.folder}
            if trial.repeats is not None:
                tags |= {"repeats": str(trial.repeats), "repetition": str(trial.repetition)}
            tags |= {"branched_from": trial.branched_from} if trial.branch else {}
            tags["mlflow.runColor"] = colour(trial.number)
        opening = Opening(
            kind=kind,
            name=name,
            settings=self.prepared.settings if trial is None else trial.settings,
            searched=searched,
            fingerprint=self.prepared.facts.fingerprint,
            description=note,
            tags=tags,
        )
        if trial is None:
            return self.client.open(self.search_id, opening)
        if self.parent is not None:
            self.parent = self.client.known(self.parent)
            opening = replace(opening, parent=self.parent.run_id, parent_key=self.parent.key)
        return self.client.open(f"{self.search_id}/trial-{trial.number:04d}", opening)

    def continue_trial(self, trial: Trial) -> None:
        if trial.run is not None:
            self.client.resume(trial.run)

    def record_machines(self, trial: Trial) -> None:
        """Where a trial runs, and what losses of machines have cost it."""
        if trial.run is not None:
            tags = {"machines": ", ".join(trial.machines)}
            if trial.machines_before:
                tags["machines_before"] = "; ".join(map(", ".join, trial.machines_before))
            if trial.losses:
                tags["losses"] = "; ".join(trial.losses)
            if trial.crews:
                since = (f"{crew.workers} from image {crew.image}" for crew in trial.crews)
                tags["workers_over_time"] = ", ".join(since)
            self.client.tag(trial.run, tags)

    def end_trial(self, trial: Trial) -> None:
        """End a trial's run with its outcome and its score; send what its workers left."""
        if trial.run is None:
            return
        # what its later stages would have cost is known when the search has ended: in the report
        metrics = trial_costs(trial, {}).metrics()
        del metrics["cost/spared"], metrics["cost/idle"]
        if trial.last_score is not None and (trial.ended or trial.state == "paused"):
            # under its own name: the curve of the metric is on the axis of images
            metrics["final_score"] = trial.last_score
            if self.objectives is not None:
                # those that no worker measures are on no curve
                found, computed = self.objectives.by_name(trial), {m.name for m in COMPUTED}
                metrics |= {name: value for name, value in found.items() if name in computed}
        note = trial_page(self.prepared, self.search_id, self.metric.name, trial, trial.outcome)
        self.client.end(trial.run, _STATUS[trial.state], trial.outcome, metrics=metrics, note=note)
        trial.run = self.client.known(trial.run)
        self.client.send(trial.folder)

    def record_standings(self, trials: Iterable[Trial], found: Iterable[Standing]) -> None:
        """What configurations with several seeds came to, with each of their trials."""
        by_number = {standing.number: standing for standing in found}
        for trial in trials:
            standing = by_number.get(configuration(trial))
            if standing is not None and trial.run is not None:
                self.client.tag(trial.run, {"seeds": standing.line}, standing.metrics())

    def mark_front(self, trials: Sequence[Trial]) -> None:
        """Tag each trial by whether it is on the Pareto front: `pareto` is true or false. All of
        them, because a search that goes on may take a trial off it."""
        assert self.objectives is not None
        front = {trial.number for trial in self.objectives.front(trials)}
        for trial in trials:
            if trial.run is not None and trial.ended:
                self.client.tag(trial.run, {"pareto": str(trial.number in front).lower()})

    def end_parent(
        self, status: Status, outcome: str, best: Trial | None, note: str, costs: Costs
    ) -> None:
        """End the search's run; wait a little until the store has everything."""
        if self.parent is not None:
            metrics = costs.metrics()
            if best is not None and best.last_score is not None and status == "FINISHED":
                metrics[self.metric.name] = best.last_score
            page = search_page(
                self.prepared, self.search_id, self.metric.name, self.space,
                outcome=outcome, best=best, table=note, uri=self.uri,
            )  # fmt: skip
            self.client.end(self.parent, status, outcome, metrics=metrics, note=page)
        self.client.close(_CLOSE_SECONDS)

    def _try(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            if not self.problem:
                self.problem = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                logger.warning("tracking: %s. The search continues", self.problem)
            return None
