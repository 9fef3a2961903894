"""Which trials continue at a rung: asynchronous successive halving (arXiv:1810.05934)."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

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
        rung, score = curve.rung, curve.scores[-1]
        scores = seen.scores_at(rung)
        if rung >= seen.rungs or len(scores) < 2:
            return True
        return score >= percentile_without(scores, score, (1 - 1 / self.reduction_factor) * 100)


def percentile_without(scores: Sequence[float], one: float, percent: float) -> float:
    """numpy.percentile of ascending `scores`, two or more, without `one` of them; in the same bits,
    and without a look at all of them."""
    left_out = bisect_left(scores, one)

    def at(position: int) -> float:
        return scores[position if position < left_out else position + 1]

    last = len(scores) - 2
    virtual = last * (percent / 100)
    low = min(int(virtual), last)
    a, b, part = at(low), at(min(low + 1, last)), virtual - low
    return b - (b - a) * (1 - part) if part >= 0.5 else a + (b - a) * part


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
