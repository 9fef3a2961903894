"""The report of one search: what its parent run keeps under report/."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import Study

from ganforge.search.costs import NO_COSTS, Costs
from ganforge.search.report.agreement import agreements
from ganforge.search.report.animation import Frame, animate
from ganforge.search.report.figure import Omitted
from ganforge.search.report.html import page
from ganforge.search.report.importance import importance
from ganforge.search.report.parallel import parallel
from ganforge.search.report.pareto_front import pareto_front
from ganforge.search.report.plots import history, stage_ranks
from ganforge.search.report.table import TrialRow, as_csv, as_parquet, table
from ganforge.systems.base import Metric

logger = logging.getLogger("ganforge")
FOLDER = "report"


@dataclass(frozen=True)
class Searched:
    """Everything that a report speaks of. `logarithmic` are the settings drawn on a log scale;
    `frames` the best trial's sample grids; `best` its number; `costs` those of the search;
    `repeated` a line for each configuration that was trained with several seeds, the best first.
    With several `objectives` the first is `metric`. `compare` is the command that shows the images
    of all trials."""

    title: str
    rows: Sequence[TrialRow]
    resolutions: Sequence[int]
    metric: str
    mode: str
    study: Study
    logarithmic: Collection[str] = ()
    best: int | None = None
    frames: Sequence[Frame] = ()
    costs: Costs = NO_COSTS
    repeated: Sequence[str] = ()
    objectives: Sequence[Metric] = ()
    compare: str = ""


def build_report(searched: Searched) -> tuple[dict[str, bytes], list[str]]:
    """Files by their path in the parent run, and a line for each image that was left out."""
    rows, metric, mode = searched.rows, searched.metric, searched.mode
    num_stages = len(searched.resolutions)
    rungs = max((row.rungs for row in rows), default=1)
    frame = table(rows, num_stages)
    makers: dict[str, tuple[str, Callable[[], bytes]]] = {
        "The best trial through its stages": (
            "animation.webp",
            lambda: _animation(searched.frames),
        ),
        **_of_several(searched),
        "Optimization history": ("optimization_history.png", lambda: history(rows, metric, mode)),
        "Ranks by stage": (
            "stage_ranks.png",
            lambda: stage_ranks(rows, searched.resolutions, mode),
        ),
        "Parallel coordinates": (
            "parallel_coordinates.png",
            lambda: parallel(rows, searched.logarithmic, metric, mode),
        ),
        "Importance of settings": (
            "importance.png",
            lambda: importance(searched.study, num_stages, mode, searched.objectives, rungs),
        ),
    }
    left_out: list[str] = []
    images: dict[str, tuple[str, bytes]] = {}
    files = {f"{FOLDER}/trials.csv": as_csv(frame), f"{FOLDER}/trials.parquet": as_parquet(frame)}
    for heading, (name, make) in makers.items():
        content = _made(heading, make, left_out)
        if content is not None:
            files[f"{FOLDER}/{name}"] = content
            images[heading] = (name.rpartition(".")[2], content)
    text = page(searched.title, _lead(searched, frame), frame, searched.best, images, left_out)
    files[f"{FOLDER}/report.html"] = text
    return files, left_out


def _of_several(searched: Searched) -> dict[str, tuple[str, Callable[[], bytes]]]:
    objectives = searched.objectives
    if len(objectives) < 2:
        return {}
    return {"Pareto front": ("pareto_front.png", lambda: pareto_front(searched.rows, objectives))}


def _animation(frames: Sequence[Frame]) -> bytes:
    if len(frames) < 2:
        raise Omitted("animation: fewer than two sample grids of the best trial were found")
    return animate(frames)


def _made(heading: str, make: Callable[[], bytes], left_out: list[str]) -> bytes | None:
    """An image; without it a report is still worth having."""
    try:
        return make()
    except Omitted as reason:
        left_out.append(str(reason))
    except Exception as error:
        reason = f"{heading}: {type(error).__name__}: {error}".splitlines()[0][:300]
        left_out.append(reason)
        logger.debug("report: %s", reason, exc_info=True)
    return None


def _lead(searched: Searched, frame: Any) -> list[str]:
    """The result, what it cost, and whether the rungs were justified, in a sentence each."""
    states = frame["state"].value_counts()
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    names = " and ".join(metric.name for metric in searched.objectives) or searched.metric
    lines = [f"{len(searched.rows)} trials ({counts}), compared by {names}."]
    if front := [str(row.number) for row in searched.rows if row.front]:
        lines.append(
            f"On the Pareto front: trial{'s'[: len(front) > 1]} {', '.join(front)}. Best is the "
            f"front's best by {searched.metric}."
        )
    for row in searched.rows:
        if row.number != searched.best or row.score is None:
            continue
        bicubic = row.stages[-1].bicubic(searched.metric) if row.stages else None
        baseline = "" if bicubic is None else f" (bicubic {bicubic:.3f})"
        lines.append(f"Best: trial {row.number} with {searched.metric} {row.score:.3f}{baseline}.")
    lines += [f"With several seeds: {line}." for line in searched.repeated]
    if searched.costs.held:
        lines.append(f"{searched.costs.line()}.")
    if searched.compare:
        lines.append(f"The images of all trials, next to each other: {searched.compare}")
    found = agreements(searched.rows, len(searched.resolutions))
    return [*lines, *(agreement.line for agreement in found)]
