"""What a stage costs, measured on a few of its batches: seconds a batch, memory, seconds a report.

Nothing is trained for keeps: the networks are as they are initialised, grown to the stage. Time and
memory of a batch do not depend on the values of the weights.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ganforge.schedule import Plan, Position
from ganforge.systems.catalog import load_system
from ganforge.training.capture import captures
from ganforge.training.checkpoint import collect, pack, state_hashes
from ganforge.training.loop import Loop, Training, due, grow
from ganforge.training.measure import measure
from ganforge.training.memory import peak_bytes
from ganforge.training.prepare import Prepared
from ganforge.training.report import Report
from ganforge.training.run import be_deterministic, choose_device, open_run_data
from ganforge.training.workers import Workers

#: batches of a kind that are always measured, after one that is not
_FEWEST = 3
#: of the normal distribution: nine of ten lie within
_Z90 = 1.645


@dataclass(frozen=True)
class StageProbe:
    """What was measured of a stage. Seconds of a batch are a mean and its standard error, while the
    newest block fades in and after it; `report_seconds` are those of a report with validation and a
    stored state, `bare_seconds` of one without. `peak_bytes` is what the process has held."""

    index: int
    resolution: int
    steps: int
    fading_steps: int
    fading: tuple[float, float]
    whole: tuple[float, float]
    reports: int
    validations: int
    bare_seconds: float
    report_seconds: float
    peak_bytes: int

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of dataclasses.asdict, through JSON."""
        pairs = {name: tuple(record[name]) for name in ("fading", "whole")}
        return cls(**{**record, **pairs})

    @property
    def seconds(self) -> float:
        """What the stage is expected to take."""
        steps = self.fading_steps * self.fading[0]
        steps += (self.steps - self.fading_steps) * self.whole[0]
        bare = max(0, self.reports - self.validations)
        return steps + self.validations * self.report_seconds + bare * self.bare_seconds

    @property
    def interval(self) -> tuple[float, float]:
        """Nine of ten: by the errors of the means, and a twentieth for what was not measured."""
        error = math.hypot(
            self.fading_steps * self.fading[1], (self.steps - self.fading_steps) * self.whole[1]
        )
        half = _Z90 * error + 0.05 * self.seconds
        return max(0.0, self.seconds - half), self.seconds + half


def probe_stage(prepared: Prepared, index: int, seconds: float) -> StageProbe:
    """Measure stage `index` in about `seconds`, in this process alone."""
    settings = prepared.settings
    device = choose_device(settings)
    be_deterministic(settings, device)
    plan, workers = prepared.plan(device), Workers(device=device)
    system = load_system(prepared.system)(settings, prepared.assets)
    data = open_run_data(prepared, plan)
    try:
        for number in range(index + 1):
            grow(system, plan, number)
        training = Training(system, Position(index, 0))
        recorded = captures(system, settings, device)
        loop = Loop(system, plan, data, workers, training.means, recorded)
        stage = plan.stages[index]
        fading = sum(1 for step in range(min(stage.steps, 10**6)) if stage.fading(step))
        parts = [part for part in (fading > 0, fading < stage.steps) if part]
        share = seconds / (len(parts) + 1)
        slow = _batches(loop, plan, index, 0, share) if fading else (0.0, 0.0)
        rest = (0.0, 0.0)
        if fading < stage.steps:
            rest = _batches(loop, plan, index, fading, share)
        training.position = Position(index, stage.steps)
        bare, whole = _report(training, plan, prepared, workers, loop)
        reports, validations = _counts(plan, index)
        return StageProbe(
            index,
            stage.resolution,
            stage.steps,
            fading,
            slow,
            rest,
            reports,
            validations,
            bare,
            whole,
            peak_bytes(),
        )
    finally:
        data.close()


def _batches(loop: Loop, plan: Plan, index: int, first: int, seconds: float) -> tuple[float, float]:
    """Mean and standard error of the seconds of a batch, from step `first` of a stage on.

    Players that take a turn every few batches make batches unequal: whole cycles are measured.
    """
    settings = plan.settings[index]
    cycle = math.lcm(*(player.every(settings) for player in loop.system.players))

    def cycle_seconds(start: int) -> float:
        began = time.perf_counter()
        for step in range(start, start + cycle):
            progress = plan.progress(index, step)
            for player in due(loop.system.players, progress):
                loop.turn(player, progress)
        if plan.device.type == "cuda":
            loop.means.values()  # reads the terms back, and so waits for the device
        return (time.perf_counter() - began) / cycle

    return _mean(cycle_seconds, first - first % cycle, cycle, seconds)


def _mean(
    measure_at: Callable[[int], float], first: int, stride: int, seconds: float
) -> tuple[float, float]:
    until = time.perf_counter() + seconds
    measure_at(first)  # the first one fills caches
    found: list[float] = []
    while len(found) < _FEWEST or time.perf_counter() < until:
        # the very batches of the start again and again: a stage may have few
        found.append(measure_at(first + stride * (len(found) % _FEWEST)))
    return statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))


def _report(
    training: Training, plan: Plan, prepared: Prepared, workers: Workers, loop: Loop
) -> tuple[float, float]:
    """Seconds of a stored state alone, and with validation and a sample grid."""
    began = time.perf_counter()
    state_hashes(training.system)
    for tensors in collect(training.system).values():
        pack(tensors)
    stored = time.perf_counter()
    report = Report(training.position, "stage", 0, {})
    measure(training, plan, loop.data, workers, report, prepared.assets)
    return stored - began, time.perf_counter() - began


def _counts(plan: Plan, index: int) -> tuple[int, int]:
    """How many reports a stage makes, and how many of them validate."""
    stage = plan.stages[index]
    reports = validations = 0
    for step in range(stage.steps + 1):
        position = Position(index, step)
        if plan.yields(position) is not None:
            reports += 1
            validations += plan.validates(position)
    return reports, validations
