"""Pauses trials instead of stopping them, and continues the one that promises most for its cost.

Freeze-thaw search (arXiv:1406.3896): at each free worker, a model of all curves says what each
paused trial, and each of some new points, would score at its end. A candidate's value is the best
rate of gain per cost of any plan "look at rung h, and train to the end if it looks good enough
there": with m the mean of the final score after that look,

    index = max over h and c of  E[(final - best)+ ; m > c] / (cost(h) + P(m > c) cost(h to end)).

It is the reward rate of optimal stopping (the index of Gittins) with one intermediate look. A trial
that is likely to win is so trained through several rungs without a doubt, and an unlikely one costs
a rung. Scores that running trials have yet to report count as seen, at their mean, in how sure the
model is, and points close to those that have not reported at all count less: sixty-four workers do
not start sixty-four copies of one idea.

Half of the new points are chosen by that index among points at random and close to good ones, the
other half by the ratio of densities of density.py: neither is good on all families of curves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

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
from ganforge.search.strategies.density import good_count, log_ratio

#: how likely a look is at least this good, from the best looks down: a trial of a good search is
#: trained to its end because its look was one in a thousand
_CHANCES = np.array([0.0005, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 1.0])
#: root mean square difference of settings, of their ranges, below which two points are one idea
_SAME_IDEA = 0.1


@dataclass(frozen=True)
class FreezeThaw:
    """Freeze-thaw search; see this file's head.

    The first `startup` trials, and of the later decisions the part `explore`, begin at random:
    where the model is wrong for good, the search is still one at random. Where less than `deepen`
    of all cost was spent beyond the first rung, a paused trial continues: a model that is sure of
    the next new point forever would finish nothing. A gain counts from `margin` on, in parts of the
    way from the median score to the best: a search ends in improvements that nobody would notice.

    `by_density` of the new points are chosen by the ratio of densities, of `samples`; for the
    others `drawn` points at random and `near` ones around each of `parents` are compared.
    `looked_at` paused trials and as many new points get the whole index. At most `fit_scores`
    scores set the lengths and variances of the model, and at most `scores` are in it, so that a
    decision takes as long in a long search as in a short one.
    """

    startup: int = 5
    explore: float = 0.06
    deepen: float = 0.6
    margin: float = 0.002
    by_density: float = 0.5
    samples: int = 24
    drawn: int = 100
    near: int = 20
    parents: int = 5
    looked_at: int = 16
    fit_scores: int = 60
    scores: int = 200
    pauses = True

    def continues(self, seen: Seen, number: int, candidates: Candidates) -> bool:
        """Whether it would be the next choice if it was paused: a trial that is not put aside
        spares the start of its processes."""
        curves = tuple(replace(c, state="paused") if c.number == number else c for c in seen.curves)
        return self.next(replace(seen, curves=curves), candidates) == Continue(number)

    def next(self, seen: Seen, candidates: Candidates) -> Decision:
        generator = seen.generator()
        paused = seen.paused
        if seen.fresh and (len(seen.curves) < self.startup or generator.random() < self.explore):
            drawn = candidates.draw(generator, 1)
            if drawn:
                return Begin(drawn[0])
        if not any(c.scores for c in seen.curves):
            # nothing to compare with: all failed, or have yet to report
            if paused:
                return Continue(paused[0].number)
            drawn = candidates.draw(generator, 1) if seen.fresh else ()
            return Begin(drawn[0]) if drawn else Nothing()
        outlook = _Outlook(self, seen, candidates)
        begin = seen.fresh and not (paused and self._is_shallow(seen))
        points = self._points(seen, candidates, generator, outlook) if begin else []
        if not paused and not points:
            return Nothing()
        best, index = outlook.choose(paused, points)
        return Continue(paused[index].number) if best else Begin(points[index])

    def _is_shallow(self, seen: Seen) -> bool:
        first = sum(c.costs[0] for c in seen.curves if c.costs)
        later = sum(sum(c.costs[1:]) for c in seen.curves)
        later += sum(seen.work[c.rung] for c in seen.curves if c.state == "running" and c.rung)
        return later < self.deepen * (first + later)

    def _points(
        self,
        seen: Seen,
        candidates: Candidates,
        generator: np.random.Generator,
        outlook: "_Outlook",
    ) -> list[Point]:
        points = list(candidates.draw(generator, self.drawn))
        if generator.random() < self.by_density:
            return outlook.likely(points, generator, self.samples)
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
        self._best = (max(finals) if finals else float(mean.max())) + strategy.margin

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

    def likely(
        self, points: list[Point], generator: np.random.Generator, samples: int
    ) -> list[Point]:
        """The point that is most likely to be a good one, out of as many `samples` close to the
        good ones, and a few of `points`."""
        good = self.leading(good_count(len(self._curves)))
        numbers = {c.number for c in good}
        picks = generator.integers(len(good) + 1, size=samples)
        found = points[: int((picks == len(good)).sum())]
        for k, curve in enumerate(good):
            if count := int((picks == k).sum()):
                found += self._candidates.near(curve.point, generator, count)
        if not found:
            return []
        rows = [self._row[c.number] for c in good]
        rest = [k for k, c in enumerate(self._curves) if c.number not in numbers]
        encoded = self._candidates.encode(found)
        ratio = log_ratio(encoded, self._features[rows], self._features[rest])
        return [found[int(ratio.argmax())]]

    def choose(self, paused: Sequence[Curve], points: Sequence[Point]) -> tuple[bool, int]:
        """Whether a paused one, and which of them or of `points`."""
        rows = [self._row[c.number] for c in paused]
        features = self._features[rows]
        rates = [self._rate_of.get(k, np.exp(self._level)) for k in rows]
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
        rough *= self._apart(features, trial) / (remaining[first] * np.array(rates))
        keep = _top(rough, len(paused), self._strategy.looked_at)
        taken = self.model.known(features[keep], trial[keep], first[keep])
        index = (
            rate_of_gain(
                mean[keep] - self._best,
                variance[keep],
                np.minimum(taken, variance[keep, None]),
                first[keep],
                self._work,
            )
            / np.array(rates)[keep]
        )
        index *= self._apart(features[keep], trial[keep])
        found = int(keep[int(index.argmax())])
        return (True, found) if found < len(paused) else (False, found - len(paused))

    def _apart(self, features: Array, trial: Indices) -> Array:
        """Between 0 and 1, how far each new point is from those that run without a score yet."""
        found = np.ones(len(trial))
        for curve, row in zip(self._curves, self._features, strict=True):
            if curve.state == "running" and not curve.scores:
                squares = ((features - row) ** 2).mean(1) / _SAME_IDEA**2
                found *= np.where(trial < 0, -np.expm1(-0.5 * squares), 1.0)
        return found


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


def rate_of_gain(ahead: Array, variance: Array, taken: Array, first: Indices, work: Array) -> Array:
    """The index of this file's head per unit of work, over all rungs to look at: (points,).

    `taken` is the variance that a look at each rung takes away, (points, rungs)."""
    # each bin at its mean
    part = np.diff(_CHANCES, prepend=0.0)
    density = np.exp(-0.5 * ndtri(_CHANCES) ** 2) / np.sqrt(2 * np.pi)
    places = np.diff(density, prepend=0.0) / part
    done = np.concatenate([[0.0], np.cumsum(work)])
    look = np.maximum(done[1:] - done[first][:, None], 1e-12)
    rest = done[-1] - done[1:]
    after = np.sqrt(np.maximum(variance[:, None] - taken, 1e-12))
    means = ahead[:, None, None] + np.sqrt(taken)[:, :, None] * places
    gain = np.cumsum(part * _improvement(means, after[:, :, None]), axis=2)
    rate = (gain / (look[:, :, None] + rest[:, None] * _CHANCES)).max(axis=2)
    whole = _improvement(ahead, np.sqrt(variance)) / look[:, -1]
    rate = np.where(np.arange(len(work)) >= first[:, None], rate, 0.0)
    rate[:, -1] = whole
    return rate.max(axis=1)
