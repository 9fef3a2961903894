"""Search: Tune around Optuna around Train workers, one trial per suggestion."""

import secrets
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ray import tune

from ganforge.cluster.coordinator import TrialCoordinator
from ganforge.cluster.job import Job
from ganforge.cluster.placement import release
from ganforge.cluster.ray_trainer import reason
from ganforge.cluster.train import fit_job, make_job
from ganforge.schedule import Plan
from ganforge.search.callbacks import TuneCallback
from ganforge.search.capacity import gather, wait_for_capacity
from ganforge.search.journal import Journal, latest, local_file
from ganforge.search.request import Request, check_header, header
from ganforge.search.result import SearchResult, best_trial, summary_note
from ganforge.search.space import Space, check_space, distributions
from ganforge.search.strategies.halving import Halving
from ganforge.search.study import SearchState
from ganforge.search.tracking import SearchTracking
from ganforge.search.trial import Listener, Settle, Trial
from ganforge.search.tune_adapter import SeededSearch, StageEnds
from ganforge.settings import override
from ganforge.systems.base import Metric
from ganforge.tracking.run_ref import RunRef
from ganforge.training.files import join
from ganforge.training.prepare import Prepared

# Trial actors hold no CPU: with a share of one, only a single trial would fit on two CPUs.
_DRIVER = {"CPU": 0, "node:__internal_head__": 0.001}


def search(
    prepared: Prepared,
    space: Space,
    *,
    num_trials: int,
    concurrent: int | None = None,
    storage: str,
    tracking_uri: str,
    experiment: str,
    metric: Metric,
    seed: int = 0,
    reduction_factor: float = 2.0,
    resume: bool = False,
    joined: bool = False,
    nodes: int | None = None,
    listener: Listener | None = None,
    announce: Callable[[str], None] | None = None,
) -> SearchResult:
    """Search `space` around the settings of `prepared`, or go on with the newest such search.

    A session (cluster/session.py) must be open. `storage` holds `<search id>/trial-<k>` of every
    trial. `nodes` machines are waited for. `listener(trial, event)` is called with started, placed,
    progress, stage and ended, `announce` with the place of the comparison view under the store's
    address, before the first trial.
    """
    check_space(space, prepared.settings)
    if "://" not in storage:
        storage = str(Path(storage).expanduser().absolute())
    request = Request(
        prepared, space, num_trials, concurrent, storage, tracking_uri, experiment, metric, seed,
        reduction_factor,
    )  # fmt: skip
    exchange = TrialCoordinator()
    try:
        if joined:
            gather(nodes)
        job = make_job(prepared, metric, "", exchange)
        room = wait_for_capacity(request, job, joined=joined, nodes=nodes)
        search_id = latest(storage, experiment) if resume else new_id()
        journal = Journal(storage, search_id)
        with closing(journal):
            return _search(request, job, exchange, journal, room, listener or _nobody, announce)
    finally:
        exchange.close()


def _nobody(trial: Trial, event: str) -> None:
    """Listens to nothing."""


def new_id() -> str:
    """The name of a new search; names sort by time."""
    return time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)


def _search(
    request: Request,
    job: Job,
    exchange: TrialCoordinator,
    journal: Journal,
    room: int,
    listener: Listener,
    announce: Callable[[str], None] | None,
) -> SearchResult:
    prepared, metric = request.prepared, request.metric
    first = header(request)
    resumed = bool(journal.events)
    if resumed:
        first = check_header(journal, first)
    records = SearchTracking(
        request.tracking_uri,
        request.experiment,
        journal.search_id,
        prepared,
        first["space"],
        metric.name,
        local_file(request.storage, journal.search_id).parent / "driver",
        metric.mode,
        distributions(request.space),
    )
    if not resumed:
        records.open_parent()
        parent = asdict(records.parent) if records.parent else None
        journal.append("opened", **first, parent=parent)
    searcher = SeededSearch(
        request.space, metric.name, metric.mode, request.seed, first["startup_trials"]
    )
    if first["start"]:
        searcher.study.enqueue_trial(first["start"])
    halving = Halving(len(prepared.settings.stages), metric.mode, request.reduction_factor)
    search_state = SearchState(
        searcher.study,
        searcher.distributions,
        halving,
        journal,
        configurer(prepared),
        request.num_trials,
        records.open_trial,
    )
    searcher.search_state = search_state
    if resumed:
        # not before the journal has proved to be that of this search
        records.continue_parent(RunRef(**first["parent"]) if first["parent"] else None)
    if announce is not None and records.view:
        announce(records.view)
    watch = TuneCallback(search_state, records, listener)
    try:
        watch.end_those_over()
        if search_state.remaining:
            limit = min(room, request.concurrent or room, search_state.remaining)
            scheduler = StageEnds(search_state, exchange, metric.name)
            _tune(request, job, journal, searcher, scheduler, watch, limit)
    finally:
        result = _close(request, journal, search_state, records, watch)
    return result


