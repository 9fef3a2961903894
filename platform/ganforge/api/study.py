"""A search: its trials as a table, its best one as a run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganforge.api.run import Run, as_html

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from ganforge.search.report.facts import StudyFacts
    from ganforge.search.result import SearchResult
    from ganforge.search.trial import Trial
    from ganforge.systems.base import Metric


@dataclass(frozen=True, repr=False)
class Study:
    """What a search found; of one that was interrupted, what it has so far."""

    result: "SearchResult"
    metric: "Metric"
    uri: str

    def __repr__(self) -> str:
        best, count = self.result.best, len(self.result.trials)
        found = "none finished a stage"
        if best is not None:
            found = f"best: trial {best.number}, {self.metric.name} {best.last_score:.4g}"
        return f"Study({self.search_id}: {count} trials, {found})"

    @property
    def search_id(self) -> str:
        """What `resume` takes."""
        return self.result.search_id

    @property
    def interrupted(self) -> bool:
        return self.result.interrupted

    @property
    def best(self) -> Run:
        """The best trial. SettingsError where none has finished a stage."""
        from ganforge.settings import SettingsError

        if self.result.best is None:
            raise SettingsError(f"search {self.search_id}: no trial finished a stage")
        return self._run(self.result.best)

    @property
    def trials(self) -> list[Run]:
        """All trials in the order of their numbers."""
        return [self._run(trial) for trial in self.result.trials]

    @property
    def front(self) -> list[Run]:
        """Of several metrics the Pareto front, the best by the first one first; of one, none."""
        return [self._run(trial) for trial in self.result.front]

    @property
    def plot(self) -> "StudyFacts":
        """The report's figures, matplotlib's: `history()`, `ranks()`, `parallel()`, `importance()`
        and, of several metrics, `pareto()`. GanforgeError, with the reason, where no trial has
        ended a stage or the trials do not give that figure."""
        from ganforge.settings import SettingsError

        if self.result.facts is None:
            raise SettingsError(f"search {self.search_id}: no trial finished a stage")
        return self.result.facts

    def to_dataframe(self) -> "pd.DataFrame":
        """A row for each trial: outcome, searched settings, scores, seconds and costs by stage."""
        from ganforge.search.costs import stage_rates, trial_costs
        from ganforge.search.report.collect import row
        from ganforge.search.report.table import table

        trials = self.result.trials
        rates = stage_rates(trials)
        rows = [row(trial, self.metric.name, trial_costs(trial, rates)) for trial in trials]
        return table(rows, max((len(trial.plan.stages) for trial in trials), default=0))

    def compare(
        self,
        output: "str | Path" = "compare",
        *,
        metric: str = "",
        ends_only: bool = False,
        overwrite: bool = False,
    ) -> "Path":
        """Write the page that compares the images of all trials into a folder; the file to open in
        a browser. `metric` stands in the head of each trial; with `ends_only` it has one image for
        each stage."""
        from pathlib import Path

        from ganforge.api.checks import check_switches, given_path
        from ganforge.commands.compare import write

        check_switches(ends_only=ends_only, overwrite=overwrite)
        output = given_path("output", output)
        return write(
            self.uri,
            (self.search_id,),
            Path(output).expanduser(),
            metric=metric or self.metric.name,
            ends_only=ends_only,
            overwrite=overwrite,
        )

    def _run(self, trial: "Trial") -> Run:
        run_id = trial.run.run_id if trial.run is not None else ""
        return Run(run_id, self.uri, self.metric.name, trial.folder)

    def _repr_html_(self) -> str:
        """The trials as a table, above it the newest sample grid of the best one."""
        from ganforge.errors import GanforgeError

        table = self.to_dataframe().to_html(index=False, max_rows=20)
        try:
            return f"{as_html(self.best.grid())}{table}"
        except GanforgeError:  # no trial has finished a stage, or drawn a grid
            return table
