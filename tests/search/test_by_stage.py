"""Settings opened by stage, and points that branch from others."""

from typing import Any

import numpy as np
import pytest
from ray import tune
from scipy.stats import binom
from small import SYSTEM, tiny

from ganforge.schedule import Plan
from ganforge.search.by_stage import (
    branch_point,
    for_stages,
    open_by_stage,
    space_for,
)
from ganforge.search.candidates import SpaceCandidates
from ganforge.search.knowledge import likely, when
from ganforge.search.points import check_point
from ganforge.search.sampler import Sampler
from ganforge.search.space import axes, check_space, start_values
from ganforge.search.strategies.halving import Halving
from ganforge.search.strategies.pbt import PopulationBased
from ganforge.settings import SettingsError, override
from ganforge.training.lineage import lineage
from ganforge.training.prepare import build_plan

SETTINGS = tiny(stages=3)
SPACE = {
    "generator.learning_rate": likely(tune.loguniform(1e-4, 1e-2), 2e-3),
    "width": tune.choice([4, 8]),
    "critic_steps": tune.randint(1, 5),
    "critic.learning_rate": when("critic_steps", (1, 2), tune.loguniform(1e-4, 1e-2)),
    "stages.1.epochs": tune.choice([1, 2]),
}
OPENED = axes(open_by_stage(SPACE, SETTINGS))


def stage_ids(point: dict[str, Any]) -> tuple[str, ...]:
    settings = override(SETTINGS, point)
    plan: Plan = build_plan(settings, (8, 8, 8))
    return lineage(settings, plan, "data", {"code": "1"}).stage_ids


def point(seed: int = 0) -> dict[str, Any]:
    found = Sampler(open_by_stage(SPACE, SETTINGS), "max", seed, by_stage=True).ask()
    assert found is not None
    return found


def test_what_decides_the_first_stages_is_the_same_exactly_where_they_are() -> None:
    candidates = SpaceCandidates(OPENED, set())
    generator = np.random.default_rng(0)
    points = candidates.draw(generator, 6)
    for parent in points[:3]:
        made = [branch_point(OPENED, parent, stages, generator, set()) for stages in (1, 2)]
        points += [found for found in made if found is not None]
    plans = [build_plan(override(SETTINGS, p), (8, 8, 8)).stages for p in points]
    trained = [
        [(name, stage.steps) for name, stage in zip(stage_ids(p), plan, strict=True)]
        for p, plan in zip(points, plans, strict=True)
    ]
    equal = 0
    for one, mine in zip(points, trained, strict=True):
        for other, theirs in zip(points, trained, strict=True):
            for stages in (1, 2, 3):
                early = candidates.early(one, stages) == candidates.early(other, stages)
                assert early == (mine[:stages] == theirs[:stages]), (one, other, stages)
                equal += early and one is not other
    assert equal > 10
    alone = SpaceCandidates(axes({"stages.1.critic_steps": tune.choice([1, 2])}), set())
    assert alone.early({"stages.1.critic_steps": 2}, 1) == ()


def test_each_global_setting_that_may_differ_is_opened_for_every_stage() -> None:
    assert set(OPENED) == {
        "width",
        "stages.1.epochs",
        *(f"stages.{k}.generator.learning_rate" for k in range(3)),
        *(f"stages.{k}.critic.learning_rate" for k in range(3)),
        *(f"stages.{k}.critic_steps" for k in range(3)),
    }
    assert OPENED["stages.2.critic.learning_rate"].parent == "stages.2.critic_steps"
    check_space(open_by_stage(SPACE, SETTINGS), SETTINGS)


def test_a_stage_with_a_value_or_a_domain_of_its_own_keeps_it() -> None:
    settings = override(SETTINGS, {"stages.2.generator.learning_rate": 1e-5})
    own = tune.uniform(0.1, 0.2)
    space = {"generator.learning_rate": tune.uniform(0.1, 0.3)}
    opened = open_by_stage(space | {"stages.1.generator.learning_rate": own}, settings)
    assert set(opened) == {f"stages.{k}.generator.learning_rate" for k in (0, 1)}
    assert opened["stages.1.generator.learning_rate"] is own


