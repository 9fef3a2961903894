"""The commands that train: one configuration, a search, its plan, and a recorded run anew."""

import sys
from typing import Annotated

import typer

from ganforge.commands.called import command, module
from ganforge.commands.configure import CliOptions
from ganforge.commands.json_document import document
from ganforge.commands.options import (
    Accept,
    AsJson,
    Confirm,
    ConfirmSeeds,
    Data,
    DryRun,
    Experiment,
    File,
    From,
    FromPart,
    Gpu,
    Listen,
    LowResolution,
    MetricName,
    MetricNames,
    Nodes,
    Preset,
    Resume,
    Rungs,
    RunId,
    Scale,
    Seed,
    Seeds,
    Set,
    Start,
    Storage,
    Strict,
    System,
    Target,
    TensorBoard,
    TrustCode,
    Uri,
    Validation,
    ValidationLowResolution,
    Workers,
)
from ganforge.commands.resumed_search import CONFIRM_SEEDS, LimitOptions


def train(
    system: System = None, preset: Preset = None, data: Data = None, settings: File = None,
    workers: Workers = None, gpu: Gpu = False, metric: MetricName = None,
    experiment: Experiment = "ganforge", tracking_uri: Uri = None,
    storage: Storage = "ganforge-runs", seed: Seed = None, changes: Set = None,
    start: Start = None, target: Target = None, scale: Scale = None,
    begin_with: From = None, begin_part: FromPart = "all", trust_code: TrustCode = False,
    strict: Strict = False, listener: Listen = None, tensorboard: TensorBoard = None,
    resume: Resume = False, accept: Accept = None, dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Train one configuration."""
    from ganforge.commands.results import train_result
    from ganforge.commands.train import TrainOptions
    from ganforge.commands.train import train as run

    with document("train", as_json) as made:
        options = CliOptions(
            system=system, preset=preset, settings_file=settings, data=tuple(data or ()),
            workers=workers, gpu=gpu, seed=seed, start=start, target=target, scale=scale,
            changes=changes or [], strict=strict,
            initial_weights=_initial(begin_with, begin_part, tracking_uri, trust_code),
        )  # fmt: skip
        how = TrainOptions(
            metric=metric, experiment=experiment, tracking_uri=tracking_uri, storage=storage,
            resume=resume, accept=accept or [], dry_run=dry_run,
            listeners=_listeners(listener, tensorboard),
        )  # fmt: skip
        trained = run(options, how)
        made.result = None if trained is None else train_result(trained)


def _listeners(names: list[str] | None, tensorboard: str | None) -> list[str]:
    """What `--listener` and `--tensorboard` name."""
    return [*(names or []), *([f"tensorboard:{tensorboard}"] if tensorboard is not None else [])]


def _initial(
    reference: str | None, part: str, tracking_uri: str | None, trust_code: bool
) -> str | None:
    """The setting that `--from` stands for."""
    if reference is None and part == "all":
        return None
    found = command("initial_weights")(reference, part, tracking_uri, trust_code=trust_code)
    return str(found)


def tune(
    system: System = None, preset: Preset = None, data: Data = None, settings: File = None,
    space: Annotated[str | None, typer.Option(help="search space: a name or a file")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="halving (default), freeze-thaw, pbt, tpe, nsga2, random, grid or FILE.py:Class"
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="tpe, nsga2, gp, cmaes, random, qmc, or a class of Optuna's kind")
    ] = "tpe",
    population: Annotated[
        int | None, typer.Option(min=2, help="members of strategy pbt; default: 8, or fewer")
    ] = None,
    points: Annotated[
        str | None, typer.Option(help="tried first: a .json, .jsonl or .csv, a run, an experiment")
    ] = None,
    points_by: Annotated[
        str | None,
        typer.Option(help="preference: rank the runs of --points by what people chose in compare"),
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(help="an experiment whose trials guide the search; repeatable"),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="how many configurations are tried; default: 4, or what --budget or --patience "
            "leave room for",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="end after 30m, 8gpu-hours, 200trials, or 20$ (--price); none lifts it"),
    ] = None,
    price: Annotated[float | None, typer.Option(help="money for an hour of one device")] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=0, help="end after that many trials without a better one; 0: never"),
    ] = None,
    trial_limit: Annotated[
        str | None, typer.Option(help="stop a trial that trained for longer: 30m, 2gpu-hours")
    ] = None,
    rungs: Rungs = None, seeds: Seeds = None, confirm: Confirm = None,
    confirm_seeds: ConfirmSeeds = None,
    keep_bytes: Annotated[
        str | None, typer.Option(help="bytes that the ledger of stages may keep: 20G")
    ] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="trials at a time")] = None,
    nodes: Nodes = None,
    workers: Workers = None, gpu: Gpu = False, metric: MetricNames = None,
    experiment: Experiment = "ganforge", tracking_uri: Uri = None,
    storage: Storage = "ganforge-runs", seed: Seed = None, changes: Set = None,
    start: Start = None, target: Target = None, scale: Scale = None,
    begin_with: From = None, begin_part: FromPart = "all", trust_code: TrustCode = False,
    register: Annotated[
        str | None, typer.Option(help="name of the best model; default: the experiment")
    ] = None,
    strict: Strict = False, listener: Listen = None, tensorboard: TensorBoard = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="continue the newest search of the experiment, or with --resume SEARCH_ID that "
            "one; what differs from before is changed in it",
        ),
    ] = False,
    search_id: Annotated[str, typer.Option("--search", hidden=True)] = "",
    reason: Annotated[str, typer.Option(help="why a search is changed, for its journal")] = "",
    accept: Accept = None, dry_run: DryRun = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Search a system's settings."""
    from ganforge.commands.results import tune_result
    from ganforge.commands.tune import TuneOptions, exit_code
    from ganforge.commands.tune import tune as search

    with document("tune", as_json) as made:
        settings_options = CliOptions(
            system,
            preset,
            settings,
            tuple(data or ()),
            workers,
            gpu,
            None,
            start,
            target,
            scale,
            changes or [],
            strict,
            _initial(begin_with, begin_part, tracking_uri, trust_code),
            rungs,
        )
        options = TuneOptions(
            space=space,
            strategy=strategy,
            sampler=sampler,
            population=population,
            points=points,
            points_by=points_by,
            warm_start=tuple(warm_start or ()),
            limits=LimitOptions(
                trials, budget, price, patience, trial_limit, confirm, confirm_seeds
            ),
            keep_bytes=keep_bytes,
            concurrent=concurrent,
            nodes=nodes,
            seed=seed or 0,
            seeds=seeds,
            metrics=metric or [],
            experiment=experiment,
            tracking_uri=tracking_uri,
            storage=storage,
            register=register,
            resume=resume,
            search_id=search_id,
            reason=reason,
            accept=accept or [],
            dry_run=dry_run,
            listeners=_listeners(listener, tensorboard),
        )
        searched = search(settings_options, options)
        made.result = None if searched is None else tune_result(searched)
        if searched is not None and searched.result.best is None:
            made.error = "no trial finished a stage"
        sys.exit(exit_code(searched))


def plan(
    system: System = None, preset: Preset = None, data: Data = None, settings: File = None,
    space: Annotated[str | None, typer.Option(help="search space: a name or a file")] = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help="strategies to compare; default: all; repeatable")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="how many configurations are tried")] = 4,
    slots: Annotated[int, typer.Option(min=1, help="trials at a time")] = 1,
    rungs: Rungs = None, seeds: Seeds = None, confirm: Confirm = None,
    confirm_seeds: ConfirmSeeds = None,
    price: Annotated[float | None, typer.Option(help="money for an hour of one device")] = None,
    seconds: Annotated[float, typer.Option(help="how long to measure")] = 60.0,
    workers: Workers = None, gpu: Gpu = False, seed: Seed = None, changes: Set = None,
    start: Start = None, target: Target = None, scale: Scale = None, strict: Strict = False,
) -> None:  # fmt: skip
    """Measure what a search will take."""
    command = module("plan")
    settings_options = CliOptions(
        system, preset, settings, tuple(data or ()), workers, gpu, None,
        start, target, scale, changes or [], strict, rungs=rungs,
    )  # fmt: skip
    options = command.PlanOptions(
        space=space, strategies=tuple(strategy or ()), trials=trials, slots=slots,
        seeds=seeds or 1, confirm=confirm or 0, confirm_seeds=confirm_seeds or CONFIRM_SEEDS,
        price=price, seconds=seconds, seed=seed or 0,
    )  # fmt: skip
    command.plan(settings_options, options)


def reproduce(
    run: RunId = None,
    experiment: Experiment = "ganforge",
    tracking_uri: Uri = None,
    data: Data = None,
    validation: Validation = None,
    low_resolution: LowResolution = None,
    validation_low_resolution: ValidationLowResolution = None,
    metric: MetricName = None,
    from_stage: Annotated[int | None, typer.Option(min=0, help="begin at a stored state")] = None,
    storage: Annotated[str | None, typer.Option(help="where that state is stored")] = None,
    accept: Accept = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="refuse at once where anything differs")
    ] = False,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Train a recorded run again and compare the two bit for bit."""
    others = {
        "validation.root": validation,
        "data.low_resolution": low_resolution,
        "validation.low_resolution": validation_low_resolution,
    }
    with document("reproduce", as_json) as made:
        made.result = command("reproduce")(
            run,
            experiment,
            tracking_uri,
            tuple(data or ()),
            others,
            metric,
            from_stage,
            storage,
            accept or [],
            strict,
            trust_code,
        )
        sys.exit(made.result.exit_code)
