"""Freeze-thaw decisions, and a search whose best trial is known."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from ganforge.search.strategies.base import (
    Begin,
    Branch,
    Continue,
    Curve,
    CurveState,
    Nothing,
    Point,
    Seen,
)
from ganforge.search.strategies.branching import joined
from ganforge.search.strategies.freeze_thaw import FreezeThaw, _index
from ganforge.search.strategies.gain import rate_of_gain
from ganforge.search.strategies.persistence import Persistence

WORK = (1.0, 3.0, 12.0)
#: draws nothing, so that a decision can be told beforehand
STRATEGY = FreezeThaw(startup=5, suggested=0.0, explore=0.0)


class Line:
    """Points between 0 and 1, one setting; `only` are the only ones there are."""

    def __init__(self, only: Sequence[float] = ()) -> None:
        self.only = [{"x": x} for x in only]

    def draw(self, generator, count):
        return self.only[:count] if self.only else [{"x": x} for x in generator.random(count)]

    def near(self, point, generator, count):
        if self.only:
            return []
        return [{"x": x} for x in np.clip(point["x"] + 0.1 * generator.normal(size=count), 0, 1)]

    def branch(self, point, stages, generator):
        return None

    def early(self, point, stages):
        return tuple(point.items())

    def encode(self, points):
        return np.array([[p["x"]] for p in points]).reshape(-1, 1)


def curve(number: int, x: float, state: CurveState, *scores: float) -> Curve:
    return Curve(number, {"x": x}, scores, WORK[: len(scores)], state)


def seen(*curves: Curve, decision: int = 7, fresh: bool = True) -> Seen:
    return Seen(curves, 3, WORK, seed=5, decision=decision, fresh=fresh)


def some(state: CurveState = "paused") -> list[Curve]:
    """Six trials that are better the nearer they are to 0.3."""
    ranks = (0.05, 0.25, 0.45, 0.6, 0.8, 0.95)
    return [curve(k, x, state, -abs(x - 0.3)) for k, x in enumerate(ranks)]


def test_the_same_is_decided_again() -> None:
    for decision in range(4):
        answers = [FreezeThaw().next(seen(*some(), decision=decision), Line()) for _ in range(2)]
        assert answers[0] == answers[1]


def test_the_draw_is_that_of_the_decision() -> None:
    strategy = FreezeThaw(startup=0, explore=1.0)
    first, second = (strategy.next(seen(decision=d), Line()) for d in (0, 1))
    assert isinstance(first, Begin) and isinstance(second, Begin) and first != second


def test_the_sampler_has_the_first_points_and_half_of_the_others() -> None:
    strategy, over = FreezeThaw(startup=6, explore=0.0), some("stopped")
    for begun in range(6):
        assert strategy.next(seen(*over[:begun]), Line()) == Begin(joins=True)
    later = [strategy.next(seen(*over, decision=d), Line()) for d in range(200)]
    assert all(isinstance(decision, Begin) for decision in later)
    assert 80 < later.count(Begin(joins=True)) < 120
    # one that waits is continued, and neither has the next point
    waits = [replace(c, state="paused") if c.number == 1 else c for c in over]
    for decision in range(20):
        found = replace(strategy, first=(0.0, 0.5)).next(seen(*waits, decision=decision), Line())
        assert found == Continue(1)


def test_without_fresh_trials_the_best_paused_one_continues() -> None:
    assert STRATEGY.next(seen(*some(), fresh=False), Line()) == Continue(1)
    assert FreezeThaw(explore=1.0).next(seen(*some(), fresh=False), Line()) == Continue(1)
    assert STRATEGY.next(seen(fresh=False), Line()) == Nothing()


@pytest.mark.parametrize("state", ["running", "finished", "stopped", "failed"])
def test_only_paused_ones_continue(state: CurveState) -> None:
    over = [*some(state)]
    assert STRATEGY.next(seen(*over, fresh=False), Line()) == Nothing()
    assert isinstance(STRATEGY.next(seen(*over), Line()), Begin)
    paused = curve(6, 0.99, "paused", -0.69)
    assert STRATEGY.next(seen(*over, paused, fresh=False), Line()) == Continue(6)


def test_a_search_in_which_all_failed_still_proposes() -> None:
    early = [curve(k, k / 10, "failed") for k in range(8)]
    late = [curve(k, k / 10, "failed", -1.0) for k in range(8)]
    for curves in (early, late, early[:4] + late[4:]):
        assert isinstance(STRATEGY.next(seen(*curves), Line()), Begin)
        assert STRATEGY.next(seen(*curves, fresh=False), Line()) == Nothing()


def test_a_paused_trial_without_scores_continues() -> None:
    assert STRATEGY.next(seen(curve(0, 0.5, "paused"), fresh=False), Line()) == Continue(0)
    curves = (*some("finished"), curve(6, 0.3, "paused"))
    assert STRATEGY.next(seen(*curves, fresh=False), Line()) == Continue(6)


def test_ties_and_a_space_that_is_exhausted() -> None:
    equal = [curve(k, k / 8, "paused", 1.0) for k in range(8)]
    answer = STRATEGY.next(seen(*equal, fresh=False), Line())
    assert isinstance(answer, Continue)

    class Empty(Line):
        def draw(self, generator, count):
            return []

        near = lambda self, point, generator, count: []  # noqa: E731

    assert isinstance(FreezeThaw(explore=1.0).next(seen(*equal), Empty()), Continue)
    assert STRATEGY.next(seen(), Empty()) == Nothing()


def test_a_failure_keeps_new_trials_away() -> None:
    good = [replace(c, state="finished", scores=(c.scores[0],) * 3) for c in some()]
    both = Line((0.31, 0.2))
    assert STRATEGY.next(seen(*good), both) == Begin({"x": 0.31})
    failed = [curve(6 + k, 0.31 + k / 500, "failed") for k in range(3)]
    assert STRATEGY.next(seen(*good, *failed), both) == Begin({"x": 0.2})


def test_two_workers_do_not_try_one_idea_twice() -> None:
    curves = [replace(c, state="stopped") for c in some()]
    twins = Line((0.3, 0.3001, 0.5))
    assert STRATEGY.next(seen(*curves), twins) in (Begin({"x": 0.3}), Begin({"x": 0.3001}))
    twin, other = Line((0.3001, 0.5)), Begin({"x": 0.5})
    assert STRATEGY.next(seen(*curves, curve(6, 0.3, "running")), twin) == other


def test_sixteen_workers_spread() -> None:
    """One after the other, without a report in between, where the good points are near 0.3."""
    curves = [replace(c, state="stopped") for c in some()]
    for decision in range(16):
        answer = STRATEGY.next(seen(*curves, decision=decision), Line())
        assert isinstance(answer, Begin) and answer.point is not None
        curves.append(Curve(len(curves), answer.point))
    begun = np.sort([c.point["x"] for c in curves[6:]])
    assert ((begun > 0.1) & (begun < 0.5)).sum() >= 5
    assert np.diff(begun).max() < 0.3 and np.ptp(begun) > 0.5


def test_the_cheaper_of_two_equals() -> None:
    curves = [curve(k, x, "stopped", 0.0) for k, x in enumerate((0.1, 0.9, 0.2, 0.8, 0.5))]
    curves = [replace(c, costs=(1.0 + 9 * c.point["x"],)) for c in curves]
    assert STRATEGY.next(seen(*curves), Line((0.7, 0.3))) == Begin({"x": 0.3})
    dear_low = [replace(c, costs=(10.0 - 9 * c.point["x"],)) for c in curves]
    assert STRATEGY.next(seen(*dear_low), Line((0.7, 0.3))) == Begin({"x": 0.7})


def test_the_index_without_information_is_expected_improvement_per_cost() -> None:
    ahead, deviation = np.array([-1.0, 0.5]), np.array([2.0, 0.3])
    index = rate_of_gain(ahead, deviation**2, np.zeros((2, 3)), np.array([0, 2]), np.array(WORK))
    z = ahead / deviation
    expected = ahead * norm.cdf(z) + deviation * norm.pdf(z)
    assert index == pytest.approx(expected / [16.0, 12.0], rel=1e-9)


def test_the_index_of_a_look_that_tells_all() -> None:
    """Sure after one unit: train on where it is better, the best rate over all cut-offs."""
    taken = np.array([[1.0, 1.0, 1.0]])
    index = rate_of_gain(np.array([-1.0]), np.array([1.0]), taken, np.array([0]), np.array(WORK))
    cuts = np.linspace(0.0, 3.0, 3001)
    gains = norm.pdf(cuts + 1) - norm.sf(cuts + 1)
    best = (gains / (1 + 15 * norm.sf(cuts + 1))).max()
    assert index[0] == pytest.approx(best, rel=0.1)
    assert index[0] > 2 * (norm.pdf(1) - norm.sf(1)) / 16


def ladder() -> list[Curve]:
    """Paused trials at three rungs, a third of the cost on the first."""
    rows = [(-0.3, 0.1), (-0.2,), (0.2, 0.3, 0.4), (0.5,), (0.1,), (0.15, 0.2), (-0.4,), (0.05,)]
    curves = [curve(k, k / 8, "paused", *scores) for k, scores in enumerate(rows)]
    return [replace(c, state="finished") if c.rung == 3 else c for c in curves]


def test_only_the_order_of_scores_decides_what_continues() -> None:
    curves = ladder()
    far = [replace(c, scores=tuple(-np.exp(-40 * s) for s in c.scores)) for c in curves]
    for decision in range(5):
        answers = [
            STRATEGY.next(seen(*c, decision=decision, fresh=False), Line()) for c in (curves, far)
        ]
        assert answers[0] == answers[1] and isinstance(answers[0], Continue)


def test_the_first_rungs_get_their_part() -> None:
    """8 units of 29 were spent on the first rungs."""
    curves = ladder()
    assert isinstance(replace(STRATEGY, first=(0.3, 1.0)).next(seen(*curves), Line()), Begin)
    answer = replace(STRATEGY, first=(0.0, 0.2)).next(seen(*curves), Line())
    assert isinstance(answer, Continue)


def test_what_is_trained_to_its_end_gets_its_part() -> None:
    """80 units of 82 went into five trials that finished; the two that wait are worse than a new
    one is expected to be."""
    over = [curve(k, k / 8, "finished", *3 * (1 - k / 8,)) for k in range(5)]
    curves = [*over, curve(5, 0.9, "paused", -1.0), curve(6, 0.95, "paused", -2.0)]
    strategy = replace(STRATEGY, first=(0.0, 1.0))
    assert isinstance(replace(strategy, whole=0.97).next(seen(*curves), Line()), Begin)
    assert replace(strategy, whole=0.98).next(seen(*curves), Line()) == Continue(5)


def test_at_each_rung_the_first_waits() -> None:
    """With a rank that is kept for ever, the best of the last rung, else that of the first."""
    late = FreezeThaw(explore=0.0, persistence=1e6).next(seen(*ladder(), fresh=False), Line())
    assert late in (Continue(5), Continue(3))
    alone = [c for c in ladder() if c.rung != 2]
    assert STRATEGY.next(seen(*alone, fresh=False), Line()) == Continue(3)


def test_the_index_of_one_that_waits_is_expected_improvement_of_a_normal_one() -> None:
    process = Persistence(np.array(WORK), length=10.0, noise=0.0)
    finished = np.array([[0.4, 1.1], [-0.3, 0.2]])
    found = _index(process, finished, np.array([2]), np.array([0.9]), np.array(WORK))
    kept = np.exp(-np.log2(16 / 4) / 10)
    deviation = np.sqrt(1 - kept**2)
    # the mean of the larger of two normal numbers (Clark 1961)
    means, apart = kept * np.array([1.1, 0.2]), np.sqrt(2) * deviation
    far = (means[0] - means[1]) / apart
    best = means[0] * norm.cdf(far) + means[1] * norm.cdf(-far) + apart * norm.pdf(far)
    z = (0.9 - best) / deviation
    expected = ((0.9 - best) * norm.cdf(z) + deviation * norm.pdf(z)) / 12
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_trial_continues_at_once_if_it_would_be_the_next_choice() -> None:
    told = []
    for decision in range(12):
        for number in (0, 3, 5):
            curves = [replace(c, state="running") if c.number == number else c for c in ladder()]
            now = seen(*curves, decision=decision)
            paused = seen(*ladder(), decision=decision)
            expected = FreezeThaw(startup=5).next(paused, Line()) == Continue(number)
            assert FreezeThaw(startup=5).continues(now, number, Line()) == expected
            told.append(expected)
    assert any(told) and not all(told)


def search(
    score: Callable[[Point, int], float],
    tolerance: float,
    seed: int,
    work: tuple[float, ...] = WORK,
    candidates: Any = Line(),  # noqa: B008 (it cannot change)
) -> tuple[float, list[Curve]]:
    """The work of one worker until a whole run scores within `tolerance` of 1, and the trials. What
    a branch has in common with its parent costs nothing. The sampler draws at random."""
    sampler = np.random.default_rng((seed, 3))
    curves: list[Curve] = []
    spent = 0.0
    for decision in range(400):
        seen = Seen(tuple(curves), len(work), work, seed, decision)
        answer = FreezeThaw().next(seen, candidates)
        if isinstance(answer, Begin):
            point = candidates.draw(sampler, 1)[0] if answer.point is None else answer.point
            branch = joined(seen, candidates, point) if answer.joins else answer.branch
            curves.append(Curve(len(curves), point, branch=branch))
            number = len(curves) - 1
        else:
            assert isinstance(answer, Continue)
            number = answer.number
        old = curves[number]
        rung, common = old.rung, old.branch.rung if old.branch else 0
        # what is in common is passed through, and the first rung after it is trained
        scores = (*old.scores, *(score(old.point, r) for r in range(rung, max(rung, common) + 1)))
        spent += work[len(scores) - 1]
        state: CurveState = "finished" if len(scores) == len(work) else "paused"
        costs = work[: len(scores)]
        curves[number] = Curve(number, old.point, scores, costs, state, old.branch)
        if state == "finished" and scores[-1] > 1 - tolerance:
            return spent, curves
    raise AssertionError("not found in 400 decisions")


def test_the_best_of_a_smooth_family_is_found() -> None:
    """Whole runs at random would take 1 / 0.063 of them on average: 254 units of work."""

    def score(point: Point, rung: int) -> float:
        return (1 - (point["x"] - 0.3) ** 2) * (1 - 0.5 ** (rung + 1)) / 0.875

    work = [search(score, 0.001, seed)[0] for seed in range(5)]
    assert max(work) < 200 and np.median(work) < 127


class Square:
    """Points of two settings, one of a first stage and one of a second; where `fixed` is given, the
    first has that value in all."""

    def __init__(self, branches: bool = True, fixed: float | None = None) -> None:
        self.branches, self.fixed = branches, fixed

    def _point(self, early, late):
        return {"late": late} if self.fixed is not None else {"early": early, "late": late}

    def draw(self, generator, count):
        return [self._point(*generator.random(2)) for _ in range(count)]

    def near(self, point, generator, count):
        found = []
        for _ in range(count):
            moved = {k: v + 0.1 * generator.normal() for k, v in point.items()}
            found.append({k: float(np.clip(v, 0, 1)) for k, v in moved.items()})
        return found

    def branch(self, point, stages, generator):
        return {**point, "late": generator.random()} if self.branches else None

    def early(self, point, stages):
        found = {k: v for k, v in point.items() if k == "early" or stages > 1 or not self.branches}
        return tuple(found.items())

    def encode(self, points):
        return np.array([list(p.values()) for p in points]).reshape(len(points), -1)


def two_stages(point: Point, rung: int) -> float:
    found = 1 - (point.get("early", 0.3) - 0.3) ** 2
    return found - (point["late"] - 0.6) ** 2 if rung else found


DEAR_FIRST = (10.0, 1.0)


def test_a_dear_first_stage_is_branched_from() -> None:
    """Next to the same search that does not know of stages in common, and pays for them."""
    work: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(5):
        for branches in work:
            spent, curves = search(two_stages, 0.001, seed, DEAR_FIRST, Square(branches))
            work[branches].append(spent)
            for curve in curves:
                if curve.branch is not None:
                    parent = curves[curve.branch.parent]
                    assert curve.branch.rung == 1 and parent.number < curve.number
                    assert parent.point["early"] == curve.point["early"]
    assert np.median(work[True]) < 0.75 * np.median(work[False]), work


def test_where_all_trials_have_their_first_stage_in_common_it_is_trained_once() -> None:
    for seed in range(5):
        spent, curves = search(two_stages, 1e-4, seed, DEAR_FIRST, Square(fixed=0.3))
        assert curves[0].branch is None
        assert all(c.branch == Branch(0, 1) for c in curves[1:])
        assert spent == 10 + sum(c.state == "finished" for c in curves)


def test_what_a_branch_has_in_common_is_passed_through() -> None:
    work = (1.0, 20.0)
    points = [{"early": 0.3, "late": k / 4} for k in range(4)]
    good = [Curve(k, point, (0.9, 0.5), work, "finished") for k, point in enumerate(points)]
    bad = Curve(4, {"early": 0.9, "late": 0.5}, (0.1,), work[:1])
    for curve, expected in ((bad, False), (replace(bad, branch=Branch(0, 1)), True)):
        shown = Seen((*good, curve), 2, work, 5, 7)
        assert STRATEGY.continues(shown, 4, Square()) == expected


def test_stages_that_end_inside_of_rungs() -> None:
    """Two rungs a stage: a branch begins at the second, the end of the first stage."""
    work = (5.0, 5.0, 0.5, 0.5)
    curves = tuple(
        Curve(k, {"early": 0.3, "late": k / 8}, (0.1, 0.2, 0.3, k / 8), work, "finished")
        for k in range(6)
    )
    begun = [
        STRATEGY.next(Seen(curves, 4, work, 5, decision, stage_rungs=2), Square())
        for decision in range(8)
    ]
    branches = [d.branch for d in begun if isinstance(d, Begin) and d.branch is not None]
    assert branches and {b.rung for b in branches} == {2}
