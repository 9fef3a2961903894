"""`ganforge plan`: what a search will take, before it starts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganforge.commands.configure import CliOptions, print_images
from ganforge.commands.search_options import load_space
from ganforge.commands.start import check_start
from ganforge.console import Console, Table
from ganforge.settings import SettingsError

if TYPE_CHECKING:
    from ganforge.search.space import Space
    from ganforge.search.strategies.base import Strategy
    from ganforge.systems.settings import SystemSettings
    from ganforge.training.probe import StageProbe

#: what of the time to probe goes into starting processes
_LEAST_SECONDS = 10.0


@dataclass(frozen=True)
class PlanOptions:
    """The options of `ganforge plan`, besides those about settings."""

    space: str | None = None
    strategies: tuple[str, ...] = ()
    trials: int = 4
    slots: int = 1
    seeds: int = 1
    confirm: int = 0
    confirm_seeds: int = 2
    price: float | None = None
    seconds: float = 60.0
    seed: int = 0


def plan(settings_options: CliOptions, options: PlanOptions) -> None:
    """Measure each stage on a few batches, and print memory, time and cost by strategy."""
    if options.seconds < _LEAST_SECONDS:
        raise SettingsError(f"seconds = {options.seconds}: must be at least {_LEAST_SECONDS:g}")
    from ganforge.search.named_samplers import check_seed

    check_seed(options.seed)
    if options.price is not None and not options.price > 0:
        raise SettingsError(f"price = {options.price}: must be above 0")
    named = settings_options.system or settings_options.settings_file
    checked = check_start(settings_options, None, "paper" if named else "quick")
    from ganforge.training.run import choose_device

    choose_device(checked.settings)  # before any image is read
    domains, _ = load_space(options.space, checked.system, checked.settings, settings_options)
    start = checked.prepare()
    from ganforge.cluster.kept_workers import keeps_workers
    from ganforge.search.plan import MOST_TRIALS, Repeats, estimate, measure_starts, probe_all
    from ganforge.search.sampler import Sampler
    from ganforge.search.strategies.catalog import STRATEGIES

    print_images(start.images)
    console = Console()
    starts = measure_starts(keeps_workers(start.prepared))
    probes = probe_all(start.prepared, options.seconds / 2)
    workers = start.prepared.settings.workers
    console.print(_stages(probes))
    table = Table(
        title=f"{options.trials} trials, {options.slots} at a time, {workers} workers each"
    )
    columns = ["strategy", "device time", "wall time"]
    for column in [*columns, "cost"] if options.price else columns:
        table.add_column(column, no_wrap=True)
    left_out: list[str] = []
    for name in options.strategies or tuple(STRATEGIES):
        try:
            strategy, space = _strategy(name, domains, start.prepared.settings, options.trials)
        except SettingsError as error:
            left_out.append(f"{name} is not in the table: {error}")
            continue
        sampler = Sampler(space, start.metric.mode, options.seed)
        found = estimate(
            strategy,
            sampler.candidates,
            probes,
            num_trials=options.trials,
            workers=workers,
            slots=options.slots,
            starts=starts,
            seed=options.seed,
            rungs=start.prepared.settings.rungs,
            repeats=Repeats(options.seeds, options.confirm, options.confirm_seeds),
        )
        device, wall = found.device_seconds, found.seconds
        row = [name, *(_time(e.value, e.low, e.high) for e in (device, wall))]
        if options.price:
            row.append(f"{device.value / 3600 * options.price:.2f}")
        table.add_row(*row)
    console.print(table)
    console.print("in brackets: nine of ten lie between these")
    if options.trials > MOST_TRIALS:
        console.print(f"played with {MOST_TRIALS} trials; the times are multiplied")
    for line in left_out:
        console.print(line, highlight=False, soft_wrap=True)


def _strategy(
    name: str, space: dict[str, Any], settings: "SystemSettings", trials: int
) -> "tuple[Strategy, Space]":
    """A strategy for so many trials, and the space as it searches it; SettingsError where it cannot
    be used here."""
    from ganforge.search.by_stage import space_for
    from ganforge.search.strategies.catalog import load_strategy
    from ganforge.search.strategies.pbt import members

    population = members(None, trials, len(settings.stages)) if name == "pbt" else None
    strategy = load_strategy(name, population=population)
    return strategy, space_for(strategy, space, settings)


def _stages(probes: "list[StageProbe]") -> Table:
    table = Table(title="stages of one trial")
    for column in ("stage", "pixels", "batches", "s a batch", "time", "memory"):
        table.add_column(column, no_wrap=True)
    for probe in probes:
        seconds = probe.whole[0] or probe.fading[0]
        table.add_row(
            str(probe.index + 1),
            str(probe.resolution),
            str(probe.steps),
            f"{seconds:.3g}",
            _time(probe.seconds, *probe.interval),
            f"{probe.peak_bytes / 2**30:.2f} GiB",
        )
    return table


def _time(seconds: float, low: float, high: float) -> str:
    """A time and its interval, in one unit."""
    unit, divisor = ("s", 1.0) if seconds < 120 else ("min", 60.0)
    if seconds >= 7200:
        unit, divisor = "h", 3600.0
    value, low, high = (number / divisor for number in (seconds, low, high))
    return f"{value:.1f} {unit} ({low:.1f} to {high:.1f})"
