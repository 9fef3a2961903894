"""The state of a search: every suggestion, score and decision, journaled before it is acted upon.

Opened on a journal that has events already, it replays them through the fresh sampler and strategy
that it was given: they end in the state that the interrupted search was in.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import optuna
from optuna.pruners import NopPruner
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import Trial as Asked
from optuna.trial import TrialState

from ganforge.search.journal import Event, Journal
from ganforge.search.strategies.halving import Halving
from ganforge.search.trial import Configure, State, Trial
from ganforge.settings import SettingsError
from ganforge.systems.base import Metric
from ganforge.tracking.run_ref import RunRef
from ganforge.training.files import join
from ganforge.training.report import StageResult

_OPTUNA_STATES: dict[str, TrialState] = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def new_study(metric: Metric, seed: int, startup_trials: int) -> Study:
    """An Optuna study in memory with a seeded TPE sampler; the journal is its storage."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        direction="maximize" if metric.mode == "max" else "minimize",
        sampler=TPESampler(seed=seed, n_startup_trials=startup_trials),
        pruner=NopPruner(),
    )


class SearchState:
    """All trials of a search. `open_run` makes a trial's MLflow run before it starts, `configure`
    its settings and plan from what was suggested."""

    def __init__(
        self,
        study: Study,
        distributions: dict[str, Any],
        halving: Halving,
        journal: Journal,
        metric: Metric,
        configure: Configure,
        num_trials: int,
        open_run: Callable[[Trial], RunRef | None],
    ):
        self.study, self.distributions = study, distributions
        self.halving, self.journal, self.metric = halving, journal, metric
        self.configure, self.num_trials, self.open_run = configure, num_trials, open_run
        self.trials: dict[int, Trial] = {}
        self._asked: dict[int, Asked] = {}
        for line, event in enumerate(list(journal.events), 1):
            try:
                self._replay(event)
            except SettingsError:
                raise
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                # JSON still, but not what was written
                raise SettingsError(
                    f"{self._prefix}: line {line} of its journal, {event['event']}, is damaged or "
                    f"does not follow from the lines before ({type(error).__name__}: {error}); "
                    "repair it from a copy, or start a new search"
                ) from None
        if journal.events and journal.events[-1]["event"] == "reported":
            self._decided(journal.events[-1])
        # decided, but the driver died before they were ended; and those cut off while they ran
        unended = [t for t in self.trials.values() if not t.ended]
        self.decided = [t for t in unended if t.reported or self.state_of(t.number) is not None]
        self._again = [t for t in unended if t not in self.decided]
        for trial in self._again:
            trial.resumed = True

    @property
    def remaining(self) -> int:
        """How many trials are still to be run, those cut off included."""
        return len(self._again) + max(0, self.num_trials - len(self.trials))

    def suggest(self) -> Trial | None:
        """The next trial: one that was cut off, or a new one; None when there is none left."""
        if self._again:
            return self._again.pop(0)
        while len(self.trials) < self.num_trials:
            trial = self._ask()
            if trial is not None:
                return trial
        return None

    def _ask(self) -> Trial | None:
        number = len(self.trials)
        asked = self.study.ask(self.distributions)
        params = dict(asked.params)
        try:
            prepared, plan = self.configure(params)
        except SettingsError as error:
            # no run was started: the sampler learns that this point is refused
            self.journal.append("suggested", trial=number, params=params, refused=str(error))
            self._refuse(number, asked, params, str(error))
            return None
        trial = Trial(number, params, prepared, plan, self.folder(number))
        trial.run = self.open_run(trial)
        run = asdict(trial.run) if trial.run else None
        self.journal.append("suggested", trial=number, params=params, run=run)
        self.trials[number], self._asked[number] = trial, asked
        return trial

    def _refuse(self, number: int, asked: Asked, params: dict[str, Any], problem: str) -> None:
        prepared, plan = self.configure({})
        trial = Trial(number, params, prepared, plan, reported=True)
        trial.finish("failed", problem.splitlines()[0])
        self.trials[number], self._asked[number] = trial, asked
        self.study.tell(asked, state=TrialState.FAIL)

    def reached(
        self, number: int, stages_done: int, score: float, result: StageResult | None = None
    ) -> bool:
        """Trial `number` ended a stage; whether it continues. Of a repeated report the first answer
        stands. `result` is kept for the search's report."""
        trial = self.trials[number]
        if stages_done in trial.scores:
            return not trial.stop or stages_done < trial.stages_done
        facts = {} if result is None else self._facts(result)
        self.journal.append("reported", trial=number, stages_done=stages_done, score=score, **facts)
        self._reached(trial, stages_done, score)
        return self._decided(self.journal.events[-1])

    def _facts(self, result: StageResult) -> dict[str, Any]:
        """What the report needs of a stage's result, so that a resumed search has it too."""
        bicubic = result.bicubic(self.metric.name)
        return {"seconds": result.seconds, "workers": result.workers, "bicubic": bicubic}

    def _restore_result(self, trial: Trial, event: Event) -> None:
        if "seconds" not in event:
            return  # a journal of an earlier version: the score is all it has
        index = event["stages_done"] - 1
        metrics = {self.metric.name: event["score"]}
        if event["bicubic"] is not None:
            metrics[f"{self.metric.name}_bicubic"] = event["bicubic"]
        trial.stages[index] = StageResult(
            index,
            trial.plan.stages[index].resolution,
            seconds=event["seconds"],
            workers=event["workers"],
            metrics=metrics,
        )

    def _decided(self, reported: Event) -> bool:
        number, stages_done = reported["trial"], reported["stages_done"]
        continues = not self.trials[number].stop
        self.journal.append("decided", trial=number, stages_done=stages_done, continues=continues)
        return continues

    def _reached(self, trial: Trial, stages_done: int, score: float) -> None:
        trial.scores[stages_done] = score
        self._asked[trial.number].report(score, stages_done)
        trial.stop = not self.halving.continues(trial.number, stages_done, score)

    def report_end(self, number: int, state: State) -> None:
        """Report to the sampler how a trial ended: a stopped one as pruned, with its last score."""
        self.journal.append("reported end", trial=number, state=state)
        self._report_end(self.trials[number], state)

    def _report_end(self, trial: Trial, state: State) -> None:
        value = trial.last_score if state == "finished" else None
        # a pruned trial's value is the last one reported
        self.study.tell(self._asked[trial.number], value, state=_OPTUNA_STATES[state])
        trial.reported, trial.failed = True, state == "failed"

    def end(self, number: int, state: State, reason: str = "") -> Trial:
        """Everything of a trial is over: its run in MLflow too."""
        trial = self.trials[number]
        trial.finish(state, reason)
        seconds = round(trial.seconds, 1)
        self.journal.append("ended", trial=number, state=state, reason=reason, seconds=seconds)
        return trial

    def state_of(self, number: int, failed: bool = False) -> State | None:
        """How a trial ended that does not run any more; None: it was cut off with the search."""
        trial = self.trials[number]
        if failed or trial.failed:
            return "failed"
        if trial.stop:
            return "stopped"
        return "finished" if trial.stages_done == len(trial.plan.stages) else None

    def folder(self, number: int) -> str:
        """Where a trial's states lie; a function of the search and the suggestion's number."""
        return join(self.journal.storage, self.journal.search_id, f"trial-{number:04d}")

    def unended(self) -> Iterator[Trial]:
        return (trial for trial in self.trials.values() if not trial.ended)

    def _replay(self, event: Event) -> None:
        kind, number = event["event"], event.get("trial", -1)
        if kind == "suggested":
            self._replay_suggestion(event)
        elif kind == "reported":
            self._reached(self.trials[number], event["stages_done"], event["score"])
            self._restore_result(self.trials[number], event)
        elif kind == "decided" and _continues(event) is self.trials[number].stop:
            raise SettingsError(f"{self._prefix}: rung decisions are not those of this version")
        elif kind in ("told", "reported end"):
            self._report_end(self.trials[number], event["state"])
        elif kind == "ended":
            self.trials[number].finish(event["state"], event["reason"])
            self.trials[number].seconds = event["seconds"]

    def _replay_suggestion(self, event: Event) -> None:
        number, params = event["trial"], event["params"]
        asked = self.study.ask(self.distributions)
        if dict(asked.params) != params:
            raise SettingsError(
                f"{self._prefix}: trial {number} would now be suggested {dict(asked.params)}, not "
                f"{params}; resume with the versions of optuna and numpy it was begun with"
            )
        if "refused" in event:
            self._refuse(number, asked, params, event["refused"])
            return
        prepared, plan = self.configure(params)
        run = RunRef(**event["run"]) if event["run"] else None
        self.trials[number] = Trial(number, params, prepared, plan, self.folder(number), run)
        self._asked[number] = asked

    @property
    def _prefix(self) -> str:
        return f"cannot resume search {self.journal.search_id}"


def _continues(event: Event) -> bool:
    # journals of version 0.1 call it go_on
    return event["continues"] if "continues" in event else event["go_on"]
