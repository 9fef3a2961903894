"""Optuna's trials in memory, in which one that has reported scores is shown as pruned at the last.

To Optuna's TPE a trial that is not over is a bad one, whatever it has reported (its constant liar):
what a strategy has put aside would count as bad for the rest of the search, and TPE would draw its
points at random until enough trials have ended. So it is shown what is known of them.
"""

import copy
from collections.abc import Container

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState


class ReportedStorage(InMemoryStorage):
    """A trial itself (`get_trial`) is what it is: it reports on, and is ended later."""

    def __init__(self) -> None:
        super().__init__()
        #: by number: a trial, and what is shown of it. A trial that changes is another object
        self._shown: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        if states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        trials = [self._as_known(trial) for trial in super().get_all_trials(study_id, False)]
        found = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def _as_known(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.state != TrialState.RUNNING or not trial.intermediate_values:
            return trial
        original, shown = self._shown.get(trial.number, (None, trial))
        if original is not trial:
            shown = copy.copy(trial)
            shown.state = TrialState.PRUNED
            self._shown[trial.number] = trial, shown
        return shown
