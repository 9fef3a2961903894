"""Settings to a running loop: the only place where data, system, plan and store meet."""

import logging
import os
import socket
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from ganforge.data.base import Data
from ganforge.data.prepare import open_data
from ganforge.precision import full_float32
from ganforge.schedule import Plan
from ganforge.settings import SettingsError, validated
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import SystemSettings
from ganforge.training.checkpoint import Snapshot, Store, state_hashes
from ganforge.training.divergence import LastGood
from ganforge.training.ledger import Ledger
from ganforge.training.lineage import digest, environment
from ganforge.training.loop import Collapsed, NotFinite, Notice, Training, train
from ganforge.training.measure import measure
from ganforge.training.prepare import Prepared
from ganforge.training.report import NOTICES, Report
from ganforge.training.resume import (
    begin,
    check_same,
    check_start,
    environment_from,
    equivalent_code,
    find,
    recorded_equivalent,
    replay,
    started,
)
from ganforge.training.reuse import Departing, Reuse
from ganforge.training.run_record import RunRecord
from ganforge.training.workers import Workers

#: how much generated images vary, by how much real ones do
DIVERSITY = "validation/diversity_proxy"
logger = logging.getLogger("ganforge")


def run(
    prepared: Prepared,
    *,
    store: str | None = None,
    resume: bool = False,
    rank: int = 0,
    world: int = 1,
    start: Snapshot | None = None,
    gpu: bool | None = None,
    noticed: Callable[[], Notice] | None = None,
    ledger: Ledger | None = None,
) -> Generator[Report]:
    """Train; yield reports, each after rank 0 has stored its state if it is to be stored.

    A run that diverges ends with NotFinite, or goes back, as its settings say; one whose generator
    collapses may end with Collapsed.

    With `resume` the run continues from the newest state in `store` that verifies, whose report
    comes first, again; other code than its own must give its bits. `start` begins at any state:
    stages that are over by then keep their ids, those after it may have other settings. With
    world > 1 torch.distributed's default group must stand. `gpu` says whether a scheduler has given
    this worker a GPU; without a scheduler the settings decide. Where `noticed` asks for it (see
    training/loop.py), a state is stored between two batches and yielded as a bare report. What the
    `ledger` has of this run's stages is not trained again, and what is trained is entered there;
    it needs a store, and bits that repeat.
    """
    settings = prepared.settings
    device = choose_device(settings, gpu)
    be_deterministic(settings, device)
    plan = prepared.plan(device)
    workers = Workers(rank, world, device)
    states = Store(store) if store else None
    found = find(states, resume, workers)
    began = started(found, start)
    equivalent, code = recorded_equivalent(found), list[str]()
    if found is not None:
        code = check_same(prepared, plan, found)
    elif start is not None:
        check_start(prepared, plan, start)
    data, reuse = open_run_data(prepared, plan), None
    try:
        if code and found is not None and states is not None:
            if not prepared.accept_code:
                replay(prepared, plan, data, workers, states, found, start, code)
            equivalent = equivalent_code(found, prepared)
        lineage = prepared.lineage(began, equivalent.stage_ids if equivalent else ())
        snapshot = found or start
        present = environment_from(
            environment(device, settings.threads, settings.packages), snapshot
        )
        training = begin(prepared, plan, snapshot)
        record = RunRecord(prepared, plan, lineage, present, snapshot, rank, equivalent, world)
        if found is not None and found.manifest["kind"] not in NOTICES:
            yield record.reported_again(found, training, data)
        good = LastGood(snapshot) if settings.on_divergence == "rollback" else None
        found = snapshot = start = None  # as large as the run itself: let go of it
        if states is not None and ledger is not None and repeats(settings, device):
            identity, skip = record.environment_id, record.clock.skip
            alike = partial(measured_alike, prepared)
            reuse = Reuse(ledger, lineage, plan, identity, workers, noticed, skip, alike)
        kept = Kept(states if rank == 0 else None, record, settings.keep, reuse, good)
        while True:
            try:
                while reuse is not None and (taken := reuse.next(training.position)):
                    try:
                        training = begin(prepared, plan, taken)
                    except SettingsError as error:
                        reuse.drop(taken.position.index, str(error))
                        continue
                    report = record.taken_over(taken, training, data, workers)
                    kept.keep(report, training)
                    del taken
                    yield report
                for report in train(training, plan, data, workers, noticed):
                    if report.kind in NOTICES:
                        yield kept.notice(report, training)
                        continue
                    report = measure(training, plan, data, workers, report, prepared.assets)
                    check_collapse(report, settings)
                    report = record.describe(training, report)
                    if plan.stores(report.position):
                        kept.keep(report, training)
                    yield report
                    if reuse is not None and report.kind == "stage":
                        break  # the ledger may have the next one
                else:
                    return
            except Departing:
                position = training.position
                yield Report(position, "departure", plan.images_before(position), {})
                return
            except NotFinite as error:
                if good is None or isinstance(error, Collapsed):
                    raise
                training = good.go_back(prepared, plan, training, error)
                if rank == 0:
                    back = training.position
                    logger.warning("%s. Back to %s with halved learning rates", error, back)
    finally:
        if reuse is not None:
            reuse.release()
        data.close()


