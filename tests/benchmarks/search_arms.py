"""The ways to search that are compared.

Every arm suggests points of the same continuous space, and is told what was trained: where a pool
took a suggestion to its nearest row, the row's own settings. No arm sees a score before its job
has ended. `ours` chooses among candidates at random and close to good trials, after a pool has
taken them to rows, because it chooses by where they are; Optuna draws its own candidates inside, so
its choice is taken to a row. `ours-unseen` chooses before, as Optuna does. In a continuous space,
lcbench, the two are the same.
"""

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from search_clock import Arm, Job, Lab
from search_tasks import Array, Placed, Point, Space, Task

from ganforge.search.reported_storage import ReportedStorage
from ganforge.search.strategies.base import Begin, Continue, Curve, CurveState, Seen, Strategy
from ganforge.search.strategies.halving import Halving

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class RandomArm:
    """Whole runs at random points: rows of the pool, without repetition."""

    def __init__(self, task: Task, seed: int) -> None:
        self._task, self._generator = task, np.random.default_rng(seed)

    def next(self, lab: Lab) -> Job | None:
        number = lab.begin(self._task.draw(self._generator))
        return None if number is None else Job(number, self._task.steps)

    def report(self, lab: Lab, job: Job, diverged: bool) -> None:
        pass


class Sampler:
    """Optuna's, by ask and tell; a trial that a pool moved is in the study where it was moved to.

    Optuna cannot move a trial: the one that was asked for is told as FAIL, which TPE does not look
    at, and one with the row's settings is put in its place. With `partial` it is shown what trials
    that are not over have scored, as a search shows it where trials are paused.
    """

    def __init__(
        self, space: Space, sampler: Any, pruner: Any = None, partial: bool = False
    ) -> None:
        # a name of its own would be drawn, and Hyperband puts trials into brackets by it
        self.study = optuna.create_study(
            storage=ReportedStorage() if partial else None,
            study_name="search",
            direction="maximize",
            sampler=sampler,
            pruner=pruner,
        )
        self._space = {
            d.name: IntDistribution(int(d.low), int(d.high), log=d.log)
            if d.integer
            else FloatDistribution(d.low, d.high, log=d.log)
            for d in space.dimensions
        }
        self.trials: dict[int, optuna.Trial] = {}

    def begin(self, lab: Lab) -> int | None:
        space: dict[str, BaseDistribution] = dict(self._space)
        trial = self.study.ask(space)
        number = lab.begin(trial.params)
        if number is None:
            return None
        point = dict(lab.trials[number].point)
        if point == trial.params:
            self.trials[number] = trial
        else:
            self.study.tell(trial, state=TrialState.FAIL)
            self.add(number, point)
        return number

    def add(self, number: int, point: Point) -> None:
        """A trial at a point that the sampler did not suggest."""
        self.study.enqueue_trial(dict(point))
        space: dict[str, BaseDistribution] = dict(self._space)
        self.trials[number] = self.study.ask(space)

    def tell(self, number: int, value: float | None, state: TrialState | None = None) -> None:
        if state == TrialState.PRUNED:
            # its value is the last one that was reported
            self.study.tell(self.trials[number], state=state)
        elif value is None:
            self.study.tell(self.trials[number], state=TrialState.FAIL)
        else:
            self.study.tell(self.trials[number], value, state=state)


class TpeArm:
    """Whole runs where Optuna's TPE, with its defaults, suggests them."""

    def __init__(self, task: Task, seed: int) -> None:
        self._steps = task.steps
        self._sampler = Sampler(task.space, optuna.samplers.TPESampler(seed=seed))

    def next(self, lab: Lab) -> Job | None:
        number = self._sampler.begin(lab)
        return None if number is None else Job(number, self._steps)

    def report(self, lab: Lab, job: Job, diverged: bool) -> None:
        value = None if diverged else float(lab.trials[job.trial].scores[-1])
        self._sampler.tell(job.trial, value)


