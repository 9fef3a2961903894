"""What ends a search, the number of its trials, a budget, patience, and what is done then; and
what ends a single trial."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ganforge.search.budget import Budget, Spent
from ganforge.search.trial import Trial

#: of a search that a budget or patience ends: more than any has room for
UNLIMITED_TRIALS = 100_000


@dataclass(frozen=True)
class Limits:
    """At most `num_trials` trials within `budget`; none is begun once `patience` trials in a row
    have ended without a better score, or with several objectives without entering the front. A
    trial that has trained for more than `trial_limit` is stopped at its next rung. When the
    search has ended, its `confirm` best configurations are trained with `confirm_seeds` further
    seeds each."""

    num_trials: int
    budget: Budget | None = None
    patience: int | None = None
    trial_limit: Budget | None = None
    confirm: int = 0
    confirm_seeds: int = 2

    def to_record(self) -> dict[str, Any]:
        """As plain data, for the journal."""
        budget = self.budget
        return {
            "trials": self.num_trials,
            "budget": None if budget is None else budget.text,
            "price": budget.price or None if budget is not None else None,
            "patience": self.patience,
            "trial_limit": None if self.trial_limit is None else self.trial_limit.text,
            "confirm": self.confirm,
            "confirm_seeds": self.confirm_seeds,
        }

    def over(self, trial: Trial) -> bool:
        """Whether a trial has taken more than one may: what it trained itself, without the stages
        that were there already."""
        if self.trial_limit is None:
            return False
        seconds = sum(part.seconds for part in trial.trained)
        devices = sum(part.devices for part in trial.trained)
        return self.trial_limit.used(Spent(seconds, devices)) > self.trial_limit.amount

    def reached(
        self,
        spent: Spent,
        in_vain: Callable[[], int],
        begin: bool = False,
        pauses: bool = False,
        what: str = "a better score",
    ) -> str:
        """Why no trial may be continued, or with `begin` none be begun; empty where it may.

        `in_vain` says how many trials have ended since one brought `what` patience waits for. Under
        a strategy that `pauses` trials patience ends those too: it would continue all of them in
        the end."""
        budget = self.budget
        if budget is not None and (begin or budget.ends_trials) and budget.exhausted(spent):
            return f"the budget of {budget.text} is used up"
        if begin and spent.trials >= self.num_trials:
            return f"{self.num_trials} trials were begun"
        if (begin or pauses) and self.patience is not None and in_vain() >= self.patience:
            return f"{self.patience} trials in a row ended without {what}"
        return ""


class Ended:
    """The trials that have ended, as patience counts them."""

    def __init__(self, mode: str):
        self._sign = 1 if mode == "max" else -1
        self._numbers: list[int] = []
        #: the best final score, and minus the number of the first trial that had it
        self._best = float("-inf"), 0

    def add(self, trial: Trial) -> None:
        """Take in a trial that has ended."""
        position = bisect_left(self._numbers, trial.number)
        if self._numbers[position : position + 1] != [trial.number]:
            self._numbers.insert(position, trial.number)
        if trial.state == "finished" and trial.last_score is not None:
            self._best = max(self._best, (self._sign * trial.last_score, -trial.number))

    @property
    def in_vain(self) -> int:
        """How many have ended since the best score was seen, in the order of numbers."""
        score, number = self._best
        if score == float("-inf"):
            return len(self._numbers)
        return len(self._numbers) - bisect_right(self._numbers, -number)
