"""A configuration trained more than once, with other seeds, and compared by the mean.

A repetition is a trial of its own: the configuration of an earlier trial, with the setting `seed`
larger by the number of the repetition. Two things ask for it:

- `--seeds N`: every configuration is trained with N seeds. The first trial alone decides about
  rungs, as it would without; the others begin once it has finished, and run to their end. The
  sampler learns the mean of all N.
- `--confirm K`: once the search has ended, its K best configurations are trained with further
  seeds. The best of a search is often the luckiest; what stays ahead here is better.
"""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from ganforge.search.trial import State, Trial


def configuration(trial: Trial) -> int:
    """The number of the trial that was the first of this configuration."""
    return trial.number if trial.repeats is None else trial.repeats


@dataclass(frozen=True)
class Standing:
    """The final scores of a configuration, one for each seed with which it finished, that of its
    first trial, `number`, first."""

    number: int
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def deviation(self) -> float:
        """The sample's standard deviation; 0 of a single score."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else 0.0

    @property
    def line(self) -> str:
        """For people."""
        each = ", ".join(f"{score:.3f}" for score in self.scores)
        return (
            f"trial {self.number}: {self.mean:.3f} ± {self.deviation:.3f} over "
            f"{len(self.scores)} seeds ({each})"
        )

    def metrics(self) -> dict[str, float]:
        """As metrics of the runs of its trials."""
        return {
            "seeds/mean": self.mean,
            "seeds/std": self.deviation,
            "seeds/count": float(len(self.scores)),
        }


def standings(trials: Iterable[Trial], mode: str) -> list[Standing]:
    """The configurations that finished with more than one seed, the best first: those with the most
    seeds by their mean, then those with fewer, of which a seed failed or has not ended."""
    found = [standing for standing in _all(trials) if len(standing.scores) > 1]
    sign = -1 if mode == "max" else 1
    return sorted(found, key=lambda s: (-len(s.scores), sign * s.mean, s.number))


def _all(trials: Iterable[Trial]) -> list[Standing]:
    scores: dict[int, list[tuple[int, float]]] = {}
    for trial in trials:
        if _finished(trial) and trial.last_score is not None:
            mine = scores.setdefault(configuration(trial), [])
            mine.append((trial.repetition, trial.last_score))
    return [Standing(n, tuple(s for _, s in sorted(mine))) for n, mine in sorted(scores.items())]


@dataclass
class Repetitions:
    """Which repetitions the trials of a search still ask for; a pure function of them, and of the
    configurations that were chosen to be confirmed."""

    trials: Mapping[int, Trial]
    seeds: int
    mode: str
    #: by configuration with how many seeds it is trained in all
    confirmed: dict[int, int] = field(default_factory=dict)
    #: trials that were taken in: the first ones of their configurations, and by those the others
    _taken: int = 0
    _firsts: dict[int, Trial] = field(default_factory=dict)
    _others: dict[int, list[Trial]] = field(default_factory=dict)
    #: the repetitions that are not over; the first trials of which one may be missing, looked for
    #: with so many configurations confirmed
    _open: list[Trial] = field(default_factory=list)
    _unmet: dict[int, Trial] = field(default_factory=dict)
    _unmet_with: dict[int, int] = field(default_factory=dict)

    def _take_in(self) -> None:
        """Take in the trials that have come since; none ever goes."""
        if self._taken == len(self.trials):
            return
        for trial in islice(self.trials.values(), self._taken, None):
            if trial.repeats is None:
                self._firsts[trial.number] = self._unmet[trial.number] = trial
            else:
                self._others.setdefault(trial.repeats, []).append(trial)
                self._open.append(trial)
        self._taken = len(self.trials)

    @property
    def firsts(self) -> Mapping[int, Trial]:
        """The first trial of each configuration: those that the strategy sees."""
        self._take_in()
        return self._firsts

    def confirms(self, trial: Trial) -> bool:
        """Whether this is a repetition after the search's end, beyond its budget."""
        return trial.repeats is not None and trial.repetition >= self.seeds

    def paused(self, limited: bool) -> Trial | None:
        """A repetition that a limit has paused, and that may be continued."""
        self._take_in()
        self._open = [trial for trial in self._open if not trial.ended]
        found = (trial for trial in self._open if trial.state == "paused")
        return next((t for t in found if not limited or self.confirms(t)), None)

    def missing(self, limited: bool) -> tuple[Trial, int] | None:
        """The next repetition to be begun: of a first trial, with its number. `limited`: nothing
        is begun but what confirms."""
        if self.seeds == 1 and not self.confirmed:
            return None
        self._take_in()
        if self.confirmed != self._unmet_with:
            self._unmet, self._unmet_with = dict(self._firsts), dict(self.confirmed)
        for number, first in list(self._unmet.items()):
            if not _finished(first):
                if first.ended:
                    del self._unmet[number]
                continue
            begun = {t.repetition for t in self._others.get(number, ())}
            wanted = [n for n in range(1, self._wanted(number)) if n not in begun]
            if not wanted:
                del self._unmet[number]
            for repetition in wanted:
                if not (limited and repetition < self.seeds):
                    return first, repetition
        return None

    def _wanted(self, number: int) -> int:
        """With how many seeds a configuration is to be trained."""
        return max(self.seeds, self.confirmed.get(number, 1))

    def finalists(self, count: int, further: int) -> list[int]:
        """The `count` best configurations by the search's own seeds, those left out that were
        trained with `further` seeds more already. (By all seeds others would come up whenever the
        luckiest fall back, and be confirmed in turn.)"""
        own = [trial for trial in self.trials.values() if not self.confirms(trial)]
        whole = [s for s in _all(own) if len(s.scores) == self.seeds]
        sign = -1 if self.mode == "max" else 1
        best = sorted(whole, key=lambda s: (sign * s.mean, s.number))[:count]
        total = self.seeds + further
        return [s.number for s in best if self.confirmed.get(s.number, 0) < total]

    def reportable(self, trial: Trial, state: State) -> tuple[Trial, State, float | None] | None:
        """What is reported to the sampler when `trial` has ended in `state`: of which first trial,
        how it ended and its score. None: nothing, or nothing yet."""
        if self.confirms(trial):
            return None
        first = self.trials[configuration(trial)]
        if self.seeds == 1 or (trial is first and state != "finished"):
            return first, state, first.last_score
        self._take_in()
        mine = [first, *self._others.get(first.number, ())]
        mine = [t for t in mine if t.repetition < self.seeds]
        if len(mine) < self.seeds or not all(t.reported for t in mine):
            return None
        if any(t.failed for t in mine):
            return first, "failed", None
        if not all(map(_finished, mine)):
            return first, "stopped", None
        return first, "finished", statistics.fmean(t.last_score or 0.0 for t in mine)


def _finished(trial: Trial) -> bool:
    """Whether it has come to its end, and that was reported."""
    return trial.whole and trial.reported and not trial.failed
