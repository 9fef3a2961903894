"""What a journal keeps of a stage's result, so that a resumed search can report it too."""

from typing import Any

from ganforge.search.journal import Event
from ganforge.search.trial import Trial
from ganforge.training.report import StageResult


def to_facts(result: StageResult, metric: str) -> dict[str, Any]:
    """The facts of an event `reported`, besides the score."""
    reused = {"reused": True} if result.reused else {}
    return {
        "seconds": result.seconds,
        "workers": result.workers,
        "bicubic": result.bicubic(metric),
        **reused,
    }


def restore(trial: Trial, event: Event, metric: str) -> None:
    """The inverse: the stage's result, into its trial."""
    if "seconds" not in event:
        return  # a journal of an earlier version: the score is all it has
    index = event["stages_done"] - 1
    metrics = {metric: event["score"]}
    if event["bicubic"] is not None:
        metrics[f"{metric}_bicubic"] = event["bicubic"]
    trial.stages[index] = StageResult(
        index,
        trial.plan.stages[index].resolution,
        seconds=event["seconds"],
        workers=event["workers"],
        metrics=metrics,
        reused=event.get("reused", False),
    )
