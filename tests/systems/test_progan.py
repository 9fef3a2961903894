"""ProGAN's growth: what a stage is does not depend on the stages after it."""

import pytest
import torch

from ganforge.settings import override
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import ladder
from ganforge.training.prepare import build_plan, prepare
from ganforge.training.run import run


def trained(target: int, images, **changes) -> list[dict[str, str]]:
    """The hashes of each stage's end of a run from 4 px to `target`."""
    kind = load_system("progan_a")
    small = {
        "latent_size": 8,
        "width": 8,
        "batch_size": 8,
        "images_per_epoch": 16,
        "data.root": str(images),
        "validation.images": 2,
        "validation.sliced_wasserstein": False,
        "validation.fid_network": "none",
        "reports_per_stage": 1,
        "device": "cpu",
        "stages": ladder(4, target, scale=1, epochs=1, fade_epochs=0.5),
    }
    prepared = prepare("progan_a", override(kind.Settings(), small | changes))
    return [report.stage.hashes for report in run(prepared) if report.stage]


def test_a_longer_ladder_begins_with_the_same_bits(images):
    short, long = trained(8, images), trained(32, images)
    assert len(long) == 4 and long[:2] == short
    assert len({row["state_sha256"] for row in long}) == 4


def test_lengths_in_images_are_the_same_lengths(images):
    rows = [{"resolution": 4, "images": 16}, {"resolution": 8, "images": 16, "fade_images": 8}]
    assert trained(8, images, stages=tuple(rows)) == trained(8, images)


@pytest.mark.parametrize("name", ["progan_a", "progan_t"])
def test_strips_lead_from_one_fixed_latent_to_another(name):
    kind = load_system(name)
    stages = ladder(4, 8, scale=1, epochs=1, fade_epochs=1)
    system = kind(override(kind.Settings(), {"width": 8, "stages": stages}), {})
    for index in range(2):
        system.grow(index)
        for player in system.players:
            player.follow()
    plan = build_plan(system.settings, (100, 100))
    with torch.inference_mode():
        first = system.strips(plan.progress(1, 0))
        torch.rand(3)
        again = system.strips(plan.progress(1, 0))
    assert first is not None and first.shape == (3, 8, 3, 8, 8)
    assert torch.equal(first, again) and first.abs().max() <= 1
    steps = (first[:, 1:] - first[:, :-1]).flatten(2).norm(dim=2)
    ends = (first[:, -1] - first[:, 0]).flatten(1).norm(dim=1)
    assert (steps.max(dim=1).values < ends).all()  # no jump is as long as the way
