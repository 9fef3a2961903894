"""The process that reports in the stead of a search's workers (scale_trials.py). Its handle goes to
every trial's actor, which imports this file: nothing heavy is imported above."""

import time
from types import SimpleNamespace
from typing import Any

_PAUSE_SECONDS = 1.0


class Reporter:
    """What cluster/trial_drivers.py is to a search, with made-up scores."""

    def __init__(self, coordinator: Any, metric: str):
        self.coordinator, self.metric = coordinator, metric

    def drive(self, config: dict[str, Any]) -> str:
        """Report what a worker reports, and wait at each rung."""
        import ray
        from scale_study import summaries

        number, prepared = config["trial"], ray.get(config["prepared"])
        shown: Any = SimpleNamespace(number=number, plan=prepared.plan(), rungs_done=0, params=None)
        for summary in summaries(shown, self.metric):
            time.sleep(_PAUSE_SECONDS)
            ray.get(self.coordinator.report.remote(number, summary))
            if "stages" in summary:
                rung = len(summary["stages"])
                if not ray.get(self.coordinator.decision.remote(number, rung)):
                    break
        return ""
