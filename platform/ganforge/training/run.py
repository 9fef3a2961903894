"""Settings to a running loop: the only place where data, system, plan and store meet."""

import os
from collections.abc import Callable, Generator
from dataclasses import replace

import torch

from ganforge.data.base import Data
from ganforge.data.prepare import open_data
from ganforge.schedule import Plan
from ganforge.settings import SettingsError
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import SystemSettings
from ganforge.training.checkpoint import Snapshot, Store, state_hashes
from ganforge.training.lineage import environment
from ganforge.training.loop import Notice, train
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
    noticed: Callable[[], Notice] | None = None,
) -> Generator[Report]:
    """Train; yield reports, each after rank 0 has stored its state if it is to be stored.

    With `resume` the run continues from the newest state in `store` that verifies, whose report
    comes first, again; other code than its own must give its bits. `start` begins at any state:
    stages that are over by then keep their ids, those after it may have other settings. With
    world > 1 torch.distributed's default group must stand. Where `noticed` asks for it (see
    training/loop.py), a state is stored between two batches and yielded as a bare report.
    """
    settings = prepared.settings
    device = choose_device(settings)
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
    data = open_run_data(prepared, plan)
    try:
        if code and found is not None and states is not None:
            if not prepared.accept_code:
                replay(prepared, plan, data, workers, states, found, start, code)
            equivalent = equivalent_code(found, prepared)
        lineage = prepared.lineage(began, equivalent.stage_ids if equivalent else ())
        snapshot = found or start
        present = environment_from(environment(device, settings.threads), snapshot)
        training = begin(prepared, plan, snapshot)
        record = RunRecord(prepared, plan, lineage, present, snapshot, rank, equivalent)
        if found is not None and found.manifest["kind"] not in NOTICES:
            yield record.reported_again(found, training, data)
        found = snapshot = start = None  # as large as the run itself: let go of it
        for report in train(training, plan, data, workers, noticed):
            if report.kind in NOTICES:
                if states and rank == 0:
                    report = replace(report, state=state_hashes(training.system))
                    states.save(training, record.manifest(report), settings.keep)
                yield report
                continue
            report = measure(training, plan, data, workers, report, prepared.assets)
            report = record.describe(training, report)
            if states and rank == 0 and plan.stores(report.position):
                states.save(training, record.manifest(report), settings.keep)
            yield report
    finally:
        data.close()


def open_run_data(prepared: Prepared, plan: Plan) -> Data:
    """The data of a prepared run."""
    kind, settings = load_system(prepared.system), prepared.settings
    scale, fingerprint = kind.source_scale(settings), prepared.facts.fingerprint
    return open_data(kind.Data, settings, plan.stages, scale, settings.seed, fingerprint)


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
