"""What one Train worker does: run, record on rank 0, report on every rank."""

import logging
import math
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.exceptions import GetTimeoutError

from ganforge.cluster.elastic import Regroup
from ganforge.cluster.job import Job, load_prepared
from ganforge.cluster.notices import Notices
from ganforge.cluster.pace import Pace
from ganforge.local_files import check_no_link
from ganforge.schedule import Plan, Position
from ganforge.settings import SettingsError
from ganforge.systems.base import Metric
from ganforge.systems.catalog import system_file
from ganforge.tracking.outbox.remote import FOLDER as OUTBOX
from ganforge.tracking.recorder import Recorder, grid_png
from ganforge.training.checkpoint import Damaged, Store
from ganforge.training.files import ObjectFolders, open_folders
from ganforge.training.ledger import Ledger
from ganforge.training.loop import NotFinite
from ganforge.training.memory import (
    OutOfMemory,
    explained,
    is_out_of_memory,
    kernel_kills,
    peak_bytes,
    sizes,
)
from ganforge.training.prepare import Prepared
from ganforge.training.report import Report, RungResult, StageResult, read_stages
from ganforge.training.run import run
from ganforge.training.run_record import rungs_inside

logger = logging.getLogger("ganforge")
_FLUSH_SECONDS = 1.0
_CLOSE_SECONDS = 10.0
_DECISION_SECONDS = 300.0


def worker(job: Job) -> None:
    """The function of each Train worker.

    It always resumes: a run's store is its own, so what lies there is this run before a restart.
    """
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    # at once: the process that stops this run removes what its workers hold
    ray.train.report({"placement_group": placement_group(), "workers": world})
    machine = ray.get_runtime_context().get_node_id()
    ray.get(job.coordinator.started.remote(job.trial, machine, kernel_kills()))
    prepared = load_prepared(job)
    torch.set_num_threads(prepared.settings.threads)
    plan = prepared.plan()
    rows, rungs = stored_results(job.store, plan) if rank == 0 else ({}, {})
    recorder = open_recorder(job, rows) if rank == 0 else None
    resent = False
    position = Position()
    notices = Notices(job.coordinator, job.trial, rank)
    pace = Pace(notices, partial(job.coordinator.report.remote, job.trial))
    # of a search the rungs show it, and of the other ranks nobody asks
    shows_pace = rank == 0 and not job.searched
    regroups = False
    reports = run(
        prepared,
        store=job.store,
        resume=True,
        rank=rank,
        world=world,
        gpu=job.gpu,
        noticed=pace,
        ledger=Ledger(job.ledger) if job.ledger is not None else None,
    )
    try:
        for report in reports:
            if report.kind == "departure":
                # asked by the one that stores the state: the others end before it, as always
                regroups = rank == 0 and ray.get(job.coordinator.regroups.remote(job.trial))
                break
            if report.kind == "notice":
                continue
            position = report.position
            if shows_pace and position.step == 0:
                pace.begin(position.index)
            rung = plan.rung(position) if report.kind in ("stage", "checkpoint") else None
            if report.stage is not None or (rung is not None and job.searched):
                for metric in (job.metric, *job.further):
                    check_score(report, metric)
            if job.searched:
                check_rungs(report, (job.metric, *job.further))
            if report.stage is not None:
                rows[report.position.index] = report.stage
            rungs |= {result.rung: result for result in report.rungs}
            if recorder is not None:
                recorder.log(report)
                recorder.flush_to_store(_FLUSH_SECONDS)
            message = summary(report, job.metric)
            if job.grids and report.samples is not None:
                message["grid"] = grid_png(report.samples)
            if rung is not None or not resent:
                message["stages"] = [rows[index].to_json() for index in sorted(rows)]
                message["rungs"] = [rungs[number].to_json() for number in sorted(rungs)]
                resent = True
            message["tracking_trouble"] = recorder.trouble if recorder is not None else ""
            ray.train.report(message)
            if rung is not None and not continues(job, rung):
                break
    except Exception as error:
        if not is_out_of_memory(error):
            if own := line_of_own_code(error, prepared):
                raise OwnCodeFailed(f"{type(error).__name__}: {error} ({own})") from error
            raise
        fault = f"an allocation failed ({str(error).strip().partition(chr(10))[0]})"
        message = explained(
            sizes(plan), position.index, position.step, peak_bytes(), fault, job.gpu
        )
        raise OutOfMemory(f"out of memory in {message}") from None
    finally:
        reports.close()
        notices.close()
        if recorder is not None:
            recorder.close(_CLOSE_SECONDS)
    if regroups:
        raise Regroup


