"""Training of one configuration: Ray Train workers around run()."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError
from ray.train import RunConfig, ScalingConfig
from ray.train.v2.api.callback import UserCallback

from ganforge.cluster.coordinator import Summary, TrialCoordinator
from ganforge.cluster.job import Job
from ganforge.cluster.kept_workers import KeptWorkers, keeps_workers
from ganforge.cluster.machines import grow_seconds, wait_for_slots
from ganforge.cluster.placement import release
from ganforge.cluster.ray_trainer import FAILURES, Trainer, cause, reason
from ganforge.cluster.session import TERMINATED, graceful, terminated, worker_resources
from ganforge.cluster.variables import read_machine_file
from ganforge.errors import TrainingFailed
from ganforge.settings import SettingsError
from ganforge.systems.base import Metric
from ganforge.tracking.run_ref import RunRef
from ganforge.training.files import ObjectFolders, join, open_folders
from ganforge.training.report import StageResult, read_stages

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

    from ganforge.training.prepare import Prepared

Listener = Callable[[Summary], None]
_RAY_FOLDER = "ray"


@dataclass(frozen=True)
class Trained:
    """What a finished run leaves: the results of its stages and the last one's metrics."""

    stages: tuple[StageResult, ...]
    metrics: dict[str, float]
    tracking_trouble: str = ""


@dataclass
class RunSummary:
    """What rank 0 has reported to the driver so far."""

    stages: dict[int, StageResult] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    placement_groups: list[str] = field(default_factory=list)
    trouble: str = ""

    def add(self, summary: Summary) -> None:
        if group := summary.get("placement_group"):
            self.placement_groups.append(group)
        for result in read_stages(summary.get("stages", ())).values():
            self.stages[result.index] = result
            self.metrics = result.metrics
        self.trouble = self.trouble or summary.get("tracking_trouble", "")


class ReportForwarder(UserCallback):
    """Passes rank 0's reports from the controller to the coordinator."""

    def __init__(self, job: Job):
        self.coordinator, self.trial = job.coordinator, job.trial

    def after_report(self, run_context: Any, metrics: list[Summary], checkpoint: Any) -> None:
        # waited for: when a run is over, all of it has been reported
        ray.get(self.coordinator.report.remote(self.trial, metrics[0]))


def uses_gpu(settings: Any) -> bool:
    """Whether workers ask for a GPU: when the settings say so, or when the cluster has some."""
    if settings.device == "auto":
        return ray.cluster_resources().get("GPU", 0) >= settings.fewest_workers
    return settings.device == "cuda"


def make_job(
    prepared: "Prepared",
    metric: Metric,
    store: str,
    coordinator: TrialCoordinator,
    tracking: RunRef | None = None,
    grids: bool = False,
) -> Job:
    """A job of a prepared run; its tensors go into the object store here."""
    settings = prepared.settings
    return Job(
        prepared=ray.put(replace(prepared, assets={})),
        assets=ray.put(prepared.assets),
        metric=metric,
        store=store,
        workers=settings.workers,
        threads=settings.threads,
        gpu=uses_gpu(settings),
        coordinator=coordinator.actor,
        tracking=tracking,
        grids=grids,
        keeps_workers=keeps_workers(prepared),
        fewest=settings.workers_at_least,
        grow_seconds=grow_seconds(),
    )


def trainer(
    job: Job,
    name: str,
    abandoned: Callable[[], bool] | None = None,
    kept: KeptWorkers | None = None,
) -> Trainer:
    """Ray Train around the worker function, with finite patience; `abandoned` and `kept` as Trainer
    has them."""
    path, files = ray_storage(join(job.store, _RAY_FOLDER))
    return Trainer(
        work,
        job=job,
        abandoned=abandoned,
        kept=kept if job.keeps_workers else None,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=job.workers if job.fewest is None else (job.fewest, job.workers),
            use_gpu=job.gpu,
            resources_per_worker=worker_resources(job.threads, job.gpu),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=path,
            storage_filesystem=files,
            failure_config=FAILURES,
            callbacks=[ReportForwarder(job)],
        ),
    )


def ray_storage(uri: str) -> tuple[str, "FileSystem | None"]:
    """Ray Train's storage as (path, file system), opened as the store of states opens it."""
    folders = open_folders(uri)
    return (folders.root, folders.files) if isinstance(folders, ObjectFolders) else (uri, None)


def work(config: dict[str, Job]) -> None:
    """The function of each Train worker."""
    read_machine_file()
    # here and not above: the trial's driver and controller need none of it, and it takes seconds
    from ganforge.cluster.worker import worker

    worker(config["job"])


def fit(
    prepared: "Prepared",
    *,
    metric: Metric,
    store: str,
    tracking: RunRef | None = None,
    joined: bool = False,
    listener: Listener | None = None,
    grids: bool = False,
) -> Trained:
    """Train one configuration on the cluster, resuming from what lies in `store`.

    Raises SettingsError for what the user can fix and TrainingFailed for the rest. `listener` gets
    rank 0's summaries (cluster/worker.py) in a thread of its own; with `grids` sample grids are in
    them.
    """
    collected, coordinator = RunSummary(), TrialCoordinator()
    job = make_job(prepared, metric, store, coordinator, tracking, grids)

    def receive(summary: Summary) -> None:
        collected.add(summary)
        if listener is not None:
            listener(summary)

    try:
        each = worker_resources(job.threads, job.gpu)
        wait_for_slots(job.workers, each, joined=joined, fewest=job.fewest)
        with graceful(coordinator.depart):
            _fit(job, receive)
    except SettingsError:
        raise
    except SystemExit as left:
        if terminated():
            # raised while ray waits in its own code, it comes out of there with exit code 1
            raise SystemExit(TERMINATED) from None
        # Ray Train's handler of Ctrl-C leaves so: say what it was
        raise KeyboardInterrupt from left
    except Exception as error:
        bottom = cause(error)
        if isinstance(bottom, SettingsError):
            raise SettingsError(str(bottom)) from None
        raise TrainingFailed(reason(error)) from error
    finally:
        release(collected.placement_groups)
        coordinator.close()
    rows = tuple(collected.stages[index] for index in sorted(collected.stages))
    return Trained(rows, collected.metrics, collected.trouble)


def _fit(job: Job, listener: Listener) -> None:
    """Run a job; `listener` has got every summary of rank 0 when this returns."""
    over = threading.Event()
    receiving = threading.Thread(target=_receive, args=(job, over, listener), daemon=True)
    receiving.start()
    try:
        with own_interrupt():
            trainer(job, "train").fit()
    finally:
        over.set()
        receiving.join()


@contextmanager
def own_interrupt() -> Iterator[None]:
    """Ray Train leaves its handler of Ctrl-C behind, and with it the controller's process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _receive(job: Job, over: threading.Event, listener: Listener) -> None:
    while True:
        ended = over.is_set()
        try:
            summaries = ray.get(job.coordinator.summaries.remote(job.trial, 0.5))
        except RayError:
            return
        for summary in summaries:
            listener(summary)
        if ended and not summaries:
            return
