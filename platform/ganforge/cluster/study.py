"""A search's report: the book's trials as rows, the best one's grids, logged to the parent."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from optuna.study import Study

from ganforge.cluster.trials import Trial
from ganforge.systems.base import Metric
from ganforge.tracking.files import log_files
from ganforge.tracking.read import fetch_file, fetch_stages, list_files
from ganforge.tracking.record import Tracking
from ganforge.tracking.report.film import Frame, in_order
from ganforge.tracking.report.study import Searched, build_report
from ganforge.tracking.report.table import StageRow, TrialRow


def log_report(
    parent: Tracking,
    title: str,
    trials: Sequence[Trial],
    best: Trial,
    study: Study,
    metric: Metric,
    logarithmic: Iterable[str],
) -> list[str]:
    """Log the report of a search to its parent run; a line for each picture left out."""
    found = Searched(
        title,
        [row(trial, metric.name) for trial in trials],
        [stage.resolution for stage in best.plan.stages],
        metric.name,
        metric.mode,
        study,
        frozenset(logarithmic),
        best.number,
        grids(best),
    )
    files, left_out = build_report(found)
    log_files(parent, files)
    return left_out


def row(trial: Trial, metric: str) -> TrialRow:
    """A trial as the report sees it.

    A resumed search knows the scores of earlier trials from its journal; what their stages took is
    read back from their runs.
    """
    stages: dict[int, dict[str, Any]] = dict(trial.stages)
    if len(stages) < trial.stages_done and trial.run is not None:
        stages = {r["index"]: r for r in fetch_stages(trial.run.uri, trial.run.run_id)} | stages
    workers = trial.settings.workers
    found = []
    for index in range(trial.stages_done):
        facts = stages.get(index, {})
        found.append(
            StageRow(
                trial.plan.stages[index].resolution,
                trial.scores.get(index + 1),
                facts.get("seconds", 0.0),
                facts.get("workers", workers),
                facts.get("metrics", {}).get(f"{metric}_bicubic"),
            )
        )
    run_id = trial.run.run_id if trial.run else ""
    return TrialRow(
        trial.number,
        run_id,
        trial.state,
        trial.outcome,
        trial.params,
        found,
        trial.seconds,
        workers,
    )


def grids(trial: Trial) -> list[Frame]:
    """The sample grids of a trial, read back from its run."""
    if trial.run is None:
        return []
    uri, run_id = trial.run.uri, trial.run.run_id
    stages = trial.plan.stages
    total = sum(stage.steps for stage in stages)
    frames = []
    with TemporaryDirectory() as folder:
        for index, step, path in in_order(list_files(uri, run_id, "grids")):
            stage = stages[index]
            before = sum(s.steps for s in stages[:index])
            words = f"stage {index}   {stage.resolution} px   alpha {stage.alpha(step):.2f}"
            frames.append(
                Frame(
                    fetch_file(uri, run_id, path, Path(folder)).read_bytes(),
                    f"trial {trial.number}   {words}   step {step} of {stage.steps}",
                    (before + step) / total,
                    step == stage.steps,
                )
            )
    return frames
