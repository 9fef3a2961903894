"""Several objectives of one search: which there are, and what of the search they decide.

A trial is compared by a vector, the values of its objectives at a stage's end. The search's result
is its Pareto front: the finished trials that no other finished trial dominates (nowhere worse and
somewhere better). Where one trial must be chosen it is the front's best by the first objective.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganforge.search.pareto import Values, dominates, nondominated_ranks
from ganforge.search.trial import Trial, rung_works
from ganforge.settings import SettingsError, nearest, shown, shown_key
from ganforge.systems.base import Metric

if TYPE_CHECKING:
    from ganforge.training.report import RungResult, StageResult

#: what a run trains, in images by their size, all stages so far summed: seconds depend on the
#: machine, and a decision that hung on a clock could not be made again
WORK = Metric("cost/work", "min")
#: numbers that the deployed generator of the stage has
PARAMETERS = Metric("model/parameters", "min")
#: objectives that every search has; they are not measured on images
COMPUTED = (WORK, PARAMETERS)
#: with more objectives than this nearly every trial of a search is on the front
MOST = 3
_STRATEGIES = ("halving", "tpe", "random", "grid", "nsga2")
_ONE_OBJECTIVE = "cmaes"


@dataclass(frozen=True)
class RungRanks:
    """What so many trials that have reached a rung are compared by there, by their numbers."""

    count: int
    scores: Mapping[int, float]


@dataclass(frozen=True)
class Objectives:
    """The objectives of a search, two or more, the first a measured one. `count` gives the
    parameters that a trial's generator has in its last one of so many stages."""

    metrics: tuple[Metric, ...]
    count: Callable[[Trial, int], int]

    @property
    def names(self) -> list[str]:
        return [metric.name for metric in self.metrics]

    @property
    def modes(self) -> list[str]:
        """max or min, for each."""
        return [metric.mode for metric in self.metrics]

    @property
    def measured(self) -> tuple[Metric, ...]:
        """Those that a run measures."""
        return tuple(metric for metric in self.metrics if metric not in COMPUTED)

    def values(
        self, trial: Trial, rung: int, result: "StageResult | RungResult"
    ) -> tuple[float, ...]:
        """What a trial has reached in each objective at a rung."""
        stages = trial.plan.part(rung)[0] + 1
        computed = {
            WORK.name: lambda: sum(rung_works(trial.plan)[:rung]),
            PARAMETERS.name: lambda: float(self.count(trial, stages)),
        }
        return tuple(
            computed[name]() if name in computed else result.metrics[name] for name in self.names
        )

    def by_name(self, trial: Trial) -> dict[str, float]:
        """A trial's last values; empty where it has none."""
        return dict(zip(self.names, trial.last_values or (), strict=False))

    def front(self, trials: Iterable[Trial]) -> list[Trial]:
        """The Pareto front of the finished trials, best by the first objective first."""
        done = [(trial, self._finished(trial)) for trial in trials]
        found = [(trial, values) for trial, values in done if values is not None]
        ranks = nondominated_ranks([values for _, values in found])
        front = [pair for pair, rank in zip(found, ranks, strict=True) if rank == 0]
        front.sort(key=lambda pair: (*(-value for value in pair[1]), pair[0].number))
        return [trial for trial, _ in front]

    def in_vain(self, trials: Mapping[int, Trial]) -> int:
        """How many trials have ended since one entered the front of those before it, in the order
        of numbers. One that repeats the values of an earlier one does not enter."""
        seen: list[Values] = []
        vain = 0
        for _, trial in sorted(trials.items()):
            if not trial.ended:
                continue
            mine = self._finished(trial)
            if mine is None or any(earlier == mine or dominates(earlier, mine) for earlier in seen):
                vain += 1
            else:
                # what it dominates decides nothing any more
                seen = [earlier for earlier in seen if not dominates(mine, earlier)]
                seen, vain = [*seen, mine], 0
        return vain

    def rung_scores(
        self, trials: Iterable[Trial], known: "dict[int, RungRanks] | None" = None
    ) -> dict[int, tuple[float, ...]]:
        """By trial what a strategy compares at each rung that it has reached: minus its rank among
        all trials that have reached the rung, 0 on their front. Equal ranks are equal.

        Ranks at a rung that no trial has reached since are those `known`, which is brought up to
        date."""
        trials, known = list(trials), {} if known is None else known
        found: dict[int, list[float]] = {trial.number: [] for trial in trials}
        for rung in range(1, 1 + max((trial.rungs_done for trial in trials), default=0)):
            there = [trial for trial in trials if rung in trial.values]
            if rung not in known or known[rung].count != len(there):
                ranks = nondominated_ranks([self._larger(trial.values[rung]) for trial in there])
                scores = {t.number: -float(rank) for t, rank in zip(there, ranks, strict=True)}
                known[rung] = RungRanks(len(there), scores)
            for number, score in known[rung].scores.items():
                found[number].append(score)
        return {number: tuple(scores) for number, scores in found.items()}

    def _finished(self, trial: Trial) -> tuple[float, ...] | None:
        """The values of a finished trial, larger is better."""
        values = trial.last_values
        return None if trial.state != "finished" or values is None else self._larger(values)

    def _larger(self, values: Values) -> tuple[float, ...]:
        signs = (1 if mode == "max" else -1 for mode in self.modes)
        return tuple(sign * value for sign, value in zip(signs, values, strict=True))