def test_a_setting_on_which_a_common_one_depends_stays_common() -> None:
    space = {
        "critic_steps": tune.choice([1, 2]),
        "width": when("critic_steps", 2, tune.choice([4, 8])),
        "generator.learning_rate": when("critic_steps", 1, tune.uniform(0.1, 0.3)),
    }
    opened = open_by_stage(space, SETTINGS)
    learning_rates = {f"stages.{k}.generator.learning_rate" for k in range(3)}
    assert set(opened) == {"critic_steps", "width"} | learning_rates
    check_space(opened, SETTINGS)


def test_a_condition_on_a_given_value_holds_or_not() -> None:
    settings = override(SETTINGS, {"stages.0.critic_steps": 2, "stages.1.critic_steps": 3})
    opened = open_by_stage(
        {k: SPACE[k] for k in ("critic_steps", "critic.learning_rate")}, settings
    )
    assert set(opened) == {
        "stages.2.critic_steps",
        "stages.0.critic.learning_rate",
        "stages.2.critic.learning_rate",
    }
    assert axes(opened)["stages.0.critic.learning_rate"].parent is None


def test_the_first_points_have_one_value_in_all_stages() -> None:
    """So they are the stages of a search of the global settings, by id."""
    sampler = Sampler(open_by_stage(SPACE, SETTINGS), "max", 3, by_stage=True)
    for _ in range(6):
        found = sampler.ask()
        assert found is not None
        whole = {k: v for k, v in found.items() if not k.startswith("stages.")}
        whole |= {k.removeprefix("stages.0."): v for k, v in found.items() if "s.0." in k}
        assert stage_ids(found) == stage_ids(whole | {"stages.1.epochs": found["stages.1.epochs"]})
    plain = Sampler(open_by_stage(SPACE, SETTINGS), "max", 3)
    drawn = [plain.ask() for _ in range(3)][-1]
    assert len({drawn[f"stages.{k}.generator.learning_rate"] for k in range(3)}) == 3


@pytest.mark.parametrize("stages_done", [1, 2])
def test_a_branch_is_the_same_stages_up_to_where_it_branched(stages_done: int) -> None:
    for seed in range(20):
        parent = point(seed)
        made = branch_point(OPENED, parent, stages_done, np.random.default_rng(seed), set())
        assert made is not None
        mine, theirs = stage_ids(made), stage_ids(parent)
        assert mine[:stages_done] == theirs[:stages_done]
        last = dict(made) | {"stages.1.epochs": parent["stages.1.epochs"]}
        if last != parent:  # the length alone is not part of a stage's own id
            assert mine[stages_done:] != theirs[stages_done:]


def test_a_branch_multiplies_or_draws_anew_as_the_paper_says() -> None:
    found = axes({f"stages.{k}.generator.learning_rate": tune.uniform(0.0, 1.0) for k in range(3)})
    parent = dict.fromkeys(found, 0.5)
    drawn = 0
    for seed in range(2000):
        made = branch_point(found, parent, 1, np.random.default_rng(seed), set())
        assert made is not None
        first, *later = made.values()
        assert first == 0.5 and later[0] == later[1]
        drawn += later[0] not in (0.4, 0.6)
    assert binom.ppf(1e-4, 2000, 0.25) <= drawn <= binom.ppf(1 - 1e-4, 2000, 0.25)


def test_a_branch_is_new() -> None:
    """Of a choice there are as many as values: then none is left."""
    found = axes({"stages.1.critic_steps": tune.choice([1, 2, 4])})
    seen: set[tuple[tuple[str, Any], ...]] = {(("stages.1.critic_steps", 2),)}
    made = []
    for seed in range(3):
        point = branch_point(
            found, {"stages.1.critic_steps": 2}, 1, np.random.default_rng(seed), seen
        )
        if point is not None:
            made.append(point["stages.1.critic_steps"])
            seen.add(tuple(point.items()))
    assert sorted(made) == [1, 4]
    assert (
        branch_point(found, {"stages.1.critic_steps": 2}, 2, np.random.default_rng(0), seen) is None
    )


