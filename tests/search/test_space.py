"""A search space is refused before anything starts."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from ray import tune
from small import tiny

from ganforge.search.domains import make_axis
from ganforge.search.grid import grid_points
from ganforge.search.points import read_points, recorded_point
from ganforge.search.sampler import Sampler
from ganforge.search.space import (
    check_space,
    described,
    distributions,
    single_values,
    start_values,
    without,
)
from ganforge.settings import SettingsError, flatten, override
from search_spaces import likely, when

GOOD = {
    "generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic_steps": tune.randint(1, 4),
    "stages.1.epochs": tune.choice([1, 2]),
    "stages.1.critic.learning_rate": tune.uniform(1e-4, 1e-2),
    "generator.betas": tune.choice([[0.0, 0.99], [0.5, 0.9]]),
}


def test_a_good_space_passes_and_its_points_are_settings() -> None:
    settings = tiny()
    check_space(GOOD, settings)
    for number in range(20):
        point = {key: domain.sample(random_state=number) for key, domain in GOOD.items()}
        override(settings, point)


@pytest.mark.parametrize(
    ("key", "domain", "message"),
    [
        (
            "generator.learning_rte",
            tune.uniform(0.1, 0.2),
            "did you mean 'generator.learning_rate'",
        ),
        ("stages.1.critic_step", tune.randint(1, 3), "did you mean 'stages.1.critic_steps'"),
        ("stages.7.epochs", tune.choice([1]), "unknown setting 'stages.7.epochs'"),
        ("critic_steps", tune.randint(0, 3), "critic_steps = 0"),
        ("generator.learning_rate", 0.1, "must be a domain"),
        ("generator.learning_rate", tune.sample_from(lambda spec: 0.1), "cannot be searched"),
        ("seed", tune.randint(0, 9), "repeats configurations"),
        ("stages", tune.choice([1]), "share the number of stages"),
        ("stages.1.resolution", tune.choice([16, 32]), "share the resolutions"),
        ("validation.fraction", tune.uniform(0.1, 0.2), "same images"),
        ("data.root", tune.choice(["a", "b"]), "share the data"),
        ("threads", tune.randint(1, 3), "changes no result"),
    ],
)
def test_a_bad_space_is_named(key: str, domain: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_space({key: domain}, tiny())  # type: ignore[dict-item]


def test_every_mistake_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        check_space({"seed": tune.randint(0, 9), "wdth": tune.choice([4])}, tiny())
    assert len(str(caught.value).splitlines()) == 2


def test_the_search_starts_from_the_settings_where_they_lie_in_the_space() -> None:
    settings = tiny()
    start = start_values(GOOD, settings)
    assert start is not None
    assert start["generator.learning_rate"] == 1e-3
    assert start["stages.1.critic.learning_rate"] == 1e-3
    assert start["generator.betas"] == "[0.0, 0.99]"
    assert start_values({"critic_steps": tune.randint(2, 4)}, settings) is None
    # the upper end of randint is not in it
    assert distributions(GOOD)["critic_steps"].high == 3


STEPPED = {
    "quniform": (tune.quniform(0.1, 2.0, 0.1), 0.1, 0.1, 2.0),
    "quniform around 0": (tune.quniform(-0.6, 0.6, 0.3), 0.3, -0.6, 0.6),
    "qloguniform": (tune.qloguniform(0.002, 2.0, 0.002), 0.002, 0.002, 2.0),
    "qrandint": (tune.qrandint(3, 40, 4), 4, 4, 40),
    "qrandint of 1": (tune.qrandint(3, 40, 1), 1, 3, 39),
    "qlograndint": (tune.qlograndint(6, 600, 4), 4, 8, 600),
    "lograndint": (tune.lograndint(1, 600), 1, 1, 599),
}


@pytest.mark.parametrize("name", STEPPED)
def test_quantised_domains_are_drawn_on_tunes_grid(name: str) -> None:
    domain, step, low, high = STEPPED[name]
    sampler = Sampler({"x": domain, "y": tune.uniform(0, 1)}, "max", 0, kind="random")
    tpe = Sampler({"x": domain, "y": tune.uniform(0, 1)}, "max", 0, 5)
    drawn = []
    for number in range(300):
        drawn.append(sampler.ask()["x"])
        if number < 30:
            point = tpe.ask()
            tpe.report_end(point, "finished", -abs(point["x"] - (low + high) / 3))
            drawn.append(point["x"])
    values = np.array(drawn[60:])
    assert low <= min(drawn) and max(drawn) <= high
    assert np.allclose(np.array(drawn) / step, np.round(np.array(drawn) / step), atol=1e-9)
    assert {repr(v) for v in drawn} == {
        repr(type(v)(f"{v:.6g}")) for v in drawn
    }  # 0.3, not 0.30…04
    position = (
        np.log(values / low) / math.log(high / low)
        if "log" in name
        else (values - low) / (high - low)
    )
    assert abs(position.mean() - 0.5) < 0.07
    # Tune draws from the same numbers
    theirs = {round(v / step) for v in domain.sample(size=2000, random_state=0)}
    assert theirs <= {round(v / step) for v in _all(domain)}


def _all(domain: object) -> list[float]:
    return [p["x"] for p in grid_points({"x": domain})]


@pytest.mark.parametrize(
    ("key", "domain", "message"),
    [
        ("critic_steps", 3, "--set gives one value"),
        ("critic_steps", [1, 2], r"tune.choice\(\[1, 2\]\)"),
        ("critic_steps", tune.grid_search([1, 2]), "--strategy grid"),
        ("generator", {"learning_rate": tune.uniform(1e-4, 1e-3)}, "generator.learning_rate"),
        ("critic_steps", tune.sample_from(lambda: 1), "when"),
        ("generator.learning_rate", tune.randn(1e-3, 1e-4), "likely"),
        ("critic_steps", tune.choice([1, tune.randint(1, 3)]), "is a domain itself"),
        ("critic_steps", likely(tune.randint(1, 3), 7), "likely value 7 does not lie in it"),
        ("critic_steps", likely(tune.randint(1, 3), 2, sure=0), "sure = 0: must be above 0"),
        ("critic_steps", when("width", 4, tune.randint(1, 3)), "width is not searched"),
        ("critic_steps", when("critic_steps", 1, tune.randint(1, 3)), "free one"),
        ("critic_steps", likely(when("width", 4, tune.randint(1, 3)), 2), "not likely"),
        ("critic_steps", tune.qlograndint(1, 3, 7), "hold no value"),
    ],
)
def test_what_cannot_be_searched_says_what_to_write(key, domain, message) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        check_space({key: domain}, tiny())
    assert key in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_conditions_name_a_value_that_never_comes() -> None:
    steps = tune.choice([1, 2])
    rate = tune.uniform(1e-4, 1e-3)
    with pytest.raises(SettingsError, match="never has the value 3; it has 1, 2"):
        check_space(
            {"critic_steps": steps, "critic.learning_rate": when("critic_steps", 3, rate)}, tiny()
        )
    with pytest.raises(SettingsError, match="must have 1000 values at most"):
        check_space(
            {
                "generator.learning_rate": rate,
                "critic_steps": when("generator.learning_rate", 1e-4, steps),
            },
            tiny(),
        )
    good = {
        "critic.learning_rate": when("critic_steps", 2, likely(rate, 5e-4)),
        "critic_steps": steps,
    }
    check_space(good, tiny())
    assert list(distributions(good)) == ["critic_steps", "critic.learning_rate"]
    assert "when critic_steps is 2" in described(good)["critic.learning_rate"]
    # of the settings' own one critic step
    assert start_values(good, tiny()) == {"critic_steps": 1}
    assert single_values({"critic_steps": tune.choice([2, 2])}) == {"critic_steps": 2}


def test_optunas_domains_count_from_their_lower_end() -> None:
    axis = make_axis(FloatDistribution(0.05, 0.85, step=0.2))
    assert [axis.at(n) for n in range(axis.count)] == [0.05, 0.25, 0.45, 0.65, 0.85]
    assert axis.contains(0.25) and not axis.contains(0.2)


def test_what_is_set_by_hand_leaves_the_space() -> None:
    rate = tune.uniform(1e-4, 1e-3)
    space = GOOD | {"critic.learning_rate": when("critic_steps", 2, rate)}
    left, removed = without(space, ["critic_steps"], tiny(critic_steps=2))
    assert (
        removed == {"critic_steps": "critic_steps is set"} and left["critic.learning_rate"] is rate
    )
    left, removed = without(space, ["critic_steps"], tiny(critic_steps=3))
    assert removed["critic.learning_rate"] == "critic_steps is 3"
    assert list(left) == [key for key in GOOD if key != "critic_steps"]
    with pytest.raises(SettingsError, match=r"generator.betas.0 is set, but generator.betas is"):
        without(space, ["generator.betas.0"], tiny())
    with pytest.raises(SettingsError, match="every setting of the search space is set"):
        without({"critic_steps": rate}, ["critic_steps"], tiny())


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_points_are_read_from_a_file(kind: str, tmp_path: Path) -> None:
    rows = [
        {"generator.learning_rate": 2e-3, "critic_steps": 2, "width": 4},
        {"generator.betas": [0.5, 0.9], "critic_steps": 3},
    ]
    path = tmp_path / f"points.{kind}"
    if kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        path.write_text(
            'generator.learning_rate,critic_steps,width,generator.betas\n2e-3,2,4,\n,3,,"0.5,0.9"\n'
        )
    assert read_points(str(path), GOOD, tiny()) == [
        {"generator.learning_rate": 2e-3, "critic_steps": 2},  # the width is the settings' own
        {"critic_steps": 3, "generator.betas": "[0.5, 0.9]"},
    ]


def test_each_mistake_in_a_file_of_points_is_named(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    path.write_text('[{"critic_steps": 9, "width": 8}, {"widht": 4}]')
    with pytest.raises(SettingsError) as caught:
        read_points(str(path), GOOD, tiny())
    one, two, three = str(caught.value).splitlines()
    assert "point 1: critic_steps = 9: does not lie in its domain" in one
    assert "point 1: width = 8: is not searched, and is 4 in this search; give it" in two
    assert "point 2: unknown setting 'widht'; did you mean 'width'?" in three
    for text, name in (
        ("[3]", "a.json"),
        ("{", "a.jsonl"),
        ("", "a.yaml"),
        ("a,b\n1,2,3", "a.csv"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(SettingsError, match=name):
            read_points(str(path), GOOD, tiny())


def test_a_runs_recorded_settings_are_a_point() -> None:
    run = tiny(**{"critic_steps": 2, "stages.1.epochs": 2, "generator.betas": (0.5, 0.9)})
    recorded = {key: str(value) for key, value in flatten(run).items()}
    point = recorded_point(recorded, GOOD, tiny())
    assert point == start_values(GOOD, run) and point["generator.betas"] == "[0.5, 0.9]"
    assert recorded_point(recorded | {"critic_steps": "9"}, GOOD, tiny()) is None
