"""What every system promises, for each of them: `ganforge.testing`, part by part."""

import pytest

from ganforge import testing
from ganforge.systems import SYSTEMS
from ganforge.systems.catalog import load_system
from ganforge.training.prepare import Prepared

CHECKS = (
    testing.check_first_weights,
    testing.check_images,
    testing.check_finite,
    testing.check_turns,
    testing.check_resume,
)
#: The flagship's workers are compared in tests/training/test_workers.py.
OTHERS = sorted(set(SYSTEMS) - {"progressive_gan_sr"})


@pytest.fixture(scope="module")
def prepared() -> dict[str, Prepared]:
    return {}


@pytest.mark.parametrize("name", SYSTEMS)
def test_settings_and_presets(name):
    testing.check_settings(name)
    assert {"paper", "quick"} <= set(load_system(name).PRESETS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SYSTEMS)
def test_promises(name, check, prepared):
    if name not in prepared:
        prepared[name] = testing.small(name)
    check(prepared[name])


def test_any_number_of_workers_ends_in_the_same_bits(prepared):
    """Batch norm, instance norm, embeddings and growth among them; all systems in one group of
    processes, whose start takes longer than the training. Three workers have unequal parts of the
    shards; the flagship is trained on two and four as well."""
    for name in OTHERS:
        prepared.setdefault(name, testing.small(name))
    testing.check_workers([prepared[name] for name in OTHERS], worker_counts=[3])
