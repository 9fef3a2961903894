"""The state of a search that runs: every suggestion, score and decision, journaled before it is
acted upon.

Opened on a journal that has events already, it takes them in again (record.py) with the fresh
sampler and strategy that it was given: they end in the state that the interrupted search was in.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from ganforge.search.budget import Spent
from ganforge.search.curves import Curves
from ganforge.search.journal import Journal
from ganforge.search.limits import Limits
from ganforge.search.objectives import Objectives, RungRanks
from ganforge.search.record import SearchRecord
from ganforge.search.repeats import Repetitions
from ganforge.search.sampler import Sampler
from ganforge.search.stage_facts import to_facts
from ganforge.search.strategies.base import (
    Begin,
    Candidates,
    Continue,
    Seen,
    Strategy,
)
from ganforge.search.strategies.branching import joined
from ganforge.search.trial import Configure, State, Trial, rung_works
from ganforge.settings import SettingsError
from ganforge.systems.base import Metric
from ganforge.tracking.run_ref import RunRef
from ganforge.training.report import RungResult, StageResult


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
        self.record = SearchRecord(sampler, metric, configure, journal.folder, seeds, objectives)
        self.strategy, self.seed, self.objectives = strategy, seed, objectives
        self.journal, self.metric, self.limits = journal, metric, limits
        self.configure, self.open_run = configure, open_run
        self._curves = Curves(self.record)
        self._ranks: dict[int, RungRanks] = {}
        self._before, self._began = 0.0, time.monotonic()
        self._active: dict[int, Trial] = {}
        #: `record.changes` when the strategy had nothing for a free worker
        self._idle_since = -1
        #: trials that others have replaced, whose runs in MLflow are to be ended
        self.replaced: list[Trial] = []
        self._replay()
        # decided, but the driver died before they were ended; and those cut off while they ran
        unended = [t for t in self.trials.values() if not t.ended and t.state != "paused"]
        self.decided = [t for t in unended if t.reported or self.state_of(t.number) is not None]
        self._again = [t for t in unended if t not in self.decided]
        for trial in self._again:
            trial.resumed = True

    def _replay(self) -> None:
        """Take in what the journal has, and decide what was reported last, if nobody did."""
        prefix = f"cannot resume search {self.journal.search_id}"
        events = list(self.journal.events)
        for line, event in enumerate(events, 1):
            try:
                self.record.replay(event)
                self._before = event.get("elapsed", self._before)
            except SettingsError as error:
                text = str(error)
                raise SettingsError(
                    text if text.startswith("cannot resume") else f"{prefix}: {text}"
                ) from None
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                # JSON still, but not what was written
                raise SettingsError(
                    f"{prefix}: line {line} of its journal, {event['event']}, is damaged or does "
                    f"not follow from the lines before ({type(error).__name__}: {error}); "
                    "repair it from a copy, or start a new search"
                ) from None
        for trial in self.trials.values():
            if trial.paused and not trial.ended:
                trial.state = "paused"
        if events and events[-1]["event"] == "reported":
            last = self.trials[events[-1]["trial"]]
            self._decide(last, last.rungs_done)
            if last.paused:
                last.state = "paused"

    # ---- what there is ----

    @property
    def trials(self) -> dict[int, Trial]:
        return self.record.trials

    @property
    def sampler(self) -> Sampler:
        return self.record.sampler

    @property
    def repetitions(self) -> Repetitions:
        return self.record.repetitions

    @property
    def refused(self) -> list[str]:
        """Why settings refused points that were drawn, one for each."""
        return self.record.refused

    @property
    def candidates(self) -> Candidates:
        """Where new points come from; others after the space was edited."""
        return self.sampler.candidates

    @property
    def running(self) -> list[Trial]:
        """The trials that have a worker."""
        return list(self._active.values())

    def unended(self) -> Iterator[Trial]:
        """The trials that an interruption cut off."""
        trials = self.trials.values()
        return (trial for trial in trials if not trial.ended and trial.state != "paused")

    def state_of(self, number: int, failed: bool = False) -> State | None:
        """How a trial ended that does not run any more; None: it was cut off with the search."""
        trial = self.trials[number]
        if failed or trial.failed:
            return "failed"
        if trial.stop:
            return "paused" if trial.paused else "stopped"
        return "finished" if trial.whole else None

    # ---- limits ----

    @property
    def taken(self) -> Spent:
        """The time and devices that the search has taken; any thread may ask."""
        return Spent(self._before + time.monotonic() - self._began, self.record.device_seconds)

    @property
    def spent(self) -> Spent:
        """What the search has taken, over all of its sessions."""
        return replace(self.taken, trials=len(self.repetitions.firsts))

    def limit(self, begin: bool = False) -> str:
        """Why no trial may be continued, or with `begin` none be begun; empty where it may."""
        what = "a better score" if self.objectives is None else "entering the front"
        found = self.limits.reached(self.spent, self._in_vain, begin, self.strategy.pauses, what)
        return found or (self.record.ended if begin else "")

    def _in_vain(self) -> int:
        if self.objectives is None:
            return self.record.over.in_vain
        return self.objectives.in_vain(self.repetitions.firsts)

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

    # ---- what a strategy sees ----

    def seen(self) -> Seen:
        """The search as a strategy sees it."""
        firsts = self.repetitions.firsts
        first = next(iter(firsts.values()), None)
        plan = first.plan if first is not None else self.configure({})[1]
        curves, kept = self._curves.all(), self._curves.scores
        if self.objectives is not None:
            kept = None  # by ranks, of which each trial changes others
            scores = self.objectives.rung_scores(firsts.values(), self._ranks)
            curves = tuple(replace(curve, scores=scores[curve.number]) for curve in curves)
        return Seen(
            curves,
            plan.num_rungs,
            rung_works(plan),
            self.seed,
            self.record.changes,
            fresh=not self.limit(begin=True),
            stage_rungs=plan.rungs,
            kept_scores=kept,
        )

    # ---- what happens ----

    def _happened(self, kind: str, **facts: Any) -> None:
        """Write an event down and take it in."""
        self.journal.append(kind, **facts)
        self.record.apply(self.journal.events[-1])

    def edit(self, facts: Mapping[str, Any]) -> None:
        """Change what the search suggests from now on (search/editing.py)."""
        self._happened("edited", **facts)

    def suggest(self) -> Trial | None:
        """What a free worker does: a trial that was cut off, a new one, or one that was paused.

        None: nothing now, and nothing at all once no trial runs (`over`)."""
        if self._again:
            trial = self._again.pop(0)
        else:
            trial = self._repeat() or self._chosen() or self._confirm()
        if trial is not None:
            trial.active = True
            self._active[trial.number] = trial
        return trial

    def _chosen(self) -> Trial | None:
        """What the strategy has for a free worker."""
        while self._idle_since != self.record.changes and not self.limit():
            decision = self.strategy.next(self.seen(), self.candidates)
            if isinstance(decision, Continue):
                return self._continue(decision.number)
            if not isinstance(decision, Begin):
                # it would be the same until something is reported
                self._idle_since = self.record.changes
                break
            replaces = decision.branch is not None and decision.branch.replaces is not None
            if not replaces and self.sampler.leads:
                decision = Begin(joins=decision.joins)
            trial = self._ask(decision)
            if trial is not None or self.record.ended:
                return trial
        return None

    def _ask(self, begin: Begin) -> Trial | None:
        """A new trial, at a point of the strategy's or where the sampler suggests. None where there
        is none, `record.ended` says why, or where the settings refuse the point: then the strategy
        decides anew, as it does in a search that is resumed after the refusal."""
        point, branch = begin.point, begin.branch
        given = {} if point is None else {"given": True}
        if (found := self.record.draw(point)) is None:
            return None
        try:
            prepared, plan = self.configure(found)
        except SettingsError as error:
            # no trial, and no run: the sampler learns that this point is refused
            reason = str(error).splitlines()[0]
            self.journal.append("refused", params=found, reason=reason, **given)
            self.record.refuse(found, reason)
            return None
        if begin.joins:
            branch = joined(self.seen(), self.candidates, found)
        number = len(self.trials)
        trial = Trial(number, found, prepared, plan, self.journal.folder(number), branch=branch)
        lineage = {} if branch is None else {"branch": asdict(branch)}
        return self._begin(trial, **given, **lineage)

    def _begin(self, trial: Trial, **facts: Any) -> Trial:
        trial.run = self.open_run(trial)
        run = asdict(trial.run) if trial.run else None
        self.journal.append("suggested", trial=trial.number, params=trial.params, run=run, **facts)
        if (old := self.record.add(trial)) is not None:
            self.report_end(old.number, "stopped")
            self.replaced.append(self.end(old.number, "stopped"))
        return trial

    def _continue(self, number: int) -> Trial:
        self._happened("continued", trial=number)
        return self.trials[number]

    def _repeat(self) -> Trial | None:
        """A configuration once more, with another seed; or a repetition that was paused."""
        limited = bool(self.limit())
        if paused := self.repetitions.paused(limited):
            return self._continue(paused.number)
        if (found := self.repetitions.missing(limited)) is None:
            return None
        first, repetition = found
        trial = self.record.repetition(len(self.trials), first, repetition)
        return self._begin(trial, repeats=first.number, repetition=repetition)

    def _confirm(self) -> Trial | None:
        """Where the search has ended: the best configurations, with further seeds."""
        count, further = self.limits.confirm, self.limits.confirm_seeds
        if not count or self.running or self._decisions_left():
            return None
        if not (chosen := self.repetitions.finalists(count, further)):
            return None
        self._happened("confirming", trials=chosen, seeds=self.repetitions.seeds + further)
        return self._repeat()

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
        facts: dict[str, Any] = {}
        if result is not None:
            facts = to_facts(result, self.metric.name)
            if self.objectives is not None:
                facts["values"] = list(self.objectives.values(trial, rung, result))
        # the whole of it, of which the journal keeps a part
        if isinstance(result, StageResult):
            trial.stages.setdefault(result.index, result)
        elif result is not None:
            trial.inside.setdefault(rung, result)
        elapsed = round(self.spent.seconds, 1)
        self._happened("reported", trial=number, rung=rung, score=score, elapsed=elapsed, **facts)
        return self._decide(trial, rung)

    def _decide(self, trial: Trial, rung: int) -> bool:
        """Whether a trial that has just reached a rung continues; if not, whether it is paused: by
        its strategy, which may continue it later, or by a limit, which a resumed search may lift.
        """
        continues = paused = over_limit = False
        if rung >= trial.plan.num_rungs:
            continues = True  # it is over
        elif self.limits.over(trial):
            over_limit = True
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
        facts |= {"over_limit": True} if over_limit else {}
        self._happened("decided", trial=trial.number, rung=rung, continues=continues, **facts)
        return continues

    def report_end(self, number: int, state: State) -> None:
        """Report to the sampler how a trial ended: a stopped one as pruned, with its last score."""
        self._happened("reported end", trial=number, state=state)

    def returned(self, number: int) -> None:
        """A trial gives its worker back."""
        self.trials[number].active = False
        self._active.pop(number, None)

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
        facts = {"lost": round(trial.lost_seconds, 1)} if trial.lost_seconds else {}
        if trial.elastic:
            facts["device_seconds"] = round(trial.device_seconds, 1)
            facts["lost_device_seconds"] = round(trial.lost_device_seconds, 1)
        self._happened("ended", trial=number, state=state, reason=reason, seconds=seconds, **facts)
        return trial
