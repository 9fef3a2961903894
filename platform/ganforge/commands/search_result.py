"""What `ganforge tune` prints once a search has ended: the best trial, what it is better than, and
the commands to use it."""

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganforge.commands.register import register_best
from ganforge.commands.start import Start, grids_line, save_best, sync_command, use_line
from ganforge.console import Console, Table, duration
from ganforge.systems.catalog import load_system

if TYPE_CHECKING:
    from ganforge.search.result import SearchResult
    from ganforge.systems.base import Metric


def print_result(
    console: Console,
    result: "SearchResult",
    metric: "Metric",
    uri: str,
    storage: str,
    asked: Mapping[str, Any] | None = None,
) -> None:
    """The best trial, its settings, what it is better than, where its images are, and the commands
    to use it. `asked` are the searched settings as they were given."""
    from ganforge.tracking.description import compare_command

    best = result.best
    if best is None:
        return

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    line("")
    better = "lower" if metric.mode == "min" else "higher"
    score = f"{metric.name} {best.last_score:.3f}, {better} is better"
    line(f"best          trial {best.number}: {score} ({best.outcome})")
    for key, value in best.params.items():
        line(
            f"              {key} = {value:.4g}"
            if isinstance(value, float)
            else f"              {key} = {value}"
        )
    for head, text in zip(("better than", ""), baselines(result, metric.name, asked), strict=False):
        line(f"{head:<14}{text}")
    head = "several seeds"
    for standing in result.standings:
        line(f"{head:<14}{standing.line}")
        head = ""
    if result.ended_early:
        line(f"ended         {result.ended_early}")
    count = len(result.trials)
    twice = f"{2 * count} trials would take about {duration(2 * result.seconds)}"
    line(f"took          {duration(result.seconds)} for {count}; {twice}")
    line(f"cost          {result.costs.line()}")
    if result.dropped:
        line(f"ledger        {result.dropped}")
    line(f"checkpoints   {result.folder}")
    if best.run is not None and best.run.run_id:
        if image := save_best(result.folder, uri, best.run.run_id):
            line(f"image         {image}")
        line(f"sample grids  {grids_line(uri, best.run.run_id)}")
        where = f"--tracking-uri {shlex.quote(uri)}"
        line("compare       all trials: at the address after `watch`, printed at the start")
        line(f"their images  {compare_command(uri, result.search_id)}")
        line(f"reproduce it  ganforge reproduce --run {best.run.run_id} {where}")
    if result.tracking_trouble:
        line(f"warning       the tracking store failed: {result.tracking_trouble}")
        line(f"              {sync_command(storage, uri)}   sends the rest")


def baselines(result: "SearchResult", metric: str, asked: Mapping[str, Any] | None) -> list[str]:
    """What the best trial is to be compared with: bicubic enlargement where that is measured, and
    the trial of the settings as they were given."""
    assert result.best is not None
    found = []
    stages = result.best.results(metric)
    if stages and (bicubic := stages[-1].bicubic(metric)) is not None:
        found.append(f"bicubic: {metric} {bicubic:.3f}")
    for trial in result.trials:
        if asked is not None and trial.params == asked and trial.last_score is not None:
            its = "it is the best" if trial is result.best else f"{metric} {trial.last_score:.3f}"
            found.append(f"the settings as given, trial {trial.number}: {its} ({trial.outcome})")
            break
    return found


def print_front(console: Console, result: "SearchResult", metrics: "Sequence[Metric]") -> None:
    """The Pareto front as a table, and what the commands for one trial are about."""
    if not result.front:
        console.print("front         no trial finished, so there is none", highlight=False)
        return
    from ganforge.search.dashboard import parameters

    table = Table(title=f"Pareto front, {len(result.front)} of {len(result.trials)} trials")
    table.add_column("trial")
    for metric in metrics:
        table.add_column(f"{metric.name} ({metric.mode})", justify="right")
    table.add_column("settings")
    for trial in result.front:
        values = [f"{value:.5g}" for value in trial.last_values or ()]
        table.add_row(str(trial.number), *values, parameters(trial))
    console.print("")
    console.print(table)
    console.print(
        f"`best` and the commands for it are the front's best by {metrics[0].name}; the other "
        "trials of the front have the tag pareto = true",
        highlight=False,
        soft_wrap=True,
    )


def finish(console: Console, run_id: str, start: Start, model_name: str, uri: str) -> None:
    """Put the best trial's generator to use: in the model registry, or to be sampled from."""
    console.print(use_line(start.prepared.system, run_id, uri))
    if load_system(start.prepared.system).takes == "image":
        register_best(console, run_id, model_name, start.metric, uri)
