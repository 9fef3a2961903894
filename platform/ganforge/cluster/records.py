"""A search in MLflow, seen from the driver: one parent, one child per trial, all of them ended.

If the store fails, the search goes on; what could not be ended is tried once more at the end.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.study import Study

from ganforge.cluster.pages import copies, logarithmic, search_page, search_view, trial_page
from ganforge.cluster.study import report_files
from ganforge.cluster.trials import Trial
from ganforge.systems.base import Metric
from ganforge.tracking.files import log_files, log_inputs
from ganforge.tracking.palette import colour
from ganforge.tracking.record import Tracking
from ganforge.tracking.runs import Opening, Status, continue_run, end_run, open_run, reap
from ganforge.tracking.view import ship_view
from ganforge.training.prepare import Prepared

logger = logging.getLogger("ganforge")
_STATUS: dict[str, Status] = {
    "finished": "FINISHED",
    "stopped": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
}


@dataclass
class Records:
    """Opens and ends the runs of one search."""

    uri: str
    experiment: str
    search_id: str
    prepared: Prepared
    space: Mapping[str, str]
    metric: str
    mode: str = "max"
    distributions: Mapping[str, Any] = field(default_factory=dict)
    parent: Tracking | None = None
    view: str = ""
    trouble: str = ""
    _late: list[tuple[Tracking, Status, str, dict[str, float], str | None]] = field(
        default_factory=list
    )

    def open_parent(self) -> None:
        """Make the search's own run."""
        note = search_page(self.prepared, self.search_id, self.metric, self.space)
        parent = self.parent = self._open("search", self.search_id, note, {}, None)
        self._try(lambda: reap(self.uri, self.experiment))
        if parent is not None:
            self._try(lambda: log_inputs(parent, self.prepared))
            self._ship_view()

    def continue_parent(self, parent: Tracking | None) -> None:
        self.parent = parent
        if parent is not None:
            self._try(lambda: continue_run(parent))
            self._ship_view()

    def _ship_view(self) -> None:
        view = search_view(self.search_id, self.metric, self.mode, self.distributions)
        self.view = self._try(lambda: ship_view(self.uri, self.experiment, view)) or ""

    def log_report(self, trials: Sequence[Trial], best: Trial, study: Study) -> None:
        """Log the study report to the search's run."""
        parent, metric = self.parent, Metric(self.metric, self.mode)
        if parent is not None:
            title = f"Search {self.search_id} of {self.prepared.system}"
            scales = logarithmic(self.distributions)
            made = self._try(lambda: report_files(title, trials, best, study, metric, scales))
            if made is not None:
                self._try(lambda: log_files(parent, made[0]))

    def open_trial(self, trial: Trial) -> Tracking | None:
        """Make a trial's run, before it starts."""
        if self.parent is None:
            return None
        note = trial_page(self.prepared, self.search_id, self.metric, trial)
        searched = trial.params | copies(trial.params, self.distributions)
        return self._open("trial", f"trial {trial.number}", note, searched, trial)

    def _open(
        self, kind: Any, name: str, note: str, searched: dict[str, Any], trial: Trial | None
    ) -> Tracking | None:
        tags = {"search": self.search_id, "warnings": "; ".join(self.prepared.warnings) or "none"}
        if trial is not None:
            tags |= {"trial": str(trial.number), "storage": trial.folder}
            tags["mlflow.runColor"] = colour(trial.number)
        opening = Opening(
            kind=kind,
            name=name,
            settings=self.prepared.settings if trial is None else trial.settings,
            searched=searched,
            fingerprint=self.prepared.facts.fingerprint,
            description=note,
            parent=None if trial is None or self.parent is None else self.parent.run_id,
            tags=tags,
        )
        return self._try(lambda: open_run(self.uri, self.experiment, opening))

    def continue_trial(self, trial: Trial) -> None:
        run = trial.run
        if run is not None:
            self._try(lambda: continue_run(run))

    def end_trial(self, trial: Trial) -> None:
        """End a trial's run with its outcome and its score."""
        if trial.run is None:
            return
        metrics: dict[str, float] = {}
        if trial.last_score is not None:
            # under its own name: the curve of the metric is on the axis of images
            metrics["final_score"] = trial.last_score
        note = trial_page(self.prepared, self.search_id, self.metric, trial, trial.outcome)
        self._end(trial.run, _STATUS[trial.state], trial.outcome, metrics, note)

    def end_parent(self, status: Status, outcome: str, best: Trial | None, note: str) -> None:
        """End the search's run; then try again what could not be ended before."""
        late, self._late = self._late, []
        for item in late:
            self._end(*item)
        if self.parent is None:
            return
        metrics = {} if best is None or best.last_score is None else {self.metric: best.last_score}
        page = search_page(
            self.prepared, self.search_id, self.metric, self.space,
            outcome=outcome, best=best, table=note,
        )  # fmt: skip
        self._end(self.parent, status, outcome, metrics, page)

    def _end(
        self,
        run: Tracking,
        status: Status,
        outcome: str,
        metrics: dict[str, float],
        note: str | None,
    ) -> None:
        done = self._try(lambda: end_run(run, status, outcome, metrics=metrics, note=note) or True)
        if not done:
            self._late.append((run, status, outcome, metrics, note))

    def _try(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            if not self.trouble:
                self.trouble = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                logger.warning("tracking: %s. The search goes on", self.trouble)
            return None
