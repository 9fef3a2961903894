"""What is printed while one configuration trains."""

import time
from typing import Any

from ganforge.commands.start import Start
from ganforge.console import Console, duration
from ganforge.search.trial import fraction_done, stage_work
from ganforge.systems.catalog import load_system

#: a run that takes longer says how it would be shorter
_LONG_SECONDS = 3 * 3600


class ProgressLines:
    """A line for each report: where the run is, how fast, how good; and one after the first batches
    of each stage, so that a run which will take months says so at once."""

    def __init__(self, console: Console, start: Start):
        self.console, self.stages = console, start.prepared.plan().stages
        self.system, self.metric = start.prepared.system, start.metric.name
        self.began = time.monotonic()
        #: when which part of the run was done, at the first report of the stage that trains now
        self._first: tuple[float, float] | None = None
        self._index: int | None = None
        #: seconds of the whole run, were all of it as slow as what was trained last
        self._whole: float | None = None
        self._elastic = start.prepared.settings.workers_at_least is not None
        self._workers = start.prepared.settings.workers

    def __call__(self, summary: dict[str, Any]) -> None:
        if "pace" in summary:
            self._show_pace(**summary["pace"])
        if "workers" in summary and self._elastic:
            self._show_workers(summary["workers"])
        if "index" not in summary:
            return
        index, now = summary["index"], time.monotonic()
        score = "" if summary["score"] is None else f"  {self.metric} {summary['score']:.3f}"
        self._print(
            f"{(now - self.began) / 60:6.1f} min  stage {index + 1}/{len(self.stages)} "
            f"({self.stages[index].resolution} px)  step {summary['step']}  "
            f"images {summary['images']}  alpha {summary['alpha']:.2f}{score}"
            f"{self._remaining(index, summary['images'], now)}"
        )

    def _remaining(self, index: int, images: int, now: float) -> str:
        """The rest of the run at the speed of this stage: since its first report, and at that one
        by its first batches. An adversarial stage takes longer than its images' size says."""
        done = fraction_done(self.stages, images)
        if self._first is None or index != self._index:
            self._first, self._index = (now, done), index
        since, before = self._first
        if done > before:
            self._whole = (now - since) / (done - before)
        if self._whole is None or done == 1:
            return ""
        return f"  ETA {duration(self._whole * (1 - done))}"

    def _show_workers(self, present: int) -> None:
        """A group of workers begins, which need not be as large as the one before it."""
        self._first = None
        self._print(f"  {present} of {self._workers} workers")

    def _show_pace(self, index: int, seconds: float) -> None:
        """What a batch of a stage takes, and by that the whole run from there on."""
        stage = self.stages[index]
        here = seconds * stage.steps
        later = [here * stage_work(other) / stage_work(stage) for other in self.stages[index + 1 :]]
        self._whole = here * sum(map(stage_work, self.stages)) / stage_work(stage)
        whole = here + sum(later)
        rest = f", about {duration(whole)} with the stages after it" if later else ""
        self._print(
            f"  {seconds:.3g} s a batch: {duration(here)} for stage {index + 1}/{len(self.stages)} "
            f"({stage.resolution} px){rest}"
        )
        if whole > _LONG_SECONDS and index == 0:
            kinds = load_system(self.system).PRESETS
            presets = ", ".join(name for name in kinds if name != "paper")
            self._print(
                f"  shorter: --preset ({presets}), --target with a smaller side, --gpu, more "
                f"--workers; `ganforge settings {self.system}` lists what else can be set"
            )

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)
