"""Search: Tune around Optuna around Train workers, one trial per suggestion."""

import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ray import tune

from ganforge.cluster.coordinator import TrialCoordinator
from ganforge.cluster.job import Job
from ganforge.cluster.machines import Slots
from ganforge.cluster.placement import release
from ganforge.cluster.session import graceful
from ganforge.cluster.train import make_job
from ganforge.cluster.trial_drivers import TrialDrivers
from ganforge.run_names import new_name
from ganforge.schedule import Plan
from ganforge.search.budget import Spent
from ganforge.search.by_stage import branches, space_for
from ganforge.search.capacity import wait_for_capacity
from ganforge.search.costs import search_costs
from ganforge.search.earlier import from_plain
from ganforge.search.editing import all_distributions, edit_event, opened_space
from ganforge.search.journal import Journal, latest, local_file, named
from ganforge.search.ledger_size import LedgerSize
from ganforge.search.mirror import FILE as MIRROR
from ganforge.search.mirror import Mirror
from ganforge.search.model_size import parameters
from ganforge.search.objectives import Objectives, check_several
from ganforge.search.repeats import standings
from ganforge.search.request import (
    SearchRequest,
    check_header,
    first_points,
    header,
    recorded_members,
)
from ganforge.search.result import SearchResult, best_trial, leading, summary_note
from ganforge.search.sampler import Sampler
from ganforge.search.space import Space, check_space, described, distributions
from ganforge.search.strategies.catalog import load_strategy, sampler_of
from ganforge.search.study import SearchState
from ganforge.search.tracking import SearchTracking
from ganforge.search.trial import Configure, Listener, Trial
from ganforge.search.trial_actor import trial_actor
from ganforge.search.tune_adapter import Rungs, Silent, StudySearcher, TuneCallback
from ganforge.settings import override
from ganforge.tracking.named_store import recorded_run
from ganforge.training.files import join, open_folders
from ganforge.training.prepare import Prepared

#: trials whose newest sample grid is kept for Optuna's dashboard, the best first
_GRIDS = 100
# Trial actors hold no CPU: with a share of one, only a single trial would fit on two CPUs.
_DRIVER = {"CPU": 0, "node:__internal_head__": 0.001}


def search(
    request: SearchRequest,
    listener: Listener | None = None,
    announce: Callable[[str, Callable[[], Spent]], None] | None = None,
) -> SearchResult:
    """Search, or continue an earlier search.

    A session (cluster/session.py) must be open. `listener(trial, event)` is called with started,
    placed, progress, rung, stage and ended, `announce` before the first trial: with the path of the
    comparison view under the tracking store's address, empty without one, and with what says at any
    time which time and devices the search has taken.
    """
    settings = request.prepared.settings
    check_space(request.space, settings)
    strategy = load_strategy(request.strategy, population=request.population)
    request = replace(request, space=space_for(strategy, request.space, settings))
    check_space(request.space, settings)
    if request.further:
        check_several(
            request.strategy,
            request.sampler,
            request.seeds,
            request.limits.confirm,
            request.warm_start,
        )
    if "://" not in request.storage:
        folder = Path(request.storage).expanduser().absolute()
        request = replace(request, storage=str(folder))
    coordinator = TrialCoordinator()
    try:
        job = make_job(request.prepared, request.metric, "", coordinator, grids=request.grids)
        job, slots = wait_for_capacity(request, job)
        journal = Journal(request.storage, _search_id(request))
        with closing(journal), closing(TrialDrivers(slots.trial_slots)) as drivers:
            running = _Search(
                request, job, coordinator, drivers, journal, slots, listener or _nobody
            )
            return running.run(announce)
    finally:
        coordinator.close()


def _nobody(trial: Trial, event: str) -> None:
    """Listens to nothing."""


def _search_id(request: SearchRequest) -> str:
    if not request.resume:
        return new_id(request.storage)
    if request.search_id:
        return named(request.storage, request.search_id)
    return latest(request.storage, request.experiment)


def new_id(storage: str) -> str:
    """The name of a new search; it sorts after those of the storage."""
    return new_name(open_folders(storage).names())


