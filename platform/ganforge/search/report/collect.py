"""What a search's report speaks of: its trials as rows, the best one's sample grids.

Everything but the grids is what the driver holds. Grids go from the workers straight to the
tracking store, so those of the best trial are read back from there; without them the report has no
animation.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna.study import Study

from ganforge.search.costs import NO_COSTS, Costs, stage_rates, trial_costs
from ganforge.search.objectives import Objectives
from ganforge.search.repeats import standings
from ganforge.search.report.animation import Frame
from ganforge.search.report.facts import StudyFacts
from ganforge.search.report.table import TrialRow
from ganforge.search.trial import Trial
from ganforge.systems.base import Metric
from ganforge.tracking.grids import list_grids, newest_grid
from ganforge.tracking.queries import fetch_file

logger = logging.getLogger("ganforge")


def study_facts(
    title: str,
    trials: Sequence[Trial],
    best: Trial,
    study: Study,
    metric: Metric,
    logarithmic: Iterable[str],
    costs: Costs,
    objectives: Objectives | None = None,
    compare: str = "",
) -> StudyFacts:
    """What a report of these trials speaks of. `compare` is the command that shows the images of
    all trials."""
    rates = stage_rates(trials)
    rows = [row(trial, metric.name, trial_costs(trial, rates)) for trial in trials]
    if objectives is not None:
        front = {trial.number for trial in objectives.front(trials)}
        rows = [
            replace(row, values=objectives.by_name(trial), front=trial.number in front)
            for trial, row in zip(trials, rows, strict=True)
        ]
    return StudyFacts(
        title,
        rows,
        [stage.resolution for stage in best.plan.stages],
        metric.name,
        metric.mode,
        study,
        frozenset(logarithmic),
        best.number,
        partial(_try_grids, best),
        costs,
        [standing.line for standing in standings(trials, metric.mode)],
        objectives.metrics if objectives is not None else (metric,),
        compare,
    )


def row(trial: Trial, metric: str, costs: Costs = NO_COSTS) -> TrialRow:
    """A trial as the report shows it."""
    return TrialRow(
        trial.number,
        trial.run.run_id if trial.run else "",
        trial.state,
        trial.outcome,
        trial.params,
        metric,
        trial.results(metric),
        trial.seconds,
        trial.settings.workers,
        trial.repeats,
        trial.settings.seed,
        costs,
        trial.branched_from,
        rungs=trial.plan.rungs,
        inside={rung: trial.scores[rung] for rung in trial.inside if rung in trial.scores},
        device_seconds=round(trial.device_seconds, 1) if trial.elastic else None,
    )


def _try_grids(trial: Trial) -> list[Frame]:
    try:
        return grids(trial)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        logger.warning("report: the tracking store cannot be read (%s)", text)
        return []


def grids(trial: Trial) -> list[Frame]:
    """The sample grids of a trial, read back from its run."""
    if trial.run is None or not trial.run.run_id:
        return []
    uri, run_id = trial.run.uri, trial.run.run_id
    stages = trial.plan.stages
    total = sum(stage.steps for stage in stages)
    frames = []
    with TemporaryDirectory() as folder:
        for index, step, path in list_grids(uri, run_id):
            stage = stages[index]
            before = sum(s.steps for s in stages[:index])
            caption = f"stage {index}   {stage.resolution} px   alpha {stage.alpha(step):.2f}"
            frames.append(
                Frame(
                    fetch_file(uri, run_id, path, Path(folder)).read_bytes(),
                    f"trial {trial.number}   {caption}   step {step} of {stage.steps}",
                    (before + step) / total,
                    step == stage.steps,
                )
            )
    return frames


def newest_grids(trials: Iterable[Trial]) -> Iterator[tuple[Trial, bytes]]:
    """The newest sample grid of each trial that has one in the record; none of a store that cannot
    be read."""
    for trial in trials:
        if trial.run is None or not trial.run.run_id:
            continue
        uri, run_id = trial.run.uri, trial.run.run_id
        try:
            content = newest_grid(uri, run_id)
            if content is not None:
                yield trial, content
        except Exception as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            logger.warning("sample grids: the tracking store cannot be read (%s)", text)
            return
