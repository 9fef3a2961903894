"""Whether the rungs were justified: do scores there rank trials as the final ones do?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import norm, spearmanr

from ganforge.search.report.table import TrialRow

_FEWEST = 4


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of the scores at a rung (`after` says which) and the final scores
    of `trials` finished trials, with its 95 % confidence interval."""

    after: str
    trials: int
    correlation: float
    low: float
    high: float

    @property
    def line(self) -> str:
        found = (
            f"Scores after {self.after} rank the {self.trials} finished trials like "
            f"the final ones with Spearman {self.correlation:.2f} "
            f"({self.low:.2f} to {self.high:.2f})"
        )
        if self.low <= 0:
            return found + ": too little to justify stopping trials there."
        return found + "."


def agreements(rows: Sequence[TrialRow], num_stages: int, level: float = 0.95) -> list[Agreement]:
    """One for each rung but the last, where at least four trials finished with different scores.

    The interval is Fisher's z with the variance of Bonett and Wright (2000), (1 + r²/2) / (n − 3).
    Trials that were stopped have no final score: the correlation is that of the survivors, and
    lower than that of all.
    """
    finished = [row for row in rows if row.state == "finished" and row.repeats is None]
    found = []
    rungs = max((row.rungs for row in finished), default=1)
    for rung in range(1, num_stages * rungs):
        pairs = [
            (early, last)
            for row in finished
            if (early := row.scores.get(rung)) is not None
            and (last := row.scores.get(num_stages * rungs)) is not None
        ]
        early, last = zip(*pairs, strict=True) if pairs else ((), ())
        if len(pairs) < _FEWEST or len(set(early)) < 2 or len(set(last)) < 2:
            continue
        correlation = float(spearmanr(early, last)[0])  # pyright: ignore (scipy has no types)
        low, high = _interval(correlation, len(pairs), level)
        index, part = divmod(rung - 1, rungs)
        after = f"rung {part + 1} of {rungs} of " if part + 1 < rungs else ""
        after += f"stage {index + 1}"
        found.append(Agreement(after, len(pairs), correlation, low, high))
    return found


def _interval(correlation: float, count: int, level: float) -> tuple[float, float]:
    if abs(correlation) >= 1 - 1e-12:
        return correlation, correlation
    spread = math.sqrt((1 + correlation**2 / 2) / (count - 3))
    half = float(norm.ppf((1 + level) / 2)) * spread
    centre = math.atanh(correlation)
    return math.tanh(centre - half), math.tanh(centre + half)
