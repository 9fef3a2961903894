"""One trial of a search, as the driver knows it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ganforge.schedule import Plan, Stage
from ganforge.search.strategies.base import Branch
from ganforge.systems.settings import SystemSettings
from ganforge.tracking.run_ref import RunRef
from ganforge.training.prepare import Prepared
from ganforge.training.report import RungResult, StageResult, read_rungs, read_stages

#: paused at a rung, to be continued or not; finished all stages; stopped early at a rung; failed by
#: itself; killed with the whole search
State = Literal["waiting", "running", "paused", "finished", "stopped", "failed", "killed"]


class Crew(NamedTuple):
    """From an image on a trial has had so many workers."""

    image: int
    workers: int


@dataclass
class Trial:
    """Suggestion number `number`, and what became of it. `scores` are by rung, and so are `values`,
    those of several objectives, the first of which is the score, and `inside`, the results of rungs
    inside stages; `prepared` is without the tensors that all trials share; an `active` one has a
    worker. One that `repeats` the configuration of another trial has another seed, by the number of
    its `repetition`."""

    number: int
    params: dict[str, Any]
    prepared: Prepared
    plan: Plan
    folder: str = ""
    run: RunRef | None = None
    branch: Branch | None = None
    state: State = "waiting"
    reason: str = ""
    scores: dict[int, float] = field(default_factory=dict)
    values: dict[int, tuple[float, ...]] = field(default_factory=dict)
    stages: dict[int, StageResult] = field(default_factory=dict)
    inside: dict[int, RungResult] = field(default_factory=dict)
    stop: bool = False
    paused: bool = False
    active: bool = False
    reported: bool = False
    failed: bool = False
    resumed: bool = False
    #: rungs that were shown to people
    announced: int = 0
    index: int = 0
    images: int = 0
    alpha: float = 1.0
    score: float | None = None
    #: of the newest report: where in the stage, all metrics, the sample grid where one is asked for
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    grid: bytes | None = None
    seconds: float = 0.0
    #: of `seconds`, what went into batches that were trained again after a process died
    lost_seconds: float = 0.0
    #: the same times the workers that it had at the time, where their number may change
    device_seconds: float = 0.0
    lost_device_seconds: float = 0.0
    workers: int = 0
    groups: list[str] = field(default_factory=list)
    machines: tuple[str, ...] = ()
    #: where it ran before it was paused, one for each time
    machines_before: list[tuple[str, ...]] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    #: what happened to its workers last
    news: str = ""
    crews: list[Crew] = field(default_factory=list)
    started: float = 0.0
    repeats: int | None = None
    repetition: int = 0
    over_limit: bool = False
    _first: tuple[float, float] | None = None
    _passed: list[tuple[int, float, int]] = field(default_factory=list)
    _counted: float = 0.0

    @property
    def settings(self) -> SystemSettings:
        return self.prepared.settings

    @property
    def elastic(self) -> bool:
        """Whether its number of workers may change."""
        return self.settings.workers_at_least is not None

    @property
    def branched_from(self) -> str:
        """Where it branched from another trial; empty where it did not."""
        found = self.branch
        return f"trial {found.parent} after {self._where(found.rung)}" if found else ""

    @property
    def rungs_done(self) -> int:
        return max(self.scores, default=0)

    @property
    def stages_done(self) -> int:
        return self.rungs_done // self.plan.rungs

    @property
    def whole(self) -> bool:
        """Whether it has reached its last rung."""
        return self.rungs_done == self.plan.num_rungs

    @property
    def last_score(self) -> float | None:
        return self.scores[self.rungs_done] if self.scores else None

    @property
    def last_values(self) -> tuple[float, ...] | None:
        """The values of several objectives at its last rung; None where it has none."""
        return self.values.get(self.rungs_done)

    @property
    def trained(self) -> list[StageResult | RungResult]:
        """What it has trained itself: stages, and the next one as far as its last rung."""
        found: list[StageResult | RungResult] = [s for s in self.stages.values() if not s.reused]
        inside = self.inside.values()
        begun = [rung for rung in inside if rung.index not in self.stages and not rung.reused]
        if begun:
            found.append(max(begun, key=lambda rung: rung.rung))
        return found

    def results(self, metric: str) -> list[StageResult]:
        """The results of its finished stages; of one that an old journal has, its score."""
        found = []
        for index in range(self.stages_done):
            score = self.scores.get((index + 1) * self.plan.rungs)
            bare = StageResult(
                index,
                self.plan.stages[index].resolution,
                workers=self.settings.workers,
                metrics={} if score is None else {metric: score},
            )
            found.append(self.stages.get(index, bare))
        return found

    @property
    def ended(self) -> bool:
        return self.state in ("finished", "stopped", "failed")

    @property
    def outcome(self) -> str:
        """The tag `outcome` of its run."""
        if self.state == "stopped" and self.over_limit:
            return "stopped: over its limit"
        if self.state == "stopped":
            return f"stopped early at {self._where(self.rungs_done)}"
        if self.state == "paused":
            return f"paused after {self._where(self.rungs_done)}"
        if self.state == "failed":
            return f"failed: {self.reason}"
        return {"killed": "interrupted", "finished": "finished"}.get(self.state, self.state)

    def _where(self, rung: int) -> str:
        (index, part), rungs = self.plan.part(rung), self.plan.rungs
        return f"stage {index}" if part == rungs else f"rung {part} of {rungs} of stage {index}"

    def start(self) -> None:
        self.state, self.started, self._first = "running", time.monotonic(), None
        self.workers, self._counted, self.news = 0, self.started, ""
        self._passed.clear()
        self.announced = self.rungs_done

    def update(self, summary: dict[str, Any]) -> None:
        """Take in a worker's summary."""
        if group := summary.get("placement_group"):
            self.groups.append(group)
        if workers := summary.get("workers"):
            self._count_devices(workers)
        if reason := summary.get("failed"):
            self.failed, self.reason = True, reason
        if "images" not in summary:
            return
        self._count_devices(self.workers)
        self._count_lost(summary["images"], time.monotonic())
        self.index, self.images = summary["index"], summary["images"]
        self.alpha, self.step = summary["alpha"], summary["step"]
        self.metrics, self.grid = summary.get("metrics", {}), summary.get("grid")
        self.score = summary["score"] if summary["score"] is not None else self.score
        self.stages |= read_stages(summary.get("stages", ()))
        self.inside |= read_rungs(summary.get("rungs", ()))
        if self._first is None:
            self._first = (time.monotonic(), self.fraction)

    def _count_lost(self, images: int, now: float) -> None:
        """A worker that was started again goes on at a stored state: what lies between that and the
        newest report is trained twice."""
        if self._passed and images < self._passed[-1][0]:
            since = next(at for passed, at, _ in self._passed if passed >= images)
            _, until, workers = self._passed[-1]
            self.lost_seconds += until - since
            self.lost_device_seconds += (until - since) * workers
            self._passed.clear()
        self._passed.append((images, now, self.workers))

    def _count_devices(self, workers: int) -> None:
        """From now on it has so many workers. Since its last report it had those before them, or,
        at its start, waited for these; after a loss it had those that were left."""
        now = time.monotonic()
        self.device_seconds += (now - self._counted) * min(self.workers or workers, workers)
        if workers != self.workers:
            self._first = None  # another speed
        self.workers, self._counted = workers, now

    def finish(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason or self.reason
        if self.started:
            self._count_devices(self.workers)
            self.seconds += time.monotonic() - self.started
            self.started = 0.0

    @property
    def about(self) -> str:
        """What a repetition is, in words; empty of any other trial."""
        if self.repeats is None:
            return ""
        return f"trial {self.repeats} with seed {self.settings.seed}"

    @property
    def fraction(self) -> float:
        """Part of the work that is done, 0 to 1."""
        return fraction_done(self.plan.stages, self.images)

    def remaining_seconds(self) -> float | None:
        """How long it will still take, if it is not stopped; None while that is unknown."""
        if self._first is None or self.state != "running":
            return None
        began, first = self._first
        done = self.fraction - first
        if done <= 0:
            return None
        return (time.monotonic() - began) * (1 - self.fraction) / done


def fraction_done(stages: Sequence[Stage], images: int) -> float:
    """Part of a run's work that is done after so many images, 0 to 1."""
    total = done = 0.0
    for stage in stages:
        length = stage.steps * stage.batch_size
        total += stage_work(stage)
        done += min(images, length) * _work(stage.resolution)
        images = max(0, images - length)
    return done / total


def stage_work(stage: Stage) -> float:
    """What a stage costs next to other stages: its images, by their size."""
    return float(stage.steps * stage.batch_size * _work(stage.resolution))


def rung_works(plan: Plan) -> tuple[float, ...]:
    """What each rung of a run costs next to others."""
    found: list[float] = []
    for number in range(1, plan.num_rungs + 1):
        end = plan.rung_end(number)
        stage = plan.stages[end.index]
        before = plan.rung_end(number - 1).step if (number - 1) % plan.rungs else 0
        found.append(stage_work(stage) * (end.step - before) / stage.steps)
    return tuple(found)


def _work(side: int) -> int:
    """How long an image takes, next to others: by its side where that is small, by its pixels where
    it is large. (Measured: 18, 35 and 75 ms at 16, 32 and 64 px.)"""
    return side * (side + 128)


Configure = Callable[[dict[str, Any]], tuple[Prepared, Plan]]
Listener = Callable[[Trial, str], None]


def better(one: Trial, other: Trial, mode: str) -> bool:
    """Whether the last score of `one` is better; both must have one."""
    mine, theirs = one.last_score, other.last_score
    assert mine is not None and theirs is not None
    return mine > theirs if mode == "max" else mine < theirs
