"""What a trial may gain for its cost: the reward rate of optimal stopping with one look on the way.

The value of a trial is the best rate of gain per cost of any plan "look at rung h, and train to the
end if it looks good enough there": with m the mean of the final score after that look,

    index = max over h and c of  E[(final - best)+ ; m > c] / (cost(h) + P(m > c) cost(h to end)).

It is the index of Gittins with one intermediate look. A trial that is likely to win is so trained
through several rungs without a doubt, and an unlikely one costs a rung.
"""

import numpy as np
from scipy.special import ndtr, ndtri

from ganforge.search.strategies.curve_model import Array, Indices

#: how likely a look is at least this good, from the best looks down: a trial of a good search is
#: trained to its end because its look was one in a thousand
_CHANCES = np.array([0.0005, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 1.0])


def improvement(ahead: Array, deviation: Array) -> Array:
    """Expected improvement of a normal score whose mean is `ahead` of the best."""
    z = ahead / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.maximum(ahead * ndtr(z) + deviation * density, 1e-300)


def rate_of_gain(ahead: Array, variance: Array, taken: Array, first: Indices, work: Array) -> Array:
    """The index per unit of work, over all rungs to look at: (points,).

    `taken` is the variance that a look at each rung takes away, (points, rungs)."""
    # each bin at its mean
    part = np.diff(_CHANCES, prepend=0.0)
    density = np.exp(-0.5 * ndtri(_CHANCES) ** 2) / np.sqrt(2 * np.pi)
    looks = np.diff(density, prepend=0.0) / part
    done = np.concatenate([[0.0], np.cumsum(work)])
    look = np.maximum(done[1:] - done[first][:, None], 1e-12)
    rest = done[-1] - done[1:]
    after = np.sqrt(np.maximum(variance[:, None] - taken, 1e-12))
    means = ahead[:, None, None] + np.sqrt(taken)[:, :, None] * looks
    gain = np.cumsum(part * improvement(means, after[:, :, None]), axis=2)
    rate = (gain / (look[:, :, None] + rest[:, None] * _CHANCES)).max(axis=2)
    whole = improvement(ahead, np.sqrt(variance)) / look[:, -1]
    rate = np.where(np.arange(len(work)) >= first[:, None], rate, 0.0)
    rate[:, -1] = whole
    return rate.max(axis=1)
