"""Which new points look like good ones: the ratio of two densities, as TPE has it.

Where a Gaussian process is at a loss, on plateaus and cliffs, the order of the trials still says
where the good ones are (Bergstra et al., "Algorithms for hyper-parameter optimization",
NeurIPS 2011).
"""

import numpy as np

from ganforge.search.strategies.curve_model import Array

#: the width of a kernel of one point, next to the range of a setting
_WIDTH = 0.2


def good_count(trials: int) -> int:
    """How many of the trials are good ones."""
    return min(int(np.ceil(0.1 * trials)), 25)


def log_ratio(points: Array, good: Array, others: Array) -> Array:
    """log of (density of good points / density of the others) at `points`; each argument has shape
    (points, features), with features between 0 and 1."""
    return _log_density(points, good) - _log_density(points, others)


def _log_density(points: Array, of: Array) -> Array:
    """A normal kernel at each of the points, and a broad one over all the range, of equal weights.
    The width falls with their number by Scott's rule."""
    features = points.shape[1]
    width = _WIDTH * (len(of) + 1) ** (-1 / (features + 4))
    apart = ((points[:, None, :] - of) ** 2).sum(2) / width**2
    broad = ((points - 0.5) ** 2).sum(1)
    exponents = np.column_stack([-0.5 * apart - features * np.log(width), -0.5 * broad])
    highest = exponents.max(1)
    return highest + np.log(np.exp(exponents - highest[:, None]).mean(1))