class AshaArm:
    """TPE and ASHA as `ray.tune` gives them.

    Mirrored from Ray 2.60: AsyncHyperBandScheduler with its defaults (grace_period 1,
    reduction_factor 4, brackets 1, max_t a whole run): rungs after 1, 4 and 16 steps; a trial that
    reaches one stops where its score is below the 75th percentile of those recorded there before
    it, and is recorded in any case. OptunaSearch tells a trial that was stopped as COMPLETE with
    its last score, and one that raised, here a diverged one, as FAIL. `pruned` tells stopped ones
    as PRUNED, with the scores at the rungs, as Optuna means it.
    """

    def __init__(self, task: Task, seed: int, pruned: bool = False) -> None:
        self._sampler = Sampler(task.space, optuna.samplers.TPESampler(seed=seed))
        factor = 4
        count = int(np.log(task.steps) / np.log(factor) + 1)
        self._rungs = [factor**k for k in range(count) if factor**k < task.steps]
        self._recorded: dict[int, list[float]] = {rung: [] for rung in self._rungs}
        self._stops = [*self._rungs, task.steps]
        self._factor, self._pruned = factor, pruned
        self._waiting: list[Job] = []

    def next(self, lab: Lab) -> Job | None:
        if self._waiting:
            return self._waiting.pop(0)
        number = self._sampler.begin(lab)
        return None if number is None else Job(number, self._stops[0])

    def report(self, lab: Lab, job: Job, diverged: bool) -> None:
        if diverged:
            return self._sampler.tell(job.trial, None)
        score = float(lab.trials[job.trial].scores[job.step - 1])
        if job.step not in self._recorded:
            return self._sampler.tell(job.trial, score)
        recorded = self._recorded[job.step]
        stop = bool(recorded) and score < np.nanpercentile(recorded, (1 - 1 / self._factor) * 100)
        recorded.append(score)
        if self._pruned:
            self._sampler.trials[job.trial].report(score, job.step)
        if stop:
            state = TrialState.PRUNED if self._pruned else None
            return self._sampler.tell(job.trial, score, state)
        following = self._stops[self._stops.index(job.step) + 1]
        self._waiting.append(Job(job.trial, following))


class HyperbandArm:
    """Optuna's HyperbandPruner and TPE, with their defaults, max_resource a whole run; told as
    PRUNED with the scores of all steps, and FAIL where it diverged."""

    def __init__(self, task: Task, seed: int) -> None:
        pruner = optuna.pruners.HyperbandPruner(max_resource=task.steps)
        self._sampler = Sampler(task.space, optuna.samplers.TPESampler(seed=seed), pruner)
        self._steps = task.steps
        self._waiting: list[Job] = []

    def next(self, lab: Lab) -> Job | None:
        if self._waiting:
            return self._waiting.pop(0)
        number = self._sampler.begin(lab)
        return None if number is None else Job(number, 1)

    def report(self, lab: Lab, job: Job, diverged: bool) -> None:
        if diverged:
            return self._sampler.tell(job.trial, None)
        score = float(lab.trials[job.trial].scores[job.step - 1])
        if job.step == self._steps:
            return self._sampler.tell(job.trial, score)
        trial = self._sampler.trials[job.trial]
        trial.report(score, job.step)
        if trial.should_prune():
            return self._sampler.tell(job.trial, score, TrialState.PRUNED)
        self._waiting.append(Job(job.trial, job.step + 1))


@dataclass
class Box:
    """Candidates of a continuous space. Where `lab` is given, they are shown as a pool takes them
    to its rows; else a strategy sees the continuous points."""

    space: Space
    lab: Lab | None = None

    def _shown(self, points: list[Placed]) -> list[Placed]:
        return self.lab.task.nearest(points, self.lab.used) if self.lab else points

    def draw(self, generator: np.random.Generator, count: int) -> Sequence[Point]:
        units = generator.random((count, len(self.space.dimensions)))
        return self._shown(self.space.placed(units))

    def near(self, point: Point, generator: np.random.Generator, count: int) -> Sequence[Point]:
        """Half of the settings, at least one, moved by a normal step of a tenth of their range."""
        shape = (count, len(self.space.dimensions))
        moved = generator.random(shape) < 0.5
        moved[np.arange(count), generator.integers(shape[1], size=count)] = True
        step = 0.1 * generator.standard_normal(shape) * moved
        units = np.abs(self.space.units(point) + step)
        return self._shown(self.space.placed(1 - np.abs(1 - units)))

    def branch(self, point: Point, stages: int, generator: np.random.Generator) -> Point | None:
        """None: these curves are of configurations that stay as they are."""
        return None

    def early(self, point: Point, stages: int) -> Hashable:
        """The whole point: no two have a part in common."""
        return tuple(self.space.units(point))

    def encode(self, points: Sequence[Point]) -> Array:
        features = len(self.space.dimensions)
        return np.array([self.space.units(p) for p in points]).reshape(-1, features)


