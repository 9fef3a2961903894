"""A sampler that gives no point twice, ends when a space is exhausted, and learns from failures."""

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from ray import tune

from ganforge.search.candidates import SpaceCandidates, identity
from ganforge.search.grid import grid_points
from ganforge.search.sampler import MAX_REFUSED, Sampler
from ganforge.search.space import axes, distributions
from ganforge.settings import SettingsError
from search_spaces import likely, when

SPACE = {
    "rate": tune.loguniform(1e-4, 1e-2),
    "x": tune.uniform(0, 1),
    "steps": tune.randint(1, 5),
    "loss": tune.choice(["a", "b", "c"]),
}
SMALL = {"a": tune.choice([0, 1, 2]), "b": tune.choice([0, 1, 2]), "c": tune.quniform(0, 1, 0.5)}
NESTED = {
    "b.x": when("b", "on", tune.randint(0, 3)),
    "b.y": when("b.x", (1, 2), tune.choice([5, 6])),
    "b": tune.choice(["on", "off"]),
    "c": tune.choice([1, 2]),
}


def value(p: dict[str, Any]) -> float:
    return (
        -((p["x"] - 0.25) ** 2) - 0.1 * (math.log10(p["rate"]) + 3) ** 2 - 0.1 * (p["loss"] != "b")
    )


def test_without_repeats_its_points_are_those_of_optunas_tpe() -> None:
    study = optuna.create_study(
        direction="maximize", sampler=TPESampler(seed=3, n_startup_trials=5)
    )
    sampler = Sampler(SPACE, "max", 3, 5)
    for _ in range(20):
        wanted = study.ask(distributions(SPACE))
        point = sampler.ask()
        assert point == wanted.params
        study.tell(wanted, value(point))
        sampler.report_end(point, "finished", value(point))


def test_what_is_not_over_is_to_tpe_what_it_has_scored_so_far() -> None:
    """Next to Optuna's TPE on a study that is made anew for each suggestion, where trials that have
    reported are pruned ones."""
    sampler = Sampler(SPACE, "max", 3, 5, partial=True)
    tpe, points = TPESampler(seed=3, n_startup_trials=5), list[dict[str, Any]]()
    for number in range(40):
        study = optuna.create_study(direction="maximize", sampler=tpe)
        for earlier, point in enumerate(points):
            # the newest has yet to report, a third is finished, the others wait at a rung
            over, silent = earlier % 3 == 0, earlier == number - 1
            pruned = TrialState.COMPLETE if over else TrialState.PRUNED
            study.add_trial(
                optuna.create_trial(
                    state=TrialState.RUNNING if silent else pruned,
                    value=value(point) if over and not silent else None,
                    params=point,
                    distributions=distributions(SPACE),
                    intermediate_values={}
                    if silent
                    else {r: r * value(point) for r in range(1, 2 + earlier % 4)},
                )
            )
        point = sampler.ask()
        assert point == study.ask(distributions(SPACE)).params
        points.append(point)
        if number:
            last, earlier = points[-2], number - 1
            for rung in range(1, 2 + earlier % 4):
                sampler.report(last, rung, rung * value(last))
            if earlier % 3 == 0:
                sampler.report_end(last, "finished", value(last))
    # those that waited can still end
    for earlier, point in enumerate(points[:-1]):
        if earlier % 3:
            sampler.report_end(point, "finished", value(point))
    assert [t.state for t in sampler.study.trials].count(TrialState.COMPLETE) == 39


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc", "grid"])
def test_a_finite_space_is_given_out_once_each_and_then_ends(kind: str) -> None:
    sampler = Sampler(SMALL, "min", 1, 4, kind)
    points = []
    while (point := sampler.ask()) is not None:
        points.append(point)
        sampler.report_end(point, "finished", point["a"] - point["c"])
    assert len(points) == len({identity(p) for p in points}) == 27 and sampler.exhausted
    assert (points == list(grid_points(SMALL))) is (kind == "grid")


