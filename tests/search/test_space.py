"""A search space is refused before anything starts."""

import pytest
from ray import tune
from small import tiny

from ganforge.search.space import check_space, distributions, start_values
from ganforge.settings import SettingsError, override

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
        ("seed", tune.randint(0, 9), "share the training's seed"),
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
