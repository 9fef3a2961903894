"""What a journal keeps of a rung's result, so that a resumed search can report it too."""

from typing import Any

from ganforge.search.journal import Event
from ganforge.search.trial import Trial
from ganforge.training.report import RungResult, StageResult


def to_facts(result: StageResult | RungResult, metric: str) -> dict[str, Any]:
    """The facts of an event `reported`, besides the score."""
    further: dict[str, Any] = {"reused": True} if result.reused else {}
    if result.device_seconds is not None:
        further["device_seconds"] = result.device_seconds
    return {
        "seconds": result.seconds,
        "workers": result.workers,
        "bicubic": result.metrics.get(f"{metric}_bicubic"),
        **further,
    }


def rung_of(event: Event) -> int:
    """The rung that an event is about; version 0.2 had those at stage ends alone."""
    return event["rung"] if "rung" in event else event["stages_done"]


def restore(trial: Trial, event: Event, metric: str) -> None:
    """The inverse: the rung's result, into its trial, unless that has the whole of it."""
    if "seconds" not in event:
        return  # a journal of an earlier version: the score is all it has
    rung = rung_of(event)
    index, part = trial.plan.part(rung)
    metrics = {metric: event["score"]}
    if event["bicubic"] is not None:
        metrics[f"{metric}_bicubic"] = event["bicubic"]
    if part < trial.plan.rungs:
        steps = trial.plan.rung_end(rung).step
        found = RungResult(
            rung, index, steps, event["seconds"], event["workers"], metrics,
            event.get("reused", False), event.get("device_seconds"),
        )  # fmt: skip
        trial.inside.setdefault(rung, found)
        return
    whole = StageResult(
        index,
        trial.plan.stages[index].resolution,
        seconds=event["seconds"],
        workers=event["workers"],
        metrics=metrics,
        reused=event.get("reused", False),
        device_seconds=event.get("device_seconds"),
    )
    trial.stages.setdefault(index, whole)
