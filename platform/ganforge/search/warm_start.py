"""What earlier studies know of the points of a new search, and how far they are believed.

Each earlier study is a Gaussian process over its own points. It learns the order of its trials, not
their scores: on other data, scores have another scale. How far study k is believed is its weight,

    w_k = max(0, tau_k - 1.5 deviations),

Kendall's rank correlation of what it predicts with what the present search has seen, less what it
reaches by chance (`agreement` has the whole of it). Weights by ranking are the idea of RGPE
(arXiv:1802.02219). While all weights are 0, as they are of two trials, a search chooses the
points that it would choose without earlier studies.

Otherwise a point is proposed with probability 0.7 min(1, 2 max w): the best one of the study that
is believed most, and after that, of many candidates, the one with the largest expected improvement
by a process over the ranks of the present trials, whose mean before it has seen any is what the
studies predict, sum w_k f_k / max(1, sum w_k).

All of it is a pure function of the studies, the seed and what was reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from ganforge.search.earlier import EarlierStudy
from ganforge.search.strategies.base import Candidates, Point
from ganforge.search.strategies.curve_model import Array, CurveModel, Observed

#: deviations of chance by which a study must order the present trials better than chance
_DOUBT = 1.5
#: how often a study that is believed proposes the next point, and the weight from which on it is
SHARE, FULL = 0.7, 0.5
#: trials that a process is given, and those of them that its lengths are learnt from
_MOST, _FIT = 300, 100
#: candidates at random, and close to each of so many good points
_DRAWN, _NEAR, _PARENTS = 200, 20, 5


class WarmStart:
    """Proposes points of a search from earlier studies, and learns how far to believe them.

    Scores are better when larger with `mode` "max". `candidates` are the points not tried yet.
    """

    def __init__(
        self,
        studies: Sequence[EarlierStudy],
        candidates: Candidates,
        mode: str,
        seed: int,
    ) -> None:
        self._candidates, self._seed = candidates, seed
        self._sign = 1.0 if mode == "max" else -1.0
        self._studies = [_Known(study, candidates, self._sign) for study in studies]
        self._numbers: dict[tuple[tuple[str, Any], ...], int] = {}
        self._points: list[Point] = []
        self._scores: list[dict[int, float]] = []
        self._failed: set[int] = set()
        #: what each study predicts of each point
        self._predicted: list[Array] = []
        #: whether the best point of each study was proposed
        self._begun = [False] * len(self._studies)

    # ---- learning ----

    def report(self, point: Point, rung: int, score: float) -> None:
        """The trial of a point reached a rung with this score; the first score stands."""
        self._scores[self._number(point)].setdefault(rung, self._sign * score)

    def report_failed(self, point: Point) -> None:
        """The trial of a point failed: where it did, it is worse than all others."""
        self._failed.add(self._number(point))

    def _number(self, point: Point) -> int:
        key = tuple(point.items())
        if key not in self._numbers:
            self._numbers[key] = len(self._points)
            self._points.append(dict(point))
            self._scores.append({})
            row = self._candidates.encode([point])
            self._predicted.append(np.array([study.predict(row)[0] for study in self._studies]))
        return self._numbers[key]

    def _seen(self) -> "_Seen":
        """The newest of the trials that have a score or failed."""
        rows = [k for k, s in enumerate(self._scores) if s or k in self._failed][-_MOST:]
        predicted = np.array([self._predicted[k] for k in rows])
        better = compare([self._scores[k] for k in rows], [k in self._failed for k in rows])
        return _Seen(
            [self._points[k] for k in rows], better, predicted.reshape(-1, len(self._studies))
        )

    @property
    def weights(self) -> Array:
        """How far each study is believed, between 0 and 1: (studies,)."""
        return self._seen().weights

    # ---- proposing ----

    def proposes(self, number: int) -> bool:
        """Whether the studies propose point `number` of the search, counted from 0."""
        drawn = np.random.default_rng((abs(self._seed), number, 1)).random()
        if drawn >= SHARE:
            return False
        return bool(drawn < SHARE * min(1.0, self.weights.max() / FULL))

    def propose(self, number: int) -> Point | None:
        """The point that promises most, after the best one of the study that is most believed; None
        where there is none. Only of such a study's it may be a part, or one that was tried."""
        seen = self._seen()
        weights = seen.weights
        most = int(weights.argmax())
        if not self._begun[most] and weights[most] > 0:
            self._begun[most] = True
            return self._studies[most].ranked[0]
        generator = np.random.default_rng((abs(self._seed), number, 2))
        points = list(self._candidates.draw(generator, _DRAWN))
        believed = (s for s, w in zip(self._studies, weights, strict=True) if w > 0)
        parents = [point for study in believed for point in study.ranked[:_PARENTS]]
        for point in [*parents, *seen.best(_PARENTS)]:
            points += self._candidates.near(point, generator, _NEAR)
        if not points:
            return None
        return points[int(self._promise(points, seen, weights).argmax())]

    def _promise(self, points: Sequence[Point], seen: "_Seen", weights: Array) -> Array:
        """Expected improvement on the best place among the present trials: (points,)."""
        believed = weights / max(1.0, float(weights.sum()))
        encoded = self._candidates.encode(points)
        prior = np.column_stack([study.predict(encoded) for study in self._studies]) @ believed
        place = normal_scores(seen.better)
        left = place - seen.predicted @ believed
        model = _process(self._candidates.encode(seen.points), left)
        mean, variance = model.final(encoded, np.full(len(points), -1))
        ahead, deviation = prior + mean - place.max(), np.sqrt(variance)
        z = ahead / deviation
        density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        return ahead * ndtr(z) + deviation * density


