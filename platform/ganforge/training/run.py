"""Settings to a running loop: the only place where data, system, plan and store meet."""

import os
from collections.abc import Generator

import torch

from ganforge.data.prepare import open_data
from ganforge.schedule import Plan, Position
from ganforge.settings import SettingsError
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import SystemSettings
from ganforge.training.checkpoint import Snapshot, Store, restore
from ganforge.training.lineage import environment
from ganforge.training.loop import Training, train
from ganforge.training.prepare import Prepared
from ganforge.training.report import Report
from ganforge.training.resume import check_same, check_start, environment_from, find, started
from ganforge.training.run_record import RunRecord
from ganforge.training.workers import Workers


def run(
    prepared: Prepared,
    *,
    store: str | None = None,
    resume: bool = False,
    rank: int = 0,
    world: int = 1,
    start: Snapshot | None = None,
) -> Generator[Report]:
    """Train; yield reports, each after rank 0 has stored its state if it is to be stored.

    With `resume` the newest state in `store` that verifies is gone on from; its report comes first,
    again. `start` begins at any state: stages that are over by then keep their ids, those after it
    may have other settings. With world > 1 torch.distributed's default group must stand.
    """
    settings = prepared.settings
    device = choose_device(settings)
    be_deterministic(settings, device)
    plan = prepared.plan(device)
    workers = Workers(rank, world, device)
    place = Store(store) if store else None
    found = find(place, resume, workers)
    lineage = prepared.lineage(started(found, start))
    if found is not None:
        check_same(lineage, plan, found)
    elif start is not None:
        check_start(prepared, plan, start)
    snapshot = found or start
    present = environment_from(environment(device, settings.threads), snapshot)
    training = begin(prepared, plan, snapshot)
    ledger = RunRecord(prepared, plan, lineage, present, snapshot, rank)
    data = open_data(
        training.system.Data,
        settings,
        plan.stages,
        training.system.source_scale(settings),
        settings.seed,
        prepared.facts.fingerprint,
    )
    try:
        if found is not None:
            yield ledger.told_again(found, training, data)
        found = snapshot = start = None  # as large as the run itself: let go of it
        for report in train(training, plan, data, workers, prepared.assets):
            report = ledger.describe(training, report)
            if place and rank == 0 and stores(settings, report):
                place.save(training, ledger.record(report), settings.keep)
            yield report
    finally:
        data.close()


def choose_device(settings: SystemSettings) -> torch.device:
    """The device of this worker; a GPU that was asked for must be there."""
    if settings.device == "cpu" or (settings.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise SettingsError("device = cuda: this machine has no CUDA device; use auto or cpu")
    return torch.device("cuda", torch.cuda.current_device())


def be_deterministic(settings: SystemSettings, device: torch.device) -> None:
    """Threads and algorithms as the settings say: the same under Ray and in a bare process."""
    torch.set_num_threads(settings.threads)
    torch.backends.cudnn.benchmark = False
    deterministic = device.type == "cuda" and settings.exact_world_size
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic)  # imports the compiler: 3.5 s (measured)
    torch.set_float32_matmul_precision("highest")
    if device.type == "cuda":
        # without it deterministic matrix products are refused; read when cuBLAS is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.allow_tf32 = False


def begin(prepared: Prepared, plan: Plan, snapshot: Snapshot | None) -> Training:
    """A system before its first stage, or as a snapshot left it."""
    kind = load_system(prepared.system)
    system = kind(prepared.settings, prepared.assets)
    training = Training(system, Position())
    if snapshot is None:
        return training
    for index in range(snapshot.position.index + 1):
        system.grow(index)
        system.to(plan.device).to(memory_format=torch.channels_last)  # pyright: ignore
        for player in system.players:
            player.follow()
    try:
        restore(system, snapshot.groups)
    except (KeyError, RuntimeError) as error:
        raise SettingsError(
            f"the stored state does not fit the networks of these settings: {error}"
        ) from None
    training.position = snapshot.position
    return training


def stores(settings: SystemSettings, report: Report) -> bool:
    """Stage ends and checkpoints are stored; without `checkpoint_every` every report but those
    right after a growth is a checkpoint."""
    if report.kind != "progress":
        return True
    return settings.checkpoint_every is None and report.position.step > 0
