"""The report of one search: what its parent run keeps under report/."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from ganforge.search.report.agreement import agreements
from ganforge.search.report.animation import Frame, animate
from ganforge.search.report.facts import StudyFacts
from ganforge.search.report.figure import Omitted, png
from ganforge.search.report.html import page
from ganforge.search.report.table import as_csv, as_parquet, table

logger = logging.getLogger("ganforge")
FOLDER = "report"


def build_report(facts: StudyFacts) -> tuple[dict[str, bytes], list[str]]:
    """Files by their path in the parent run, and a line for each image that was left out."""
    num_stages = len(facts.resolutions)
    frame = table(facts.rows, num_stages)
    makers: dict[str, tuple[str, Callable[[], bytes]]] = {
        "The best trial through its stages": (
            "animation.webp",
            lambda: _animation(facts.frames()),
        ),
        **_of_several(facts),
        "Optimization history": ("optimization_history.png", lambda: png(facts.history())),
        "Ranks by stage": ("stage_ranks.png", lambda: png(facts.ranks())),
        "Parallel coordinates": ("parallel_coordinates.png", lambda: png(facts.parallel())),
        "Importance of settings": ("importance.png", lambda: png(facts.importance())),
    }
    left_out: list[str] = []
    images: dict[str, tuple[str, bytes]] = {}
    files = {f"{FOLDER}/trials.csv": as_csv(frame), f"{FOLDER}/trials.parquet": as_parquet(frame)}
    for heading, (name, make) in makers.items():
        content = _made(heading, make, left_out)
        if content is not None:
            files[f"{FOLDER}/{name}"] = content
            images[heading] = (name.rpartition(".")[2], content)
    text = page(facts.title, _lead(facts, frame), frame, facts.best, images, left_out)
    files[f"{FOLDER}/report.html"] = text
    return files, left_out


def _of_several(facts: StudyFacts) -> dict[str, tuple[str, Callable[[], bytes]]]:
    if len(facts.objectives) < 2:
        return {}
    return {"Pareto front": ("pareto_front.png", lambda: png(facts.pareto()))}


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


def _lead(facts: StudyFacts, frame: Any) -> list[str]:
    """The result, what it cost, and whether the rungs were justified, in a sentence each."""
    states = frame["state"].value_counts()
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    names = " and ".join(metric.name for metric in facts.objectives) or facts.metric
    lines = [f"{len(facts.rows)} trials ({counts}), compared by {names}."]
    if front := [str(row.number) for row in facts.rows if row.front]:
        lines.append(
            f"On the Pareto front: trial{'s'[: len(front) > 1]} {', '.join(front)}. Best is the "
            f"front's best by {facts.metric}."
        )
    for row in facts.rows:
        if row.number != facts.best or row.score is None:
            continue
        bicubic = row.stages[-1].bicubic(facts.metric) if row.stages else None
        baseline = "" if bicubic is None else f" (bicubic {bicubic:.3f})"
        lines.append(f"Best: trial {row.number} with {facts.metric} {row.score:.3f}{baseline}.")
    lines += [f"With several seeds: {line}." for line in facts.repeated]
    if facts.costs.held:
        lines.append(f"{facts.costs.line()}.")
    if facts.compare:
        lines.append(f"The images of all trials, next to each other: {facts.compare}")
    found = agreements(facts.rows, len(facts.resolutions))
    return [*lines, *(agreement.line for agreement in found)]
