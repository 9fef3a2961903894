"""What one Train worker does: run, record on rank 0, report on every rank."""

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.exceptions import GetTimeoutError

from ganforge.cluster.job import Job
from ganforge.settings import SettingsError, validated
from ganforge.systems.base import Metric
from ganforge.tracking.outbox.remote import FOLDER as SPOOL
from ganforge.tracking.recorder import Recorder
from ganforge.training.checkpoint import Damaged, Store
from ganforge.training.files import ObjectFolders, open_folders
from ganforge.training.loop import NotFinite
from ganforge.training.prepare import Prepared
from ganforge.training.report import Report, StageResult, read_stages
from ganforge.training.run import run

logger = logging.getLogger("ganforge")
_SETTLE_SECONDS = 1.0
_CLOSE_SECONDS = 10.0
_DECISION_SECONDS = 300.0


def worker(job: Job) -> None:
    """The function of each Train worker.

    It always resumes: a run's store is its own, so what lies there is this run before a restart.
    """
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    # at once: whoever stops this run has to remove what its workers hold
    ray.train.report({"placement_group": placement_group()})
    prepared = settled(job)
    torch.set_num_threads(prepared.settings.threads)
    rows = stored_stages(job.store) if rank == 0 else {}
    recorder = open_recorder(job, rows) if rank == 0 else None
    told_stages = False
    try:
        for report in run(prepared, store=job.store, resume=True, rank=rank, world=world):
            if report.stage is not None:
                check_score(report, job.metric)
                rows[report.position.index] = report.stage
            if recorder is not None:
                recorder.log(report)
                recorder.settle(_SETTLE_SECONDS)
            told = summary(report, job.metric)
            if report.stage is not None or not told_stages:
                told["stages"] = [rows[index].to_json() for index in sorted(rows)]
                told_stages = True
            told["tracking_trouble"] = recorder.trouble if recorder is not None else ""
            ray.train.report(told)
            if report.kind == "stage" and not goes_on(job, report.position.index + 1):
                break
    finally:
        if recorder is not None:
            recorder.close(_CLOSE_SECONDS)


def goes_on(job: Job, stages_done: int) -> bool:
    """Ask the search, after it was told of a stage's end; every rank gets the same answer."""
    if job.settings is None:
        return True
    try:
        decision = job.exchange.decision.remote(job.trial, stages_done)
        return ray.get(decision, timeout=_DECISION_SECONDS)
    except GetTimeoutError:
        return True


def placement_group() -> str:
    """Id of the resources that this worker's group holds."""
    group = ray.util.get_current_placement_group()
    return "" if group is None else group.id.hex()


def settled(job: Job) -> Prepared:
    """The prepared run with this job's settings."""
    prepared: Prepared = ray.get(job.prepared)
    if job.settings is None:
        return prepared
    return replace(prepared, settings=validated(type(prepared.settings), job.settings))


def open_recorder(job: Job, rows: dict[int, StageResult]) -> Recorder | None:
    """Rank 0's way to the tracking store; what it does not take is kept beside the checkpoints."""
    if job.tracking is None:
        return None
    far = isinstance(open_folders(job.store), ObjectFolders)
    spool = None if far else Path(job.store.removeprefix("file://")) / SPOOL
    beside = job.store if far else None
    name, mode = job.metric
    try:
        return Recorder(
            job.tracking, name, mode, spool=spool, beside=beside, stages=tuple(rows.values())
        )
    except OSError as error:
        logger.warning("tracking: no spool (%s). Training goes on without a record", error)
        return None


def stored_stages(place: str) -> dict[int, StageResult]:
    """The results of stages that the newest stored state remembers, by index.

    A stage end that was stored but not told, because its process died, is told again by these.
    """
    store = Store(place)
    for name in store.names():
        try:
            return read_stages(store.manifest(name)["stages"])
        except Damaged:
            continue
    return {}


def check_score(report: Report, metric: Metric) -> None:
    """At a stage's end the figure by which runs are compared must be there, and be a number."""
    value = report.metrics.get(metric.name)
    if value is None:
        measured = ", ".join(sorted(name for name in report.metrics if "/" in name))
        raise SettingsError(f"metric = {metric.name}: not measured; there are: {measured}")
    if not math.isfinite(value):
        raise NotFinite(f"{metric.name} is {value} at the end of stage {report.position.index}")


def summary(report: Report, metric: Metric) -> dict[str, Any]:
    """What the driver is told of a report: where the run is, and how good."""
    return {
        "index": report.position.index,
        "step": report.position.step,
        "images": report.images,
        "alpha": report.metrics.get("stage/alpha", 1.0),
        "score": report.metrics.get(metric.name),
    }