def use_named_store(journal: Journal, uri: str) -> None:
    """The runs that a journal names, in the store that the user named: SettingsError if the journal
    names another one. It lies in the storage, where others may be able to write."""
    for event in journal.events:
        for part in ("run", "parent"):
            if (recorded := event.get(part)) is not None:
                run = recorded_run(recorded, uri)
                event[part] = run and asdict(run)


def configurer(prepared: Prepared) -> Configure:
    """From a suggestion to its trial, resolved, and the plan; SettingsError for a bad one.

    Of the tensors a trial keeps only those that it does not share with the search. The seed of a
    repetition may split the data otherwise: they are read once for each."""
    by_seed = {prepared.settings.seed: prepared}

    def configure(params: dict[str, Any]) -> tuple[Prepared, Plan]:
        settings = override(prepared.settings, params)
        if settings.seed not in by_seed:
            seeded = override(prepared.settings, {"seed": settings.seed})
            by_seed[settings.seed] = prepared.with_settings(seeded)
        trial = by_seed[settings.seed].with_settings(settings)
        own = {key: asset for key, asset in trial.assets.items() if key not in prepared.assets}
        return replace(trial, assets=own), trial.plan()

    return configure


def objectives_of(request: SearchRequest) -> Objectives | None:
    """What trials are compared by where that is more than one metric."""
    if not request.further:
        return None

    def count(trial: Trial, stages: int) -> int:
        assets = request.prepared.assets | trial.prepared.assets
        return parameters(replace(trial.prepared, assets=assets), trial.plan, stages)

    return Objectives((request.metric, *request.further), count)