def choose_objectives(known: Sequence[Metric], names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of these names, out of those that a system measures and those that are computed.

    SettingsError for a name that there is not, for one given twice, for more than `MOST`, and where
    the first is not measured: it decides which single trial is reproduced and used.
    """
    there = {metric.name: metric for metric in (*known, *COMPUTED)}
    for name in names:
        if name not in there:
            near = nearest(name, there)
            hint = f"did you mean {near}? There are" if near else "choose from"
            raise SettingsError(
                f"metric = {shown_key(name)}: is not measured under these settings; {hint} "
                f"{', '.join(there)}"
            )
        if names.count(name) > 1:
            raise SettingsError(f"metric = {name}: is given twice; name another, or leave one out")
    if len(names) > MOST:
        raise SettingsError(
            f"metric: {len(names)} are given; must be at most {MOST}: with more, nearly every "
            "trial is better than the others in something"
        )
    chosen = tuple(there[name] for name in names)
    if chosen[0] in COMPUTED:
        measured = next((metric for metric in chosen if metric not in COMPUTED), known[0])
        raise SettingsError(
            f"metric = {chosen[0].name}: the first must be a measured one, because it decides "
            "which trial of the front is reproduced and used; give --metric "
            f"{measured.name} before it"
        )
    return chosen


def check_several(
    strategy: str, sampler: str, seeds: int = 1, confirm: int = 0, warm_start: Sequence[str] = ()
) -> None:
    """SettingsError where something compares trials by one number: a strategy, a sampler, means
    over seeds, what earlier studies say."""
    if strategy not in _STRATEGIES:
        raise SettingsError(
            f"strategy = {shown(strategy)}: compares trials by one metric, and several are given; "
            f"use {', '.join(_STRATEGIES[:-1])} or {_STRATEGIES[-1]}, or give one --metric"
        )
    if sampler == _ONE_OBJECTIVE:
        raise SettingsError(
            f"sampler = {sampler}: learns from one metric, and several are given; use tpe, nsga2, "
            "gp, random or qmc, or give one --metric"
        )
    if warm_start:
        raise SettingsError(
            f"warm-start = {shown_key(warm_start[0])}: earlier studies guide a search by one "
            "metric, and several are given; give --points instead, or one --metric"
        )
    for key, value, least in (("seeds", seeds, 1), ("confirm", confirm, 0)):
        if value > least:
            raise SettingsError(
                f"{key} = {value}: compares means of one metric, and several are given; leave "
                f"--{key} out, or give one --metric"
            )
