"""`ganforge train`: one configuration, on the cluster this is run on or on a local one."""

import json
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ganforge.commands.configure import CliOptions, print_images
from ganforge.commands.run_events import RunEvents
from ganforge.commands.start import (
    Start,
    check_addresses,
    check_start,
    checked_storage,
    grids_line,
    save_best,
    sync_command,
    ui_lines,
    use_line,
)
from ganforge.console import Console, duration, show
from ganforge.errors import TrainingFailed
from ganforge.events import Listener
from ganforge.listeners.catalog import load_listeners
from ganforge.local_files import Linked, check_own_folder
from ganforge.run_names import new_name, newest_first
from ganforge.settings import SettingsError, flatten, to_json

if TYPE_CHECKING:
    from ganforge.cluster.coordinator import Summary
    from ganforge.cluster.train import Trained
    from ganforge.commands.progress_lines import ProgressLines
    from ganforge.systems.base import Metric
    from ganforge.tracking.driver import DriverClient
    from ganforge.tracking.run_ref import RunRef
    from ganforge.tracking.runs import Opening
    from ganforge.training.report import StageResult

ABOUT = "about"
_PREFIX = "train-"
_FLUSH_SECONDS = 10.0
_T = TypeVar("_T")


@dataclass(frozen=True)
class TrainOptions:
    """The options of `ganforge train` that are not about settings."""

    metric: str | None = None
    experiment: str = "ganforge"
    tracking_uri: str | None = None
    storage: str = "ganforge-runs"
    resume: bool = False
    accept: list[str] = field(default_factory=list)
    dry_run: bool = False
    listeners: Sequence[str | Listener] = ()


@dataclass(frozen=True)
class TrainedRun:
    """A run that has ended: its id in the tracking store `uri` (empty where that could not be
    reached), where its states are, and what came out."""

    run_id: str
    uri: str
    store: str
    metric: "Metric"
    metrics: dict[str, float]
    stages: "tuple[StageResult, ...]"


def train(options: CliOptions, how: TrainOptions) -> TrainedRun | None:
    """Check, open the run or resume it, train, end the run, print where everything is. None after
    a dry run; TrainingFailed, or SettingsError, once the run has ended with it."""
    check_addresses(how.tracking_uri, how.storage)
    listeners = load_listeners(how.listeners)
    checked = check_start(options, how.metric, accept=how.accept)
    if how.dry_run:
        return checked.show()
    start = checked.prepare()
    # Ray and MLflow take seconds to import: not before the input is known to be good
    from ganforge.cluster.machines import wait_for_slots
    from ganforge.cluster.preflight import check_machines
    from ganforge.cluster.session import session, worker_resources
    from ganforge.cluster.train import fit, uses_gpu
    from ganforge.commands.progress_lines import ProgressLines
    from ganforge.tracking.client import resolve_uri
    from ganforge.tracking.recordable import check_recordable

    storage, uri = checked_storage(how.storage), resolve_uri(how.tracking_uri)
    check_recordable(uri, how.experiment)
    console, settings = Console(), start.prepared.settings
    print_images(start.images)
    with session(threads=settings.threads) as joined:
        each = worker_resources(settings.threads, uses_gpu(settings))
        fewest = settings.workers_at_least
        wait_for_slots(settings.workers, each, joined=joined, fewest=fewest)
        if joined:
            check_machines(start.prepared, storage, uri)
        run = (_resume_run if how.resume else _open_run)(start, uri, how.experiment, storage)
        began = time.monotonic()
        name = run.store.rstrip("/").rpartition("/")[2]
        events = RunEvents(listeners, name, run.ref.run_id, flatten(settings))
        listener = _Listener(ProgressLines(console, start), events)
        with _ending(start, run, listener):
            trained = fit(
                start.prepared,
                metric=start.metric,
                store=run.store,
                tracking=run.ref,
                joined=joined,
                listener=listener,
                grids=bool(listeners),
            )
    _print_result(console, start, trained, run, time.monotonic() - began)
    if not run.complete:
        trouble = run.client.trouble or trained.tracking_trouble
        show(f"warning       the tracking store failed: {trouble}")
        show(f"              {sync_command(storage, uri)}   sends the rest")
    ref = run.ref
    return TrainedRun(ref.run_id, ref.uri, run.store, start.metric, trained.metrics, trained.stages)


