"""Ray Train's trainer with some of its behaviour changed.

Private hooks of Ray 2.60 are used: pyproject.toml pins the minor version, and
tests/cluster/test_train.py fails when they move.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from ray._private.state import state
from ray.exceptions import RayActorError, RayError
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import (
    PlacementGroupCleanerCallback,
)
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2._internal.execution.controller.controller import TrainController
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2._internal.execution.scaling_policy import (
    FixedScalingPolicy,
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
)
from ray.train.v2._internal.execution.worker_group import WorkerGroupPollStatus, WorkerGroupState
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ganforge.cluster.elastic import Crew, Regroup
from ganforge.cluster.job import Job, load_prepared
from ganforge.cluster.kept_workers import KeptWorkers
from ganforge.cluster.machines import alive, answers, draining_nodes
from ganforge.cluster.ray_workers import InheritingWorkers, keeping
from ganforge.cluster.room import ClusterRoom
from ganforge.cluster.session import worker_resources

Failures = Sequence[BaseException]
_COUNT_SECONDS = 30.0
_ASK_SECONDS = 0.2
#: the label of every machine that holds its id
_NODE_ID = "ray.io/node-id"
_DEATHS = (RayActorError, WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError)
# What the surviving workers raise when another one has died. Other errors of NCCL (two workers on
# one GPU, a CUDA failure) would happen again.
_CUT_OFF = (
    "connection closed",
    "connection reset",
    "connection refused",
    "broken pipe",
    "timed out",
    "read error",
    "ncclremoteerror",
    "communicator was aborted",
    "watchdog caught collective operation timeout",
)

# Errors whose message is complete without the name of their type.
_COMPLETE = (
    "SettingsError",
    "Collapsed",
    "NotFinite",
    "OutOfMemory",
    "DiskFull",
    "OwnCodeFailed",
    "TrainingFailed",
)
# What Ray says of a worker that its own memory monitor has ended.
_LOW_MEMORY = ("running low on memory", "memory usage threshold", "due to memory pressure")

FAILURES = FailureConfig(max_failures=3, controller_failure_limit=2, max_preemption_failures=20)
#: of a run whose number of workers may change: it is expected to lose machines
MORE_FAILURES = replace(FAILURES, max_failures=20)


class Trainer(TorchTrainer):
    """A TorchTrainer that leaves no cleaner behind and retries only what can end otherwise.

    The cleaner asks the dashboard whether a run is alive. Without a dashboard, or with two clusters
    on one machine, it leaves dead groups and removes living ones (measured); cluster/placement.py
    removes them instead. A worker's own exception would happen again, so it ends the run at once;
    a worker that died is replaced, but not one that needs more memory than there is. There is no
    data set of Ray's, and no autoscaling coordinator: actors of both stayed behind (measured), and
    cost seconds.

    With `abandoned`, which says whether anybody still waits for the run, its controller is not a
    process of its own but runs in the caller's thread, which is not the main one. There workers may
    be `kept` for the next run.
    """

    def __init__(
        self,
        *arguments: Any,
        job: Job,
        abandoned: Callable[[], bool] | None = None,
        kept: KeptWorkers | None = None,
        **options: Any,
    ):
        super().__init__(*arguments, **options)
        self.job, self.abandoned, self.kept = job, abandoned, kept

    def _create_default_callbacks(self) -> list[Any]:
        dropped = (PlacementGroupCleanerCallback, DatasetsCallback)
        return [c for c in super()._create_default_callbacks() if not isinstance(c, dropped)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        fault, fewest = partial(memory_fault, self.job), self.job.fewest
        limits = FAILURES if fewest is None else MORE_FAILURES
        arguments["failure_policy"] = ReplaceTheDead(limits, fault, self.abandoned, fewest)
        arguments["scaling_policy"] = (
            Fixed(self.scaling_config)
            if fewest is None
            else Elastic(self.scaling_config, self.job, fewest)
        )
        if self.abandoned is None:
            return super()._initialize_and_run_controller(**arguments)
        controller = TrainController(**arguments)
        workers = InheritingWorkers if self.kept is None else keeping(self.kept)
        controller.worker_group_cls = workers
        asyncio.run(controller.run())
        return controller.get_result()


class Fixed(FixedScalingPolicy):
    """As many workers as were asked for; their placement group is request enough."""

    def after_controller_start(self, train_run_context: Any) -> None: ...
    def _maybe_send_resource_request(self) -> None: ...
    def _cancel_resource_request(self) -> None: ...


class Elastic(Fixed):
    """As many workers as fit, within the job's range (cluster/elastic.py).

    Ray's own elastic policy begins again with whatever is free at the moment of a failure, kills
    workers in the middle to take others, and asks an actor that stays behind.
    """

    def __init__(self, scaling_config: ScalingConfig, job: Job, fewest: int):
        super().__init__(scaling_config)
        self.resources = worker_resources(job.threads, job.gpu)
        room = ClusterRoom(self.resources, free_resources, draining_nodes)
        regroup = partial(ask_to_regroup, job)
        self.crew = Crew(fewest, job.workers, room, regroup, job.grow_seconds)

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        size = self.crew.start_size()
        if size is None:
            # the controller asks again at once
            time.sleep(_ASK_SECONDS)
            return NoopDecision()
        return ResizeDecision(size, self.resources)

    def make_decision_for_running_worker_group(
        self, worker_group_state: WorkerGroupState, worker_group_status: WorkerGroupPollStatus
    ) -> ScalingDecision:
        group = worker_group_state.placement_group_handle.placement_group.id.hex()
        # the head may be gone for a moment: to grow is a favour
        with suppress(Exception):
            self.crew.look(worker_group_state.num_workers, group)
        return NoopDecision()

    def on_controller_start_worker_group(
        self, *, scaling_config: ScalingConfig, num_workers: int
    ) -> dict[str, str] | None:
        silent = silent_nodes()
        return {_NODE_ID: f"!in({','.join(silent)})"} if silent else None

    def _cancel_resource_request(self) -> None:
        self.crew.close()


def ask_to_regroup(job: Job) -> None:
    job.coordinator.regroup.remote(job.trial)


class ReplaceTheDead(DefaultFailurePolicy):
    """Retry after the death of a worker or a machine; raise what a worker raised itself, and the
    `fault` of workers that would die again, if there is one, and everything once the run is
    `abandoned`. A run of at least `fewest` workers that did not get more, or is to get them, tries
    again however often."""

    def __init__(
        self,
        config: FailureConfig,
        fault: Callable[[Failures], Exception | None],
        abandoned: Callable[[], bool] | None = None,
        fewest: int | None = None,
    ):
        super().__init__(config)
        self.fault, self.abandoned, self.fewest = fault, abandoned, fewest

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        if self.abandoned is not None and self.abandoned():
            return FailureDecision.RAISE
        if self.fewest is not None and _regroups(training_failed_error, self.fewest):
            return FailureDecision.RETRY
        if isinstance(training_failed_error, WorkerGroupError):
            failures = training_failed_error.worker_failures
            # a survivor's error may be seen before the death that caused it
            if not any(map(died, failures.values())) and not all(map(cut_off, failures.values())):
                return FailureDecision.RAISE
            if fault := self.fault(list(failures.values())):
                failures[min(failures)] = fault
                return FailureDecision.RAISE
        return super().make_decision(training_failed_error)


def _regroups(error: TrainingFailedError, fewest: int) -> bool:
    """Whether workers ended to be more, or more than `fewest` were not there after all."""
    if isinstance(error, WorkerGroupError):
        return any(isinstance(cause(f), Regroup) for f in error.worker_failures.values())
    failure = error.controller_failure if isinstance(error, ControllerError) else None
    return isinstance(failure, WorkerGroupStartupTimeoutError) and failure.num_workers > fewest


def memory_fault(job: Job, failures: Failures) -> Exception | None:
    """The error of workers that were ended for want of memory: by Ray, or by a machine's kernel."""
    kills, last = ray.get(job.coordinator.before.remote(job.trial))
    said = " ".join(str(failure) for failure in failures)
    fault = ""
    if any(words in said.lower() for words in _LOW_MEMORY):
        fault = "Ray ended a worker, because its machine runs low on memory"
    silent = silent_nodes()
    for machine, before in kills.items():
        now = None if machine in silent else _kernel_kills(machine)
        if now is not None and now > before:
            fault = "the machine's kernel ended a process, because no memory was left"
    if not fault:
        return None
    # here and not above: a controller whose workers live needs no torch
    from ganforge.training.memory import OutOfMemory, explained, sizes

    rows = sizes(load_prepared(job).plan())
    index, step, peak = last.get("index", 0), last.get("step", 0), last.get("peak_bytes", 0)
    return OutOfMemory(f"out of memory in {explained(rows, index, step, peak, fault, job.gpu)}")


