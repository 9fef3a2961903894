"""The trials of a search as its strategy sees them, kept up to date.

A decision needs the curves of all trials, and a search of thousands makes thousands of decisions:
the curve of a trial that is over is made once, that of another one anew where something of it has
changed.
"""

from bisect import insort
from itertools import islice

from ganforge.search.record import SearchRecord
from ganforge.search.strategies.base import Curve, CurveState
from ganforge.search.trial import State, Trial, rung_works

_STATES: dict[State, CurveState] = {
    "waiting": "running",
    "running": "running",
    "killed": "running",
    "paused": "paused",
    "finished": "finished",
    "stopped": "stopped",
    "failed": "failed",
}


class Curves:
    """The curves of the first trials of all configurations, in the order in which they began.

    A paused trial whose point does not lie in the space that a search has by now is shown as
    stopped, unless an edit takes it in again.
    """

    def __init__(self, record: SearchRecord):
        self._record = record
        self._curves: list[Curve] = []
        #: where in them the trials are that are not over, and of what they were made
        self._open: dict[int, tuple[Trial, tuple[State, int, int]]] = {}
        #: by rung the scores of all that have reached it, ascending
        self.scores: dict[int, list[float]] = {}

    def all(self) -> tuple[Curve, ...]:
        """All of them."""
        firsts, edits = self._record.repetitions.firsts, self._record.sampler.edits
        for trial in islice(firsts.values(), len(self._curves), None):
            self._open[len(self._curves)] = trial, _facts(trial, edits)
            self._curves.append(self._curve(trial))
            self._sort_in(self._curves[-1].scores, 0)
        for position, (trial, before) in list(self._open.items()):
            if (facts := _facts(trial, edits)) != before:
                known = len(self._curves[position].scores)
                self._curves[position] = self._curve(trial)
                self._sort_in(self._curves[position].scores, known)
                self._open[position] = trial, facts
            if trial.ended:
                del self._open[position]
        return tuple(self._curves)

    def _sort_in(self, scores: tuple[float, ...], known: int) -> None:
        """Take in the scores of a trial after the first `known` of them."""
        for rung in range(known + 1, len(scores) + 1):
            insort(self.scores.setdefault(rung, []), scores[rung - 1])

    def _curve(self, trial: Trial) -> Curve:
        state = _STATES[trial.state]
        if state == "paused" and self._record.sampler.outside(trial.params):
            state = "stopped"
        done, sign = trial.rungs_done, 1 if self._record.metric.mode == "max" else -1
        return Curve(
            trial.number,
            trial.params,
            tuple(sign * trial.scores[rung] for rung in range(1, done + 1)),
            rung_works(trial.plan)[:done],
            state,
            trial.branch,
        )


def _facts(trial: Trial, edits: int) -> tuple[State, int, int]:
    """What a curve is made of, as far as it changes."""
    return trial.state, len(trial.scores), edits
