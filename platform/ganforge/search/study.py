"""The state of a search: every suggestion, score and decision, journaled before it is acted upon.

Opened on a journal that has events already, it replays them through the fresh sampler and strategy
that it was given: they end in the state that the interrupted search was in.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ganforge.search.budget import Spent
from ganforge.search.editing import apply
from ganforge.search.journal import Event, Journal
from ganforge.search.limits import Limits
from ganforge.search.objectives import Objectives
from ganforge.search.repeats import Repetitions
from ganforge.search.sampler import Sampler
from ganforge.search.stage_facts import restore, rung_of, to_facts
from ganforge.search.strategies.base import (
    Begin,
    Branch,
    Candidates,
    Continue,
    Curve,
    CurveState,
    Point,
    Seen,
    Strategy,
)
from ganforge.search.trial import Configure, State, Trial, rung_works
from ganforge.settings import SettingsError
from ganforge.systems.base import Metric
from ganforge.tracking.run_ref import RunRef
from ganforge.training.files import join
from ganforge.training.report import RungResult, StageResult

_CURVE_STATES: dict[State, CurveState] = {
    "waiting": "running",
    "running": "running",
    "killed": "running",
    "paused": "paused",
    "finished": "finished",
    "stopped": "stopped",
    "failed": "failed",
}


class SearchState:
    """All trials of a search. `open_run` makes a trial's MLflow run before it starts, `configure`
    its settings and plan from what was suggested. `limits` end the search early; each configuration
    is trained with `seeds` seeds (search/repeats.py). With several `objectives` trials are compared
    by those, and `metric` is the first."""

    def __init__(
        self,
        sampler: Sampler,
        strategy: Strategy,
        journal: Journal,
        metric: Metric,
        configure: Configure,
        limits: Limits,
        open_run: Callable[[Trial], RunRef | None],
        seed: int = 0,
        seeds: int = 1,
        objectives: Objectives | None = None,
    ):
        self.objectives = objectives
        self.sampler, self.strategy, self.seed = sampler, strategy, seed
        self.journal, self.metric, self.limits = journal, metric, limits
        self.configure, self.open_run = configure, open_run
        self.trials: dict[int, Trial] = {}
        self.repetitions = Repetitions(self.trials, seeds, metric.mode)
        #: why settings refused points that were drawn, one for each
        self.refused: list[str] = []
        #: why the sampler has no more points, where it has none
        self.ended = ""
        self._before, self._began = 0.0, time.monotonic()
        self._events, self._idle_since = 0, -1
        #: trials that others have replaced, whose runs in MLflow are to be ended
        self.replaced: list[Trial] = []
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
            last = journal.events[-1]
            self._decide(self.trials[last["trial"]], rung_of(last))
        for trial in self.trials.values():
            if trial.paused and not trial.ended:
                trial.state = "paused"
        # decided, but the driver died before they were ended; and those cut off while they ran
        unended = [t for t in self.trials.values() if not t.ended and t.state != "paused"]
        self.decided = [t for t in unended if t.reported or self.state_of(t.number) is not None]
        self._again = [t for t in unended if t not in self.decided]
        for trial in self._again:
            trial.resumed = True

    @property
    def candidates(self) -> Candidates:
        """Where new points come from; others after the space was edited."""
        return self.sampler.candidates

    @property
    def running(self) -> list[Trial]:
        """The trials that have a worker."""
        return [trial for trial in self.trials.values() if trial.active]

    @property
    def spent(self) -> Spent:
        """What the search has taken, over all of its sessions."""
        parts = (part for trial in self.trials.values() for part in trial.trained)
        devices = sum(part.seconds * part.workers for part in parts)
        seconds = self._before + time.monotonic() - self._began
        return Spent(seconds, devices, len(self.repetitions.firsts))

    def limit(self, begin: bool = False) -> str:
        """Why no trial may be continued, or with `begin` none be begun; empty where it may."""
        pauses = self.strategy.pauses
        firsts, mode = self.repetitions.firsts, self.metric.mode
        found = self.limits.reached(self.spent, firsts, mode, begin, pauses, self.objectives)
        return found or (self.ended if begin else "")

    @property
    def ended_early(self) -> str:
        """Why the search ended before all its trials were begun; empty where it did not."""
        begun = len(self.repetitions.firsts)
        return self.limit(begin=True) if begun < self.limits.num_trials else ""

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing is left to be begun or continued."""
        if self.running or self._again or self._decisions_left():
            return False
        return not self.repetitions.finalists(self.limits.confirm, self.limits.confirm_seeds)

    def _decisions_left(self) -> bool:
        limited = bool(self.limit())
        if self.repetitions.paused(limited) or self.repetitions.missing(limited):
            return True
        if limited:
            return False
        return isinstance(self.strategy.next(self.seen(), self.candidates), Begin | Continue)

    def seen(self) -> Seen:
        """The search as a strategy sees it."""
        trials = [trial for _, trial in sorted(self.repetitions.firsts.items())]
        plan = trials[0].plan if trials else self.configure({})[1]
        curves = tuple(self._curve(trial) for trial in trials)
        if self.objectives is not None:
            scores = self.objectives.rung_scores(trials)
            curves = tuple(replace(curve, scores=scores[curve.number]) for curve in curves)
        return Seen(
            curves,
            plan.num_rungs,
            rung_works(plan),
            self.seed,
            self._events,
            fresh=not self.limit(begin=True),
        )

    def edit(self, facts: Mapping[str, Any]) -> None:
        """Change what the search suggests from now on (search/editing.py)."""
        self.journal.append("edited", **facts)
        self._edit(facts)

    def _edit(self, facts: Mapping[str, Any]) -> None:
        self._events += 1
        self.ended = ""
        apply(facts, self.sampler)

    def _curve(self, trial: Trial) -> Curve:
        sign = 1 if self.metric.mode == "max" else -1
        done = range(1, trial.rungs_done + 1)
        state = _CURVE_STATES[trial.state]
        if state == "paused" and self.sampler.outside(trial.params):
            state = "stopped"  # unless an edit takes it in again
        return Curve(
            trial.number,
            trial.params,
            tuple(sign * trial.scores[rung] for rung in done),
            rung_works(trial.plan)[: trial.rungs_done],
            state,
            trial.branch,
        )

    def suggest(self) -> Trial | None:
        """What a free worker does: a trial that was cut off, a new one, or one that was paused.

        None: nothing now, and nothing at all once no trial runs (`over`)."""
        if self._again:
            trial = self._again.pop(0)
            trial.active = True
            return trial
        if repetition := self._repeat():
            return repetition
        while self._idle_since != self._events and not self.limit():
            decision = self.strategy.next(self.seen(), self.candidates)
            if isinstance(decision, Continue):
                return self._continue(decision.number)
            if not isinstance(decision, Begin):
                # it would be the same until something is reported
                self._idle_since = self._events
                break
            chosen = decision.point is not None
            if decision.branch is None and self.sampler.leads:
                decision = Begin()
            trial = self._ask(decision.point, decision.branch, chosen)
            if trial is not None:
                trial.active = True
                return trial
            if self.ended:
                break
        return self._confirm()

    def _repeat(self) -> Trial | None:
        """A configuration once more, with another seed; or a repetition that was paused."""
        limited = bool(self.limit())
        if paused := self.repetitions.paused(limited):
            return self._continue(paused.number)
        if (found := self.repetitions.missing(limited)) is None:
            return None
        first, repetition = found
        trial = self._repetition(len(self.trials), first, repetition)
        trial.run = self.open_run(trial)
        run = asdict(trial.run) if trial.run else None
        self.journal.append(
            "suggested", trial=trial.number, params=trial.params, run=run,
            repeats=first.number, repetition=repetition,
        )  # fmt: skip
        self._events += 1
        trial.active = True
        self.trials[trial.number] = trial
        return trial

    def _repetition(self, number: int, first: Trial, repetition: int) -> Trial:
        seed = first.settings.seed + repetition
        prepared, plan = self.configure(first.params | {"seed": seed})
        trial = Trial(number, first.params, prepared, plan, self.folder(number))
        trial.repeats, trial.repetition = first.number, repetition
        return trial

    def _confirm(self) -> Trial | None:
        """Where the search has ended: the best configurations, with further seeds."""
        count, further = self.limits.confirm, self.limits.confirm_seeds
        if not count or self.running or self._decisions_left():
            return None
        if not (chosen := self.repetitions.finalists(count, further)):
            return None
        seeds = self.repetitions.seeds + further
        self.journal.append("confirming", trials=chosen, seeds=seeds)
        self._confirming(chosen, seeds)
        return self._repeat()

    def _confirming(self, chosen: Sequence[int], seeds: int) -> None:
        self._events += 1
        self.repetitions.confirmed |= dict.fromkeys(chosen, seeds)

    def _continue(self, number: int) -> Trial:
        self.journal.append("continued", trial=number)
        trial = self._continued(number)
        trial.active = True
        return trial

    def _continued(self, number: int) -> Trial:
        self._events += 1
        trial = self.trials[number]
        trial.stop, trial.paused, trial.resumed, trial.state = False, False, True, "waiting"
        return trial

    def _ask(self, point: Point | None, branch: Branch | None, chosen: bool) -> Trial | None:
        """A new trial, at a point of the strategy's or where the sampler suggests; None where there
        is none: `ended` says why, or a strategy that had `chosen` a point decides anew."""
        given = {} if point is None else {"given": True}
        lineage = {} if branch is None else {"branch": asdict(branch)}
        while (found := self._draw(point)) is not None:
            try:
                prepared, plan = self.configure(found)
            except SettingsError as error:
                # no trial, and no run: the sampler learns that this point is refused
                reason = str(error).splitlines()[0]
                self.journal.append("refused", params=found, reason=reason, **given)
                self._refuse(found, reason)
                if chosen:
                    return None
                continue
            number = len(self.trials)
            trial = Trial(number, found, prepared, plan, self.folder(number), branch=branch)
            trial.run = self.open_run(trial)
            run = asdict(trial.run) if trial.run else None
            self.journal.append(
                "suggested", trial=number, params=found, run=run, **given, **lineage
            )
            self._events += 1
            self.trials[number] = trial
            if (old := self._replace(branch)) is not None:
                self.report_end(old.number, "stopped")
                self.replaced.append(self.end(old.number, "stopped"))
            return trial
        return None

    def _replace(self, branch: Branch | None) -> Trial | None:
        """The trial whose place a branch takes, which is to end; None where there is none that is
        not over."""
        if branch is None or branch.replaces is None:
            return None
        old = self.trials[branch.replaces]
        if old.ended:
            return None
        old.stop, old.paused, old.state = True, False, "waiting"
        return old

    def _draw(self, point: Point | None) -> dict[str, Any] | None:
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

    def _refuse(self, point: Mapping[str, Any], reason: str) -> None:
        self._events += 1
        self.refused.append(reason)
        self.sampler.refuse(point, reason)

    def reached(
        self,
        number: int,
        rung: int,
        score: float,
        result: StageResult | RungResult | None = None,
    ) -> bool:
        """Trial `number` reached a rung; whether it continues. Of a repeated report the first
        answer stands. `result` is kept for the search's report."""
        trial = self.trials[number]
        if rung in trial.scores:
            return not trial.stop or rung < trial.rungs_done
        facts = {} if result is None else to_facts(result, self.metric.name)
        values: tuple[float, ...] = ()
        if self.objectives is not None and result is not None:
            values = self.objectives.values(trial, rung, result)
            facts["values"] = list(values)
        elapsed = round(self.spent.seconds, 1)
        self.journal.append(
            "reported", trial=number, rung=rung, score=score, elapsed=elapsed, **facts
        )
        if isinstance(result, StageResult):
            trial.stages.setdefault(result.index, result)
        elif result is not None:
            trial.inside.setdefault(rung, result)
        self._reached(trial, rung, score, values)
        return self._decide(trial, rung)

    def _decide(self, trial: Trial, rung: int) -> bool:
        """Whether a trial that has just reached a rung continues; if not, whether it is paused: by
        its strategy, which may continue it later, or by a limit, which a resumed search may lift.
        """
        continues = paused = False
        if rung >= trial.plan.num_rungs:
            continues = True  # it is over
        elif self.limits.over(trial):
            trial.over_limit = True
        elif self.repetitions.confirms(trial):
            continues = True  # which the budget was not for
        elif self.limit():
            paused = True
        elif trial.repeats is not None:
            continues = True
        else:
            continues = self.strategy.continues(self.seen(), trial.number, self.candidates)
            paused = not continues and self.strategy.pauses
        facts = {"paused": True} if paused else {}
        facts |= {"over_limit": True} if trial.over_limit else {}
        self.journal.append("decided", trial=trial.number, rung=rung, continues=continues, **facts)
        trial.stop, trial.paused = not continues, paused
        return continues

    def _reached(self, trial: Trial, rung: int, score: float, values: Sequence[float] = ()) -> None:
        self._events += 1
        trial.scores[rung] = score
        if values:
            trial.values[rung] = tuple(values)
        if trial.repeats is None:
            self.sampler.report(trial.params, rung, score)

    def report_end(self, number: int, state: State) -> None:
        """Report to the sampler how a trial ended: a stopped one as pruned, with its last score."""
        self.journal.append("reported end", trial=number, state=state)
        self._report_end(self.trials[number], state)

    def _report_end(self, trial: Trial, state: State) -> None:
        trial.reported, trial.failed = True, state == "failed"
        if (found := self.repetitions.reportable(trial, state)) is not None:
            first, how, score = found
            assert how in ("finished", "stopped", "failed")
            values = score if self.objectives is None else first.last_values
            self.sampler.report_end(first.params, how, values)

    def returned(self, number: int) -> None:
        """A trial gives its worker back."""
        self.trials[number].active = False

    def pause(self, number: int) -> Trial:
        """A trial is put aside, to be continued or not."""
        trial = self.trials[number]
        trial.finish("paused")
        return trial

    def end(self, number: int, state: State, reason: str = "") -> Trial:
        """Everything of a trial is over: its run in MLflow too."""
        trial = self.trials[number]
        trial.finish(state, reason)
        seconds = round(trial.seconds, 1)
        lost = {"lost": round(trial.lost_seconds, 1)} if trial.lost_seconds else {}
        self.journal.append(
            "ended", trial=number, state=state, reason=reason, seconds=seconds, **lost
        )
        return trial

    def state_of(self, number: int, failed: bool = False) -> State | None:
        """How a trial ended that does not run any more; None: it was cut off with the search."""
        trial = self.trials[number]
        if failed or trial.failed:
            return "failed"
        if trial.stop:
            return "paused" if trial.paused else "stopped"
        return "finished" if trial.whole else None

    def folder(self, number: int) -> str:
        """Where a trial's states lie; a function of the search and the suggestion's number."""
        return join(self.journal.storage, self.journal.search_id, f"trial-{number:04d}")

    def unended(self) -> Iterator[Trial]:
        """The trials that an interruption cut off."""
        trials = self.trials.values()
        return (trial for trial in trials if not trial.ended and trial.state != "paused")

    def _replay(self, event: Event) -> None:
        kind, number = event["event"], event.get("trial", -1)
        if kind == "suggested":
            self._replay_suggestion(event)
        elif kind == "refused":
            self._replay_draw(event)
            self._refuse(event["params"], event["reason"])
        elif kind == "reported":
            self._before = event.get("elapsed", self._before)
            values = event.get("values", ())
            self._reached(self.trials[number], rung_of(event), event["score"], values)
            restore(self.trials[number], event, self.metric.name)
        elif kind == "decided":
            # as it was decided: computed again it is the same, or this version decides otherwise
            trial = self.trials[number]
            trial.stop, trial.paused = not _continues(event), event.get("paused", False)
            trial.over_limit = event.get("over_limit", False)
            if trial.paused:
                trial.state = "paused"
        elif kind == "continued":
            self._continued(number)
        elif kind in ("told", "reported end"):
            self._report_end(self.trials[number], event["state"])
        elif kind == "edited":
            self._edit(event)
        elif kind == "confirming":
            self._confirming(event["trials"], event["seeds"])
        elif kind == "ended":
            self.trials[number].finish(event["state"], event["reason"])
            self.trials[number].seconds = event["seconds"]
            self.trials[number].lost_seconds = event.get("lost", 0.0)

    def _replay_suggestion(self, event: Event) -> None:
        number, params = event["trial"], event["params"]
        if "refused" in event:  # which versions before 0.3 counted as trials
            raise SettingsError(
                f"{self._prefix}: it was begun with an earlier version of ganforge, which drew its "
                "points otherwise; resume it with that version, or start a new search"
            )
        run = RunRef(**event["run"]) if event["run"] else None
        self._events += 1
        if "repeats" in event:
            trial = self._repetition(number, self.trials[event["repeats"]], event["repetition"])
        else:
            self._replay_draw(event)
            branch = _branch(event)
            trial = Trial(
                number, params, *self.configure(params), self.folder(number), branch=branch
            )
            self._replace(branch)
        trial.run = run
        self.trials[number] = trial

    def _replay_draw(self, event: Event) -> None:
        params = event["params"]
        found = self._draw(params if event.get("given") else None)
        if found != params:
            raise SettingsError(
                f"{self._prefix}: what was suggested as {params} would now be {found}; resume with "
                "the versions of ganforge, optuna and numpy it was begun with"
            )

    @property
    def _prefix(self) -> str:
        return f"cannot resume search {self.journal.search_id}"


def _branch(event: Event) -> Branch | None:
    if "branch" not in event:
        return None
    found = Branch(**event["branch"])
    if not all(type(n) is int for n in (found.parent, found.rung, found.replaces or 0)):
        raise ValueError(f"its branch is {event['branch']}")
    return found


def _continues(event: Event) -> bool:
    # journals of version 0.1 call it go_on
    return event["continues"] if "continues" in event else event["go_on"]
