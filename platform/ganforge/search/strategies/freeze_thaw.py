"""Pauses trials instead of stopping them, and continues the one that promises most for its cost.

Freeze-thaw search (arXiv:1406.3896): at each free worker, a model of all curves says what each
paused trial, and each of some new points, would score at its end. A candidate's value is the best
rate of gain per cost of any plan "look at rung h, and train to the end if it looks good enough
there": with m the mean of the final score after that look,

    index = max over h and c of  E[(final - best)+ ; m > c] / (cost(h) + P(m > c) cost(h to end)).

It is the reward rate of optimal stopping (the index of Gittins) with one intermediate look. A trial
that is likely to win is so trained through several rungs without a doubt, and an unlikely one costs
a rung. Scores that running trials have yet to report count as seen, at their mean, in how sure the
model is: sixty-four workers do not start sixty-four copies of one idea.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from ganforge.search.strategies.base import (
    Begin,
    Candidates,
    Continue,
    Curve,
    Decision,
    Nothing,
    Point,
    Seen,
)
from ganforge.search.strategies.curve_model import Array, CurveModel, Indices, Observed, scale

#: standard normal places of equal probability, from the best down
_LOOKS = 16


@dataclass(frozen=True)
class FreezeThaw:
    """Freeze-thaw search; see this file's head.

    `explore` is the part of the decisions that begin a trial at random: where the model is wrong for
    good, the search is still one at random. `startup` trials begin at random.
    """

    startup: int = 5
    explore: float = 0.06
    drawn: int = 100
    near: int = 20
    parents: int = 5
    looked_at: int = 16
    fit_scores: int = 60
    scores: int = 200
    pauses = True

    def continues(self, seen: Seen, number: int, candidates: Candidates) -> bool:
        """Never at once: `next` compares it with the others."""
        return False

    def next(self, seen: Seen, candidates: Candidates) -> Decision:
        generator = seen.generator()
        paused = seen.paused
        if seen.fresh and (len(seen.curves) < self.startup or generator.random() < self.explore):
            drawn = candidates.draw(generator, 1)
            if drawn:
                return Begin(drawn[0])
        reported = [c for c in seen.curves if c.scores]
        if not reported:
            # nothing to compare with: all failed, or have yet to report
            drawn = candidates.draw(generator, 1) if seen.fresh else ()
            return Begin(drawn[0]) if drawn else Nothing()
        outlook = _Outlook(self, seen, candidates)
        points = self._points(seen, candidates, generator, outlook) if seen.fresh else []
        if not paused and not points:
            return Nothing()
        best, index = outlook.choose(paused, points)
        return Continue(paused[index].number) if best else Begin(points[index])

    def _points(
        self,
        seen: Seen,
        candidates: Candidates,
        generator: np.random.Generator,
        outlook: "_Outlook",
    ) -> list[Point]:
        points = list(candidates.draw(generator, self.drawn))
        for curve in outlook.leading(self.parents):
            points += candidates.near(curve.point, generator, self.near)
        return points


class _Outlook:
    """The model of what was seen, and the value of what could be done next."""

    def __init__(self, strategy: FreezeThaw, seen: Seen, candidates: Candidates) -> None:
        self._strategy, self._candidates = strategy, candidates
        self._curves = curves = seen.curves
        self._row = {c.number: k for k, c in enumerate(curves)}
        self._work = np.array(seen.work)
        done = np.log(np.cumsum(self._work))
        times = (done - done[0]) / max(done[-1] - done[0], 1e-12)
        self._features = candidates.encode([c.point for c in curves])
        newest = np.array([c.scores[-1] for c in curves if c.scores])
        everything = np.array([s for c in curves for s in c.scores])
        scaled = scale(everything, newest)
        worst = float(scaled.min())
        trial = [k for k, c in enumerate(curves) for _ in c.scores]
        rung = [r for c in curves for r in range(c.rung)]
        scores = list(scaled)
        for k, curve in enumerate(curves):
            if curve.state == "failed" and curve.rung < seen.rungs:
                # a failure is a bad score where it happened, so that its region is left
                trial.append(k)
                rung.append(curve.rung)
                scores.append(min(worst, -0.5))
        observed = _observed(trial, rung, scores)
        running = [k for k, c in enumerate(curves) if c.state == "running" and c.rung < seen.rungs]
        pending = _observed(running, [curves[k].rung for k in running], [0.0] * len(running))
        observed = observed.take(_spread(observed, strategy.scores))
        rows = _spread(observed, strategy.fit_scores)
        self.model = CurveModel(self._features, times, observed, pending, rows)
        self._cost_rates(seen)
        finals = [s for k, r, s in zip(trial, rung, scores, strict=True) if r == seen.rungs - 1]
        reported = np.array([k for k, c in enumerate(curves) if c.scores], dtype=np.int64)
        mean, _ = self.model.final(self._features[reported], reported)
        self._mean = dict(zip(reported.tolist(), mean.tolist(), strict=True))
        # with nothing finished, the likely end of the best one is what is to be improved on
        self._best = max(finals) if finals else float(mean.max())

    def _cost_rates(self, seen: Seen) -> None:
        """The cost of a unit of work: log-linear in the settings, by ridge regression."""
        with_cost = [k for k, c in enumerate(self._curves) if sum(c.costs) > 0]
        rates = np.array(
            [
                sum(self._curves[k].costs) / sum(seen.work[: len(self._curves[k].costs)])
                for k in with_cost
            ]
        )
        self._rate_of = dict(zip(with_cost, rates.tolist(), strict=True))
        self._slope = np.zeros(self._features.shape[1])
        self._middle, self._level = self._slope, 0.0
        if len(rates):
            x, y = self._features[with_cost], np.log(rates)
            self._middle, self._level = x.mean(0), float(y.mean())
            if float(np.ptp(y)) > 1e-9:
                x = x - self._middle
                gram = x.T @ x + 0.1 * np.eye(x.shape[1])
                self._slope = np.linalg.solve(gram, x.T @ (y - self._level))

    def leading(self, count: int) -> list[Curve]:
        """The trials with the best outlook."""
        order = sorted(self._mean, key=lambda k: (-self._mean[k], k))
        return [self._curves[k] for k in order[:count]]

    def choose(self, paused: Sequence[Curve], points: Sequence[Point]) -> tuple[bool, int]:
        """Whether a paused one, and which of them or of `points`."""
        rows = [self._row[c.number] for c in paused]
        features = self._features[rows]
        rates = [self._rate_of[k] for k in rows]
        if points:
            new = self._candidates.encode(points)
            features = np.concatenate([features, new])
            rates += np.exp(self._level + (new - self._middle) @ self._slope).tolist()
        trial = np.array(rows + [-1] * len(points), dtype=np.int64)
        first = np.array([c.rung for c in paused] + [0] * len(points), dtype=np.int64)
        mean, variance = self.model.final(features, trial)
        # a whole look at all of them is dear: first by the gain per cost of training to the end
        remaining = np.cumsum(self._work[::-1])[::-1]
        rough = _improvement(mean - self._best, np.sqrt(variance))
        rough /= remaining[first] * np.array(rates)
        keep = _top(rough, len(paused), self._strategy.looked_at)
        taken = self.model.told(features[keep], trial[keep], first[keep])
        index = (
            _rate_of_gain(
                mean[keep] - self._best,
                variance[keep],
                np.minimum(taken, variance[keep, None]),
                first[keep],
                self._work,
            )
            / np.array(rates)[keep]
        )
        found = int(keep[int(index.argmax())])
        return (True, found) if found < len(paused) else (False, found - len(paused))


def _observed(trial: Sequence[int], rung: Sequence[int], score: Sequence[float]) -> Observed:
    return Observed(
        np.array(trial, dtype=np.int64),
        np.array(rung, dtype=np.int64),
        np.array(score, dtype=np.float64),
    )


def _spread(observed: Observed, count: int) -> Indices:
    """At most `count` scores: the newest of each trial before the others, the better half of them
    by score, the rest evenly over the order in which the trials began."""
    if len(observed) <= count:
        return np.arange(len(observed))
    last = np.append(observed.trial[1:] != observed.trial[:-1], True)
    value = observed.score + 0.1 * observed.rung + np.where(last, 0.2, 0.0)
    order = np.argsort(-value, kind="stable")
    best, rest = order[: count // 2], np.sort(order[count // 2 :])
    even = rest[np.linspace(0, len(rest) - 1, count - count // 2).astype(int)]
    return np.sort(np.concatenate([best, even]))


def _top(rough: Array, paused: int, count: int) -> NDArray[np.int64]:
    """The best paused ones and the best new ones, each up to `count`."""
    order = np.argsort(-rough, kind="stable")
    old, new = order[order < paused][:count], order[order >= paused][:count]
    return np.concatenate([old, new])


def _improvement(ahead: Array, deviation: Array) -> Array:
    """Expected improvement of a normal score whose mean is `ahead` of the best."""
    z = ahead / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.maximum(ahead * ndtr(z) + deviation * density, 1e-300)


def _rate_of_gain(
    ahead: Array, variance: Array, taken: Array, first: Indices, work: Array
) -> Array:
    """The index of this file's head per unit of work, over all rungs to look at: (points,).

    `taken` is the variance that a look at each rung takes away, (points, rungs)."""
    from scipy.special import ndtri

    places = ndtri(1 - (np.arange(_LOOKS) + 0.5) / _LOOKS)
    done = np.concatenate([[0.0], np.cumsum(work)])
    look = np.maximum(done[1:] - done[first][:, None], 1e-12)
    rest = done[-1] - done[1:]
    after = np.sqrt(np.maximum(variance[:, None] - taken, 1e-12))
    means = ahead[:, None, None] + np.sqrt(taken)[:, :, None] * places
    gain = np.cumsum(_improvement(means, after[:, :, None]), axis=2) / _LOOKS
    chance = np.arange(1, _LOOKS + 1) / _LOOKS
    rate = (gain / (look[:, :, None] + rest[:, None] * chance)).max(axis=2)
    whole = _improvement(ahead, np.sqrt(variance)) / look[:, -1]
    rate = np.where(np.arange(len(work)) >= first[:, None], rate, 0.0)
    rate[:, -1] = whole
    return rate.max(axis=1)