@dataclass
class _Run:
    """A run: where its states are stored, where it is recorded, and the driver's client there.

    `complete` is whether the tracking store has everything, once the run has ended.
    """

    store: str
    ref: "RunRef"
    client: "DriverClient"
    complete: bool = False


@dataclass
class _Listener:
    """Prints each report of rank 0, gives it to the user's listeners, and keeps the results of the
    stages for the run's page."""

    show: "ProgressLines"
    events: RunEvents
    stages: "dict[int, StageResult]" = field(default_factory=dict)

    def __call__(self, summary: "Summary") -> None:
        from ganforge.training.report import read_stages

        self.stages |= read_stages(summary.get("stages", ()))
        self.show(summary)
        self.events.report(summary)


def _open_run(start: Start, uri: str, experiment: str, storage: str) -> _Run:
    """A new run. A tracking store that is down does not stop it."""
    from ganforge.tracking.artifacts import input_files
    from ganforge.tracking.driver import DriverClient
    from ganforge.tracking.runs import close_orphans
    from ganforge.training.files import join, open_folders

    name = new_name(open_folders(storage).names(), _PREFIX)
    store = join(storage, name)
    client = DriverClient(uri, experiment, _driver_folder(store, name))
    ref = client.open(name, _opening(start, name, store))
    try:
        client.files(ref, input_files(start.prepared))
        if ref.run_id:
            _try(lambda: close_orphans(uri, experiment))
        about = {"experiment": experiment, "system": start.prepared.system, "tracking": asdict(ref)}
        open_folders(store).write(ABOUT, {"run.json": json.dumps(about).encode()})
    except BaseException as error:
        # the run is open already: it must not stay so, whatever ends this
        if not isinstance(error, OSError):
            client.end(ref, "KILLED", "interrupted")
            client.close()
            raise
        problem = f"storage = {storage}: cannot be written ({error}). Fix: name another storage"
        client.end(ref, "FAILED", f"failed: {problem}")
        client.close()
        raise SettingsError(problem) from None
    return _Run(store, ref, client)


def _resume_run(start: Start, uri: str, experiment: str, storage: str) -> _Run:
    """The newest run of this experiment and system, checked and set to RUNNING again."""
    from ganforge.tracking.artifacts import input_files
    from ganforge.tracking.driver import DriverClient
    from ganforge.tracking.queries import SETTINGS
    from ganforge.tracking.runs import close_orphans
    from ganforge.training.files import join
    from ganforge.training.resume import check_store

    name, recorded = _newest(start, experiment, storage, uri)
    store = join(storage, name)
    if "://" not in store:
        try:
            check_own_folder(Path(store))
        except Linked as error:
            raise SettingsError(f"cannot resume {name}: {error}") from None
    check_store(start.prepared, store)
    client = DriverClient(uri, experiment, _driver_folder(store, name))
    ref = recorded or client.open(name, _opening(start, name, store))
    client.resume(ref)
    # it may have become longer, or its code another one: the record is of what is trained now
    record = {SETTINGS: to_json(start.prepared.settings).encode()}
    client.files(ref, record | input_files(start.prepared))
    if client.flush(_FLUSH_SECONDS):
        _try(lambda: close_orphans(uri, experiment))
    return _Run(store, client.known(ref), client)


