"""ASHA as `ray.tune` has it by default, as a strategy of one's own: `--strategy asha.py:Asha`."""

from dataclasses import dataclass

import numpy as np

from ganforge.search.strategies.base import Candidates, Decision, Seen
from ganforge.search.strategies.halving import in_order


@dataclass(frozen=True)
class Asha:
    """Mirrored from AsyncHyperBandScheduler of Ray 2.60: grace_period 1, reduction_factor 4.

    Trials are compared after 1, 4, 16 … reports, here rungs. One is stopped where its score is
    below the 75th percentile of those that came there before it.
    """

    pauses = False

    def next(self, seen: Seen, candidates: Candidates) -> Decision:
        """The sampler's points, in order."""
        return in_order(seen)

    def continues(self, seen: Seen, number: int, candidates: Candidates) -> bool:
        """Whether the score is in the best quarter, or nothing is compared at this rung."""
        curve = seen.curve(number)
        others = [
            other.scores[curve.rung - 1]
            for other in seen.curves
            if other.number != number and other.rung >= curve.rung
        ]
        compared = np.log(curve.rung) / np.log(4)
        if not others or compared != round(compared):
            return True
        return curve.scores[-1] >= float(np.percentile(others, 75))
