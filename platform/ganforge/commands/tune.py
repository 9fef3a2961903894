"""`ganforge tune`: search a system's settings."""

import importlib
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ganforge.commands.configure import CliOptions
from ganforge.commands.register import register_best
from ganforge.commands.start import Start, checked_storage, local_folder, settle, ui_lines
from ganforge.settings import SettingsError
from ganforge.systems.catalog import load_system

if TYPE_CHECKING:
    from ganforge.search.result import SearchResult


def tune(
    words: CliOptions,
    space: str | None,
    trials: int,
    concurrent: int | None,
    seed: int,
    metric: str | None,
    experiment: str,
    tracking_uri: str | None,
    storage: str,
    nodes: int | None,
    resume: bool,
    dry_run: bool,
    register: str | None,
    accept: list[str],
) -> None:
    """Check, search, say which trial is best and how to go on.

    Without a system, a preset and a settings file, the flagship's `quick` preset is searched.
    """
    named = words.system or words.settings_file
    domains: dict[str, Any] = {}

    def examine(system: str, settings: Any) -> None:
        # the domains are Ray's: it takes seconds to import, and bad settings are told before that.
        # It reads the variables of this module when it is imported.
        importlib.import_module("ganforge.cluster.session")
        import search_spaces
        from ganforge.search.space import check_space

        domains.update(search_spaces.load(space or system, len(settings.stages)))
        check_space(domains, settings)

    preset = "paper" if named else "quick"
    start = settle(words, metric, dry_run, preset, examine, accept)
    if start is None:
        return
    # Ray takes seconds to import: not before the input is known to be good
    from ganforge.cluster.session import cluster_address, session
    from ganforge.search.dashboard import Progress
    from ganforge.search.search import search
    from ganforge.tracking.client import resolve_uri
    from ganforge.tracking.registry import check_model_name
    from ganforge.tracking.server import own_server

    if register is not None:
        check_model_name(register, "--register")
    uri = resolve_uri(tracking_uri)
    storage = checked_storage(storage)
    console = Console()
    if nodes is not None and nodes > 1 and cluster_address() is None:
        raise SettingsError(
            f"nodes = {nodes}: there is no cluster here; start it with `ray up`, or leave --nodes "
            "(GANFORGE_NODES) out"
        )
    with (
        # before Ray: it takes as long to start, and the workers are told of it
        own_server(uri, local_folder(storage), wanted=several(trials, concurrent)),
        session(threads=start.prepared.settings.threads) as joined,
        Progress(trials, start.metric.name, console=console) as progress,
    ):
        result = search(
            start.prepared,
            domains,
            num_trials=trials,
            concurrent=concurrent,
            storage=storage,
            tracking_uri=uri,
            experiment=experiment,
            metric=start.metric,
            seed=seed,
            resume=resume,
            joined=joined,
            nodes=nodes,
            listener=progress,
            announce=lambda place: _announce(console, uri, place),
        )
    tell(console, result, start.metric.name, uri, storage)
    best = result.best
    if best is not None and best.run is not None and best.run.run_id and not result.interrupted:
        finish(console, best.run.run_id, start, register or experiment, uri)
    if result.best is None:
        reasons = {trial.reason for trial in result.trials if trial.reason}
        print("error: no trial finished a stage: " + "; ".join(sorted(reasons)), file=sys.stderr)
        sys.exit(1)
    if result.interrupted:
        sys.exit(130)


def finish(console: Console, run_id: str, start: Start, model_name: str, uri: str) -> None:
    """Put the best trial's generator to use: in the model registry, or to be sampled from."""
    if load_system(start.prepared.system).takes == "image":
        where = f"--tracking-uri {shlex.quote(uri)}"
        console.print(
            f"evaluate it   ganforge evaluate --model {run_id} --benchmark DIR {where}",
            highlight=False,
            soft_wrap=True,
        )
        register_best(console, run_id, model_name, start.metric, uri)
        return
    command = f"ganforge sample --model {run_id} --count 16 --grid --output samples"
    console.print(
        f"sample it     {command} --tracking-uri {shlex.quote(uri)}",
        highlight=False,
        soft_wrap=True,
    )


def _announce(console: Console, uri: str, place: str) -> None:
    """Where the trials can be watched beside each other while they run."""
    for head, text in zip(("watch", ""), ui_lines(uri, place), strict=False):
        console.print(f"{head:<14}{text}", highlight=False, soft_wrap=True)


def several(trials: int, concurrent: int | None) -> bool:
    """Whether more than one trial may write to the tracking store at a time, on this machine."""
    from ganforge.cluster.session import cluster_address

    return min(trials, concurrent or trials, os.cpu_count() or 1) > 1 and not cluster_address()


def tell(console: Console, result: "SearchResult", metric: str, uri: str, storage: str) -> None:
    """The best trial, its settings, where its images are, and the commands to go on."""
    best = result.best
    if best is None:
        return

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    line(f"\nbest          trial {best.number}: {metric} {best.last_score:.3f} ({best.outcome})")
    for key, value in best.params.items():
        line(
            f"              {key} = {value:.4g}"
            if isinstance(value, float)
            else f"              {key} = {value}"
        )
    line(f"checkpoints   {result.folder}")
    if best.run is not None and best.run.run_id:
        line(f"sample grid   artifacts/grids of run {best.run.run_id}")
        where = f"--tracking-uri {shlex.quote(uri)}"
        for head, text in zip(("compare", ""), ui_lines(uri, result.view), strict=False):
            line(f"{head:<14}{text}")
        line(f"prove it      ganforge reproduce --run {best.run.run_id} {where}")
    if result.tracking_trouble:
        line(f"warning       the tracking store failed: {result.tracking_trouble}")
        line(f"              ganforge sync --storage {shlex.quote(storage)}   sends the rest")