def configurer(prepared: Prepared) -> Settle:
    """From a suggestion to its trial, resolved, and the plan; SettingsError for a bad one.

    Of the tensors a trial keeps only those that it does not share with the search."""

    def settle(params: dict[str, Any]) -> tuple[Prepared, Plan]:
        trial = prepared.with_settings(override(prepared.settings, params))
        own = {key: asset for key, asset in trial.assets.items() if key not in prepared.assets}
        return replace(trial, assets=own), trial.plan()

    return settle


def _tune(
    request: Request,
    job: Job,
    journal: Journal,
    searcher: SeededSearch,
    scheduler: StageEnds,
    watch: TuneCallback,
    limit: int,
) -> None:
    """Run Tune until no trial is left, or until it is interrupted."""

    def drive(config: dict[str, Any]) -> None:
        mine = replace(
            job,
            trial=config["trial"],
            store=config["store"],
            prepared=config["prepared"],
            searched=True,
            tracking=config["run"],
        )
        try:
            fit_job(mine, f"trial-{mine.trial:04d}", tune.report)
        except Exception as error:
            # told and not raised: Tune would print forty lines and throw the driver away
            tune.report({"failed": reason(error)})

    name = f"tune-{secrets.token_hex(3)}"
    tune.Tuner(
        tune.with_resources(drive, _DRIVER),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=watch.search_state.remaining,
            max_concurrent_trials=limit,
            # a trial's driver imports torch: once for each that runs at a time
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"trial-{trial.config['trial']:04d}",
        ),
        run_config=tune.RunConfig(
            name=name,
            # Tune's own state is not what a search is resumed from: the driver's disk is enough
            storage_path=str(local_file(request.storage, journal.search_id).parent / "ray"),
            callbacks=[watch],
            verbose=0,
        ),
    ).fit()


def _close(
    request: Request,
    journal: Journal,
    search_state: SearchState,
    records: SearchTracking,
    watch: TuneCallback,
) -> SearchResult:
    """End every run, whatever happened."""
    cut_off = list(search_state.unended())
    for trial in cut_off:
        # not journaled as ended: the resumed search goes on with it
        trial.finish("killed", "the search was interrupted")
        records.end_trial(trial)
        watch.listener(trial, "ended")
    interrupted = bool(cut_off) or len(search_state.trials) < request.num_trials
    trials = tuple(search_state.trials[number] for number in sorted(search_state.trials))
    best = best_trial(trials, request.metric.mode)
    note = summary_note(trials, best, request.metric.name, search_state.distributions)
    if best is not None:
        records.log_report(trials, best, search_state.study)
    if interrupted:
        records.end_parent("KILLED", "interrupted", best, note)
    elif best is None:
        records.end_parent("FAILED", "failed: no trial finished a stage", best, note)
    else:
        records.end_parent("FINISHED", "finished", best, note)
    for trial in cut_off:
        # after the record is complete: a cluster that is gone is waited for, until Ray gives up
        release(trial.groups)
    return SearchResult(
        journal.search_id,
        best,
        trials,
        records.parent,
        join(request.storage, journal.search_id),
        interrupted,
        records.trouble,
        records.view,
    )
