"""What a report of a search speaks of, and the figures that are drawn from it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from optuna.study import Study

from ganforge.search.costs import NO_COSTS, Costs
from ganforge.search.report.animation import Frame
from ganforge.search.report.figure import Omitted, Plot
from ganforge.search.report.importance import importance
from ganforge.search.report.parallel import parallel
from ganforge.search.report.pareto_front import pareto_front
from ganforge.search.report.plots import history, stage_ranks
from ganforge.search.report.table import TrialRow
from ganforge.systems.base import Metric


@dataclass(frozen=True)
class StudyFacts:
    """`logarithmic` are the settings drawn on a log scale; `frames` reads the best trial's sample
    grids; `best` is its number; `costs` those of the search; `repeated` a line for each
    configuration that was trained with several seeds, the best first. With several `objectives` the
    first is `metric`. `compare` is the command that shows the images of all trials.

    A figure that these trials do not give raises Omitted, whose message says why.
    """

    title: str
    rows: Sequence[TrialRow]
    resolutions: Sequence[int]
    metric: str
    mode: str
    study: Study
    logarithmic: Collection[str] = ()
    best: int | None = None
    frames: Callable[[], Sequence[Frame]] = tuple
    costs: Costs = NO_COSTS
    repeated: Sequence[str] = ()
    objectives: Sequence[Metric] = ()
    compare: str = ""

    def history(self) -> Plot:
        """The last score of each trial in the order of suggestion, and the best so far."""
        return history(self.rows, self.metric, self.mode)

    def ranks(self) -> Plot:
        """The rank of each trial among those that ended a stage, from stage to stage."""
        return stage_ranks(self.rows, self.resolutions, self.mode)

    def parallel(self) -> Plot:
        """Searched settings and the score, one line for each trial."""
        return parallel(self.rows, self.logarithmic, self.metric, self.mode)

    def importance(self) -> Plot:
        """How much of the differences between scores each setting explains."""
        rungs = max((row.rungs for row in self.rows), default=1)
        return importance(self.study, len(self.resolutions), self.mode, self.objectives, rungs)

    def pareto(self) -> Plot:
        """The front of a search by several metrics, and how it grew."""
        if len(self.objectives) < 2:
            raise Omitted("Pareto front: the search has one metric; give it several")
        return pareto_front(self.rows, self.objectives)