@pytest.mark.parametrize(
    ("domain", "value", "lower", "higher"),
    [
        (tune.uniform(0.1, 0.55), 0.5, 0.4, 0.55),
        (tune.loguniform(1e-4, 1e-2), 1e-4, 1e-4, 1.2e-4),
        (tune.randint(1, 6), 2, 1, 3),
        (tune.randint(1, 100), 50, 40, 60),
        (tune.quniform(0.0, 1.0, 0.1), 0.2, 0.1, 0.3),
        (tune.choice([0.9, 0.0, 0.5]), 0.5, 0.0, 0.9),
        (tune.choice([0.9, 0.0, 0.5]), 0.9, 0.5, 0.9),
        (tune.choice(["a", "b"]), "a", "a", "a"),
        (tune.choice([True, False]), True, True, True),
        (tune.uniform(-1.0, 1.0), -0.5, -0.4, -0.6),
        (tune.choice([-4, -2, -1]), -2, -1, -4),
    ],
)
def test_a_value_is_multiplied_within_its_domain(
    domain: Any, value: Any, lower: Any, higher: Any
) -> None:
    axis = axes({"stages.1.x": domain})["stages.1.x"]
    assert axis.times(value, 0.8) == pytest.approx(lower) if value != "a" else "a"
    assert axis.times(value, 1.2) == pytest.approx(higher) if value != "a" else "a"
    assert axis.contains(axis.times(value, 0.8)) and axis.contains(axis.times(value, 1.2))


def test_a_condition_of_a_late_stage_on_an_early_setting_forbids_the_branch() -> None:
    space = {
        "stages.1.critic_steps": tune.choice([1, 2]),
        "stages.0.critic.learning_rate": when("stages.1.critic_steps", 2, tune.uniform(0.1, 0.2)),
    }
    parent = {"stages.1.critic_steps": 1}
    assert branch_point(axes(space), parent, 1, np.random.default_rng(0), set()) is None


def test_a_branch_of_a_point_from_before_an_edit() -> None:
    """The early stage keeps its value, or there is no branch; later ones come into the domain."""
    keys = "stages.0.critic_steps", "stages.1.critic_steps", "stages.1.epochs"
    wide = (tune.choice([1, 2, 8]), tune.choice([1, 2, 8]), tune.randint(1, 9))
    narrow = (tune.choice([1, 2, 8]), tune.choice([1, 2]), tune.randint(1, 4))
    parent = dict(zip(keys, (8, 8, 8), strict=True))
    generator = np.random.default_rng(0)
    later = axes(dict(zip(keys, narrow, strict=True)))
    for _ in range(20):
        made = branch_point(later, parent, 1, generator, set())
        assert made is not None and made[keys[0]] == 8
        assert all(later[key].contains(value) for key, value in made.items())
    early = axes(dict(zip(keys, (tune.choice([1, 2]), *wide[1:]), strict=True)))
    assert branch_point(early, parent, 1, generator, set()) is None


def test_points_of_global_settings_are_those_of_all_stages() -> None:
    opened = open_by_stage(SPACE, SETTINGS)
    given = {"generator.learning_rate": 1e-3, "stages.1.generator.learning_rate": 2e-3}
    rates = enumerate((1e-3, 2e-3, 1e-3))
    expected = {f"stages.{k}.generator.learning_rate": rate for k, rate in rates}
    assert check_point(given, opened, SETTINGS) == (expected, [])
    assert for_stages(given, SPACE, SETTINGS) == given
    # not where a stage is not searched: the global value would be another one there
    part = {"stages.1.generator.learning_rate": tune.uniform(0.0, 1.0)}
    assert check_point({"generator.learning_rate": 0.1}, part, SETTINGS)[1]
    assert start_values(opened, SETTINGS) is not None


def test_only_a_strategy_that_branches_has_the_space_opened() -> None:
    assert space_for(Halving(), SPACE, SETTINGS) is SPACE
    assert space_for(PopulationBased(), SPACE, SETTINGS).keys() == OPENED.keys()


def test_where_no_trial_can_branch_it_is_said_which_settings_those_are() -> None:
    message = r"none of its settings \(width, stages.0.epochs\) can differ .*learning_rate"
    space = {"width": tune.choice([4, 8]), "stages.0.epochs": tune.choice([1, 2])}
    with pytest.raises(SettingsError, match=message):
        space_for(PopulationBased(), space, SETTINGS)
    with pytest.raises(SettingsError, match=f"{SYSTEM} has one stage here.*--set 'stages=.*8"):
        space_for(PopulationBased(), SPACE, tiny(stages=1))
