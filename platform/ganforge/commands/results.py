"""What `doctor`, `train`, `tune` and `reproduce` give to `--json`: docs/inference.md has a table of
every field, and a test compares the two."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganforge.commands.train import TrainedRun
    from ganforge.commands.tune import Searched
    from ganforge.doctor.findings import Finding


@dataclass(frozen=True)
class DoctorResult:
    """`checks` have subject, verdict (ok, warning, error), message and fix; `running` says whether
    the running cluster passed, None where it was not asked."""

    subject: str
    errors: int
    warnings: int
    checks: "tuple[Finding, ...]"
    running: bool | None = None


@dataclass(frozen=True)
class StageOutcome:
    """A finished stage: what it trained at, for how long, and what it measured at its end."""

    index: int
    resolution: int
    images: int
    seconds: float
    stage_id: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class TrainResult:
    """A run that has ended. `score` is the value of `metric`, whose `mode` is max or min."""

    run_id: str
    tracking_uri: str
    storage: str
    metric: str
    mode: str
    score: float | None
    metrics: dict[str, float]
    stages: tuple[StageOutcome, ...]


@dataclass(frozen=True)
class TrialOutcome:
    """One trial. `state` is finished, stopped, failed or killed, `reason` why it failed."""

    number: int
    state: str
    reason: str
    score: float | None
    values: tuple[float, ...]
    settings: dict[str, Any]
    stages: int
    seconds: float
    run_id: str
    storage: str


@dataclass(frozen=True)
class TuneResult:
    """A search that has ended, or was interrupted. `best` and `front` are numbers of trials."""

    search_id: str
    tracking_uri: str
    storage: str
    metric: str
    mode: str
    interrupted: bool
    ended_early: str
    best: int | None
    front: tuple[int, ...]
    trials: tuple[TrialOutcome, ...]
    device_seconds: float


@dataclass(frozen=True)
class StageVerdict:
    """A stage compared: `exact` says that bits were compared, `lines` what differs."""

    index: int
    resolution: int
    equal: bool
    exact: bool
    lines: tuple[str, ...]


@dataclass(frozen=True)
class ReproduceResult:
    """`verdict` is identical, within tolerance, different or refused (then nothing was trained);
    `differences` are of code, data, settings and environment; `verdict_run` is the run that
    records the verdict."""

    run_id: str
    verdict: str
    differences: dict[str, list[str]]
    stages: tuple[StageVerdict, ...] = ()
    verdict_run: str | None = None

    @property
    def exit_code(self) -> int:
        return {"refused": 2, "different": 1}.get(self.verdict, 0)


def train_result(run: "TrainedRun") -> TrainResult:
    stages = [
        StageOutcome(
            stage.index, stage.resolution, stage.images, stage.seconds, stage.stage_id,
            stage.metrics,
        )
        for stage in run.stages
    ]  # fmt: skip
    name, mode = run.metric
    return TrainResult(
        run.run_id, run.uri, run.store, name, mode, run.metrics.get(name), run.metrics,
        tuple(stages),
    )  # fmt: skip


def tune_result(searched: "Searched") -> TuneResult:
    found = searched.result
    trials = [
        TrialOutcome(
            number=trial.number,
            state=trial.state,
            reason=trial.reason,
            score=trial.last_score,
            values=trial.last_values or (),
            settings=trial.params,
            stages=trial.stages_done,
            seconds=trial.seconds,
            run_id="" if trial.run is None else trial.run.run_id,
            storage=trial.folder,
        )
        for trial in found.trials
    ]
    return TuneResult(
        search_id=found.search_id,
        tracking_uri=searched.uri,
        storage=found.folder,
        metric=searched.metric.name,
        mode=searched.metric.mode,
        interrupted=found.interrupted,
        ended_early=found.ended_early,
        best=None if found.best is None else found.best.number,
        front=tuple(trial.number for trial in found.front),
        trials=tuple(trials),
        device_seconds=found.costs.held,
    )
