"""Which trials continue after a stage: asynchronous successive halving (arXiv:1810.05934)."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Halving:
    """Compares trials where they end a stage; a pure function of the order of what is reported.

    A trial continues while its score is in the best 1/η of those seen at the same rung before it.
    Every stage end but the last is a rung: a stage costs about four times the one before, so the
    rungs are geometric in cost, as the paper's are. The last stage's end stops nobody.
    """

    num_stages: int
    mode: str
    reduction_factor: float = 2.0
    rungs: dict[int, dict[int, float]] = field(default_factory=dict)

    def continues(self, trial: int, stages_done: int, score: float) -> bool:
        """Enter a score into its rung; whether the trial continues. A repeated score gets the
        same answer only if nothing came between: callers keep the first answer."""
        rung = self.rungs.setdefault(stages_done, {})
        signed = score if self.mode == "max" else -score
        others = [value for number, value in rung.items() if number != trial]
        rung[trial] = signed
        if stages_done >= self.num_stages or not others:
            return True
        cutoff = np.percentile(others, (1 - 1 / self.reduction_factor) * 100)
        return signed >= float(cutoff)
