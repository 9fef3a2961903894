"""What an earlier study is worth to a search, on learning curves that others measured.

    python tests/benchmarks/warm_start.py --curves DIR --seeds 10 --strategy halving --json OUT

Each search is run several times with the same seed: without an earlier study, and with one of

    related      another task of the same family, drawn by the seed
    misleading   the same with its order upside down
    half-wrong   the same with the order of its better half upside down
    shuffled     the same with the scores of its points exchanged at random

An earlier study is a search of its own with random points and halving: most of its trials have a
score of an early rung, as in a tracking store. One worker. Printed are ratios of the device time
until a final score is within 5 % of the way from the best to the median, where a search that does
not get there counts with its whole budget, and the mean regret at some times, with 95 % intervals
from resampling the seeds of each task.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from search_arms import Box, powers
from search_clock import Job, Lab, simulate
from search_tasks import Placed, Pool, Surrogate, Task, load_tasks

from ganforge.search.earlier import EarlierStudy, EarlierTrial
from ganforge.search.sampler import Sampler
from ganforge.search.space import Point
from ganforge.search.strategies.base import (
    Begin,
    Candidates,
    Continue,
    Curve,
    CurveState,
    Seen,
    Strategy,
)
from ganforge.search.strategies.freeze_thaw import FreezeThaw
from ganforge.search.strategies.halving import Halving, Whole

Array = NDArray[np.float64]
ARMS = ("none", "related", "misleading", "half-wrong", "shuffled")
STRATEGIES: dict[str, tuple[Strategy, float]] = {
    "halving": (Halving(), 4.0),
    "tpe": (Whole(), 4.0),
    "freeze-thaw": (FreezeThaw(), 2.0),
}
#: trials of an earlier study, and the budget of a search in whole runs
EARLIER, RUNS = 100, 20
#: of the way from the best to the median final score
WITHIN = 0.05
#: whole runs' time at which regret is compared
AT = (3, 6, 12, 20)
RESAMPLED = 2000


class TaskSampler(Sampler):
    """The search's sampler; each point of a pool is taken to a row before it becomes a trial."""

    def __init__(self, task: Task, lab: Lab, seed: int, earlier: Sequence[EarlierStudy]) -> None:
        self._task, self._lab = task, lab
        space: dict[str, BaseDistribution] = {
            d.name: IntDistribution(int(d.low), int(d.high), log=d.log)
            if d.integer
            else FloatDistribution(d.low, d.high, log=d.log)
            for d in task.space.dimensions
        }
        super().__init__(space, "max", seed, earlier=earlier, candidates=Box(task.space, lab))

    def _choose(self, study: Study, trial: FrozenTrial) -> Point:
        point = super()._choose(study, trial)
        if isinstance(self._task, Surrogate):
            return point
        placed = Placed(self._task.space, self._task.space.units(point))
        return dict(self._task.nearest([placed], self._lab.used)[0])


@dataclass
class SearchArm:
    """A strategy and the sampler, asked as search/study.py asks them."""

    task: Task
    strategy: Strategy
    rungs: tuple[int, ...]
    seed: int
    earlier: Sequence[EarlierStudy] = ()
    sampler: Sampler | None = None
    curves: list[Curve] = field(default_factory=list)
    events: int = 0
    _waiting: list[Job] = field(default_factory=list)

    def _seen(self) -> Seen:
        work = tuple(float(w) for w in np.diff(self.rungs, prepend=0))
        return Seen(tuple(self.curves), len(self.rungs), work, self.seed, self.events)

    def next(self, lab: Lab) -> Job | None:
        if self._waiting:
            return self._waiting.pop(0)
        if self.sampler is None:
            self.sampler = TaskSampler(self.task, lab, self.seed, self.earlier)
        candidates: Candidates = Box(self.task.space, lab)
        decision = self.strategy.next(self._seen(), candidates)
        self.events += 1
        if isinstance(decision, Continue):
            return self._run(decision.number)
        if not isinstance(decision, Begin):
            return None
        point = None if self.sampler.leads else decision.point
        found = self.sampler.ask() if point is None else self.sampler.begin(dict(point))
        if found is None:
            return None
        number = lab.begin(found)
        assert number is not None
        self.curves.append(Curve(number, found))
        return self._run(number)

    def _run(self, number: int) -> Job:
        self.curves[number] = replace(self.curves[number], state="running")
        return Job(number, self.rungs[self.curves[number].rung])

    def report(self, lab: Lab, job: Job, diverged: bool) -> None:
        assert self.sampler is not None
        curve, training = self.curves[job.trial], lab.trials[job.trial]
        self.events += 1
        if diverged:
            self.curves[job.trial] = replace(curve, state="failed")
            return self.sampler.report_end(curve.point, "failed")
        score = float(training.scores[job.step - 1])
        before = self.rungs[curve.rung - 1] if curve.rung else 0
        cost = float(training.costs[before : job.step].sum())
        curve = replace(curve, scores=(*curve.scores, score), costs=(*curve.costs, cost))
        self.curves[job.trial] = curve
        self.sampler.report(curve.point, curve.rung, score)
        state: CurveState = "finished"
        if curve.rung < len(self.rungs):
            box = Box(self.task.space, lab)
            if self.strategy.continues(self._seen(), curve.number, box):
                self._waiting.append(self._run(curve.number))
                return None
            state = "paused" if self.strategy.pauses else "stopped"
        self.curves[job.trial] = replace(curve, state=state)
        if state in ("finished", "stopped"):
            self.sampler.report_end(curve.point, state, score)
        return None


