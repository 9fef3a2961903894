"""What happens to trials, told by Tune: resources given back, runs ended, listeners told."""

from typing import Any

from ray.tune import Callback

from ganforge.cluster.placement import release
from ganforge.search.placement import place, tag
from ganforge.search.study import SearchState
from ganforge.search.tracking import SearchTracking
from ganforge.search.trial import Listener, State, Trial
from ganforge.search.tune_adapter import Unsaved


class TuneCallback(Unsaved, Callback):
    """Ends what Tune ends. Stopped trials leave their workers' resources behind: removed here."""

    def __init__(self, search_state: SearchState, records: SearchTracking, listener: Listener):
        self.search_state, self.records, self.listener = search_state, records, listener

    def _trial(self, trial: Any) -> Trial:
        return self.search_state.trials[trial.config["trial"]]

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        mine = self._trial(trial)
        release(mine.groups)
        mine.groups.clear()
        mine.machines = ()
        if mine.resumed:
            self.records.continue_trial(mine)
        mine.start()
        self.listener(mine, "started")

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        mine = self._trial(trial)
        done = len(mine.stages)
        mine.hear(result)
        if group := result.get("placement_group"):
            place(mine, group)
            tag(mine)
            self.listener(mine, "placed")
            return
        self.listener(mine, "stage" if len(mine.stages) > done else "progress")

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        mine = self._trial(trial)
        state = self.search_state.state_of(mine.number)
        if state is not None:
            self._end(mine, state, "")
        else:
            release(mine.groups)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._end(self._trial(trial), "failed", "its driver's process died")

    def end_those_over(self) -> None:
        """In a resumed search: end the trials whose end was decided but not carried out."""
        for trial in self.search_state.over:
            state = self.search_state.state_of(trial.number)
            assert state is not None
            if not trial.told:
                self.search_state.tell(trial.number, state)
            # one that was over has no trace of the interruption: its story is undisturbed
            over = state in ("finished", "stopped")
            self._end(trial, state, "" if over else "its driver died")

    def _end(self, trial: Trial, state: State, why: str) -> None:
        release(trial.groups)
        self.search_state.end(trial.number, state, trial.reason or why)
        self.records.end_trial(trial)
        self.listener(trial, "ended")

    def get_state(self) -> None:
        """Nothing to keep: the journal is what a search is resumed from."""
        return None