def _newest(start: Start, experiment: str, storage: str, uri: str) -> "tuple[str, RunRef | None]":
    """The name of the newest run of this experiment and system, and which run it is in the store
    `uri`: the record of it may have been written by anybody who can write to the storage."""
    from ganforge.tracking.named_store import recorded_run
    from ganforge.training.files import join, open_folders

    for name in newest_first(open_folders(storage).names(), _PREFIX):
        try:
            about = json.loads(open_folders(join(storage, name)).read(ABOUT, "run.json"))
            found = (about["experiment"], about["system"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue
        if found == (experiment, start.prepared.system):
            return name, recorded_run(about.get("tracking"), uri)
    raise SettingsError(
        f"--resume: {storage} has no run of experiment {experiment} and system "
        f"{start.prepared.system}; start one without --resume"
    )


def _driver_folder(store: str, name: str) -> Path:
    """The driver's outbox: in the run's folder if that is on this machine."""
    from ganforge.tracking.outbox.log import default_outbox_folder

    return default_outbox_folder(f"driver-{name}") if "://" in store else Path(store, "driver")


def _opening(start: Start, name: str, store: str) -> "Opening":
    from ganforge.tracking.runs import Opening

    prepared = start.prepared
    return Opening(
        kind="train",
        name=name,
        settings=prepared.settings,
        fingerprint=prepared.facts.fingerprint,
        description=describe_training(start),
        tags={"storage": store, "warnings": "; ".join(prepared.warnings) or "none"},
    )


@contextmanager
def _ending(start: Start, run: _Run, listener: _Listener) -> Iterator[None]:
    """End the run however the block ends."""
    outcome, status = "interrupted", "KILLED"
    listener.events.started()
    try:
        yield
        outcome, status = "finished", "FINISHED"
    except (TrainingFailed, SettingsError) as error:
        outcome, status = f"failed: {error}", "FAILED"
        raise
    finally:
        listener.events.ended(outcome)
        run.ref = run.client.known(run.ref)
        stages = [listener.stages[index] for index in sorted(listener.stages)]
        note = describe_training(start, outcome, run.ref, stages)
        run.client.end(run.ref, status, outcome, note=note)
        run.client.send(run.store)
        run.complete = run.client.close()
        run.ref = run.client.known(run.ref)


def describe_training(
    start: Start,
    outcome: str = "running",
    run: "RunRef | None" = None,
    stages: "Sequence[StageResult]" = (),
) -> str:
    """What the run's page opens with: a run that has begun, or one that has ended."""
    from ganforge.tracking.description import (
        Description,
        describe_data,
        describe_run,
        reproduce_command,
    )

    prepared = start.prepared
    commands: dict[str, str] = {}
    if run is not None and run.run_id and stages:
        commands = {"Train it again and compare": reproduce_command(run.uri, run.run_id)}
    facts = Description(
        f"Training of {prepared.system}",
        outcome,
        start.metric.name,
        stages,
        commands,
        data=describe_data(prepared.settings, prepared.facts.fingerprint),
        remarks=prepared.warnings,
    )
    return describe_run(facts)


def _print_result(
    console: Console, start: Start, trained: "Trained", run: _Run, seconds: float
) -> None:
    """The score, where everything is, and the commands to continue with."""

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    value = trained.metrics.get(start.metric.name)
    line("")
    baseline = trained.metrics.get(f"{start.metric.name}_bicubic")
    than = "" if baseline is None else f" (bicubic {baseline:.3f})"
    line(f"{start.metric.name} {value:.3f}{than}" if value is not None else "finished")
    line(f"took          {duration(seconds)}")
    line(f"checkpoints   {run.store}")
    if not run.ref.run_id:
        return
    where = f"--tracking-uri {shlex.quote(run.ref.uri)}"
    if image := save_best(run.store, run.ref.uri, run.ref.run_id):
        line(f"image         {image}")
    line(f"sample grids  {grids_line(run.ref.uri, run.ref.run_id)}")
    for head, text in zip(("look at it", ""), ui_lines(run.ref.uri), strict=False):
        line(f"{head:<14}{text}")
    line(f"reproduce it  ganforge reproduce --run {run.ref.run_id} {where}")
    line(use_line(start.prepared.system, run.ref.run_id, run.ref.uri))


def _try(call: Callable[[], _T]) -> _T | None:
    """If the tracking store fails, training does not."""
    try:
        return call()
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        show(f"warning: tracking store: {first[:200]}; the training continues")
        return None