def test_conditional_settings_are_searched_only_where_they_matter() -> None:
    wanted = {("off", None, None), ("on", 0, None)} | {("on", x, y) for x in (1, 2) for y in (5, 6)}
    points = list(grid_points(NESTED))
    found = {(p["b"], p.get("b.x"), p.get("b.y"), p["c"]) for p in points}
    assert found == {(*w, c) for w in wanted for c in (1, 2)} and len(points) == 12
    sampler = Sampler(NESTED, "max", 0, 3)
    asked = []
    while (point := sampler.ask()) is not None:
        asked.append(identity(point))
        sampler.report_end(point, "finished", point["c"] + point.get("b.x", 0))
    assert sorted(map(str, asked)) == sorted(str(identity(p)) for p in points)


def test_a_region_in_which_trials_fail_is_left() -> None:
    for seed in range(3):
        sampler, failed = Sampler(SPACE, "max", seed, 10), []
        for _ in range(60):
            point = sampler.ask()
            failed.append(point["x"] > 0.5)
            state = "failed" if failed[-1] else "finished"
            sampler.report_end(point, state, value(point))
        assert sum(failed[:10]) >= 2 and sum(failed[-20:]) <= 4


def test_refused_points_are_no_trials_and_become_fewer() -> None:
    """Seven tenths of the space are refused; forty trials are reached."""
    first, last = 0, 0
    for seed in range(4):
        sampler, counts = Sampler(SPACE, "max", seed, 10), []
        for _ in range(40):
            counts.append(0)
            while (point := sampler.ask())["x"] + (point["steps"] - 1) / 3 > 0.6:
                sampler.refuse(point, "x = …: too large")
                counts[-1] += 1
            sampler.report_end(point, "finished", value(point))
        first, last = first + sum(counts[:10]), last + sum(counts[-10:])
        infeasible = [t for t in sampler.study.trials if "refused" in t.user_attrs]
        assert len(infeasible) == sum(counts) > 0
    assert last < first / 2


def test_a_space_that_settings_refuse_ends_with_the_reason() -> None:
    sampler = Sampler(SPACE, "max", 0)
    for number in range(MAX_REFUSED):
        sampler.refuse(sampler.ask(), "never\nmore" if number % 3 else "at times")
    with pytest.raises(
        SettingsError, match=r"refused 100 points in a row, 66 of them with: never;"
    ):
        sampler.ask()


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc", "gp"])
def test_the_same_calls_give_the_same_points(kind: str) -> None:
    def story() -> list[Any]:
        sampler, found = Sampler(SPACE, "max", 7, 3, kind, [{"x": 0.5}]), []
        for number in range(4):
            one, other = sampler.ask(), sampler.ask()  # two at a time
            found += [one, other]
            sampler.report(other, 1, value(other))
            sampler.report_end(other, "stopped" if number % 2 else "finished", value(other))
            if number == 2:
                sampler.refuse(one, "no")
            else:
                sampler.report_end(one, "failed" if number == 1 else "finished", value(one))
        return found

    once = story()
    assert once == story() and once[0]["x"] == 0.5


def test_how_trials_end_in_optunas_study() -> None:
    sampler = Sampler(SPACE, "min", 0)
    points = [sampler.ask() for _ in range(4)]
    sampler.report(points[0], 1, 3.0)
    sampler.report(points[0], 1, 9.0)  # the first score stands
    sampler.report_end(points[0], "stopped")
    sampler.report_end(points[1], "finished", 2.0)
    sampler.report_end(points[2], "failed")
    sampler.report_end(points[3], "finished", math.nan)
    trials = sampler.study.trials
    pruned, complete = TrialState.PRUNED, TrialState.COMPLETE
    assert [t.state for t in trials] == [pruned, complete, pruned, pruned]
    assert (trials[0].value, trials[0].intermediate_values) == (3.0, {1: 3.0})
    assert [t.constraints["trainable"] > 0 for t in trials] == [False, False, True, True]


