"""A search's report: the book's trials as rows, the best one's grids, as files for the parent."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from optuna.study import Study

from ganforge.search.report.animation import Frame, in_order
from ganforge.search.report.build import Searched, build_report
from ganforge.search.report.table import TrialRow
from ganforge.search.trial import Trial
from ganforge.systems.base import Metric
from ganforge.tracking.queries import fetch_file, fetch_stages, list_files

logger = logging.getLogger("ganforge")
T = TypeVar("T")


class Store:
    """Reads from the tracking store until that fails once: a store that is down is not asked on."""

    def __init__(self) -> None:
        self.trouble = ""

    def read(self, call: Callable[[], T], otherwise: T) -> T:
        if self.trouble:
            return otherwise
        try:
            return call()
        except Exception as error:
            self.trouble = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            logger.warning("report: the tracking store cannot be read (%s)", self.trouble)
            return otherwise


def report_files(
    title: str,
    trials: Sequence[Trial],
    best: Trial,
    study: Study,
    metric: Metric,
    logarithmic: Iterable[str],
) -> tuple[dict[str, bytes], list[str]]:
    """The report of a search by its places in the parent run, and what was left out of it."""
    store = Store()
    found = Searched(
        title,
        [row(trial, metric.name, store) for trial in trials],
        [stage.resolution for stage in best.plan.stages],
        metric.name,
        metric.mode,
        study,
        frozenset(logarithmic),
        best.number,
        store.read(lambda: grids(best), []),
    )
    return build_report(found)


def row(trial: Trial, metric: str, store: Store) -> TrialRow:
    """A trial as the report sees it.

    A resumed search knows the scores of earlier trials from its journal; what their stages took is
    read back from their runs.
    """
    run, recorded = trial.run, {}
    if len(trial.stages) < trial.stages_done and run is not None and run.run_id:
        results = store.read(lambda: fetch_stages(run.uri, run.run_id), [])
        recorded = {result.index: result for result in results}
    run_id = run.run_id if run else ""
    return TrialRow(
        trial.number,
        run_id,
        trial.state,
        trial.outcome,
        trial.params,
        metric,
        trial.results(metric, recorded),
        trial.seconds,
        trial.settings.workers,
    )


def grids(trial: Trial) -> list[Frame]:
    """The sample grids of a trial, read back from its run."""
    if trial.run is None or not trial.run.run_id:
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
