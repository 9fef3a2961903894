"""`ganforge tune`: search a system's settings."""

import os
import shlex
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from ganforge.configure import Words
from ganforge.verbs.start import checked_storage, local_folder, settle, ui_command

if TYPE_CHECKING:
    from ganforge.cluster.result import SearchResult


def tune(
    words: Words,
    space: str | None,
    trials: int,
    concurrent: int | None,
    seed: int,
    metric: str | None,
    experiment: str,
    tracking_uri: str | None,
    storage: str,
    resume: bool,
    dry_run: bool,
) -> None:
    """Check, search, say which trial is best and how to go on.

    Without a system, a preset and a settings file, the flagship's `quick` preset is searched.
    """
    named = words.system or words.settings_file
    start = settle(words, metric, dry_run, preset="paper" if named else "quick")
    if start is None:
        return
    # Ray takes seconds to import: not before the input is known to be good
    import search_spaces
    from ganforge.cluster.progress import Progress
    from ganforge.cluster.session import session
    from ganforge.cluster.space import check_space
    from ganforge.cluster.tune import search
    from ganforge.tracking.server import own_server
    from ganforge.tracking.store import resolve_uri

    stages = len(start.prepared.settings.stages)
    domains = search_spaces.load(space or start.prepared.system, stages)
    check_space(domains, start.prepared.settings)
    uri = resolve_uri(tracking_uri)
    storage = checked_storage(storage)
    console = Console()
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
            joined=bool(joined),
            listener=progress,
        )
    tell(console, result, start.metric.name, uri, storage)
    if result.best is None:
        reasons = {trial.reason for trial in result.trials if trial.reason}
        print("error: no trial finished a stage: " + "; ".join(sorted(reasons)), file=sys.stderr)
        sys.exit(1)
    if result.interrupted:
        sys.exit(130)


def several(trials: int, concurrent: int | None) -> bool:
    """Whether more than one trial may write to the tracking store at a time, on this machine."""
    from ganforge.cluster.session import cluster_address

    return min(trials, concurrent or trials, os.cpu_count() or 1) > 1 and not cluster_address()


def tell(console: Console, result: "SearchResult", metric: str, uri: str, storage: str) -> None:
    """The best trial, its settings, where its pictures are, and the commands to go on."""
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
        line(f"compare       {ui_command(uri)}")
        line(f"prove it      ganforge reproduce --run {best.run.run_id} {where}")
        line(f"evaluate it   ganforge evaluate --model {best.run.run_id} --benchmark DIR {where}")
    if result.tracking_trouble:
        line(f"warning       the tracking store failed: {result.tracking_trouble}")
        line(f"              ganforge sync --storage {shlex.quote(storage)}   sends the rest")
