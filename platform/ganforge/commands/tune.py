"""`ganforge tune`: search a system's settings."""

import os
from collections.abc import Callable, Mapping, Sequence
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
    load_space,
    points_metric,
    points_of_file,
    points_of_runs,
)
from ganforge.commands.search_result import finish, print_front, print_result
from ganforge.commands.start import (
    Checked,
    Start,
    check_addresses,
    check_start,
    checked_storage,
    local_folder,
    ui_lines,
)
from ganforge.console import Console, complain
from ganforge.events import Listener, Listeners
from ganforge.listeners.catalog import load_listeners
from ganforge.settings import SettingsError
from ganforge.systems.catalog import load_system

if TYPE_CHECKING:
    from ganforge.search.budget import Spent
    from ganforge.search.limits import Limits
    from ganforge.search.result import SearchResult
    from ganforge.search.space import Space
    from ganforge.search.strategies.base import Strategy
    from ganforge.search.trial import Trial
    from ganforge.systems.base import Metric


@dataclass(frozen=True)
class TuneOptions:
    """The options of `ganforge tune`, besides those about settings."""

    space: str | Mapping[str, Any] | None = None
    strategy: str | None = None
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


@dataclass(frozen=True)
class _Asked:
    """What is searched, as checked with the settings: the strategy's name and the strategy, the
    domains, the line for each that --set fixes, several metrics, and the points of a file (None:
    they are of runs)."""

    options: TuneOptions
    name: str
    strategy: "Strategy"
    limits: "Limits"
    domains: dict[str, Any]
    fixed: list[str]
    objectives: "tuple[Metric, ...]"
    points: tuple[dict[str, Any], ...] | None

    @classmethod
    def of(
        cls,
        options: TuneOptions,
        settings_options: CliOptions,
        name: str,
        strategy: "Strategy",
        limits: "Limits",
        checked: Checked,
    ) -> "_Asked":
        from ganforge.search.strategies.pbt import members

        system, settings = checked.system, checked.settings
        objectives = choose_metrics(load_system(system), options.metrics, settings)
        if name == "pbt":
            members(options.population, limits.num_trials, len(settings.stages))
        domains, fixed = load_space(options.space, system, settings, settings_options, strategy)
        points = points_of_file(options.points, domains, settings)
        return cls(options, name, strategy, limits, domains, fixed, objectives, points)


def tune(settings_options: CliOptions, options: TuneOptions) -> Searched | None:
    """Check, search, report which trial is best and what can be done with it; None after a dry run.

    Without a system, a preset and a settings file, the flagship's `quick` preset is searched.
    """
    check_addresses(options.tracking_uri, options.storage)
    listeners = load_listeners(options.listeners)
    _check_options(options)
    before = _earlier(options.storage, options)
    limits = options.limits.limits(before.in_force.get("limits"))
    name, strategy = _strategy(options, before, limits)
    settings_options = as_recorded(settings_options, before)
    named = settings_options.system or settings_options.settings_file
    # several metrics are looked at together
    metric = options.metrics[0] if len(options.metrics) == 1 else None
    checked = check_start(settings_options, metric, "paper" if named else "quick", options.accept)
    asked = _Asked.of(options, settings_options, name, strategy, limits, checked)
    if options.dry_run:
        return checked.show()
    start = checked.prepare()
    if asked.objectives:
        start = replace(start, metric=asked.objectives[0])
        check_computed(start.prepared, asked.objectives)
    return _search(start, asked, listeners)


def _check_options(options: TuneOptions) -> None:
    """SettingsError where an option is bad whatever the settings are."""
    from ganforge.search.budget import parse_bytes
    from ganforge.search.named_samplers import make_sampler
    from ganforge.tracking.registry import check_model_name

    if options.register is not None:
        check_model_name(options.register, "--register")
    _check_nodes(options.nodes)
    make_sampler(options.sampler, options.seed, 1)
    check_points_by(options.points, options.points_by)
    if options.keep_bytes is not None:
        parse_bytes(options.keep_bytes)


def _strategy(options: TuneOptions, before: Earlier, limits: "Limits") -> "tuple[str, Strategy]":
    """The strategy, with its name; SettingsError where it is unknown, or does not go with the other
    options. Where none is given it is that of the search that is continued, else halving."""
    from ganforge.search.objectives import check_several
    from ganforge.search.strategies.catalog import STRATEGIES, load_strategy

    recorded = before.in_force.get("strategy")
    # a journal says which of ours it was; a file of somebody's own is run only where it is given
    name = options.strategy or (recorded if recorded in tuple(STRATEGIES) else "halving")
    strategy = load_strategy(name, population=options.population)
    check_warm_start(options.warm_start, name, options.sampler, options.metrics)
    if len(options.metrics) > 1:
        seeds = options.seeds or 1
        check_several(name, options.sampler, seeds, limits.confirm, options.warm_start)
    return name, strategy


