"""Successive halving by hand."""

from collections.abc import Sequence

from ganforge.search.strategies.base import Begin, Continue, Curve, Nothing, Seen
from ganforge.search.strategies.halving import Halving, Whole


class NoCandidates:
    """Neither strategy looks at points."""

    def draw(self, generator, count):
        raise AssertionError

    near = encode = draw


NONE = NoCandidates()


def answers(halving: Halving, scores: Sequence[float], rungs: int) -> list[bool]:
    """Whether each trial continues, where they end their first stage one after the other."""
    curves = [Curve(number, {}, (score,), (1.0,)) for number, score in enumerate(scores)]
    return [
        halving.continues(Seen(tuple(curves[: n + 1]), rungs, (1.0,) * rungs), n, NONE)
        for n in range(len(curves))
    ]


def test_the_better_half_continues() -> None:
    # nothing to compare with; below 20; above the median 19.5; above the median 20
    assert answers(Halving(), (20.0, 19.0, 21.0, 20.5), 3) == [True, False, True, True]


def test_a_third_continues() -> None:
    # cutoffs, the best third of those before: none, -3, -1.67, -1.67, -1.5
    found = answers(Halving(3), (-3.0, -1.0, -2.0, -1.5, -0.5), 2)
    assert found == [True, True, False, True, True]


def test_rungs_are_apart_and_the_last_stops_nobody() -> None:
    def asked(*scores: tuple[float, ...]) -> bool:
        curves = tuple(Curve(n, {}, found, (1.0,) * len(found)) for n, found in enumerate(scores))
        return Halving().continues(Seen(curves, 2, (1.0, 4.0)), len(curves) - 1, NONE)

    assert asked((30.0,))
    assert asked((30.0, 30.0))
    assert not asked((30.0, 30.0), (10.0,))
    assert asked((30.0, 30.0), (10.0, 10.0))


def test_an_equal_score_continues() -> None:
    assert answers(Halving(), (20.0,) * 4, 2) == [True] * 4


def test_trials_begin_in_order_and_those_that_a_limit_paused_come_first() -> None:
    for strategy in (Halving(), Whole()):
        assert strategy.next(Seen((), 2, (1.0, 4.0)), NONE) == Begin()
        assert strategy.next(Seen((), 2, (1.0, 4.0), fresh=False), NONE) == Nothing()
        paused = Curve(3, {}, (1.0,), (1.0,), "paused")
        assert strategy.next(Seen((paused,), 2, (1.0, 4.0)), NONE) == Continue(3)


def test_whole_stops_nobody() -> None:
    curves = (Curve(0, {}, (9.0,), (1.0,)), Curve(1, {}, (-9.0,), (1.0,)))
    assert Whole().continues(Seen(curves, 2, (1.0, 4.0)), 1, NONE)
