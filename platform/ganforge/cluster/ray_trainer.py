"""Ray Train's trainer with some of its behaviour changed.

Private hooks of Ray 2.60 are used: pyproject.toml pins the minor version, and
tests/cluster/test_train.py fails when they move.
"""

from typing import Any

from ray._private.state import state
from ray._raylet import PlacementGroupID
from ray.exceptions import RayActorError, RayError
from ray.train import FailureConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import (
    PlacementGroupCleanerCallback,
)
from ray.train.v2._internal.exceptions import (
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError
from ray.util.placement_group import PlacementGroup

_DEATHS = (RayActorError, WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError)
# What the surviving workers raise when another one has died.
_CUT_OFF = (
    "connection closed",
    "connection reset",
    "connection refused",
    "broken pipe",
    "timed out",
    "read error",
    "nccl",
)

# Errors whose message is complete without the name of their type.
_COMPLETE = ("SettingsError", "NotFinite", "TrainingFailed")

FAILURES = FailureConfig(max_failures=3, controller_failure_limit=2, max_preemption_failures=20)


class Trainer(TorchTrainer):
    """A TorchTrainer that leaves no cleaner behind and retries only what can end otherwise.

    The cleaner asks the dashboard whether a run is alive. Without a dashboard, or with two clusters
    on one machine, it leaves dead groups and removes living ones (measured); cluster/placement.py
    removes them instead. A worker's own exception would happen again, so it ends the run at once;
    a worker that died is replaced. There is no data set of Ray's, and no autoscaling coordinator:
    actors of both stayed behind (measured), and cost seconds.
    """

    def _create_default_callbacks(self) -> list[Any]:
        dropped = (PlacementGroupCleanerCallback, DatasetsCallback)
        return [c for c in super()._create_default_callbacks() if not isinstance(c, dropped)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        arguments["failure_policy"] = ReplaceTheDead(FAILURES)
        arguments["scaling_policy"] = Fixed(self.scaling_config)
        return super()._initialize_and_run_controller(**arguments)


class Fixed(FixedScalingPolicy):
    """As many workers as were asked for; their placement group is request enough."""

    def after_controller_start(self, train_run_context: Any) -> None: ...
    def _maybe_send_resource_request(self) -> None: ...
    def _cancel_resource_request(self) -> None: ...


class ReplaceTheDead(DefaultFailurePolicy):
    """Retry after the death of a worker or a machine; raise what a worker raised itself."""

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        if isinstance(training_failed_error, WorkerGroupError):
            failures = training_failed_error.worker_failures.values()
            # a survivor's error may be seen before the death that caused it
            if not any(map(died, failures)) and not all(map(cut_off, failures)):
                return FailureDecision.RAISE
        return super().make_decision(training_failed_error)


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


def draining_nodes() -> dict[str, int]:
    """The machines that are about to be taken away: ids, and deadlines in ms (0: not known)."""
    return state.get_draining_nodes() or {}


def placement_group_of(group: str) -> PlacementGroup:
    """The placement group with an id, as hexadecimal digits."""
    return PlacementGroup(PlacementGroupID(bytes.fromhex(group)))
