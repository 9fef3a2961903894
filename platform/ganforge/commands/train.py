"""`ganforge train`: one configuration, on the cluster this is run on or on a local one."""

import json
import secrets
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ganforge.commands.configure import CliOptions
from ganforge.commands.progress_lines import AppendLog
from ganforge.commands.start import Start, checked_storage, settle, ui_lines
from ganforge.settings import SettingsError

if TYPE_CHECKING:
    from ganforge.cluster.train import Trained
    from ganforge.tracking.driver import DriverClient
    from ganforge.tracking.run_ref import RunRef
    from ganforge.tracking.runs import Opening

ABOUT = "about"


def train(
    words: CliOptions,
    metric: str | None,
    experiment: str,
    tracking_uri: str | None,
    storage: str,
    resume: bool,
    dry_run: bool,
) -> None:
    """Check, open the run, train, end the run, say where everything is."""
    start = settle(words, metric, dry_run)
    if start is None:
        return
    # Ray and MLflow take seconds to import: not before the input is known to be good
    from ganforge.cluster.machines import wait_for_slots
    from ganforge.cluster.preflight import check_machines
    from ganforge.cluster.session import session, worker_resources
    from ganforge.cluster.train import TrainingFailed, fit, uses_gpu
    from ganforge.tracking.client import resolve_uri

    storage = checked_storage(storage)
    uri = resolve_uri(tracking_uri)
    console = Console()
    settings = start.prepared.settings
    with session(threads=settings.threads) as joined:
        each = worker_resources(settings.threads, uses_gpu(settings))
        wait_for_slots(settings.workers, each, joined=joined)
        if joined:
            check_machines(start.prepared, storage, uri)
        record = (_found if resume else _new)(start, uri, experiment, storage)
        place, tracking, desk = record.place, record.tracking, record.desk
        outcome, status = "interrupted", "KILLED"
        try:
            trained = fit(
                start.prepared,
                metric=start.metric,
                store=place,
                tracking=tracking,
                joined=joined,
                listener=AppendLog(console, start),
            )
            outcome, status = "finished", "FINISHED"
        except (TrainingFailed, SettingsError) as error:
            outcome, status = f"failed: {error}", "FAILED"
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2 if isinstance(error, SettingsError) else 1)
        finally:
            note = _try(lambda: describe_training(start, outcome, desk.known(tracking)))
            desk.end(tracking, status, outcome, note=note)
            desk.send(place)
            complete = desk.close()
    _tell(console, start, trained, place, desk.known(tracking))
    if not complete:
        print(
            f"warning       the tracking store failed: {desk.trouble or trained.tracking_trouble}"
        )
        print(f"              ganforge sync --storage {shlex.quote(storage)}   sends the rest")


def _tell(
    console: Console, start: Start, trained: "Trained", place: str, tracking: "RunRef"
) -> None:
    """How good it is, where everything is, and the commands to go on."""

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    value = trained.metrics.get(start.metric.name)
    line(f"\n{start.metric.name} {value:.3f}" if value is not None else "\nfinished")
    line(f"checkpoints   {place}")
    if not tracking.run_id:
        return
    where = f"--tracking-uri {shlex.quote(tracking.uri)}"
    line(f"sample grid   artifacts/grids of run {tracking.run_id}")
    for head, text in zip(("look at it", ""), ui_lines(tracking.uri), strict=False):
        line(f"{head:<14}{text}")
    line(f"prove it      ganforge reproduce --run {tracking.run_id} {where}")
    line(f"evaluate it   ganforge evaluate --model {tracking.run_id} --benchmark DIR {where}")


@dataclass(frozen=True)
class _Record:
    """A run's folder, its record, and the driver's way to the store."""

    place: str
    tracking: "RunRef"
    desk: "DriverClient"


