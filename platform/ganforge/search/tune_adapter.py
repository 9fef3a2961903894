"""Ray Tune's view of a search: its searcher, its scheduler and its callback, all reading the
search state. Tune executes; what is suggested, stopped and recorded is decided in search/study.py.
"""

from typing import Any, Self

import ray
from ray.tune import Callback, ProgressReporter
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ganforge.cluster.coordinator import TrialCoordinator
from ganforge.cluster.job import Job
from ganforge.cluster.placement import release
from ganforge.cluster.trial_drivers import TrialDrivers
from ganforge.search.placement import update_machines
from ganforge.search.study import SearchState
from ganforge.search.tracking import SearchTracking
from ganforge.search.trial import Listener, State, Trial
from ganforge.training.report import RungResult, StageResult, read_rungs, read_stages

# Tune gives AWS credentials to its trials in a runtime_env, whose values Ray writes into a log. A
# local trial inherits them; on a cluster it reads its machine's file (cluster/variables.py).
ENV_VARS_TO_PROPAGATE.difference_update(
    [name for name in ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")]
)


class Unsaved:
    """Part of a running search: Tune's own copies of it, which nobody reads, are empty."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: Any) -> Self:
        return self


class StudySearcher(Unsaved, Searcher):
    """Gives Tune the suggestions of the search state, those of an interrupted search first.

    Ray would tell Optuna that a trial stopped early is complete; the search state tells it as
    pruned.
    """

    def __init__(self, search_state: SearchState, coordinator: TrialCoordinator, job: Job):
        metric = search_state.metric
        super().__init__(metric=metric.name, mode=metric.mode)
        self.search_state, self.coordinator = search_state, coordinator
        self.job = ray.put(job)
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        if self.coordinator.departing:
            return Searcher.FINISHED
        trial = self.search_state.suggest()
        if trial is None:
            # Tune asks again while trials run
            return None if self.search_state.running else Searcher.FINISHED
        self._numbers[trial_id] = trial.number
        if trial.rungs_done:
            self.coordinator.resume(trial.number, trial.rungs_done)
        return {
            "trial": trial.number,
            "prepared": ray.put(trial.prepared),
            "store": trial.folder,
            "tracking": trial.run,
            "job": self.job,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Scores reach the study through the scheduler, at rungs alone."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        number = self._numbers[trial_id]
        state = self.search_state.state_of(number, error)
        self.search_state.returned(number)
        if state not in (None, "paused") and not self.search_state.trials[number].reported:
            self.search_state.report_end(number, state)

    def save(self, checkpoint_path: str) -> None:
        """The journal is what a search is resumed from."""

    def restore(self, checkpoint_path: str) -> None:
        """The journal is what a search is resumed from."""


class Rungs(Unsaved, FIFOScheduler):
    """At rungs the strategy decides; other reports are not looked at.

    A summary carries all results of its trial so far, so that a rung that was stored but not
    reported, because a process died in between, still gets its decision.
    """

    def __init__(self, search_state: SearchState, coordinator: TrialCoordinator):
        super().__init__()
        self.search_state, self.coordinator = search_state, coordinator

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = trial.config["trial"]
        rungs = self.search_state.trials[number].plan.rungs
        found: dict[int, StageResult | RungResult] = {
            (stage.index + 1) * rungs: stage
            for stage in read_stages(result.get("stages", ())).values()
        }
        found |= read_rungs(result.get("rungs", ()))
        for rung, reported in sorted(found.items()):
            score = reported.metrics[self.search_state.metric.name]
            if not self.search_state.reached(number, rung, score, reported):
                # a stage from the ledger brings several rungs, and the trial asks about the last:
                # it stops where it would have been stopped, and is told of the others once more
                # if it is continued
                self.coordinator.decide(number, max(found), False)
                break
            self.coordinator.decide(number, rung, True)
        # a trial that is to stop returns by itself (cluster/coordinator.py)
        return TrialScheduler.CONTINUE


class TuneCallback(Unsaved, Callback):
    """What happens to trials: runs ended, listeners called, and resources given back where a
    trial's driver died. Where it did not, it has seen to its workers."""

    def __init__(
        self,
        search_state: SearchState,
        tracking: SearchTracking,
        listener: Listener,
        drivers: TrialDrivers,
    ):
        self.search_state, self.tracking = search_state, tracking
        self.listener, self.drivers = listener, drivers

    def _trial(self, trial: Any) -> Trial:
        return self.search_state.trials[trial.config["trial"]]

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.end_replaced()
        mine = self._trial(trial)
        # those it had before may be another trial's by now (cluster/kept_workers.py)
        mine.groups.clear()
        if mine.machines:
            mine.machines_before.append(mine.machines)
        mine.machines = ()
        if mine.resumed:
            self.tracking.continue_trial(mine)
        mine.start()
        self.listener(mine, "started")

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        mine = self._trial(trial)
        mine.update(result)
        if group := result.get("placement_group"):
            update_machines(mine, group)
            self.tracking.record_machines(mine)
            self.listener(mine, "placed")
            return
        # the scheduler, which is asked before this, has taken in the rungs
        new, mine.announced = mine.rungs_done > mine.announced, mine.rungs_done
        ended = mine.rungs_done % mine.plan.rungs == 0
        self.listener(mine, ("stage" if ended else "rung") if new else "progress")

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        mine = self._trial(trial)
        state = self.search_state.state_of(mine.number)
        if state == "paused":
            self.listener(self.search_state.pause(mine.number), "paused")
        elif state is not None:
            self._end(mine, state, "")

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        mine = self._trial(trial)
        self.drivers.abandon(mine.number)
        # nobody waits for its workers any more
        release(mine.groups)
        self._end(mine, "failed", "its driver's process died")

    def end_decided(self) -> None:
        """In a resumed search: end the trials whose end was decided but not carried out."""
        for trial in self.search_state.decided:
            state = self.search_state.state_of(trial.number)
            assert state is not None
            if not trial.reported:
                self.search_state.report_end(trial.number, state)
            # one that was over has no trace of the interruption: its record is undisturbed
            over = state in ("finished", "stopped")
            self._end(trial, state, "" if over else "its driver died")

    def end_replaced(self) -> None:
        """End the runs of trials that others have replaced while they were paused."""
        while self.search_state.replaced:
            trial = self.search_state.replaced.pop(0)
            self.tracking.end_trial(trial)
            self.listener(trial, "ended")

    def _end(self, trial: Trial, state: State, reason: str) -> None:
        self.search_state.end(trial.number, state, trial.reason or reason)
        self.tracking.end_trial(trial)
        self.listener(trial, "ended")

    def get_state(self) -> None:
        """Nothing to keep: the journal is what a search is resumed from."""
        return None


class Silent(ProgressReporter):
    """Shows nothing: search/dashboard.py does. In a notebook Tune would begin with an empty output,
    whatever its verbosity."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: str) -> None:
        """Never called."""