def _kernel_kills(machine: str) -> int | None:
    """The count of a machine now; None where it is gone."""
    there = NodeAffinitySchedulingStrategy(machine, soft=False)
    task = ray.remote(_count).options(num_cpus=0, scheduling_strategy=there, max_retries=0)
    try:
        return ray.get(task.remote(), timeout=_COUNT_SECONDS)
    except RayError:
        return None


def _count() -> int:
    from ganforge.training.memory import kernel_kills

    return kernel_kills()


def died(failure: BaseException) -> bool:
    """Whether a worker's failure is the death of its process."""
    return isinstance(failure, _DEATHS)


def cut_off(failure: BaseException) -> bool:
    """Whether a worker's failure was caused by the death of another."""
    inner = getattr(failure, "cause", None) or failure
    words = str(inner).lower()
    return isinstance(inner, RuntimeError | OSError) and any(w in words for w in _CUT_OFF)


def cause(error: BaseException) -> BaseException:
    """The exception at the bottom of Ray's wrappings."""
    while True:
        inner: BaseException | None = None
        if isinstance(error, WorkerGroupError) and error.worker_failures:
            failures = list(error.worker_failures.values())
            # an exception says more than a death, a death more than the survivors' errors
            inner = min(failures, key=lambda f: (cut_off(f), died(f)))
        elif isinstance(error, ControllerError):
            inner = error.controller_failure
        elif isinstance(error, RayError):
            inner = getattr(error, "cause", None)
        if not isinstance(inner, BaseException) or inner is error:
            return error
        error = inner


def reason(error: BaseException) -> str:
    """An error in one line."""
    bottom = cause(error)
    text = str(bottom).strip()
    # a task's error carries its traceback as text; the last line is the error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "Unable to set up cluster storage" in text:
        return (
            "storage: not every machine of the cluster sees this folder; give s3://bucket/prefix, "
            "or a folder that all machines share"
        )
    if isinstance(bottom, RayActorError):
        return "a worker process died" + (f" ({lines[0]})" if lines else "")
    if not lines:
        return type(bottom).__name__
    line = lines[-1] if "Traceback" in text else lines[0]
    name = type(bottom).__name__
    return line if name in _COMPLETE or line.startswith(name) else f"{name}: {line}"


def silent_nodes() -> list[str]:
    """The machines that are gone, and not missed yet, by their ids."""
    return [node["NodeID"] for node in alive() if not answers(node)]


def free_resources() -> Mapping[str, Mapping[str, float]]:
    """What is free on each machine, by its id."""
    return state.available_resources_per_node()