def test_a_sampler_of_complete_trials_gets_failures_as_worse_than_the_worst(tmp_path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from optuna.samplers import RandomSampler\nclass Mine(RandomSampler): pass\n")
    sampler = Sampler(SPACE, "max", 0, kind=f"{path}:Mine")
    early, one, other, late = (sampler.ask() for _ in range(4))
    sampler.report_end(early, "failed")  # no value is known: it waits
    assert sampler.study.trials[0].state == TrialState.RUNNING
    sampler.report_end(one, "finished", 10.0)
    assert sampler.study.trials[0].value == 9.0
    sampler.report_end(other, "finished", 30.0)
    sampler.report_end(late, "failed")
    assert sampler.study.trials[3].value == 8.0


def test_unknown_samplers_are_named(tmp_path) -> None:
    with pytest.raises(
        SettingsError, match="sampler = tpee: there is no such sampler; give one of"
    ):
        Sampler(SPACE, "max", 0, kind="tpee")
    with pytest.raises(SettingsError, match=r"sampler = none\.py: no such file"):
        Sampler(SPACE, "max", 0, kind="none.py:Mine")
    with pytest.raises(SettingsError, match="subclass of optuna"):
        Sampler(SPACE, "max", 0, kind="unittest.mock:MagicMock")


def test_beliefs_are_followed_and_fade() -> None:
    space = SPACE | {"x": likely(tune.uniform(0, 1), 0.7, sure=1.0)}
    early, late = [], []
    for seed in range(20):
        sampler = Sampler(space, "max", seed, kind="random")
        xs = []
        for _ in range(60):
            point = sampler.ask()
            xs.append(point["x"])
            sampler.report_end(point, "finished", 0.0)
        assert xs[0] == 0.7
        early, late = early + xs[1:6], late + xs[-20:]
    near = [np.mean(np.abs(np.array(xs) - 0.7) < 0.2) for xs in (early, late)]
    # 0.95 of the believed draws lie there and 0.4 of the others; weights 10/13 and 10/60
    assert abs(near[0] - (0.77 * 0.95 + 0.23 * 0.4)) < 0.12
    assert abs(near[1] - (0.167 * 0.95 + 0.833 * 0.4)) < 0.08


def test_candidates_are_new_and_encode_between_0_and_1() -> None:
    found = axes(SPACE | {"only": when("loss", "b", tune.choice([1, 2]))})
    seen = set()
    candidates = SpaceCandidates(found, seen)
    points = candidates.draw(np.random.default_rng(0), 50)
    assert points == candidates.draw(np.random.default_rng(0), 50)
    seen.update(identity(p) for p in points)
    near = candidates.near(points[0], np.random.default_rng(1), 30)
    assert len({identity(p) for p in near} - seen) == 30
    assert all(sum(p[k] != points[0][k] for k in SPACE) <= 2 for p in near)
    rows = candidates.encode([*points, *near])
    assert rows.shape == (80, 1 + 1 + 1 + 3 + 2) and rows.min() >= 0 and rows.max() <= 1
    # a position on the domain's own scale
    rate = [1e-4 * 100**u for u in rows[:, 0]]
    assert np.allclose(rate, [p["rate"] for p in [*points, *near]])
    off = [row for row, p in zip(rows, points, strict=False) if "only" not in p]
    assert off and not np.any(np.array(off)[:, -2:])


def test_candidates_of_a_small_space_end() -> None:
    seen = set()
    candidates = SpaceCandidates(axes(SMALL), seen)
    seen.update(identity(p) for p in list(grid_points(SMALL))[:25])
    assert len(candidates.draw(np.random.default_rng(0), 10)) == 2
    seen.update(identity(p) for p in grid_points(SMALL))
    assert candidates.exhausted and not candidates.draw(np.random.default_rng(0), 10)
