"""What a person sees of a running search: a live table, or plain lines without a terminal."""

import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from types import TracebackType
from typing import Self

from ganforge.console import CellTable, Console, Live, Table, duration, in_notebook
from ganforge.search.budget import Budget, Spent
from ganforge.search.eta import SearchEta
from ganforge.search.limits import UNLIMITED_TRIALS, Limits
from ganforge.search.trial import Trial

_COLOURS = {
    "waiting": "dim",
    "running": "cyan",
    "paused": "blue",
    "finished": "green",
    "stopped": "yellow",
    "failed": "red",
    "killed": "red",
}
#: characters of the bar of trials
_BAR = 20
#: lines of the table: those that changed last; a screen has no more, and thousands take a second
_LINES = 40
_CELL_SECONDS = 0.5


class Progress:
    """Listens to a search: `with Progress(Limits(8), "validation/psnr") as it: search(…, it)`.
    Each trial is expected to train `share` of a whole run. `spent`, which may be set later, says
    what the search has taken of its budget."""

    def __init__(
        self, limits: Limits, metric: str, *, share: float = 1.0, console: Console | None = None
    ):
        self.limits, self.metric = limits, metric
        self.eta = SearchEta(limits.num_trials, share)
        self.spent: Callable[[], Spent] = Spent
        self.console = console or Console()
        #: in the order in which they changed last
        self.trials: dict[int, Trial] = {}
        self._ended: set[int] = set()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._live: Live | None = None
        self._cell: CellTable | None = None
        self._shown = 0.0

    def __enter__(self) -> Self:
        if in_notebook():
            self._cell = CellTable()
        elif self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(get_renderable=self.table, console=self.console, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, trial: Trial, event: str) -> None:
        with self._lock:
            self.trials.pop(trial.number, None)
            self.trials[trial.number] = trial
            if trial.ended and trial.repeats is None:
                self._ended.add(trial.number)
            self.eta(trial, event)
        if self._cell is not None:
            self._show_cell(self._cell, event)
            return
        news = event == "placed" and bool(trial.news)
        if news or (self._live is None and event != "progress"):
            self.console.print(self.line(trial, event), highlight=False, soft_wrap=True)

    def _show_cell(self, cell: CellTable, event: str) -> None:
        """Show the table, at most twice a second while nothing but numbers changes."""
        now = time.monotonic()
        if event != "progress" or now - self._shown > _CELL_SECONDS:
            self._shown = now
            cell.show(self.table())

    def line(self, trial: Trial, event: str) -> str:
        """One event in one line."""
        elapsed = duration(time.monotonic() - self._began)
        head = f"{elapsed:>6}  trial {trial.number}"
        stages = len(trial.plan.stages)
        if event == "started":
            return f"{head}  started   {parameters(trial)}"
        if event == "placed":
            where = ", ".join(dict.fromkeys(trial.machines))
            return f"{head}  runs on {where}" + (f": {trial.news}" if trial.news else "")
        if event in ("rung", "stage"):
            index, part = trial.plan.part(max(trial.rungs_done, 1))
            what = "ended" if event == "stage" else f"rung {part}/{trial.plan.rungs}"
            return (
                f"{head}  stage {index + 1}/{stages} {what}  "
                f"{trial.plan.stages[index].resolution} px  "
                f"{self.metric} {number(trial.last_score)}  ETA {eta(trial)}{self.left()}"
            )
        why = f": {trial.reason}" if trial.reason else ""
        return f"{head}  {trial.state}{why}  {self.metric} {number(trial.last_score)}{self.left()}"

    def left(self) -> str:
        """How long the search will still take; empty while that is unknown, and at its end."""
        counted = self.limits.num_trials < UNLIMITED_TRIALS
        by_trials = self.eta.remaining(len(self.trials)) if counted else None
        seconds = min((s for s in (by_trials, self._budget_left()) if s is not None), default=0.0)
        return f", about {duration(seconds)} left" if seconds else ""

    @property
    def _budget(self) -> Budget | None:
        """The budget that ends the search whatever number of trials it has."""
        budget = self.limits.budget
        return budget if budget is not None and budget.ends_trials else None

    def _budget_left(self) -> float | None:
        """Seconds until the budget is used up, at the rate so far; None without one."""
        if self._budget is None:
            return None
        spent = self.spent()
        used, left = self._budget.used(spent), self._budget.left(spent)
        if self._budget.unit == "seconds":
            return left
        return left / used * spent.seconds if used else None

    def _done(self, ended: int) -> float:
        """The part of the search that is over, by trials or by its budget."""
        parts = [ended / self.limits.num_trials]
        if self._budget is not None:
            parts.append(self._budget.used(self.spent()) / self._budget.amount)
        return min(1.0, max(parts))

    def table(self) -> Table:
        """The trials so far; of many those that changed last."""
        with self._lock:
            newest = list(islice(reversed(self.trials.values()), _LINES))
            ended, others = len(self._ended), len(self.trials) - len(newest)
        trials = sorted(newest, key=lambda trial: trial.number)
        elapsed = duration(time.monotonic() - self._began)
        with self._lock:
            left = self.left()
        done = round(_BAR * self._done(ended))
        bar = "█" * done + "░" * (_BAR - done)
        of = f" of {self.limits.num_trials}" if self.limits.num_trials < UNLIMITED_TRIALS else ""
        title = f"{bar} {ended}{of} trials ended after {elapsed}{left}"
        table = Table(title=title, title_justify="left", expand=False)
        names = ("trial", "state", "stage", "α", self.metric.rpartition("/")[2].upper(), "ETA")
        for name in (*names, "settings"):
            table.add_column(name, no_wrap=name != "settings")
        for trial in trials:
            table.add_row(*row(trial), style=_COLOURS[trial.state])
        if others:
            table.caption = f"{others} trials that changed earlier are not shown"
        return table


def row(trial: Trial) -> Sequence[str]:
    """A trial's cells of the table."""
    total = len(trial.plan.stages)
    running = trial.state == "running"
    stage = trial.index + 1 if running else trial.stages_done
    side = f" ({trial.plan.stages[max(stage - 1, 0)].resolution} px)"
    return (
        str(trial.number),
        trial.state,
        f"{stage}/{total}{side}" if stage else f"0/{total}",
        f"{trial.alpha:.2f}" if running else "",
        number(trial.score if running else trial.last_score),
        eta(trial) if running else "",
        trial.reason or parameters(trial),
    )


def parameters(trial: Trial) -> str:
    """The searched settings in short; of a repetition what it repeats."""
    if trial.about:
        return trial.about
    shown = (
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in trial.params.items()
    )
    return " ".join(shown)


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def eta(trial: Trial) -> str:
    left = trial.remaining_seconds()
    return "–" if left is None else duration(left)
