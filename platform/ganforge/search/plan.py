"""What a search will take, before it starts: stages measured on a few batches, and the strategy
itself played on scores that are drawn at random."""

import heapq
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ganforge.search.strategies.base import (
    Begin,
    Branch,
    Candidates,
    Continue,
    Curve,
    Point,
    Seen,
    Strategy,
)
from ganforge.search.strategies.branching import joined
from ganforge.settings import SettingsError, read_json, to_json, validated
from ganforge.training.probe import StageProbe, probe_stage

if TYPE_CHECKING:
    from ganforge.training.prepare import Prepared

#: how often a search is played, and how often one of more trials than `_QUICK`
_PLAYS, _FEW_PLAYS, _QUICK = 20, 8, 40
#: of a search of more trials so many are played, and their times multiplied: the strategies' own
#: work grows faster than the number of trials
MOST_TRIALS = 100
#: the exit code of a process that measures a stage, and may not
_REFUSED = 2
#: between a trial's last batch and the next one's first: its record, and what is new to the worker
_AGAIN_SECONDS = 1.0
#: how much of a final score is known at the first rung: a correlation
_FIRST_CORRELATION = 0.7


@dataclass(frozen=True)
class Estimate:
    """A number with an interval in which nine of ten lie."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SearchEstimate:
    """Of a whole search: device-seconds, seconds of wall time."""

    device_seconds: Estimate
    seconds: Estimate


@dataclass(frozen=True)
class Repeats:
    """How often configurations are trained with other seeds: each that finishes with `seeds` in
    all, and at the end the `confirm` best with `confirm_seeds` more."""

    seeds: int = 1
    confirm: int = 0
    confirm_seeds: int = 2

    def runs(self, finished: int) -> int:
        """Further whole runs, of so many finished configurations."""
        return finished * (self.seeds - 1) + min(self.confirm, finished) * self.confirm_seeds


ONCE = Repeats()


@dataclass(frozen=True)
class Starts:
    """Seconds from a trial's beginning to its first batch: the `first` ones', whose workers are
    started, and those that come after them and get their workers, `again`."""

    first: float
    again: float


def probe_all(prepared: "Prepared", seconds: float) -> list[StageProbe]:
    """Measure every stage in about `seconds`, each in a process of its own, as a worker is: the
    memory that one stage has held says nothing of another one's. SettingsError where this machine
    cannot train under these settings."""
    count = len(prepared.settings.stages)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder, "settings.json"), Path(folder, "probe.json")
        given.write_text(to_json(prepared.settings))
        for index in range(count):
            words = [prepared.system, str(given), str(index), str(seconds / count), str(answer)]
            child = subprocess.run([sys.executable, "-m", __name__, *words], check=False)
            if child.returncode == _REFUSED:
                raise SettingsError(answer.read_text())
            child.check_returncode()
            found.append(StageProbe.from_json(json.loads(answer.read_text())))
    return found


def estimate(
    strategy: Strategy,
    candidates: Candidates,
    probes: Sequence[StageProbe],
    *,
    num_trials: int,
    workers: int,
    slots: int,
    starts: Starts,
    seed: int = 0,
    rungs: int = 1,
    repeats: Repeats = ONCE,
) -> SearchEstimate:
    """Play a search of `num_trials` on scores that are drawn at random, eight to twenty times; of
    more than `MOST_TRIALS` that many, whose times are multiplied.

    Each stage has as many `rungs`; trials that finish are repeated as `repeats` says. `slots`
    trials run at a time, each on `workers` devices; `starts` pass before a trial's first batch, and
    before the first one after it was paused. The interval has the spread of the plays
    and that of the measured times.
    """
    stages = [probe.seconds for probe in probes]
    parts = [seconds / rungs for seconds in stages for _ in range(rungs)]
    count, last = min(num_trials, MOST_TRIALS), 0
    if count < num_trials:
        # as many are confirmed at the end as in a search of few trials
        last = replace(repeats, seeds=1).runs(num_trials)
        repeats = replace(repeats, confirm=0)
    times, whole = num_trials / count, starts.again + sum(parts)
    plays = [
        play(strategy, candidates, parts, count, slots, starts, seed + number, repeats)
        for number in range(_PLAYS if count <= _QUICK else _FEW_PLAYS)
    ]
    played = [
        (held * times + last * whole, wall * times + math.ceil(last / slots) * whole)
        for held, wall in plays
    ]
    low = sum(p.interval[0] for p in probes) / sum(stages)
    high = sum(p.interval[1] for p in probes) / sum(stages)

    def spread(values: list[float]) -> Estimate:
        return Estimate(
            statistics.fmean(values),
            float(np.percentile(values, 5)) * low,
            float(np.percentile(values, 95)) * high,
        )

    return SearchEstimate(
        spread([trained * workers for trained, _ in played]),
        spread([wall for _, wall in played]),
    )


def play(
    strategy: Strategy,
    candidates: Candidates,
    parts: Sequence[float],
    num_trials: int,
    slots: int,
    starts: Starts,
    seed: int,
    repeats: Repeats = ONCE,
) -> tuple[float, float]:
    """(seconds of all trials, wall seconds) of one search whose scores are drawn at random.

    `parts` are the seconds up to each rung from the one before. A trial has a quality; the score at
    a rung is that quality and noise, less of it at each, so that the first rung's scores correlate
    with the last ones' by 0.7.
    """
    generator = np.random.default_rng((seed, 7))
    rungs = len(parts)
    correlations = np.linspace(_FIRST_CORRELATION, 1.0, rungs)
    quality: dict[int, float] = {}
    curves: dict[int, Curve] = {}
    running: list[tuple[float, int]] = []  # (when it reaches its next rung, number)
    now = held = 0.0
    decision = started = 0

    def seen() -> Seen:
        return Seen(
            tuple(curves[number] for number in sorted(curves)),
            rungs,
            tuple(parts),
            seed,
            decision,
            fresh=len(curves) < num_trials,
        )

    def begin(number: int, start: float) -> None:
        nonlocal held
        took = start + parts[curves[number].rung]
        held += took
        heapq.heappush(running, (now + took, number))

    while True:
        while len(running) < slots:
            chosen = strategy.next(seen(), candidates)
            decision += 1
            if isinstance(chosen, Begin):
                before, number = seen(), len(curves)
                point = chosen.point or next(iter(_points(candidates, generator)), {})
                curves[number] = Curve(number, point)
                quality[number] = float(generator.normal())
                branch = joined(before, candidates, point) if chosen.joins else chosen.branch
                if branch is not None:
                    _follow(branch, number, curves)
                    quality[number] = quality[branch.parent]
            elif isinstance(chosen, Continue):
                number = chosen.number
                curves[number] = replace(curves[number], state="running")
            else:
                break
            begin(number, starts.first if started < slots else starts.again)
            started += 1
        if not running:
            finished = sum(curve.state == "finished" for curve in curves.values())
            runs, whole = repeats.runs(finished), starts.again + sum(parts)
            return held + runs * whole, now + math.ceil(runs / slots) * whole
        now, number = heapq.heappop(running)
        curve = curves[number]
        known = correlations[curve.rung]
        score = known * quality[number] + np.sqrt(1 - known**2) * float(generator.normal())
        scores = (*curve.scores, float(score))
        costs = (*curve.costs, parts[curve.rung])
        curves[number] = curve = replace(curve, scores=scores, costs=costs)
        decision += 1
        if curve.rung == rungs:
            curves[number] = replace(curve, state="finished")
        elif strategy.continues(seen(), number, candidates):
            begin(number, 0.0)
        else:
            curves[number] = replace(curve, state="paused" if strategy.pauses else "stopped")


def _follow(branch: Branch, number: int, curves: dict[int, Curve]) -> None:
    """A branch takes its parent's first stages over for nothing; whom it replaces is stopped."""
    parent, rung = curves[branch.parent], branch.rung
    curves[number] = replace(
        curves[number], scores=parent.scores[:rung], costs=parent.costs[:rung], branch=branch
    )
    old = curves.get(-1 if branch.replaces is None else branch.replaces)
    if old is not None and old.state == "paused":
        curves[old.number] = replace(old, state="stopped")


def _points(candidates: Candidates, generator: np.random.Generator) -> Sequence[Point]:
    return candidates.draw(generator, 1)


def _child(system: str, given: str, index: str, seconds: str, answer: str) -> None:
    # what a worker has in memory besides the training
    import ganforge.cluster.worker  # noqa: F401
    from ganforge.systems.catalog import load_own_system
    from ganforge.training.prepare import prepare

    record = read_json(Path(given).read_text())
    settings = validated(load_own_system(system).Settings, record["settings"])
    try:
        found = probe_stage(prepare(system, settings), int(index), float(seconds))
    except SettingsError as error:
        Path(answer).write_text(str(error))
        sys.exit(_REFUSED)
    Path(answer).write_text(json.dumps(asdict(found)))


def measure_starts(kept: bool) -> Starts:
    """About what trials take to begin: a process that imports what a worker does, and half of that
    again for its group, the images and the networks; and where a worker is another trial's already
    _AGAIN_SECONDS, if workers are `kept` (cluster/kept_workers.py)."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import ganforge.cluster.worker"], check=True)
    first = 1.5 * (time.perf_counter() - began)
    return Starts(first, _AGAIN_SECONDS if kept else first)


if __name__ == "__main__":
    _child(*sys.argv[1:])