class OwnCodeFailed(RuntimeError):
    """An error in a system of one's own, with the line of its file at which it was raised."""


def line_of_own_code(error: Exception, prepared: Prepared) -> str:
    """Where in the files of a user's system an error came from: the innermost call; empty if from
    none, or if the error says itself what to do."""
    if not prepared.sources or isinstance(error, SettingsError | NotFinite):
        return ""
    folder = system_file(prepared.system).parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)]
    if not own:
        return ""
    return f"{Path(own[-1].filename).relative_to(folder)}, line {own[-1].lineno}, in {own[-1].name}"


def continues(job: Job, rung: int) -> bool:
    """Whether the search continues a trial that has reached a rung; the same on every rank."""
    if not job.searched:
        return True
    try:
        decision = job.coordinator.decision.remote(job.trial, rung)
        return ray.get(decision, timeout=_DECISION_SECONDS)
    except GetTimeoutError:
        return True


def placement_group() -> str:
    """Id of the resources that this worker's group holds."""
    group = ray.util.get_current_placement_group()
    return "" if group is None else group.id.hex()


def open_recorder(job: Job, rows: dict[int, StageResult]) -> Recorder | None:
    """Rank 0's recorder; what the tracking store does not take is kept next to the checkpoints."""
    if job.tracking is None:
        return None
    far = isinstance(open_folders(job.store), ObjectFolders)
    folder = None if far else Path(job.store.removeprefix("file://")) / OUTBOX
    remote = job.store if far else None
    name, mode = job.metric
    try:
        if folder is not None:
            check_no_link(folder.parent)
        return Recorder(
            job.tracking, name, mode, folder=folder, remote=remote, stages=tuple(rows.values())
        )
    except OSError as error:
        logger.warning("tracking: no outbox (%s). Training continues without a record", error)
        return None


def stored_results(uri: str, plan: Plan) -> tuple[dict[int, StageResult], dict[int, RungResult]]:
    """The results of stages that the newest stored state remembers, by index, and those of rungs
    inside them, by number.

    What was stored but not reported, because its process died, is reported by these.
    """
    store = Store(uri)
    for name in store.names():
        try:
            found = store.manifest(name)
            return read_stages(found["stages"]), rungs_inside(found, plan)
        except (Damaged, ValueError, TypeError):
            continue
    return {}, {}


def check_score(report: Report, metric: Metric) -> None:
    """At a rung the metric by which runs are compared must be measured and finite."""
    value, inside = report.metrics.get(metric.name), report.kind != "stage"
    if value is None:
        measured = ", ".join(sorted(name for name in report.metrics if "/" in name))
        raise SettingsError(f"metric = {metric.name}: not measured; there are: {measured}")
    if not math.isfinite(value):
        end = f"the end of stage {report.position.index}"
        raise NotFinite(f"{metric.name} is {value} at {report.position if inside else end}")


def check_rungs(report: Report, metrics: Sequence[Metric]) -> None:
    """Rungs that came with a stage from the ledger must have what trials are compared by."""
    for rung in report.rungs:
        for metric in metrics:
            value = rung.metrics.get(metric.name)
            if value is None or not math.isfinite(value):
                raise SettingsError(
                    f"metric = {metric.name}: is {value} at rung {rung.rung} of the recorded stage "
                    f"{rung.index}; give another storage, or remove its folder `ledger`"
                )


def summary(report: Report, metric: Metric) -> dict[str, Any]:
    """What the driver gets of a report: the run's position, its score and its metrics."""
    return {
        "index": report.position.index,
        "step": report.position.step,
        "images": report.images,
        "alpha": report.metrics.get("stage/alpha", 1.0),
        "score": report.metrics.get(metric.name),
        "metrics": report.metrics,
        "peak_bytes": peak_bytes(),
    }