def _earlier(storage: str, options: TuneOptions) -> Earlier:
    """The search that is continued, if one is."""
    o = options
    return earlier(storage, o.experiment, o.resume, o.search_id, o.reason)


def _search(start: Start, asked: _Asked, listeners: Listeners) -> Searched:
    """Run the search, on this machine or the cluster that is joined, and print what it found."""
    # Ray takes seconds to import: not before the input is known to be good
    from ganforge.cluster.session import check_local_start, session
    from ganforge.search.budget import parse_bytes
    from ganforge.search.dashboard import Progress
    from ganforge.search.eta import expected_share
    from ganforge.search.request import SearchRequest
    from ganforge.search.search import search
    from ganforge.search.space import start_values
    from ganforge.search.trial_events import pass_on
    from ganforge.tracking.client import resolve_uri
    from ganforge.tracking.recordable import check_recordable
    from ganforge.tracking.server import own_server

    options, limits, domains = asked.options, asked.limits, asked.domains
    settings = start.prepared.settings
    uri = resolve_uri(options.tracking_uri)
    storage = checked_storage(options.storage)
    before = _earlier(storage, options)
    check_recordable(uri, options.experiment)
    console = Console()
    print_images(start.images)
    _print(console, asked.fixed)
    points = asked.points
    if points is None and options.points is not None:
        ranked_by = points_metric(options.points, options.points_by, start.metric)
        points = points_of_runs(options.points, domains, settings, ranked_by, uri)
    # a resumed search has them in its journal
    guides = () if options.resume else options.warm_start
    studies = load_earlier(guides, domains, settings, start.metric, uri)
    _print(console, [study.line for study in studies])
    print_edits(console, before, options.reason, (domains, points or (), limits))
    share = expected_share(asked.strategy, domains, start.prepared.plan(), limits.num_trials)
    check_local_start()
    wanted = several(limits.num_trials, options.concurrent)
    with (
        # before Ray: it takes as long to start, and the workers get its address
        own_server(uri, local_folder(storage), wanted=wanted),
        session(threads=settings.threads) as joined,
        Progress(limits, start.metric.name, share=share, console=console) as progress,
    ):
        request = SearchRequest(
            start.prepared,
            domains,
            start.metric,
            storage,
            uri,
            options.experiment,
            limits=limits,
            strategy=asked.name,
            sampler=options.sampler,
            population=options.population,
            points=points or (),
            warm_start=options.warm_start,
            earlier=studies,
            keep_bytes=None if options.keep_bytes is None else parse_bytes(options.keep_bytes),
            concurrent=options.concurrent,
            seed=options.seed,
            seeds=options.seeds or before.in_force.get("seeds", 1),
            resume=bool(before.search_id),
            search_id=before.search_id,
            reason=options.reason,
            joined=joined,
            nodes=options.nodes,
            further=tuple(asked.objectives[1:]),
            grids=bool(listeners),
        )

        def listen(trial: "Trial", event: str) -> None:
            progress(trial, event)
            pass_on(listeners, trial, event)

        def begun(view: str, spent: "Callable[[], Spent]") -> None:
            progress.spent = spent
            if view:
                _announce(console, uri, view)

        result = search(request, listen, begun)
    print_result(console, result, start.metric, uri, storage, start_values(domains, settings))
    if asked.objectives:
        print_front(console, result, asked.objectives)
    best = result.best
    if best is not None and best.run is not None and best.run.run_id and not result.interrupted:
        finish(console, best.run.run_id, start, options.register or options.experiment, uri)
    if best is None:
        reasons = {trial.reason for trial in result.trials if trial.reason}
        reasons |= {result.ended_early} - {""}
        complain("no trial finished a stage: " + "; ".join(sorted(reasons)))
    return Searched(result, start.metric, uri)


def _check_nodes(nodes: int | None) -> None:
    """SettingsError where several machines are asked for and there is no cluster."""
    if nodes is None or nodes < 2:
        return
    from ganforge.cluster.session import cluster_address

    if cluster_address() is None:
        raise SettingsError(
            f"nodes = {nodes}: there is no cluster here; start it with `ray up`, or leave "
            "--nodes (GANFORGE_NODES) out"
        )


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
    heads = ["edited", *[""] * len(said)]
    _print(console, [f"{head:<14}{text}" for head, text in zip(heads, said, strict=False)])


def _announce(console: Console, uri: str, view: str) -> None:
    """Print where the trials can be compared while they run."""
    lines = zip(("watch", ""), ui_lines(uri, view), strict=False)
    _print(console, [f"{head:<14}{text}" for head, text in lines])


def _print(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def several(trials: int, concurrent: int | None) -> bool:
    """Whether more than one trial may write to the tracking store at a time, on this machine."""
    from ganforge.cluster.session import cluster_address

    return min(trials, concurrent or trials, os.cpu_count() or 1) > 1 and not cluster_address()