@dataclass(frozen=True)
class _Seen:
    """Trials of the present search: `better` as `compare` has it, `predicted` (trials, studies)."""

    points: list[Point]
    better: Array
    predicted: Array

    @property
    def weights(self) -> Array:
        return np.array([agreement(column, self.better) for column in self.predicted.T])

    def best(self, count: int) -> list[Point]:
        order = np.argsort(-self.better.sum(1), kind="stable")[:count]
        return [self.points[int(k)] for k in order]


class _Known:
    """One earlier study: its points from the best down, and what it predicts of others."""

    def __init__(self, study: EarlierStudy, candidates: Candidates, sign: float) -> None:
        trials = study.trials
        order = [
            (t.score is not None, t.stages, 0.0 if t.score is None else sign * t.score)
            for t in trials
        ]
        better = np.array([[float((a > b) - (a < b)) for b in order] for a in order])
        scores = normal_scores(better)
        features = candidates.encode([t.point for t in trials])
        # of a setting that it did not vary, or does not know, it says nothing
        self._varied, self._middle = np.ptp(features, 0) > 0, features.mean(0)
        self._model = _process(features, scores)
        known = [k for k in np.argsort(-scores, kind="stable") if order[k][0]]
        self.ranked: list[Point] = [dict(trials[int(k)].point) for k in known]

    def predict(self, features: Array) -> Array:
        """Of points (points, features): where they would be in the order of this study, 0 in its
        middle, larger is better."""
        known = np.where(self._varied, features, self._middle)
        return self._model.final(known, np.full(len(known), -1))[0]


def _process(features: Array, scores: Array) -> CurveModel:
    """A Gaussian process over points that have one score each."""
    count = len(scores)
    rows = np.arange(count)
    once = np.zeros(count, dtype=np.int64)
    none = Observed(once[:0], once[:0], np.zeros(0))
    fit = np.linspace(0, count - 1, min(count, _FIT)).astype(np.int64)
    observed = Observed(rows, once, scores)
    return CurveModel(features, np.zeros(1), observed, none, observed.take(fit))


def compare(scores: Sequence[Mapping[int, float]], failed: Sequence[bool]) -> Array:
    """Which of two trials is better, (trials, trials): 1 where the one of the row is, -1 where that
    of the column is, 0 where they are equal or have no rung in common.

    `scores` are by rung, larger is better. Two trials compare at the last rung that both reached.
    One that failed is worst at all rungs that it did not reach.
    """
    last_of_all = max((max(s, default=0) for s in scores), default=0) + 1
    table = np.full((len(scores), last_of_all + 1), np.nan)
    last = np.zeros(len(scores), dtype=np.int64)
    for k, (found, bad) in enumerate(zip(scores, failed, strict=True)):
        last[k] = max(found, default=0)
        table[k, list(found)] = list(found.values())
        if bad:
            table[k, last[k] + 1 :] = -np.inf
            last[k] = last_of_all
    common = np.minimum(last[:, None], last)
    rows = np.arange(len(scores))
    mine, theirs = table[rows[:, None], common], table[rows, common]
    return (mine > theirs).astype(np.float64) - (mine < theirs)


def normal_scores(better: Array) -> Array:
    """The place of each trial among the others as a normal deviate: (trials,); 0 in the middle."""
    count = len(better)
    place = (count + better.sum(1)) / 2  # from 0.5 to count - 0.5
    return ndtri(np.clip(place / max(count, 1), 0.5 / max(count, 1), 1 - 0.5 / max(count, 1)))


def agreement(predicted: Array, better: Array) -> float:
    """How far predictions of trials, (trials,), order them as `compare` has it: from 0 to 1.

    It is tau of all trials less 1.5 times its deviation under chance, times a part that falls from
    1 to 0 as tau of the better half of them falls from 0 to minus its own deviation: a study that
    tells good trials from bad ones, and has the good ones upside down, does not know where the best
    are.
    """
    tau, deviation = _tau(predicted, better)
    half = np.argsort(-better.sum(1), kind="stable")[: (len(better) + 1) // 2]
    upper, of_upper = _tau(predicted[half], better[np.ix_(half, half)])
    return max(0.0, tau - _DOUBT * deviation) * float(np.clip(1 + upper / of_upper, 0, 1))


def _tau(predicted: Array, better: Array) -> tuple[float, float]:
    """Kendall's rank correlation, and its deviation where the order is random,
    sqrt(2 (2 n + 5) / (9 n (n - 1))); of fewer than two trials 0 and 1."""
    count = len(predicted)
    pairs = float(np.abs(better).sum())
    if count < 2 or not pairs:
        return 0.0, 1.0
    signs = np.sign(predicted[:, None] - predicted)
    deviation = np.sqrt(2 * (2 * count + 5) / (9 * count * (count - 1)))
    return float((signs * better).sum()) / pairs, float(deviation)
