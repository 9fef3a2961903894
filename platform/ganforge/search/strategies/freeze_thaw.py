"""Pauses trials instead of stopping them, and continues the one that promises most for its cost.

Freeze-thaw search (arXiv:1406.3896) on ranks. Curves flatten, cross and diverge; what persists from
one rung to the next is the order. So a score counts as its rank among all trials at its rung, and
what the ranks of a trial say of its last one is learnt from all trials, persistence.py: where early
scores predict late ones much is looked at and little finished, and where they do not, the other way
round. At each free worker, of those that wait at each rung the one of which most is expected is a
candidate, and so is a new trial, of which nothing is known. The one that may gain most for its cost
is chosen, gain.py.

Half of the new trials begin where the search's sampler suggests (Optuna's TPE, which is shown what
all trials have scored so far), the others where a Gaussian process over settings and ranks promises
most, curve_model.py: while little is known the first is the better one, and later each tries what
the other does not see. The process compares points at random, close to good ones, and *branches* of
good ones, which differ from them in settings of later stages alone. A point that has its first
stages in common with a trial that has trained them begins where those end: it costs the rest, and
what that trial had beyond its settings is expected of it too. So a space with settings of late
stages is searched from few early ones, where they are dear, and one without has no branches. Scores
that running trials have yet to report count as seen, at their mean, in how sure the model is, and
points close to those that have not reported at all count less: sixty-four workers do not start
sixty-four copies of one idea.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

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
from ganforge.search.strategies.branching import begin, common, origins, stages_done
from ganforge.search.strategies.curve_model import Array, CurveModel, Indices, Observed, rank_scores
from ganforge.search.strategies.gain import improvement, rate_of_gain
from ganforge.search.strategies.persistence import Persistence, expected_best, learnt

#: root mean square difference of settings, of their ranges, below which two points are one idea
_SAME_IDEA = 0.1


@dataclass(frozen=True)
class FreezeThaw:
    """Freeze-thaw search; see this file's head.

    The first `startup` trials begin where the sampler suggests, and of the later ones the part
    `suggested`, but for those that branch; of all later decisions the part `explore` begins at
    random: where both models are wrong for good, the search is still one at random. `first` bounds
    the part of all cost that is spent on first rungs, from below and above, and `whole` from below
    that of the trials that were trained to their end, while there is a choice: a search that
    finished little, or looked at nothing new, would not notice that it should. `persistence` is
    the length along which a rank is expected to be kept, in doublings of the work.

    For a new trial `drawn` points at random, and for each of `parents` `near` ones and `branched`
    from the end of each stage are compared; `looked_at` get the whole index, in which a gain counts
    from `margin` on, in ranks. At most `fit_scores` scores set the lengths and variances of the
    model, and at most `scores` are in it, so that a decision takes as long in a long search as in a
    short one.
    """

    startup: int = 10
    suggested: float = 0.5
    explore: float = 0.06
    first: tuple[float, float] = (0.2, 0.5)
    whole: float = 0.6
    persistence: float = 10.0
    margin: float = 0.002
    drawn: int = 300
    near: int = 20
    parents: int = 5
    branched: int = 4
    looked_at: int = 16
    fit_scores: int = 60
    scores: int = 200
    pauses = True

    def continues(self, seen: Seen, number: int, candidates: Candidates) -> bool:
        """Whether it would be the next choice if it was paused: a trial that is not put aside
        spares the start of its processes. What a branch has in common with another is passed
        through."""
        curve = seen.curve(number)
        if curve.rung <= common(curve):
            return True
        curves = tuple(replace(c, state="paused") if c.number == number else c for c in seen.curves)
        seen = replace(seen, curves=curves)
        if (
            seen.fresh
            and self._thawed(seen, candidates) is None
            and candidates.draw(seen.generator(), 1)
        ):
            # a new one would begin: where, which is the dearest to say, does not matter here
            return False
        return self.next(seen, candidates) == Continue(number)

    def next(self, seen: Seen, candidates: Candidates) -> Decision:
        generator = seen.generator()
        explores, suggested = generator.random(2) < (self.explore, self.suggested)
        drawn = candidates.draw(generator, 1) if seen.fresh else ()
        if not drawn:
            seen = replace(seen, fresh=False)
        elif len(seen.curves) < self.startup:
            return Begin(joins=True)
        elif explores:
            origin, rung = origins(seen, candidates, drawn)
            return begin(seen, drawn[0], origin[0], rung[0])
        if not any(c.scores for c in seen.curves):
            # nothing to compare with: all failed, or have yet to report
            if seen.paused:
                return Continue(seen.paused[0].number)
            return Begin(joins=True) if seen.fresh else Nothing()
        chosen = self._thawed(seen, candidates)
        if chosen is not None:
            return Continue(chosen.number)
        if not seen.fresh:
            return Nothing()
        branches = self._branches(seen, candidates, generator)
        if suggested and not branches:
            return Begin(joins=True)
        outlook = _Outlook(self, seen, candidates)
        found = outlook.choose(self._points(candidates, generator, outlook))
        return Begin(joins=True) if suggested and found.branch is None else found

    def _branches(self, seen: Seen, candidates: Candidates, generator: np.random.Generator) -> bool:
        """Whether a branch may cost less than a point of the sampler's, which has its first stages
        in common with another by chance alone, or because all trials have."""
        if self._begins(seen, candidates):
            return False
        done = (curve for curve in seen.curves if stages_done(seen, curve))
        return any(candidates.branch(c.point, 1, generator) is not None for c in done)

    def _begins(self, seen: Seen, candidates: Candidates) -> int:
        """The rung at which every new trial begins: 0, unless no setting is of the first stages."""
        rungs = range(seen.rungs - seen.stage_rungs, 0, -seen.stage_rungs)
        for curve in seen.curves[:1]:
            for rung in rungs:
                if candidates.early(curve.point, rung // seen.stage_rungs) == ():
                    return rung if any(c.rung >= rung for c in seen.curves) else 0
        return 0

    def _thawed(self, seen: Seen, candidates: Candidates) -> Curve | None:
        """The paused trial that is continued; None for a new one, or where there is neither."""
        work = np.array(seen.work)
        ranks = 2 * _ranks(seen.curves, seen.rungs)
        process = learnt(ranks, work, self.persistence)
        waiting = _heads(seen, process.final(ranks))
        # the cost of a unit of work, for those that have yet to report
        rate = {c.number: sum(c.costs) / sum(seen.work[: c.rung]) for c in seen.curves if c.rung}
        rate = {number: found for number, found in rate.items() if found > 0}
        usual = float(np.mean(list(rate.values()))) if rate else 1.0
        first = sum(c.costs[common(c)] for c in seen.curves if c.rung > common(c))
        spent = sum(sum(c.costs[common(c) :]) for c in seen.curves)
        for curve in seen.curves:
            if curve.state == "running" and curve.rung < seen.rungs:
                rung = max(curve.rung, common(curve))
                spent += seen.work[rung] * usual
                first += seen.work[rung] * usual if rung == common(curve) else 0.0
        low, high = self.first
        if not waiting or (seen.fresh and first < low * spent):
            return None
        # last, a new one: no rank, and no rung but those that all have in common
        rung = np.array([c.rung for c, _ in waiting] + [self._begins(seen, candidates)])
        mean = np.array([p for _, p in waiting] + [0.0])
        cost = np.array([rate.get(c.number, usual) for c, _ in waiting] + [usual])
        finished = ranks[[c.state == "finished" for c in seen.curves], :-1]
        ended = sum(sum(c.costs[common(c) :]) for c in seen.curves if c.state == "finished")
        looks = ended >= self.whole * spent
        index = _index(process, finished, rung, mean, work, looks) / cost
        if not (seen.fresh and looks) or first > high * spent:
            index = index[:-1]
        best = int(index.argmax())
        return waiting[best][0] if best < len(waiting) else None

    def _points(
        self, candidates: Candidates, generator: np.random.Generator, outlook: "_Outlook"
    ) -> list[Point]:
        points = list(candidates.draw(generator, self.drawn))
        for curve in outlook.leading(self.parents):
            points += candidates.near(curve.point, generator, self.near)
            for stages in range(1, stages_done(outlook.seen, curve) + 1):
                for _ in range(self.branched):
                    branch = candidates.branch(curve.point, stages, generator)
                    if branch is None:
                        break
                    points.append(branch)
        return points


class _Outlook:
    """The model of what was seen, and the value of what could be done next."""

    def __init__(self, strategy: FreezeThaw, seen: Seen, candidates: Candidates) -> None:
        self._strategy, self._candidates = strategy, candidates
        self._curves, self.seen = seen.curves, seen
        curves = self._curves
        self._work = np.array(seen.work)
        done = np.log(np.cumsum(self._work))
        times = (done - done[0]) / max(done[-1] - done[0], 1e-12)
        self._features = candidates.encode([c.point for c in curves])
        observed = _observed(curves, seen.rungs)
        running = [k for k, c in enumerate(curves) if c.state == "running" and c.rung < seen.rungs]
        pending = Observed(
            np.array(running, dtype=np.int64),
            np.array([curves[k].rung for k in running], dtype=np.int64),
            np.zeros(len(running)),
        )
        finals = observed.score[observed.rung == seen.rungs - 1]
        # the lengths are fitted to the first of the trials only, their number growing by steps of
        # a quarter: they change slowly, and fitting them is the dearest part of a decision
        early = curves[: _step_below(len(curves))]
        if not any(c.scores for c in early):
            early = curves
        fitted = _observed(early, seen.rungs)
        fitted = fitted.take(_spread(fitted, strategy.fit_scores))
        observed = observed.take(_spread(observed, strategy.scores))
        self.model = CurveModel(self._features, times, observed, pending, fitted)
        self._cost_rates(seen)
        reported = np.array([k for k, c in enumerate(curves) if c.scores], dtype=np.int64)
        mean, _ = self.model.final(self._features[reported], reported)
        self._mean = dict(zip(reported.tolist(), mean.tolist(), strict=True))
        # with nothing finished, the likely end of the best one is what is to be improved on
        self._best = float(finals.max() if len(finals) else mean.max()) + strategy.margin

    def _cost_rates(self, seen: Seen) -> None:
        """The cost of a unit of work: log-linear in the settings, by ridge regression."""
        with_cost = [k for k, c in enumerate(self._curves) if sum(c.costs) > 0]
        rates = np.array(
            [
                sum(self._curves[k].costs) / sum(seen.work[: len(self._curves[k].costs)])
                for k in with_cost
            ]
        )
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

    def choose(self, points: Sequence[Point]) -> Begin:
        """The best of the new points, with where it begins."""
        features = self._candidates.encode(points)
        rates = np.exp(self._level + (features - self._middle) @ self._slope)
        trial, first = origins(self.seen, self._candidates, points)
        rest = 1 - np.concatenate([[0.0], np.cumsum(self._work)])[first] / self._work.sum()
        mean, variance = self.model.final(features, trial)
        apart = self._apart(features)
        # a whole look at all of them is dear: first by the gain per cost of training to the end
        rough = improvement(mean - self._best, np.sqrt(variance)) * apart / (rates * rest)
        keep = np.argsort(-rough, kind="stable")[: self._strategy.looked_at]
        taken = self.model.known(features[keep], trial[keep], first[keep])
        index = rate_of_gain(
            mean[keep] - self._best,
            variance[keep],
            np.minimum(taken, variance[keep, None]),
            first[keep],
            self._work,
        )
        best = int(keep[int((index * apart[keep] / rates[keep]).argmax())])
        return begin(self.seen, points[best], trial[best], first[best])

    def _apart(self, features: Array) -> Array:
        """Between 0 and 1, how far each new point is from those that run without a score yet."""
        found = np.ones(len(features))
        for curve, row in zip(self._curves, self._features, strict=True):
            if curve.state == "running" and not curve.scores:
                squares = ((features - row) ** 2).mean(1) / _SAME_IDEA**2
                found *= -np.expm1(-0.5 * squares)
        return found


def _heads(seen: Seen, mean: Array) -> list[tuple[Curve, float]]:
    """Of the paused trials at each rung the one of which most is expected, and how much."""
    found: dict[int, tuple[Curve, float]] = {}
    for curve, expected in zip(seen.curves, mean.tolist(), strict=True):
        if curve.state == "paused" and (curve.rung not in found or expected > found[curve.rung][1]):
            found[curve.rung] = (curve, expected)
    return [found[rung] for rung in sorted(found)]


def _index(
    process: Persistence,
    finished: Array,
    rung: Indices,
    mean: Array,
    work: Array,
    looks: bool = True,
) -> Array:
    """The index of trials that have reached so many rungs, and of whose last rank so much is
    expected: what there is to improve on is the best of those that have `finished`, given by their
    ranks but for the last, of which no more is known than its order. Without `looks` all are
    trained to their end."""
    held = process.explained[rung]
    variance = np.maximum(1 - held, 1e-9)
    taken = np.minimum(process.explained[1:] - held[:, None], variance[:, None])
    ahead = np.arange(len(work)) >= rung[:, None]
    taken = np.where(looks & ahead, np.maximum(taken, 0.0), 0.0)
    best = expected_best(process, finished)
    return rate_of_gain(mean - best, variance, taken, rung, work)


def _ranks(curves: Sequence[Curve], rungs: int) -> Array:
    """The curves as `rank_scores` has them: (curves, rungs)."""
    scores = np.full((len(curves), rungs), np.nan)
    for k, curve in enumerate(curves):
        scores[k, : curve.rung] = curve.scores
        if curve.state == "failed" and curve.rung < rungs:
            # a failure is a bad score where it happened, so that its region is left
            scores[k, curve.rung] = -np.inf
    return rank_scores(scores)


def _observed(curves: Sequence[Curve], rungs: int) -> Observed:
    """All ranks of curves."""
    found = _ranks(curves, rungs)
    trial, rung = np.nonzero(~np.isnan(found))
    return Observed(trial, rung, found[trial, rung])


def _step_below(count: int) -> int:
    """The largest whole part of a power of 1.25 that is at most `count`."""
    step = int(np.log(max(count, 1)) / np.log(1.25) + 1e-9)
    return int(1.25**step + 1e-9)


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
