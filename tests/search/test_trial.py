"""A trial as a search's driver knows it: how much of it is done, how long the rest takes."""

import pytest

import ganforge.search.trial as module
from ganforge.schedule import Plan, Stage
from ganforge.search.trial import Trial


def trial(sides: list[int]) -> Trial:
    stages = tuple(Stage(side, 80, 0, 8, 4) for side in sides)
    made = Trial(0, {}, None, Plan(stages, (), 0))
    made.state = "running"
    return made


def test_the_rest_of_a_ladder_is_expected_from_what_was_measured(monkeypatch):
    """An image of 16, 32 and 64 px took 18, 35 and 75 ms: by the pixels, the rest of the ladder
    would be expected to take three times as long as it does."""
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    made = trial([16, 32, 64])
    summary = {"index": 0, "step": 0, "alpha": 1.0, "score": None, "stages": ()}
    made.update(summary | {"images": 8})
    assert made.remaining_seconds() is None, "one report measures nothing"
    clock[0] = 40 * 0.018
    made.update(summary | {"images": 48})
    rest = 32 * 0.018 + 80 * 0.035 + 80 * 0.075
    assert made.remaining_seconds() == pytest.approx(rest, rel=0.25)
    assert 0 < made.fraction < 1