@dataclass
class StrategyArm:
    """A strategy of ganforge, asked as a search asks it."""

    strategy: Strategy
    task: Task
    seed: int
    rungs: tuple[int, ...]
    sampler: Sampler
    curves: list[Curve] = field(default_factory=list)
    decision: int = 0
    fresh: bool = True
    #: whether the strategy sees to which rows a pool would take its candidates
    sees_rows: bool = False
    _waiting: list[Job] = field(default_factory=list)

    def _seen(self) -> Seen:
        work = tuple(float(w) for w in np.diff(self.rungs, prepend=0))
        curves = tuple(self.curves)
        return Seen(curves, len(self.rungs), work, self.seed, self.decision, self.fresh)

    def _box(self, lab: Lab) -> Box:
        return Box(self.task.space, lab if self.sees_rows else None)

    def next(self, lab: Lab) -> Job | None:
        if self._waiting:
            return self._waiting.pop(0)
        self.decision += 1
        decision = self.strategy.next(self._seen(), self._box(lab))
        if isinstance(decision, Continue):
            curve = self.curves[decision.number]
            assert curve.state == "paused", "only a paused trial can be continued"
            self.curves[curve.number] = _changed(curve, "running")
            return Job(curve.number, self.rungs[curve.rung])
        if not isinstance(decision, Begin):
            return None
        point = decision.point
        number = self.sampler.begin(lab) if point is None else lab.begin(point)
        if number is None:
            # the pool is exhausted: what is paused is left
            self.fresh = False
            return self.next(lab)
        if point is not None:
            self.sampler.add(number, lab.trials[number].point)
        self.curves.append(Curve(number, lab.trials[number].point))
        return Job(number, self.rungs[0])

    def report(self, lab: Lab, job: Job, diverged: bool) -> None:
        curve, training = self.curves[job.trial], lab.trials[job.trial]
        if diverged:
            self.curves[job.trial] = _changed(curve, "failed")
            # a bad one to a search's sampler, not an unknown one
            self.sampler.trials[job.trial].set_constraint("trainable", 1.0)
            self.sampler.tell(job.trial, None, TrialState.PRUNED)
            return
        before = self.rungs[curve.rung - 1] if curve.rung else 0
        score = float(training.scores[job.step - 1])
        cost = float(training.costs[before : job.step].sum())
        curve = Curve(
            *(curve.number, curve.point, (*curve.scores, score), (*curve.costs, cost)), "running"
        )
        self.curves[job.trial] = curve
        self.sampler.trials[job.trial].report(score, job.step)
        state: CurveState = "finished" if curve.rung == len(self.rungs) else "running"
        if state == "running":
            self.decision += 1
            if self.strategy.continues(self._seen(), curve.number, self._box(lab)):
                self._waiting.append(Job(curve.number, self.rungs[curve.rung]))
                return
            state = "paused" if self.strategy.pauses else "stopped"
        self.curves[job.trial] = _changed(curve, state)
        if state != "paused":
            told = TrialState.PRUNED if state == "stopped" else None
            self.sampler.tell(job.trial, score, told)


def _changed(curve: Curve, state: CurveState) -> Curve:
    return Curve(curve.number, curve.point, curve.scores, curve.costs, state)


def powers(factor: float, steps: int) -> tuple[int, ...]:
    """Rungs: 1, factor, factor² and so on, and the last step."""
    found = [1]
    while found[-1] * factor * 1.2 < steps:
        found.append(max(found[-1] + 1, round(found[-1] * factor)))
    return (*found, steps)


def _strategy(
    made: Callable[[], Strategy], factor: float, sees_rows: bool = False
) -> Callable[[Task, int], Arm]:
    def arm(task: Task, seed: int) -> Arm:
        strategy, tpe = made(), optuna.samplers.TPESampler(seed=seed)
        sampler = Sampler(task.space, tpe, partial=strategy.pauses)
        rungs = powers(factor, task.steps)
        return StrategyArm(strategy, task, seed, rungs, sampler, sees_rows=sees_rows)

    return arm


def _freeze_thaw() -> Strategy:
    from ganforge.search.strategies.freeze_thaw import FreezeThaw

    return FreezeThaw()


ARMS: dict[str, Callable[[Task, int], Arm]] = {
    "random": RandomArm,
    "tpe": TpeArm,
    "tpe-asha": AshaArm,
    "tpe-asha-pruned": lambda task, seed: AshaArm(task, seed, pruned=True),
    "hyperband": HyperbandArm,
    "halving": _strategy(Halving, 4.0),
    "ours": _strategy(_freeze_thaw, 2.0, sees_rows=True),
    "ours-unseen": _strategy(_freeze_thaw, 2.0),
}
