"""Which trials continue at a rung: asynchronous successive halving (arXiv:1810.05934)."""

from dataclasses import dataclass

import numpy as np

from ganforge.search.strategies.base import Begin, Candidates, Continue, Decision, Nothing, Seen


@dataclass(frozen=True)
class Halving:
    """Compares trials at rungs: stage ends, or parts of stages.

    A trial continues while its score is in the best 1/η of those seen at the same rung before it.
    The last rung stops nobody. At stage ends alone the rungs are geometric in cost, as the paper's
    are: a stage costs about four times the one before.
    """

    reduction_factor: float = 2.0
    pauses = False

    def next(self, seen: Seen, candidates: Candidates) -> Decision:
        return in_order(seen)

    def continues(self, seen: Seen, number: int, candidates: Candidates) -> bool:
        curve = seen.curve(number)
        rung = curve.rung
        others = [c.scores[rung - 1] for c in seen.curves if c.number != number and c.rung >= rung]
        if rung >= seen.rungs or not others:
            return True
        cutoff = np.percentile(others, (1 - 1 / self.reduction_factor) * 100)
        return curve.scores[-1] >= float(cutoff)


@dataclass(frozen=True)
class Whole:
    """Trains every trial to its end."""

    pauses = False

    def next(self, seen: Seen, candidates: Candidates) -> Decision:
        return in_order(seen)

    def continues(self, seen: Seen, number: int, candidates: Candidates) -> bool:
        return True


def in_order(seen: Seen) -> Decision:
    """New trials as the sampler suggests them; before them those that a limit has paused."""
    if seen.paused:
        return Continue(seen.paused[0].number)
    return Begin() if seen.fresh else Nothing()
