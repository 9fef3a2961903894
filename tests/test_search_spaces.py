"""Every system has a search space, and each of its points is valid settings."""

import numpy as np
import pytest

import search_spaces
from ganforge.search.candidates import SpaceCandidates
from ganforge.search.space import axes, check_space
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
    points = SpaceCandidates(axes(space), set()).draw(np.random.default_rng(0), 200)
    for point in points:
        override(settings, point)
    assert len(points) > 150
