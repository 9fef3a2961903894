"""What is printed while one configuration trains."""

import time
from typing import Any

from ganforge.commands.start import Start
from ganforge.console import Console


class ProgressLines:
    """A line for each report: where the run is, how fast, how good."""

    def __init__(self, console: Console, start: Start):
        self.console, self.stages = console, start.prepared.settings.stages
        self.metric = start.metric.name
        self.began = time.monotonic()

    def __call__(self, summary: dict[str, Any]) -> None:
        if "index" not in summary:
            return
        index, minutes = summary["index"], (time.monotonic() - self.began) / 60
        score = "" if summary["score"] is None else f"  {self.metric} {summary['score']:.3f}"
        self.console.print(
            f"{minutes:6.1f} min  stage {index + 1}/{len(self.stages)} "
            f"({self.stages[index].resolution} px)  step {summary['step']}  "
            f"images {summary['images']}  alpha {summary['alpha']:.2f}{score}"
        )