class _Search:
    """One search of this process: journal, state, record in MLflow, and Tune around them."""

    def __init__(
        self,
        request: SearchRequest,
        job: Job,
        coordinator: TrialCoordinator,
        drivers: TrialDrivers,
        journal: Journal,
        slots: Slots,
        listener: Listener,
    ):
        self.objectives = objectives_of(request)
        if self.objectives is not None:
            job = replace(job, further=self.objectives.measured[1:])
        ledger = request.storage if request.ledger else None
        self.request, self.job = request, replace(job, searched=True, ledger=ledger)
        self.coordinator, self.drivers = coordinator, drivers
        self.journal, self.slots = journal, slots.trial_slots
        self.devices = min(slots.trial_slots * job.workers, slots.worker_slots)
        opened = header(request)
        resumed = bool(journal.events)
        first_space: Space = request.space
        edit: dict[str, Any] = {}
        if resumed:
            opened = check_header(journal, opened, request.prepared)
            use_named_store(journal, request.tracking_uri)
            first_space = opened_space(opened, request.space)
            edit = edit_event(
                journal.events, request.space, request.points, request.limits, request.reason
            )
        self.tracking = SearchTracking(
            request.tracking_uri,
            request.experiment,
            journal.search_id,
            request.prepared,
            described(request.space),
            request.metric,
            local_file(request.storage, journal.search_id).parent / "driver",
            distributions(request.space),
            self.objectives,
        )
        if not resumed:
            self.tracking.open_parent()
            parent = asdict(self.tracking.parent) if self.tracking.parent else None
            journal.append("opened", **opened, parent=parent)
        strategy = load_strategy(
            request.strategy, request.reduction_factor, recorded_members(opened)
        )
        sampler = Sampler(
            first_space,
            [metric.mode for metric in (request.metric, *request.further)],
            request.seed,
            opened["startup_trials"],
            sampler_of(request.strategy, request.sampler),
            first_points(opened),
            branches(strategy),
            earlier=from_plain(opened["earlier"]),
            partial=strategy.pauses,
        )
        self.search_state = SearchState(
            sampler,
            strategy,
            journal,
            request.metric,
            configurer(request.prepared),
            request.limits,
            self.tracking.open_trial,
            request.seed,
            request.seeds,
            self.objectives,
        )
        if edit:
            self.search_state.edit(edit)
        if resumed:
            # not before the journal has proved to be that of this search
            self.tracking.continue_parent(recorded_run(opened["parent"], request.tracking_uri))
        self.ledger_size = LedgerSize(
            request.storage, request.keep_bytes, request.metric.mode, objectives=self.objectives
        )
        self.mirror = Mirror(
            local_file(request.storage, journal.search_id).with_name(MIRROR),
            journal.search_id,
            request.metric,
            all_distributions(journal.events, request.space),
            request.further,
        )
        self.mirror.follow(self.search_state.trials.values())

        def listen(trial: Trial, event: str) -> None:
            if event != "progress":
                self.mirror.follow([trial])
            if event in ("paused", "ended"):
                self.ledger_size.collect(self.search_state.trials.values())
            listener(trial, event)

        self.callback = TuneCallback(self.search_state, self.tracking, listen, drivers)

    def run(self, announce: Callable[[str, Callable[[], Spent]], None] | None) -> SearchResult:
        """Until no trial is left, or it is interrupted; every run is ended, whatever happens."""
        if announce is not None:
            announce(self.tracking.view, lambda: self.search_state.taken)
        try:
            self.callback.end_decided()
            if not self.search_state.over:
                self._tune()
        finally:
            result = self._close()
        return result

    def _tune(self) -> None:
        request = self.request
        folder = local_file(request.storage, self.journal.search_id).parent
        tuner = tune.Tuner(
            tune.with_resources(trial_actor(self.drivers.actor, self.coordinator.actor), _DRIVER),
            tune_config=tune.TuneConfig(
                search_alg=StudySearcher(self.search_state, self.coordinator, self.job),
                scheduler=Rungs(self.search_state, self.coordinator),
                # a trial that was paused and is continued is a new one to Tune
                num_samples=-1,
                max_concurrent_trials=min(self.slots, request.concurrent or self.slots),
                # a process takes a second to start: once for each that runs at a time
                reuse_actors=True,
                trial_dirname_creator=lambda t: f"trial-{t.config['trial']:04d}-{t.trial_id}",
            ),
            run_config=tune.RunConfig(
                name=f"tune-{secrets.token_hex(3)}",
                # Tune's own state is not what a search is resumed from: the driver's disk is enough
                storage_path=str(folder / "ray"),
                callbacks=[self.callback],
                progress_reporter=Silent(),
                verbose=0,
            ),
        )
        with graceful(self.coordinator.depart):
            tuner.fit()

    def _close(self) -> SearchResult:
        """End every run, whatever happened."""
        state, tracking, metric = self.search_state, self.tracking, self.request.metric
        self.callback.end_replaced()
        unended = list(state.unended())
        for trial in unended:
            # not journaled as ended: the resumed search continues it
            trial.finish("killed", "the search was interrupted")
            tracking.end_trial(trial)
            self.callback.listener(trial, "ended")
        for trial in state.trials.values():
            if trial.state == "paused":
                # not journaled: a search that is given more may continue it
                tracking.end_trial(trial)
        interrupted = bool(unended) or not state.over
        trials = tuple(state.trials[number] for number in sorted(state.trials))
        best, front = best_trial(trials, metric.mode), []
        if self.objectives is not None and (front := self.objectives.front(trials)):
            best = front[0]
        repeated = tuple(standings(trials, metric.mode))
        tracking.record_standings(trials, repeated)
        costs = search_costs(trials, state.spent.seconds, self.devices)
        note = summary_note(trials, best, metric.name, state.sampler.axes, self.objectives)
        if self.objectives is not None:
            tracking.mark_front(trials)
        self.mirror.follow(trials)
        facts = None
        if best is not None:
            facts = tracking.facts(trials, best, state.sampler.study, costs)
            tracking.log_report(facts)
            # after the report, for which the record was made complete
            shown = front[:_GRIDS] or leading(trials, metric.mode, _GRIDS)
            for trial, grid in tracking.newest_grids(shown):
                self.mirror.add_grid(trial, grid)
        if interrupted:
            tracking.end_parent("KILLED", "interrupted", best, note, costs)
        elif best is None:
            tracking.end_parent("FAILED", "failed: no trial finished a stage", best, note, costs)
        else:
            outcome = f"finished: {state.ended_early}" if state.ended_early else "finished"
            tracking.end_parent("FINISHED", outcome, best, note, costs)
        for trial in unended:
            # after the record is complete: Ray waits for a cluster that is gone
            release(trial.groups)
        return SearchResult(
            self.journal.search_id,
            best,
            trials,
            tracking.parent,
            join(self.request.storage, self.journal.search_id),
            interrupted,
            tracking.trouble,
            tracking.view,
            costs,
            self.ledger_size.line,
            state.ended_early,
            repeated,
            tuple(front),
            facts,
            state.spent.seconds,
        )
