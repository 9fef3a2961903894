"""`ganforge train`: one configuration, on the cluster this is run on or on a local one."""

import json
import secrets
import shlex
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ganforge.configure import Words
from ganforge.settings import SettingsError
from ganforge.verbs.start import Start, checked_storage, settle, ui_lines

if TYPE_CHECKING:
    from ganforge.cluster.train import Trained
    from ganforge.tracking.record import Tracking

ABOUT = "about"


def train(
    words: Words,
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
    from ganforge.cluster.session import session, wait_for_slots, worker_resources
    from ganforge.cluster.train import TrainingFailed, fit, uses_gpu
    from ganforge.tracking.runs import end_run
    from ganforge.tracking.store import resolve_uri

    storage = checked_storage(storage)
    uri = resolve_uri(tracking_uri)
    console = Console()
    settings = start.prepared.settings
    with session(threads=settings.threads) as joined:
        each = worker_resources(settings.threads, uses_gpu(settings))
        wait_for_slots(settings.workers, each, joined=joined)
        place, tracking = (_found if resume else _new)(start, uri, experiment, storage)
        outcome, status = "failed: interrupted", "KILLED"
        try:
            trained = fit(
                start.prepared,
                metric=start.metric,
                store=place,
                tracking=tracking,
                joined=joined,
                listener=_Lines(console, start),
            )
            outcome, status = "finished", "FINISHED"
        except (TrainingFailed, SettingsError) as error:
            outcome, status = f"failed: {error}", "FAILED"
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2 if isinstance(error, SettingsError) else 1)
        finally:
            if tracking is not None:
                note = _try(lambda: describe_training(start, outcome, tracking))
                _try(lambda: end_run(tracking, status, outcome, note=note))
    _tell(console, start, trained, place, tracking)


def _tell(
    console: Console, start: Start, trained: "Trained", place: str, tracking: "Tracking | None"
) -> None:
    """How good it is, where everything is, and the commands to go on."""

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    value = trained.metrics.get(start.metric.name)
    line(f"\n{start.metric.name} {value:.3f}" if value is not None else "\nfinished")
    line(f"checkpoints   {place}")
    if tracking is None:
        return
    where = f"--tracking-uri {shlex.quote(tracking.uri)}"
    line(f"sample grid   artifacts/grids of run {tracking.run_id}")
    for head, text in zip(("look at it", ""), ui_lines(tracking.uri), strict=False):
        line(f"{head:<14}{text}")
    line(f"prove it      ganforge reproduce --run {tracking.run_id} {where}")
    line(f"evaluate it   ganforge evaluate --model {tracking.run_id} --benchmark DIR {where}")
    if trained.tracking_trouble:
        line(f"warning       the tracking store failed: {trained.tracking_trouble}")
        line(f"              what it did not take is in {place}/tracking.jsonl")


def _new(start: Start, uri: str, experiment: str, storage: str) -> "tuple[str, Tracking | None]":
    """A new run: its folder and its record. Training goes on without a record if need be."""
    from ganforge.tracking.runs import reap
    from ganforge.training.files import join, open_folders

    name = time.strftime("train-%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    place = join(storage, name)
    _try(lambda: reap(uri, experiment))
    tracking = _try(lambda: open_record(start, uri, experiment, name, place))
    about: dict[str, Any] = {"experiment": experiment, "system": start.prepared.system}
    about["tracking"] = asdict(tracking) if tracking is not None else None
    open_folders(place).write(ABOUT, {"run.json": json.dumps(about).encode()})
    return place, tracking


def open_record(start: Start, uri: str, experiment: str, name: str, place: str) -> "Tracking":
    """The run in MLflow, with the files it needs to be done again elsewhere."""
    from ganforge.tracking.files import log_inputs
    from ganforge.tracking.runs import Opening, open_run

    prepared = start.prepared
    opening = Opening(
        kind="train",
        name=name,
        settings=prepared.settings,
        fingerprint=prepared.facts.fingerprint,
        description=describe_training(start),
        tags={"storage": place, "warnings": "; ".join(prepared.warnings) or "none"},
    )
    tracking = open_run(uri, experiment, opening)
    log_inputs(tracking, prepared)
    return tracking


def describe_training(
    start: Start, outcome: str = "running", tracking: "Tracking | None" = None
) -> str:
    """What the run's page opens with; with `tracking` the stages that are recorded there."""
    from ganforge.tracking.description import (
        Description,
        StageScore,
        data_words,
        describe_run,
        reproduce_command,
    )
    from ganforge.tracking.read import fetch_stages

    prepared, metric = start.prepared, start.metric.name
    rows = [] if tracking is None else fetch_stages(tracking.uri, tracking.run_id)
    scores = [
        StageScore(
            row["resolution"], row["metrics"].get(metric), row["metrics"].get(f"{metric}_bicubic")
        )
        for row in rows
    ]
    commands: dict[str, str] = {}
    if tracking is not None and rows:
        command = reproduce_command(tracking.uri, tracking.run_id)
        commands = {"Train it again and compare": command}
    facts = Description(
        f"Training of {prepared.system}",
        outcome,
        metric,
        scores,
        commands,
        data=data_words(prepared.settings, prepared.facts.fingerprint),
        remarks=prepared.warnings,
    )
    return describe_run(facts)


def _found(start: Start, uri: str, experiment: str, storage: str) -> "tuple[str, Tracking | None]":
    """The newest run of this experiment and system in the storage, and its record."""
    from ganforge.tracking.record import Tracking
    from ganforge.tracking.runs import continue_run
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
        tracking = Tracking(**about["tracking"]) if about["tracking"] else None
        if tracking is not None:
            _try(lambda t=tracking: continue_run(t))
        return place, tracking
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


class _Lines:
    """A line for each report: where the run is, how fast, how good."""

    def __init__(self, console: Console, start: Start):
        self.console, self.stages = console, start.prepared.settings.stages
        self.metric = start.metric.name
        self.began = time.monotonic()

    def __call__(self, told: dict[str, Any]) -> None:
        if "index" not in told:
            return
        index, minutes = told["index"], (time.monotonic() - self.began) / 60
        score = "" if told["score"] is None else f"  {self.metric} {told['score']:.3f}"
        self.console.print(
            f"{minutes:6.1f} min  stage {index + 1}/{len(self.stages)} "
            f"({self.stages[index].resolution} px)  step {told['step']}  "
            f"images {told['images']}  alpha {told['alpha']:.2f}{score}",
            highlight=False,
            soft_wrap=True,
        )
