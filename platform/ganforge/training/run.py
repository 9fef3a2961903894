"""Settings to a running loop: the only place where data, system, plan and store meet."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ganforge.data.prepare import open_data
from ganforge.schedule import Plan, Position
from ganforge.settings import SettingsError
from ganforge.systems.base import System
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import SystemSettings
from ganforge.training.checkpoint import Snapshot, Store, pack, restore, state_hashes
from ganforge.training.lineage import differences, digest, environment
from ganforge.training.loop import Training, train
from ganforge.training.prepare import Prepared
from ganforge.training.report import Report
from ganforge.training.workers import Workers


@dataclass
class Ledger:
    """The rows of stages.json so far, and the seconds spent in the stage at hand."""

    stages: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


def run(
    prepared: Prepared,
    *,
    store: str | None = None,
    resume: bool = False,
    rank: int = 0,
    world: int = 1,
    start: Snapshot | None = None,
) -> Iterator[Report]:
    """Train; yield reports. Rank 0 stores the state before it yields at a stage's end or checkpoint.

    With `resume` the newest state in `store` that verifies is gone on from; `start` begins at any
    state. With world > 1 torch.distributed's default group must stand.
    """
    device = choose_device(prepared.settings)
    be_deterministic(prepared.settings, device)
    plan = prepared.plan(device)
    workers = Workers(rank, world, device)
    place = Store(store) if store else None
    snapshot = place.newest() if place and resume else None
    if snapshot is not None:
        check_same(prepared, snapshot)
    snapshot = snapshot or start
    training = begin(prepared, plan, snapshot)
    ledger = Ledger()
    if snapshot is not None:
        ledger = Ledger(list(snapshot.manifest["stages"]), snapshot.manifest["seconds"])
    settings = prepared.settings
    scale = training.system.source_scale(settings)
    fingerprint = prepared.facts.fingerprint
    data = open_data(settings, plan.stages, scale, settings.seed, fingerprint)
    clock = Clock(plan.images_before(training.position), ledger.seconds)
    try:
        if snapshot is not None and resume:
            yield told_again(snapshot, training, plan)
        for report in train(training, plan, data, workers):
            report = clock.timed(report)
            report = describe(prepared, plan, training, ledger, clock, report, rank)
            if place and rank == 0 and stores(prepared.settings, report):
                record = manifest_record(prepared, plan, ledger, clock, report)
                place.save(training, record, prepared.settings.keep)
            yield report
    finally:
        data.close()


def choose_device(settings: SystemSettings) -> torch.device:
    """The device of this worker; a GPU that was asked for must be there."""
    if settings.device == "cpu" or (settings.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise SettingsError("device = cuda: this machine has no CUDA device; use auto or cpu")
    return torch.device("cuda", torch.cuda.current_device())


def be_deterministic(settings: SystemSettings, device: torch.device) -> None:
    """Threads and algorithms as the settings say: the same under Ray and in a bare process."""
    torch.set_num_threads(settings.threads)
    torch.backends.cudnn.benchmark = False
    if device.type == "cuda":
        torch.use_deterministic_algorithms(settings.exact_world_size)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def begin(prepared: Prepared, plan: Plan, snapshot: Snapshot | None) -> Training:
    """A system before its first stage, or as a snapshot left it."""
    kind = load_system(prepared.system)
    system = kind(prepared.settings, prepared.assets)
    training = Training(system, Position())
    if snapshot is None:
        return training
    for index in range(snapshot.position.index + 1):
        system.grow(index)
        system.to(device=plan.device, memory_format=torch.channels_last)
        for player in system.players:
            player.follow()
    restore(system, snapshot.groups)
    training.position = snapshot.position
    return training


def check_same(prepared: Prepared, snapshot: Snapshot) -> None:
    """Refuse to go on from the state of another run, naming what differs."""
    manifest, ids = snapshot.manifest, prepared.lineage().stage_ids
    index = manifest["index"]
    if index < len(ids) and manifest["stage_id"] == ids[index]:
        return
    recorded, present = manifest["identity"], identity(prepared)
    lines = differences(recorded, present) or ["an earlier stage has another length"]
    raise SettingsError(
        "cannot resume: the stored state belongs to another run\n  " + "\n  ".join(lines)
    )


def identity(prepared: Prepared) -> dict[str, Any]:
    """What tells runs apart, flat, for naming differences."""
    found: dict[str, Any] = {"data": prepared.facts.fingerprint, "seed": prepared.settings.seed}
    found |= {f"code {name}": value for name, value in prepared.code.items()}
    for index, (settings, steps) in enumerate(
        zip(prepared.lineage().settings, prepared.lineage().left_at, strict=True)
    ):
        found |= {f"stages.{index}: {key}": _plain(value) for key, value in settings.items()}
        found[f"stages.{index}: steps"] = steps
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class Clock:
    """Seconds and images per second: told to people, never to the training."""

    def __init__(self, images: int, seconds: float):
        self._last = self._stage = time.monotonic()
        self._images, self._before = images, seconds

    def timed(self, report: Report) -> Report:
        now = time.monotonic()
        shown, spent = report.images - self._images, now - self._last
        self._last, self._images = now, report.images
        if not shown:
            return report
        return replace(report, metrics=report.metrics | {"speed/images_per_second": shown / spent})

    @property
    def stage_seconds(self) -> float:
        return self._before + time.monotonic() - self._stage

    def next_stage(self) -> None:
        self._before, self._stage = 0.0, time.monotonic()


def stores(settings: SystemSettings, report: Report) -> bool:
    """Stage ends and checkpoints are stored; without `checkpoint_every` every report but those
    right after a growth is a checkpoint."""
    if report.kind != "progress":
        return True
    return settings.checkpoint_every is None and report.position.step > 0


def describe(
    prepared: Prepared,
    plan: Plan,
    training: Training,
    ledger: Ledger,
    clock: Clock,
    report: Report,
    rank: int,
) -> Report:
    """At a stage's end: add its row of stages.json and the averaged generator's file."""
    if report.kind != "stage":
        return report
    index, step = training.position.index, training.position.step
    stage = plan.stages[index]
    present = environment(plan.device, prepared.settings.threads)
    row = {
        "index": index,
        "resolution": stage.resolution,
        "images": stage.steps * stage.batch_size,
        "steps": stage.steps,
        "epochs": prepared.settings.stages[index].epochs,
        "seconds": round(clock.stage_seconds, 3),
        "workers": prepared.settings.workers,
        "stage_id": prepared.lineage().stage_ids[index],
        "environment_id": digest(present),
        **state_hashes(training.system),
        "metrics": report.metrics,
        # what the two ids are made of, so that a difference can be named
        "settings": {k: _plain(v) for k, v in prepared.lineage().settings[index].items()},
        "data": prepared.facts.fingerprint,
        "code": prepared.code,
        "environment": present,
    }
    ledger.stages[index:] = [row]
    clock.next_stage()
    averaged = averaged_bytes(training.system, plan, index, step) if rank == 0 else None
    metrics = report.metrics | {"stages_done": float(index + 1)}
    return replace(report, stage=row, averaged=averaged, metrics=metrics)


def told_again(snapshot: Snapshot, training: Training, plan: Plan) -> Report:
    """The report of a stored state: whoever died between storing and telling is told now."""
    manifest, position = snapshot.manifest, snapshot.position
    ended = manifest["kind"] == "stage"
    return Report(
        position,
        manifest["kind"],
        plan.images_before(position),
        manifest["metrics"],
        stage=manifest["stages"][-1] if ended else None,
        averaged=averaged_bytes(training.system, plan, *_pair(position)) if ended else None,
    )


def _pair(position: Position) -> tuple[int, int]:
    return position.index, position.step


def averaged_bytes(system: System, plan: Plan, index: int, step: int) -> bytes:
    """The deployable network of this stage as safetensors."""
    return pack(dict(system.deploy(plan.progress(index, step)).state_dict()))


def manifest_record(
    prepared: Prepared, plan: Plan, ledger: Ledger, clock: Clock, report: Report
) -> dict[str, Any]:
    """What a checkpoint's manifest says beside its files."""
    index = report.position.index
    metric = load_system(prepared.system).metric
    score = report.metrics.get(metric.name) if report.kind == "stage" else None
    sign = 1.0 if metric.mode == "max" else -1.0
    present = environment(plan.device, prepared.settings.threads)
    return {
        "kind": report.kind,
        "stage_id": prepared.lineage().stage_ids[index],
        "environment_id": digest(present),
        "environment": present,
        "identity": identity(prepared),
        "metrics": report.metrics,
        "stages": ledger.stages,
        "seconds": 0.0 if report.kind == "stage" else clock.stage_seconds,
        "score": None if score is None else sign * score,
    }
