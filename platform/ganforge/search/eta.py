"""How long a whole search will still take: by what its strategy is expected to train, and by what
its trials have needed so far."""

import statistics
import time
from dataclasses import dataclass, field

from ganforge.cluster.kept_workers import keeps_workers
from ganforge.schedule import Plan
from ganforge.search.candidates import SpaceCandidates
from ganforge.search.plan import Starts, play
from ganforge.search.space import Space, axes
from ganforge.search.strategies.base import Strategy
from ganforge.search.trial import Trial, rung_works

_PLAYS = 4
#: from a trial's start until it has workers that are there already
_AGAIN_SECONDS = 0.5


def expected_share(strategy: Strategy, space: Space, plan: Plan, num_trials: int) -> float:
    """The part of a whole run that a trial is expected to train, 0 to 1: searches are played whose
    scores are drawn at random (search/plan.py). One at a time, and of at most 20 trials: what a
    strategy stops depends little on either, and a search is not to wait for this."""
    works = rung_works(plan)
    count = min(num_trials, 20)
    candidates = SpaceCandidates(axes(space), set())
    plays = [
        play(strategy, candidates, works, count, 1, Starts(0.0, 0.0), seed)
        for seed in range(_PLAYS)
    ]
    return min(1.0, statistics.fmean(held for held, _ in plays) / (count * sum(works)))


@dataclass
class _Times:
    """Of one trial, on a monotonic clock: when it was started, and its first and last report with
    the part of the run that was done."""

    started: float
    first: tuple[float, float] | None = None
    last: tuple[float, float] = (0.0, 0.0)

    @property
    def measured(self) -> tuple[int, float, float, float]:
        """One, the seconds up to the first report, the part of the run that was done since, and
        its seconds; zeros before a second report."""
        if self.first is None or not self.last[1] > self.first[1]:
            return 0, 0.0, 0.0, 0.0
        (began, before), (ended, after) = self.first, self.last
        return 1, began - self.started, after - before, ended - began


@dataclass
class SearchEta:
    """Listens to a search of `num_trials`, each expected to train `share` of a whole run.

    Two rates are measured: the seconds from a trial's start to its first report, and those of a
    whole run after that. What is left of both is shared by as many trials as have run at a time.
    """

    num_trials: int
    share: float
    _times: dict[int, _Times] = field(default_factory=dict)
    _left: dict[int, float] = field(default_factory=dict)
    _slots: int = 1
    #: what was measured of all trials, summed: there may be thousands
    _sums: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)

    def __call__(self, trial: Trial, event: str, now: float | None = None) -> None:
        now = time.monotonic() if now is None else now
        number, done = trial.number, trial.fraction
        before = self._times.get(number)
        measured = before.measured if before is not None else (0, 0.0, 0.0, 0.0)
        if event == "started":
            self._times[number] = _Times(now)
            self._add(measured, (0, 0.0, 0.0, 0.0))
        elif event == "placed" and before is not None and keeps_workers(trial.prepared):
            # what the first trials wait for is not waited for again
            before.started = max(before.started, now - _AGAIN_SECONDS)
        elif event in ("progress", "rung", "stage") and before is not None and trial.images:
            before.first = before.first or (now, done)
            before.last = now, done
            self._add(measured, before.measured)
        if event in ("paused", "ended"):
            self._left.pop(number, None)
        else:
            # past what is expected it is on its way to its last rung
            self._left[number] = max(self.share - done, 0.0) or 1.0 - done
            self._slots = max(self._slots, len(self._left))

    def _add(self, before: tuple[float, ...], after: tuple[float, ...]) -> None:
        parts = zip(self._sums, before, after, strict=True)
        self._sums = tuple(total - old + new for total, old, new in parts)

    def remaining(self, begun: int) -> float | None:
        """Seconds until the search ends, of whose trials so many have begun; None before a trial
        has reported twice."""
        count, starts, trained, seconds = self._sums
        if not count:
            return None
        whole = seconds / trained
        new = max(0, self.num_trials - begun)
        left = new * self.share + sum(self._left.values())
        slots = max(1, min(self._slots, new + len(self._left)))
        return (new * starts / count + left * whole) / slots
