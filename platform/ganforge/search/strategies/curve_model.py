"""A Gaussian process over learning curves: what a trial will score at a rung, and how sure that is.

The score of trial i at rung r is modelled as

    y(i, r) = m(r) + f(x_i, r) + g_i(r) + noise,

independent Gaussian processes: `m` is the curve that all trials share, `f` depends on the settings
x and is smooth in them (Matérn 5/2 with a length for each), `g` is each trial's own. Along a curve
all three are Ornstein-Uhlenbeck processes in the logarithm of the work done: what was seen at a
rung tells less of a rung that is further away, and how much less is learnt. The idea of such a
model of paused runs is that of freeze-thaw Bayesian optimization (arXiv:1406.3896).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtri
from scipy.stats import rankdata

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: variance and length of the shared curve, in units of scaled scores and of the whole curve
_SHARED, _SHARED_LENGTH = 1.0, 1.0
_FIT_ITERATIONS = 12
_JITTER = 1e-6


@dataclass(frozen=True)
class Observed:
    """Scores that were seen: one row a score, `trial` and `rung` counted from 0."""

    trial: Indices
    rung: Indices
    score: Array

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: Indices) -> "Observed":
        return Observed(self.trial[rows], self.rung[rows], self.score[rows])


def rank_scores(scores: Array) -> Array:
    """How good a score is among all trials at its rung, as a normal quantile: (trials, rungs).

    `scores` has NaN where a trial has not been. Curves flatten, cross, and diverge to 1e34; their
    order at a rung is what persists to the next. Those that were not continued count as worse than
    those that were: of 100 trials, the best of the ten that reached a rung is the first of 100
    there. The quantiles are halved, so that good ones lie about 1 above the middle.
    """
    count = int((~np.isnan(scores)).any(1).sum())
    found = np.full(scores.shape, np.nan)
    for rung in range(scores.shape[1]):
        here = ~np.isnan(scores[:, rung])
        if here.any():
            better = here.sum() + 0.5 - rankdata(scores[here, rung])
            found[here, rung] = 0.5 * ndtri(1 - better / count)
    return found


class CurveModel:
    """The posterior given observed curves.

    `features` are the settings of all trials, between 0 and 1: (trials, features). `times` is the
    logarithm of the work up to each rung, between 0 and 1. `fitted` scores are used to
    learn the lengths and variances, by their most likely values under a weak prior: `theta`, as
    `misfit` takes it.
    """

    def __init__(
        self,
        features: Array,
        times: Array,
        observed: Observed,
        pending: Observed,
        fitted: Observed,
    ) -> None:
        self.times = times
        self._x = features
        self.theta = _fit(features, times, fitted)
        self._parts = _Parts(self.theta, features.shape[1])
        trial = np.concatenate([observed.trial, pending.trial])
        rung = np.concatenate([observed.rung, pending.rung])
        self._trial, self._rung = trial, rung
        self._scaled = features[trial] / self._parts.lengths
        distance = _distance(self._scaled, self._scaled)
        same = (trial[:, None] == trial).astype(float)
        kernel = self._kernel(distance, same, rung, rung)
        kernel[np.diag_indices(len(trial))] += self._parts.noise + _JITTER
        self._factor = cholesky(kernel, lower=True, check_finite=False)
        # pending scores make the model surer, and do not move it
        self._known = len(observed)
        head = self._factor[: self._known, : self._known]
        self._weights = cho_solve((head, True), observed.score, check_finite=False)

    @property
    def noise(self) -> float:
        """The variance of a score around its curve."""
        return self._parts.noise

    def _kernel(self, distance: Array, same: Array, rung: Indices, other: Indices) -> Array:
        # there are few rungs: the exponentials are looked up, by far the dearest part otherwise
        parts, apart = self._parts, np.abs(self.times[:, None] - self.times)
        shared = _SHARED * np.exp(-apart / _SHARED_LENGTH)
        settings = parts.settings * np.exp(-apart / parts.settings_length)
        own = parts.own * np.exp(-apart / parts.own_length)
        pick = rung[:, None] * len(self.times) + other
        found = _matern(distance)
        found *= settings.take(pick)
        found += shared.take(pick)
        found += own.take(pick) * same
        return found

    def final(self, features: Array, trial: Indices) -> tuple[Array, Array]:
        """Mean and variance of the final scores of points; `trial` is a point's number, -1 for one
        that no trial has had."""
        rung = np.full(len(trial), len(self.times) - 1)
        cross = self._cross(features, trial, rung)
        mean = cross[: self._known].T @ self._weights
        half = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        parts = self._parts
        prior = _SHARED + parts.settings + parts.own
        return mean, np.maximum(prior - (half**2).sum(0), 1e-10)

    def known(self, features: Array, trial: Indices, first: Indices) -> Array:
        """How much of the variance of each point's final score its score at each rung would take
        away: (points, rungs), 0 for the rungs before `first`."""
        rungs = len(self.times)
        count = len(trial)
        rung = np.tile(np.arange(rungs), count)
        cross = self._cross(np.repeat(features, rungs, 0), np.repeat(trial, rungs), rung)
        half = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        half = half.reshape(len(half), count, rungs)
        parts = self._parts
        apart = np.abs(self.times - self.times[-1])
        prior = (
            _SHARED * np.exp(-apart / _SHARED_LENGTH)
            + parts.settings * np.exp(-apart / parts.settings_length)
            + parts.own * np.exp(-apart / parts.own_length)
        )
        covariance = prior - np.einsum("nci,nc->ci", half, half[:, :, -1])
        variance = prior[-1] - (half**2).sum(0) + parts.noise + _JITTER
        taken = covariance**2 / np.maximum(variance, 1e-10)
        return np.where(np.arange(rungs) >= first[:, None], taken, 0.0)

    def _cross(self, features: Array, trial: Indices, rung: Indices) -> Array:
        distance = _distance(self._scaled, features / self._parts.lengths)
        same = (self._trial[:, None] == trial).astype(float)
        return self._kernel(distance, same, self._rung, rung)


class _Parts:
    """The lengths and variances that a vector of logarithms stands for."""

    def __init__(self, theta: Array, features: int) -> None:
        values = np.exp(theta)
        self.lengths: Array = values[:features]
        rest = [float(v) for v in values[features:]]
        self.settings, self.own, self.noise, self.settings_length, self.own_length = rest


def _prior(features: int) -> tuple[Array, Array]:
    """Mean and deviation of the logarithms: a length of about the whole range for each setting."""
    mean = np.log([*[0.8] * features, 0.3, 0.05, 1e-3, 1.0, 1.0])
    return mean, np.array([*[1.0] * features, 1.0, 1.5, 1.5, 1.0, 1.0])


def _distance(left: Array, right: Array) -> Array:
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
    return np.sqrt(np.maximum(squares, 0.0))


def _matern(distance: Array) -> Array:
    root = np.sqrt(5.0) * distance
    found = root * (1 / 3)
    found += 1
    found *= root
    found += 1
    found *= np.exp(-root)
    return found


def misfit(theta: Array, features: Array, times: Array, observed: Observed) -> tuple[float, Array]:
    """Minus the log density of the observed scores, up to a constant, and its gradient.

    `theta` are logarithms: a length for each feature; the variances of f, g and the noise; the
    lengths of f and g along the curve. Equation 2.30 of Rasmussen and Williams (2006).
    """
    rows = features[observed.trial]
    return _Evidence(rows, times[observed.rung], observed.trial, observed.score)(theta)


class _Evidence:
    """`misfit` of the same scores at several `theta`."""

    def __init__(self, x: Array, time: Array, trial: Indices, score: Array) -> None:
        self.y, n, self.features = score, len(score), x.shape[1]
        self.squares = ((x[:, None, :] - x) ** 2).reshape(n * n, self.features)
        self.same = (trial[:, None] == trial).astype(float)
        self.apart = np.abs(time[:, None] - time)
        self.shared = _SHARED * np.exp(-self.apart / _SHARED_LENGTH)

    def __call__(self, theta: Array) -> tuple[float, Array]:
        parts, d, y, n = _Parts(theta, self.features), self.features, self.y, len(self.y)
        inverse = 1 / parts.lengths**2
        root = np.sqrt(5.0 * (self.squares @ inverse)).reshape(n, n)
        decay = parts.settings * np.exp(-root - self.apart / parts.settings_length)
        settings = (1 + root + root**2 / 3) * decay
        own = parts.own * self.same * np.exp(-self.apart / parts.own_length)
        kernel = self.shared + settings + own
        kernel[np.diag_indices(n)] += parts.noise + _JITTER
        factor = cholesky(kernel, lower=True, check_finite=False)
        solved = cho_solve((factor, True), np.eye(n), check_finite=False)
        weights = solved @ y
        # the derivative by the kernel's entries
        slope = 0.5 * (solved - np.outer(weights, weights))
        by_distance = (slope * (5 / 3) * (1 + root) * decay).reshape(-1)
        gradient = np.empty(d + 5)
        gradient[:d] = (by_distance @ self.squares) * inverse
        gradient[d] = (slope * settings).sum()
        gradient[d + 1] = (slope * own).sum()
        gradient[d + 2] = parts.noise * np.trace(slope)
        gradient[d + 3] = (slope * settings * self.apart).sum() / parts.settings_length
        gradient[d + 4] = (slope * own * self.apart).sum() / parts.own_length
        return float(0.5 * y @ weights + np.log(np.diag(factor)).sum()), gradient


def _fit(features: Array, times: Array, observed: Observed) -> Array:
    """The most likely logarithms of lengths and variances, by their gradient.

    Decisions in a row often see the same scores to fit to: what was fitted last is kept.
    """
    rows = np.ascontiguousarray(features[observed.trial])
    numbers = np.unique(observed.trial, return_inverse=True)[1]
    parts = (rows, times[observed.rung], numbers, observed.score)
    return _fitted(features.shape[1], *(part.tobytes() for part in parts)).copy()


@lru_cache(maxsize=4)
def _fitted(count: int, rows: bytes, times: bytes, trial: bytes, score: bytes) -> Array:
    """`_fit` of arrays given as bytes, which can be kept by: `count` features."""
    features = np.frombuffer(rows, dtype=np.float64).reshape(-1, count)
    evidence = _Evidence(
        features,
        np.frombuffer(times, dtype=np.float64),
        np.frombuffer(trial, dtype=np.int64),
        np.frombuffer(score, dtype=np.float64),
    )
    mean, deviation = _prior(count)

    def loss(theta: Array) -> tuple[float, Array]:
        value, gradient = evidence(theta)
        off = (theta - mean) / deviation
        return value + 0.5 * float(off @ off), gradient + off / deviation

    # within 3 deviations, so that the kernel stays well-conditioned
    found = minimize(
        loss,
        mean,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(mean - 3 * deviation, mean + 3 * deviation, strict=True)),
        options={"maxiter": _FIT_ITERATIONS},
    )
    return np.asarray(found.x, dtype=np.float64)