@dataclass(frozen=True)
class Kept:
    """Where the states of a run go: its store (on rank 0), the ledger, and memory, for a rollback.
    `names` of the store are those that the setting `keep` asks for."""

    states: Store | None
    record: RunRecord
    names: str
    reuse: Reuse | None
    good: LastGood | None

    def keep(self, report: Report, training: Training) -> None:
        """A state that the plan asks for, or that the ledger had."""
        if self.states is not None:
            name = self.states.save(training, self.record.manifest(report, training), self.names)
            if self.reuse is not None and report.stage is not None and not report.stage.reused:
                self.reuse.publish(report.position.index, self.states, name)
        if self.good is not None:
            self.good.keep(training)

    def notice(self, report: Report, training: Training) -> Report:
        """A state between two reports. A run that may go back does so to states of the plan alone,
        whenever it was ended: it has none of these."""
        if self.states is None or self.good is not None:
            return report
        report = replace(report, state=state_hashes(training.system))
        self.states.save(training, self.record.manifest(report, training), self.names)
        return report


def check_collapse(report: Report, settings: SystemSettings) -> None:
    """Raise Collapsed, where the settings ask for it, for images that are nearly all alike. Going
    back is not offered: what is measured would then decide weights."""
    found = report.metrics.get(DIVERSITY)
    if found is None or getattr(settings, "on_collapse", "report") != "stop":
        return
    least = getattr(settings, "collapse_below", 0.0)
    if found < least:
        raise Collapsed(
            f"{DIVERSITY} is {found:.3g} at {report.position}, below collapse_below = {least:g}: "
            "the generated images are nearly all alike. Fix: lower the generator's learning rate, "
            "or raise critic_steps or the penalty's weight; on_collapse = report trains on"
        )


def open_run_data(prepared: Prepared, plan: Plan) -> Data:
    """The data of a prepared run."""
    kind, settings = load_system(prepared.system), prepared.settings
    scale, fingerprint = kind.source_scale(settings), prepared.facts.fingerprint
    return open_data(kind.Data, settings, plan.stages, scale, settings.seed, fingerprint)


def repeats(settings: SystemSettings, device: torch.device) -> bool:
    """Whether training again gives the same bits: without that, a state stands only for itself."""
    return device.type == "cpu" or settings.deterministic


def measured_alike(prepared: Prepared, manifest: Mapping[str, Any]) -> bool:
    """Whether a stored state was measured by the same code, on the same images, as a run does."""
    here = prepared.settings.validation
    recorded = manifest["settings"].get("settings", {}).get("validation")
    measurement = manifest["stages"][-1].get("measurement_id")
    try:
        # as settings: a record has none of those that were added since
        same = validated(type(here), recorded) == here
    except SettingsError:
        same = False
    return same and measurement == digest(prepared.measurement)


def choose_device(settings: SystemSettings, gpu: bool | None = None) -> torch.device:
    """The device of this worker. `gpu`: what a scheduler has given it; None where there is none.

    A machine's GPU may be visible to a worker that was not given it. A GPU that was asked for, or
    given, must be one that torch can compute with.
    """
    if settings.device == "cpu" or gpu is False:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        if gpu:
            raise SettingsError(
                f"device = {settings.device}: the cluster gave this worker a GPU of "
                f"{socket.gethostname()}, and torch {torch.__version__} finds none there. "
                "Fix: a driver that is new enough for this torch (`nvidia-smi` shows it), or "
                "device=cpu"
            )
        if settings.device == "auto":
            return torch.device("cpu")
        raise SettingsError("device = cuda: this machine has no CUDA device; use auto or cpu")
    device = torch.device("cuda", torch.cuda.current_device())
    probe(device)
    return device


def probe(device: torch.device) -> None:
    """Compute one number on a device, so that one that does not work is named before training."""
    try:
        right = (torch.ones(8, device=device) * 2).sum().item() == 16
        fault = "" if right else "it computes wrong sums"
    except RuntimeError as error:
        fault = str(error).strip().partition("\n")[0]
    if fault:
        raise SettingsError(
            f"device = {device}: torch {torch.__version__} cannot compute on this GPU of "
            f"{socket.gethostname()} ({fault}). Fix: another driver, another build of torch, or "
            "device=cpu"
        )


def be_deterministic(settings: SystemSettings, device: torch.device) -> None:
    """Threads and algorithms as the settings say: the same under Ray and in a bare process."""
    torch.set_num_threads(settings.threads)
    torch.backends.cudnn.benchmark = False
    deterministic = device.type == "cuda" and settings.deterministic
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic)  # imports the compiler: 3.5 s (measured)
    full_float32()
    if device.type == "cuda":
        # nothing reads memory before it is written; filling it takes a kernel for each tensor
        setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
        # without it deterministic matrix products are refused; read when cuBLAS is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
