"""`ganforge tune`: search a system's settings."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ganforge.commands.configure import CliOptions, print_images
from ganforge.commands.resumed_search import Earlier, LimitOptions, as_recorded, earlier
from ganforge.commands.search_options import (
    check_computed,
    check_points_by,
    check_warm_start,
    choose_metrics,
    load_earlier,
    load_points,
    load_space,
    points_metric,
)
from ganforge.commands.search_result import finish, print_front, print_result
from ganforge.commands.start import (
    check_addresses,
    checked_storage,
    local_folder,
    prepare_start,
    ui_lines,
)
from ganforge.console import Console, complain
from ganforge.events import Listener
from ganforge.listeners.catalog import load_listeners
from ganforge.settings import SettingsError
from ganforge.systems.catalog import load_system

if TYPE_CHECKING:
    from ganforge.search.limits import Limits
    from ganforge.search.result import SearchResult
    from ganforge.search.space import Space
    from ganforge.search.trial import Trial
    from ganforge.systems.base import Metric


@dataclass(frozen=True)
class TuneOptions:
    """The options of `ganforge tune`, besides those about settings."""

    space: str | Mapping[str, Any] | None = None
    strategy: str = "halving"
    sampler: str = "tpe"
    population: int | None = None
    points: str | None = None
    points_by: str | None = None
    warm_start: tuple[str, ...] = ()
    limits: LimitOptions = field(default_factory=LimitOptions)
    keep_bytes: str | None = None
    concurrent: int | None = None
    nodes: int | None = None
    seed: int = 0
    seeds: int | None = None
    metrics: list[str] = field(default_factory=list)
    experiment: str = "ganforge"
    tracking_uri: str | None = None
    storage: str = "ganforge-runs"
    register: str | None = None
    resume: bool = False
    search_id: str = ""
    reason: str = ""
    accept: list[str] = field(default_factory=list)
    dry_run: bool = False
    listeners: Sequence[str | Listener] = ()


@dataclass(frozen=True)
class Searched:
    """A search that is over, or was interrupted, and what its trials were compared by."""

    result: "SearchResult"
    metric: "Metric"
    uri: str


def tune(settings_options: CliOptions, options: TuneOptions) -> Searched | None:
    """Check, search, report which trial is best and what can be done with it; None after a dry run.

    Without a system, a preset and a settings file, the flagship's `quick` preset is searched.
    """
    from ganforge.search.budget import parse_bytes
    from ganforge.search.named_samplers import make_sampler
    from ganforge.search.objectives import check_several
    from ganforge.search.strategies.catalog import load_strategy
    from ganforge.search.strategies.pbt import members

    check_addresses(options.tracking_uri, options.storage)
    listeners = load_listeners(options.listeners)
    chosen = load_strategy(options.strategy, population=options.population)
    check_warm_start(options.warm_start, options.strategy, options.sampler, options.metrics)
    make_sampler(options.sampler, options.seed, 1)
    check_points_by(options.points, options.points_by)
    keep_bytes = None if options.keep_bytes is None else parse_bytes(options.keep_bytes)
    before = earlier(
        options.storage, options.experiment, options.resume, options.search_id, options.reason
    )
    limits = options.limits.limits(before.in_force.get("limits"))
    if len(options.metrics) > 1:
        check_several(
            options.strategy,
            options.sampler,
            options.seeds or 1,
            limits.confirm,
            options.warm_start,
        )
    settings_options = as_recorded(settings_options, before)
    named = settings_options.system or settings_options.settings_file
    domains: dict[str, Any] = {}

    said: list[str] = []
    objectives: list[Metric] = []

    def examine(system: str, settings: Any) -> None:
        objectives.extend(choose_metrics(load_system(system), options.metrics, settings))
        if options.strategy == "pbt":
            members(options.population, limits.num_trials, len(settings.stages))
        space, removed = load_space(options.space, system, settings, settings_options, chosen)
        domains.update(space)
        said.extend(removed)

    preset = "paper" if named else "quick"
    # of several metrics `examine` looks at all
    metric = options.metrics[0] if len(options.metrics) == 1 else None
    start = prepare_start(
        settings_options, metric, options.dry_run, preset, examine, options.accept
    )
    if start is None:
        return None
    if objectives:
        start = replace(start, metric=objectives[0])
        check_computed(start.prepared, objectives)
    # Ray takes seconds to import: not before the input is known to be good
    from ganforge.cluster.session import check_local_start, cluster_address, session
    from ganforge.search.dashboard import Progress
    from ganforge.search.eta import expected_share
    from ganforge.search.request import SearchRequest
    from ganforge.search.search import search
    from ganforge.search.space import start_values
    from ganforge.search.trial_events import pass_on
    from ganforge.tracking.client import resolve_uri
    from ganforge.tracking.recordable import check_recordable
    from ganforge.tracking.registry import check_model_name
    from ganforge.tracking.server import own_server

    if options.register is not None:
        check_model_name(options.register, "--register")
    uri = resolve_uri(options.tracking_uri)
    storage = checked_storage(options.storage)
    before = earlier(storage, options.experiment, options.resume, options.search_id, options.reason)
    limits = options.limits.limits(before.in_force.get("limits"))
    check_recordable(uri, options.experiment)
    console = Console()
    if options.nodes is not None and options.nodes > 1 and cluster_address() is None:
        raise SettingsError(
            f"nodes = {options.nodes}: there is no cluster here; start it with `ray up`, or leave "
            "--nodes (GANFORGE_NODES) out"
        )
    print_images(start.images)
    for line in said:
        console.print(line, highlight=False, soft_wrap=True)
    ranked_by = points_metric(options.points, options.points_by, start.metric)
    points = load_points(options.points, domains, start.prepared.settings, ranked_by, uri)
    # a resumed search has them in its journal
    guides = () if options.resume else options.warm_start
    studies = load_earlier(guides, domains, start.prepared.settings, start.metric, uri)
    for study in studies:
        console.print(study.line, highlight=False, soft_wrap=True)
    print_edits(console, before, options.reason, (domains, points, limits))
    share = expected_share(chosen, domains, start.prepared.plan(), limits.num_trials)
    check_local_start()
    wanted = several(limits.num_trials, options.concurrent)
    with (
        # before Ray: it takes as long to start, and the workers get its address
        own_server(uri, local_folder(storage), wanted=wanted),
        session(threads=start.prepared.settings.threads) as joined,
        Progress(limits.num_trials, start.metric.name, share=share, console=console) as progress,
    ):
        request = SearchRequest(
            start.prepared,
            domains,
            start.metric,
            storage,
            uri,
            options.experiment,
            limits=limits,
            strategy=options.strategy,
            sampler=options.sampler,
            population=options.population,
            points=points,
            warm_start=options.warm_start,
            earlier=studies,
            keep_bytes=keep_bytes,
            concurrent=options.concurrent,
            seed=options.seed,
            seeds=options.seeds or before.in_force.get("seeds", 1),
            resume=bool(before.search_id),
            search_id=before.search_id,
            reason=options.reason,
            joined=joined,
            nodes=options.nodes,
            further=tuple(objectives[1:]),
            grids=bool(listeners),
        )

        def listen(trial: "Trial", event: str) -> None:
            progress(trial, event)
            pass_on(listeners, trial, event)

        result = search(request, listen, lambda view: _announce(console, uri, view))
    asked = start_values(domains, start.prepared.settings)
    print_result(console, result, start.metric, uri, storage, asked)
    if objectives:
        print_front(console, result, objectives)
    best = result.best
    if best is not None and best.run is not None and best.run.run_id and not result.interrupted:
        finish(console, best.run.run_id, start, options.register or options.experiment, uri)
    if best is None:
        reasons = {trial.reason for trial in result.trials if trial.reason}
        reasons |= {result.ended_early} - {""}
        complain("no trial finished a stage: " + "; ".join(sorted(reasons)))
    return Searched(result, start.metric, uri)


def exit_code(searched: Searched | None) -> int:
    """130 where a search was interrupted; else 0 where it has a best trial, 1 where it has none."""
    if searched is None:
        return 0
    if searched.result.interrupted:
        return 130
    return 1 if searched.result.best is None else 0


def print_edits(
    console: Console,
    before: Earlier,
    reason: str,
    asked: "tuple[Space, tuple[dict[str, Any], ...], Limits]",
) -> None:
    """Print what is changed in the search that is continued; SettingsError where it cannot be."""
    from ganforge.search.editing import edit_event, lines

    if not before.events:
        return
    edit = edit_event(before.events, *asked, reason)
    said = lines(edit) if edit else []
    if reason and not edit:
        said = ["nothing: the reason is not recorded"]
    for head, text in zip(["edited", *[""] * len(said)], said, strict=False):
        console.print(f"{head:<14}{text}", highlight=False, soft_wrap=True)


def _announce(console: Console, uri: str, view: str) -> None:
    """Print where the trials can be compared while they run."""
    for head, text in zip(("watch", ""), ui_lines(uri, view), strict=False):
        console.print(f"{head:<14}{text}", highlight=False, soft_wrap=True)


def several(trials: int, concurrent: int | None) -> bool:
    """Whether more than one trial may write to the tracking store at a time, on this machine."""
    from ganforge.cluster.session import cluster_address

    return min(trials, concurrent or trials, os.cpu_count() or 1) > 1 and not cluster_address()
