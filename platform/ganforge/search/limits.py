"""What ends a search, the number of its trials, a budget, patience, and what is done then; and
what ends a single trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganforge.search.budget import Budget, Spent
from ganforge.search.objectives import Objectives
from ganforge.search.trial import Trial


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
        trials: Mapping[int, Trial],
        mode: str,
        begin: bool = False,
        pauses: bool = False,
        objectives: Objectives | None = None,
    ) -> str:
        """Why no trial may be continued, or with `begin` none be begun; empty where it may.

        Under a strategy that `pauses` trials patience ends those too: it would continue all of them
        in the end."""
        budget = self.budget
        if budget is not None and (begin or budget.ends_trials) and budget.exhausted(spent):
            return f"the budget of {budget.text} is used up"
        if begin and len(trials) >= self.num_trials:
            return f"{self.num_trials} trials were begun"
        if (begin or pauses) and self.patience is not None:
            vain = _vain(trials, mode) if objectives is None else objectives.in_vain(trials)
            if vain >= self.patience:
                what = "a better score" if objectives is None else "entering the front"
                return f"{self.patience} trials in a row ended without {what}"
        return ""


def _vain(trials: Mapping[int, Trial], mode: str) -> int:
    """How many trials have ended since the best score was seen, in the order of numbers."""
    sign = 1 if mode == "max" else -1
    best, vain = float("-inf"), 0
    for number in sorted(trials):
        trial = trials[number]
        if not trial.ended:
            continue
        score = trial.last_score if trial.state == "finished" else None
        if score is not None and sign * score > best:
            best, vain = sign * score, 0
        else:
            vain += 1
    return vain