def earlier_study(task: Task, seed: int) -> EarlierStudy:
    """A study of so many random points with halving."""
    generator = np.random.default_rng((seed, 1))
    rungs = powers(4.0, task.steps)
    used: set[int] = set()
    scores: list[list[float]] = [[] for _ in rungs]
    trials = []
    for _ in range(EARLIER):
        training = task.train(task.draw(generator), used)
        assert training is not None
        last: float | None = None
        stages = 0
        for k, rung in enumerate(rungs):
            if rung > len(training.scores):
                last = None
                break
            last, stages = float(training.scores[rung - 1]), k + 1
            scores[k].append(last)
            if last < np.median(scores[k]):
                break
        trials.append(EarlierTrial(dict(training.point), stages, last))
    return EarlierStudy(task.name, tuple(trials))


def negated(study: EarlierStudy) -> EarlierStudy:
    """The order of its trials upside down."""
    order = sorted(range(len(study.trials)), key=lambda k: study.trials[k].order("max"))
    worst = dict(zip(order, range(len(order)), strict=True))
    trials = (replace(t, stages=1, score=-float(worst[k])) for k, t in enumerate(study.trials))
    return EarlierStudy(study.name, tuple(trials))


def half_wrong(study: EarlierStudy) -> EarlierStudy:
    """The better half of its trials upside down."""
    order = sorted(range(len(study.trials)), key=lambda k: study.trials[k].order("max"))
    good = order[len(order) // 2 :]
    place = dict(zip([*order[: len(order) // 2], *reversed(good)], range(len(order)), strict=True))
    trials = (replace(t, stages=1, score=float(place[k])) for k, t in enumerate(study.trials))
    return EarlierStudy(study.name, tuple(trials))


def shuffled(study: EarlierStudy, seed: int) -> EarlierStudy:
    """Its points with the scores of others."""
    order = np.random.default_rng((seed, 2)).permutation(len(study.trials))
    trials = (
        replace(study.trials[int(k)], point=t.point)
        for k, t in zip(order, study.trials, strict=True)
    )
    return EarlierStudy(study.name, tuple(trials))


def run(task: Task, other: Task, arm: str, strategy: str, pair: int, seed: int) -> dict[str, Any]:
    """One search, to the end of its budget."""
    made, factor = STRATEGIES[strategy]
    studies: list[EarlierStudy] = []
    if arm != "none":
        study = earlier_study(other, seed)
        changed = {
            "misleading": negated,
            "half-wrong": half_wrong,
            "shuffled": lambda s: shuffled(s, seed),
        }
        studies = [changed[arm](study) if arm in changed else study]
    search = SearchArm(task, made, powers(factor, task.steps), seed, studies)
    # it does not end at the target, so that regret is known at all times
    outcome = simulate(_Endless(task), search, 1)
    whole = task.budget / (400 if isinstance(task, Pool) else 100)
    trace = [(spent / whole, regret) for spent, regret in outcome.trace]
    return {"task": task.name, "other": other.name, "arm": arm, "seed": pair, "trace": trace}


class _Endless:
    """A task whose target is out of reach, and whose budget is that of this benchmark."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.budget = task.budget / (400 if isinstance(task, Pool) else 100) * RUNS
        self.best = task.best
        self.median = task.median

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def time_to(trace: Sequence[Sequence[float]]) -> float:
    """Whole runs' time to the target; the budget where it was not reached."""
    return min(next((t for t, r in trace if r <= WITHIN), float(RUNS)), float(RUNS))


def regret_at(at: float, trace: Sequence[Sequence[float]]) -> float:
    """The regret after a time, at most 1: that of the median configuration."""
    return min([1.0, *(r for t, r in trace if t <= at)])


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Ratios and regrets of all arms, over the pairs of task and seed that all arms have."""
    traces = {(r["task"], r["seed"], r["arm"]): r["trace"] for r in found}
    arms = [arm for arm in ARMS if any(key[2] == arm for key in traces)]
    pairs: dict[str, list[int]] = {}
    for task, seed in sorted({key[:2] for key in traces}):
        if all((task, seed, arm) in traces for arm in arms):
            pairs.setdefault(task, []).append(seed)
    if not pairs:
        return "no pair is complete yet"

    def each(arm: str, measure: Callable[[Sequence[Sequence[float]]], float]) -> list[Array]:
        return [np.array([measure(traces[t, s, arm]) for s in seeds]) for t, seeds in pairs.items()]

    lines = []
    for arm in arms:
        cells = [f"{arm:<11}"]
        logs = each(arm, lambda trace: -np.log(time_to(trace)))
        ratio = [
            a - b for a, b in zip(logs, each("none", lambda t: -np.log(time_to(t))), strict=True)
        ]
        low, middle, high = np.exp(interval(ratio))
        cells.append(f"none / {arm} {middle:.2f} ({low:.2f} to {high:.2f})")
        for at in AT:
            values = each(arm, partial(regret_at, at))
            change = [
                a - b for a, b in zip(values, each("none", partial(regret_at, at)), strict=True)
            ]
            low, _, high = interval(change)
            mean = np.mean([v.mean() for v in values])
            cells.append(f"regret at {at}: {mean:.3f} ({low:+.3f} to {high:+.3f})")
        missed = sum(int((v <= -np.log(RUNS)).sum()) for v in logs)
        lines.append("  ".join([*cells, f"missed: {missed}"]))
    count = sum(map(len, pairs.values()))
    lines.append(f"{count} pairs of {len(pairs)} tasks; in brackets 95 %, of regrets the change")
    return "\n".join(lines)


def interval(values: Sequence[Array]) -> tuple[float, float, float]:
    """2.5 %, the mean over tasks, and 97.5 %, from resampling the seeds of each task."""
    generator = np.random.default_rng(0)
    again = [
        np.mean([generator.choice(v, len(v)).mean() for v in values]) for _ in range(RESAMPLED)
    ]
    low, high = np.percentile(again, [2.5, 97.5])
    return float(low), float(np.mean([v.mean() for v in values])), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--curves", type=Path, required=True, help="a folder in the shared format")
    parser.add_argument("--tasks", default="taskset", help="only those whose names hold this")
    parser.add_argument("--strategy", default="halving", choices=STRATEGIES)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True, help="where the outcomes are kept")
    parser.add_argument("--table", action="store_true", help="only show what --json holds")
    given = parser.parse_args()
    found = json.loads(given.json.read_text()) if given.json.exists() else []
    have = {(r["task"], r["arm"], r["seed"]) for r in found}
    if given.table:
        print(table(found))
        return
    tasks = list(load_tasks(given.curves, given.tasks))
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for k, task in enumerate(tasks):
            shift = 1 + int(np.random.default_rng((seed, k)).integers(len(tasks) - 1))
            other = tasks[(k + shift) % len(tasks)]
            for arm in given.arms.split(","):
                if (task.name, arm, seed) not in have:
                    found.append(run(task, other, arm, given.strategy, seed, 100 * seed + k))
            given.json.write_text(json.dumps(found))
        print(f"seed {seed}\n{table(found)}", flush=True)


if __name__ == "__main__":
    main()
