"""What a trial's ranks at its rungs say of its rank at the end, learnt from the trials so far.

The rank of a trial among all, a normal quantile z, has two parts: one that persists, an
Ornstein-Uhlenbeck process in the logarithm of the work, and one that is drawn anew at each rung,
because a score is measured on few images, and with one seed. So between rungs a and b

    covariance(z_a, z_b) = (1 - noise) exp(-log2(work ratio) / length)  +  noise where a = b.

Where the noise is small the last rank says all. Where it is large the ranks of a trial are
averaged, a bad one does not undo a good one, and looking often is not worth its cost.

Only the better trials come to the next rung. Given a rank, that choice says nothing more of the
next one, but it narrows the range, and with it the correlation that is seen: with k the deviation
of the ranks that continued, next to 1 of all, a correlation p is seen as

    r = p k / sqrt(1 - p^2 + p^2 k^2)      (Pearson's correction for a restricted range).

Length and noise are the means of their posterior, where Fisher's atanh(r) of n trials is normal
with variance 1 / (n - 3).
"""

import numpy as np
from scipy.special import ndtr

from ganforge.search.strategies.curve_model import Array

#: lengths that are compared, in multiples of the prior's, and the prior's deviation in e-foldings
_MULTIPLES = np.exp(np.linspace(-3.0, 1.5, 19))
_DEVIATION = 1.0
#: noises that are compared, and the mean of their prior, an exponential one
_NOISES = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
_NOISE = 0.15
#: trials at both rungs below which a correlation says nothing
_FEWEST = 5


class Persistence:
    """The process along the rungs of a whole run, whose `work` is that of each rung."""

    def __init__(self, work: Array, length: float, noise: float) -> None:
        self.length, self.noise = length, noise
        done = np.log2(np.cumsum(work))
        rungs = len(done)
        covariance = (1 - noise) * np.exp(-np.abs(done[:, None] - done) / length)
        covariance[np.diag_indices(rungs)] = 1.0
        #: for each number of ranks what each weighs in the mean of the last one
        self._weights = np.zeros((rungs + 1, rungs))
        #: and how much of its variance of 1 they explain
        self.explained = np.zeros(rungs + 1)
        for count in range(1, rungs + 1):
            seen = covariance[:count, :count] + 1e-9 * np.eye(count)
            self._weights[count, :count] = np.linalg.solve(seen, covariance[:count, -1])
            self.explained[count] = self._weights[count, :count] @ covariance[:count, -1]
        self.explained = self.explained.clip(0.0, 1.0)

    def final(self, ranks: Array) -> Array:
        """The mean of the last rank given those so far, NaN where a trial has not been: (trials,)
        of (trials, rungs)."""
        count = np.isfinite(ranks).sum(1)
        return (np.nan_to_num(ranks) * self._weights[count, : ranks.shape[1]]).sum(1)


def learnt(ranks: Array, work: Array, length: float) -> Persistence:
    """The process that the ranks of all trials at each rung make likely, (trials, rungs) with NaN
    where a trial has not been; `length` is what is expected without them, in doublings."""
    done = np.log2(np.cumsum(work))
    lengths, noises = np.meshgrid(length * _MULTIPLES, _NOISES, indexing="ij")
    likely = -0.5 * (np.log(lengths / length) / _DEVIATION) ** 2 - noises / _NOISE
    rungs = ranks.shape[1]
    for first in range(rungs - 1):
        for second in range(first + 1, rungs):
            both = np.isfinite(ranks[:, first]) & np.isfinite(ranks[:, second])
            x, y = ranks[both, first], ranks[both, second]
            if len(x) < _FEWEST or x.std() < 1e-9 or y.std() < 1e-9:
                continue
            seen = np.arctanh(np.clip(np.corrcoef(x, y)[0, 1], -0.999, 0.999))
            kept = (1 - noises) * np.exp(-(done[second] - done[first]) / lengths)
            narrow = min(float(x.std()), 1.0)
            expected = kept * narrow / np.sqrt(1 - kept**2 + (kept * narrow) ** 2)
            # the pairs of one trial are not independent: together they count as one for each rung
            weight = (len(x) - 3) * 2 / rungs
            likely -= 0.5 * weight * (seen - np.arctanh(np.minimum(expected, 0.999))) ** 2
    weight = np.exp(likely - likely.max())
    weight /= weight.sum()
    return Persistence(
        work, float(np.exp((weight * np.log(lengths)).sum())), float((weight * noises).sum())
    )


def expected_best(process: Persistence, ranks: Array) -> float:
    """The mean of the largest last rank of trials with these ranks before it; that of a trial of
    which nothing is known where there are none."""
    if not len(ranks):
        return 0.0
    deviation = np.sqrt(max(1 - process.explained[ranks.shape[1]], 1e-6))
    grid = np.linspace(-5.0, 6.0, 1101)
    below = ndtr((grid[:, None] - process.final(ranks)) / deviation).prod(1)
    return float(grid[-1] - np.trapezoid(below, grid))
