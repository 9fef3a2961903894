"""Every system has a search space, and each of its points is valid settings."""

import pytest

import search_spaces
from ganforge.search.space import check_space
from ganforge.settings import override
from ganforge.systems import SYSTEMS
from ganforge.systems.catalog import load_system


def test_every_system_has_a_space_and_every_space_a_system():
    assert search_spaces.names() == sorted(SYSTEMS)


@pytest.mark.parametrize("name", SYSTEMS)
def test_two_hundred_points_are_valid_settings(name):
    kind = load_system(name)
    settings = override(kind.Settings(), kind.PRESETS["quick"])
    space = search_spaces.load(name, len(settings.stages))
    check_space(space, settings)
    seen = set()
    for number in range(200):
        point = {key: domain.sample(random_state=number) for key, domain in space.items()}
        override(settings, point)
        seen.add(tuple(point.values()))
    assert len(seen) > 150
