"""Successive halving by hand."""

from ganforge.search.strategies.halving import Halving


def test_the_better_half_continues() -> None:
    halving = Halving(num_stages=3, mode="max")
    answers = [halving.continues(n, 1, score) for n, score in enumerate((20.0, 19.0, 21.0, 20.5))]
    # nothing to compare with; below 20; above the median 19.5; above the median 20
    assert answers == [True, False, True, True]


def test_a_third_continues_and_less_can_be_better() -> None:
    halving = Halving(num_stages=2, mode="min", reduction_factor=3)
    answers = [halving.continues(n, 1, score) for n, score in enumerate((3.0, 1.0, 2.0, 1.5, 0.5))]
    # cutoffs, the best third of those before: none, 3, 1.67, 1.67, 1.5
    assert answers == [True, True, False, True, True]


def test_rungs_are_apart_and_the_last_stops_nobody() -> None:
    halving = Halving(num_stages=2, mode="max")
    assert halving.continues(0, 1, 30.0)
    assert halving.continues(0, 2, 30.0)
    assert not halving.continues(1, 1, 10.0)
    assert halving.continues(1, 2, 10.0)


def test_an_equal_score_continues() -> None:
    halving = Halving(num_stages=2, mode="max")
    assert all(halving.continues(number, 1, 20.0) for number in range(4))