def _new(start: Start, uri: str, experiment: str, storage: str) -> _Record:
    """A new run: its folder and its record. Training goes on without a store if need be."""
    from ganforge.tracking.artifacts import input_files
    from ganforge.tracking.driver import DriverClient
    from ganforge.tracking.runs import close_orphans
    from ganforge.training.files import join, open_folders

    name = time.strftime("train-%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    place = join(storage, name)
    desk = DriverClient(uri, experiment, _driver_folder(place, name))
    tracking = desk.open(name, _opening(start, name, place))
    desk.files(tracking, input_files(start.prepared))
    if tracking.run_id:
        _try(lambda: close_orphans(uri, experiment))
    about: dict[str, Any] = {"experiment": experiment, "system": start.prepared.system}
    about["tracking"] = asdict(tracking)
    open_folders(place).write(ABOUT, {"run.json": json.dumps(about).encode()})
    return _Record(place, tracking, desk)


def _opening(start: Start, name: str, place: str) -> "Opening":
    from ganforge.tracking.runs import Opening

    prepared = start.prepared
    return Opening(
        kind="train",
        name=name,
        settings=prepared.settings,
        fingerprint=prepared.facts.fingerprint,
        description=describe_training(start),
        tags={"storage": place, "warnings": "; ".join(prepared.warnings) or "none"},
    )


def describe_training(
    start: Start, outcome: str = "running", tracking: "RunRef | None" = None
) -> str:
    """What the run's page opens with; with `tracking` the stages that are recorded there."""
    from ganforge.tracking.description import (
        Description,
        data_words,
        describe_run,
        reproduce_command,
    )
    from ganforge.tracking.queries import fetch_stages

    prepared, metric = start.prepared, start.metric.name
    results = [] if tracking is None else fetch_stages(tracking.uri, tracking.run_id)
    commands: dict[str, str] = {}
    if tracking is not None and results:
        command = reproduce_command(tracking.uri, tracking.run_id)
        commands = {"Train it again and compare": command}
    facts = Description(
        f"Training of {prepared.system}",
        outcome,
        metric,
        results,
        commands,
        data=data_words(prepared.settings, prepared.facts.fingerprint),
        remarks=prepared.warnings,
    )
    return describe_run(facts)


def _driver_folder(place: str, name: str) -> Path:
    """Where the driver keeps what the store did not take: in the run's folder if that is here."""
    from ganforge.assets import cache_directory

    return (
        cache_directory() / "spools" / f"driver-{name}" if "://" in place else Path(place, "driver")
    )


def _found(start: Start, uri: str, experiment: str, storage: str) -> _Record:
    """The newest run of this experiment and system in the storage, and its record."""
    from ganforge.tracking.driver import DriverClient
    from ganforge.tracking.run_ref import RunRef
    from ganforge.tracking.runs import close_orphans
    from ganforge.training.files import join, open_folders
    from ganforge.training.resume import check_place

    root = open_folders(storage)
    for name in sorted((n for n in root.names() if n.startswith("train-")), reverse=True):
        place = join(storage, name)
        try:
            about = json.loads(open_folders(place).read(ABOUT, "run.json"))
        except (OSError, ValueError):
            continue
        if (about["experiment"], about["system"]) != (experiment, start.prepared.system):
            continue
        check_place(start.prepared, place)
        recorded = RunRef(**about["tracking"]) if about["tracking"] else None
        desk = DriverClient(
            recorded.uri if recorded else uri, experiment, _driver_folder(place, name)
        )
        tracking = recorded or desk.open(name, _opening(start, name, place))
        desk.resume(tracking)
        if desk.flush(10.0):
            _try(lambda u=tracking.uri: close_orphans(u, experiment))
        return _Record(place, desk.known(tracking), desk)
    raise SettingsError(
        f"--resume: {storage} has no run of experiment {experiment} and system "
        f"{start.prepared.system}; start one without --resume"
    )


def _try(call: Any) -> Any:
    """If the tracking store fails, training does not."""
    try:
        return call()
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"warning: tracking store: {first[:200]}; the training goes on")
        return None
