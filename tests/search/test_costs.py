"""The costs of a search add up, and say what was saved."""

import pytest

from ganforge.schedule import Plan, Stage
from ganforge.search.costs import search_costs, stage_rates
from ganforge.search.trial import State, Trial
from ganforge.training.report import StageResult

STAGES = (Stage(16, 80, 0, 8, 4), Stage(32, 80, 0, 8, 4))


class Two:
    """Settings of two workers; of fewer, where they say so."""

    workers = 2
    workers_at_least: int | None = None

    @property
    def settings(self) -> "Two":
        return self


def trial(number: int, state: State, seconds: float, *stages: tuple[float, bool]) -> Trial:
    made = Trial(number, {}, Two(), Plan(STAGES, (), 0), state=state, seconds=seconds)  # pyright: ignore
    for index, (took, reused) in enumerate(stages):
        made.scores[index + 1] = 1.0
        made.stages[index] = StageResult(index, seconds=took, workers=2, reused=reused)
    return made


def test_the_sum_closes() -> None:
    trials = [
        trial(0, "finished", 40.0, (10.0, False), (20.0, False)),
        trial(1, "stopped", 15.0, (12.0, False)),
        trial(2, "finished", 25.0, (10.0, True), (22.0, False)),
    ]
    costs = search_costs(trials, seconds=50.0, devices=4)
    assert costs.used == 2 * (10 + 20 + 12 + 22)
    assert costs.overhead == 2 * (40 + 15 + 25) - costs.used
    assert costs.reused == 2 * 10
    # the second stage of trial 1 would have taken the mean of those that were trained
    assert costs.spared == pytest.approx(2 * 21)
    assert costs.held == 50 * 4
    assert costs.metrics()["cost/held"] == 200


def test_a_stage_that_nobody_trained_has_no_price() -> None:
    trials = [trial(0, "paused", 12.0, (10.0, False))]
    assert stage_rates(trials).keys() == {0}
    assert search_costs(trials, 12.0, 2).spared == 0.0


def test_batches_that_were_trained_again_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1.0
    monkeypatch.setattr("ganforge.search.trial.time.monotonic", lambda: now)
    made = trial(0, "running", 0.0)
    made.start()
    reports = [(10.0, 8), (12.0, 16), (14.0, 24), (16.0, 32)]
    # its worker dies at 16 s; another one goes on at the state of 16 images
    reports += [(40.0, 16), (42.0, 24), (44.0, 32), (46.0, 40)]
    for now, images in reports:  # noqa: B007
        made.update({"index": 0, "step": 0, "images": images, "alpha": 1.0, "score": None})
    now = 50.0
    made.finish("finished")
    assert made.lost_seconds == 16 - 12
    made.stages[0] = StageResult(0, seconds=10.0, workers=2)
    costs = search_costs([made], seconds=60.0, devices=2)
    assert (costs.used, costs.lost, costs.overhead, costs.idle) == (20, 8, 2 * 49 - 28, 22)
    assert costs.held == 60 * 2
    assert "8 lost with processes that died" in costs.line()


def test_seconds_count_by_the_workers_that_there_were(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1.0
    monkeypatch.setattr("ganforge.search.trial.time.monotonic", lambda: now)
    made = trial(0, "running", 0.0)
    made.prepared.workers_at_least = 1  # pyright: ignore
    made.start()
    report = {"index": 0, "step": 0, "alpha": 1.0, "score": None}
    now = 5.0  # they are waited for, and held, before they say how many they are
    made.update({"workers": 2})
    for now, images in ((10.0, 8), (12.0, 16)):  # noqa: B007
        made.update(report | {"images": images})
    now = 20.0  # one is lost; the other one continues from the state of eight images
    made.update({"workers": 1})
    made.update(report | {"images": 8})
    now = 30.0
    made.finish("finished")
    assert made.device_seconds == 2 * 11 + 1 * (8 + 10)
    assert made.lost_device_seconds == 2 * (12 - 10)
    made.stages[0] = StageResult(0, seconds=20.0, workers=1, device_seconds=28.0)
    costs = search_costs([made], seconds=30.0, devices=2)
    assert (costs.used, costs.lost, costs.overhead, costs.idle) == (28, 4, 40 - 32, 60 - 40)
