"""The ETA of a search, against searches whose end is known."""

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
from ray import tune
from small import SYSTEM, tiny

from ganforge.console import Console
from ganforge.search.budget import Spent, parse_budget
from ganforge.search.dashboard import Progress
from ganforge.search.eta import SearchEta, expected_share
from ganforge.search.limits import UNLIMITED_TRIALS, Limits
from ganforge.search.strategies.catalog import load_strategy
from ganforge.search.trial import Trial
from ganforge.training.prepare import Prepared, prepare

SPACE = {"critic.learning_rate": tune.loguniform(1e-4, 1e-2)}


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(SYSTEM, tiny())


def test_without_stops_a_trial_is_a_whole_run_and_with_them_less(prepared: Prepared):
    plan = prepared.plan()
    for name in ("tpe", "random"):
        assert expected_share(load_strategy(name), SPACE, plan, 8) == pytest.approx(1.0)
    halved = expected_share(load_strategy("halving"), SPACE, plan, 8)
    assert 0.1 < halved < 0.9


def search(prepared: Prepared, eta: SearchEta, count: int, stops: bool) -> Iterator[float]:
    """Trials one after another that begin after 10 s and train 100 s of the whole, 10 reports each;
    of those that stop each ends after the share that is expected. Yields the time after each."""
    now, plan = 0.0, prepared.plan()
    total = sum(stage.steps * stage.batch_size for stage in plan.stages)
    for number in range(count):
        trial = Trial(number, {}, prepared, plan, state="running")
        eta(trial, "started", now)
        now += 10
        eta(trial, "progress", now)
        before = trial.fraction
        for part in range(1, 11):
            trial.images = round(total * part / 10)
            now += 100 * (trial.fraction - before)
            before = trial.fraction
            eta(trial, "progress", now)
            yield now
            if stops and before >= eta.share:
                break
        eta(trial, "ended", now)


@pytest.mark.parametrize(("count", "share"), [(4, 1.0), (12, 1.0), (12, 0.35), (1, 1.0)])
def test_it_comes_true(prepared: Prepared, count: int, share: float):
    eta = SearchEta(count, share)
    assert eta.remaining(0) is None
    times, said = [], []
    for now in search(prepared, eta, count, share < 1):
        times.append(now)
        begun = len(eta._times)
        left = eta.remaining(begun)
        said.append(now + left if left is not None else None)
    end = times[-1]
    first = next(k for k, value in enumerate(said) if value is not None)
    assert first <= 2
    for now, value in zip(times[first:], said[first:], strict=True):
        assert value == pytest.approx(end, rel=0.3), f"at {now} of {end}"


def test_trials_that_run_at_the_same_time_share_what_is_left(prepared: Prepared):
    plan = prepared.plan()
    total = sum(stage.steps * stage.batch_size for stage in plan.stages)
    eta = SearchEta(8, 1.0)
    trials = [Trial(number, {}, prepared, plan, state="running") for number in range(2)]
    for trial in trials:
        eta(trial, "started", 0.0)
        eta(replace(trial, images=1), "progress", 10.0)
        trial.images = total
    for trial in trials:
        eta(trial, "progress", 110.0)
    left = eta.remaining(2)
    # six more, each 10 s and about 100 s, two at a time
    assert left is not None and left == pytest.approx(330, rel=0.05)
    # and one that has ended makes room for the next
    eta(trials[0], "ended", 110.0)
    assert eta.remaining(2) == pytest.approx(330, rel=0.05)


def after_one(trial: Trial, total: int) -> float | None:
    """Seconds left of three trials, the first of which got its workers after 20 s, reported half a
    second later, and trained for 10 s more."""
    eta = SearchEta(3, 1.0)
    eta(trial, "started", 0.0)
    eta(trial, "placed", 20.0)
    trial.images = 1
    eta(trial, "progress", 20.5)
    trial.images = total
    eta(trial, "progress", 30.5)
    return eta.remaining(1)


def test_what_the_first_trial_waits_for_is_not_expected_of_the_others(prepared: Prepared):
    """Its workers take 20 s to start; the others get them."""
    plan = prepared.plan()
    total = sum(stage.steps * stage.batch_size for stage in plan.stages)
    trial = Trial(0, {}, prepared, plan, state="running")
    assert after_one(trial, total) == pytest.approx(2 * (1 + 10), rel=0.05)
    # a user's own code gets new workers each time
    own = replace(trial, prepared=replace(prepared, sources={"own.py": ""}), images=0)
    assert after_one(own, total) == pytest.approx(2 * (20.5 + 10), rel=0.05)


@pytest.mark.parametrize(
    ("budget", "spent", "left"),
    [
        ("30m", Spent(600.0, 0.0, 3), "20:00"),
        # 900 of 3,600 device-seconds in ten minutes: three quarters are left
        ("1gpu-hours", Spent(600.0, 900.0, 3), "30:00"),
        ("4$", Spent(600.0, 1800.0, 3), "30:00"),
        ("1gpu-hours", Spent(600.0, 0.0, 3), None),
        ("200trials", Spent(600.0, 900.0, 3), None),
    ],
)
def test_a_budget_says_when_a_search_ends(budget: str, spent: Spent, left: str | None) -> None:
    limits = Limits(UNLIMITED_TRIALS, parse_budget(budget, 2.0))
    progress = Progress(limits, "score", console=Console(file=io.StringIO()))
    progress.spent = lambda: spent
    assert progress.left() == ("" if left is None else f", about {left} left")
    title = str(progress.table().title)
    done = 0.0 if limits.budget is None else limits.budget.used(spent) / limits.budget.amount
    assert title.count("█") == (round(20 * done) if budget != "200trials" else 0)
    assert "0 trials ended" in title, "without a number to count up to"
