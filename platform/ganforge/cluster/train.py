"""Training of one configuration: Ray Train workers around run()."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError
from ray.train import RunConfig, ScalingConfig
from ray.train.v2.api.callback import UserCallback
from ray.util.queue import Empty, Queue

from ganforge.cluster.job import Job, work
from ganforge.cluster.release import release
from ganforge.cluster.session import wait_for_slots, worker_resources
from ganforge.cluster.trainer import FAILURES, Trainer, cause, reason
from ganforge.settings import SettingsError
from ganforge.systems.base import Metric
from ganforge.tracking.record import Tracking

if TYPE_CHECKING:
    from ganforge.training.prepare import Prepared

Listener = Callable[[dict[str, Any]], None]
_RAY_FOLDER = "ray"


class TrainingFailed(RuntimeError):
    """A run ended with an error; the message is one line."""


@dataclass(frozen=True)
class Trained:
    """What a finished run leaves: the rows of stages.json and the last stage's metrics."""

    stages: tuple[dict[str, Any], ...]
    metrics: dict[str, float]
    tracking_trouble: str = ""


@dataclass
class Heard:
    """What the driver has heard from rank 0 so far."""

    stages: dict[int, dict[str, Any]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    trouble: str = ""

    def hear(self, told: dict[str, Any]) -> None:
        if group := told.get("placement_group"):
            self.groups.append(group)
        for row in told.get("stages", ()):
            self.stages[row["index"]] = row
            self.metrics = row["metrics"]
        self.trouble = self.trouble or told.get("tracking_trouble", "")


class Tell(UserCallback):
    """Passes rank 0's reports from the controller to the driver."""

    def __init__(self, told: Queue):
        self.told = told

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        self.told.put(metrics[0])


def uses_gpu(settings: Any) -> bool:
    """Whether workers ask for a GPU: when told to, or when the cluster has some."""
    if settings.device == "auto":
        return ray.cluster_resources().get("GPU", 0) >= settings.workers
    return settings.device == "cuda"


def make_job(
    prepared: "Prepared", metric: Metric, store: str, tracking: Tracking | None = None
) -> Job:
    """A job of a prepared run; its tensors go into the object store here."""
    settings = prepared.settings
    return Job(
        prepared=ray.put(prepared),
        metric=metric,
        store=store,
        workers=settings.workers,
        threads=settings.threads,
        gpu=uses_gpu(settings),
        tracking=tracking,
    )


def trainer(job: Job, name: str, callbacks: list[Any]) -> Trainer:
    """Ray Train around the worker function, with finite patience."""
    return Trainer(
        work,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=job.workers,
            use_gpu=job.gpu,
            resources_per_worker=worker_resources(job.threads, job.gpu),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=inside(job.store, _RAY_FOLDER),
            failure_config=FAILURES,
            callbacks=callbacks,
        ),
    )


def inside(place: str, *names: str) -> str:
    """A folder inside a local path or an object store's URI."""
    path, mark, query = place.partition("?")
    return "/".join([path.rstrip("/"), *names]) + mark + query


def fit(
    prepared: "Prepared",
    *,
    metric: Metric,
    store: str,
    tracking: Tracking | None = None,
    joined: bool = False,
    listener: Listener | None = None,
) -> Trained:
    """Train one configuration on the cluster, resuming from what lies in `store`.

    Raises SettingsError for what the user can mend and TrainingFailed for the rest. `listener` gets
    rank 0's summaries (cluster/job.py) in a thread of its own.
    """
    job = make_job(prepared, metric, store, tracking)
    wait_for_slots(job.workers, worker_resources(job.threads, job.gpu), joined=joined)
    heard = Heard()

    def hear(told: dict[str, Any]) -> None:
        heard.hear(told)
        if listener is not None:
            listener(told)

    try:
        fit_job(job, "train", hear)
    except Exception as error:
        bottom = cause(error)
        if isinstance(bottom, SettingsError):
            raise SettingsError(str(bottom)) from None
        raise TrainingFailed(reason(error)) from error
    finally:
        release(heard.groups)
    rows = tuple(heard.stages[index] for index in sorted(heard.stages))
    return Trained(rows, heard.metrics, heard.trouble)


def fit_job(job: Job, name: str, listener: Listener) -> None:
    """Run a job; every summary of rank 0 has been heard when this returns.

    Ray's own way from Train to Tune loses the last reports when a run ends before they were read
    (measured: three of ten).
    """
    told, over = Queue(actor_options={"num_cpus": 0}), threading.Event()
    hearing = threading.Thread(target=_hear, args=(told, over, listener), daemon=True)
    hearing.start()
    try:
        trainer(job, name, [Tell(told)]).fit()
    finally:
        over.set()
        hearing.join()
        told.shutdown(force=True)


def _hear(told: Queue, over: threading.Event, listener: Listener) -> None:
    while True:
        ended = over.is_set()
        try:
            summary = told.get(timeout=0.2)
        except Empty:
            if ended:
                return
            continue
        except RayError:
            return
        listener(summary)
