"""Pix2Pix and CycleGAN against their specification."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ganforge.data.batch import Batch
from ganforge.schedule import Progress, Stage
from ganforge.settings import SettingsError, override
from ganforge.systems.base import System
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import StageSettings

SMALL: dict[str, Any] = {
    "width": 4,
    "discriminator_width": 4,
    "stages": (StageSettings(resolution=32),),
}


def grown(name: str, **changes: Any) -> Any:
    kind = load_system(name)
    more = {"blocks": 1} if name == "cyclegan" else {}
    system = kind(override(kind.Settings(), SMALL | more | changes), {})
    system.grow(0)
    system.double()
    for player in system.players:
        player.follow()
    return system


def at(system: System, step: int = 0) -> Progress:
    stage = Stage(32, 640, 0, 1, 1, "adversarial", 10)
    return Progress(0, stage, step, system.settings.at(0), False, torch.tensor(1.0))


def batch(count: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(2, count, 3, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1
    return Batch(images[0], images[1], index=torch.arange(count))


def sigma(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def test_published_sizes():
    wanted = {
        "pix2pix": {"generator": 54_414_531, "discriminator": 2_768_705},
        "cyclegan": {"generators": 2 * 11_378_179, "discriminators": 2 * 2_764_737},
    }
    for name, counts in wanted.items():
        kind = load_system(name)
        with torch.device("meta"):
            system = kind(override(kind.Settings(), {"pool_size": 0} if "y" in name else {}), {})
        found = {p.name: sum(q.numel() for q in p.module.parameters()) for p in system.players}
        assert found == counts


def test_pix2pix_terms():
    system = grown("pix2pix", test_dropout=False).eval()
    x, y = batch().source, batch().target
    fake = system.generator(x)
    real_scores = sigma(system.discriminator(torch.cat([x, y], 1)))
    fake_scores = sigma(system.discriminator(torch.cat([x, fake], 1)))
    assert real_scores.shape == (2, 1, 2, 2)  # 32 px give a grid of 2 × 2
    terms = system.losses("discriminator", batch(), at(system))
    torch.testing.assert_close(terms["real"], -torch.log(real_scores).mean() / 2)
    torch.testing.assert_close(terms["fake"], -torch.log(1 - fake_scores).mean() / 2)
    terms = system.losses("generator", batch(), at(system))
    torch.testing.assert_close(terms["l1"], 100 * (y - fake).abs().mean())
    torch.testing.assert_close(terms["adversarial"], -torch.log(fake_scores).mean())
    still = grown("pix2pix", adversarial_weight=0.0)
    assert still.losses("discriminator", batch(), at(still)) == {}
    assert set(still.losses("generator", batch(), at(still))) == {"l1"}


def test_pix2pix_shows_the_same_image_each_time_and_deploys_without_dropout():
    system = grown("pix2pix", width=8)
    shown = system.generated(batch(), at(system))
    torch.rand(3)
    assert torch.equal(shown, system.generated(batch(), at(system)))
    network = system.deploy(at(system))
    assert torch.equal(network(batch().source), network(batch().source))
    assert not torch.equal(network(batch().source), shown)


def test_cyclegan_terms():
    system = grown("cyclegan", identity_weight=5.0)
    x, y = batch().source, batch().target
    g, f = system.generators["forward_"], system.generators["backward_"]
    judge_y, judge_x = system.discriminators["forward_"], system.discriminators["backward_"]
    terms = system.losses("generators", batch(), at(system))
    expected = {
        "adversarial_forward": (judge_y(g(x)) - 1).square().mean(),
        "adversarial_backward": (judge_x(f(y)) - 1).square().mean(),
        "cycle_source": 10 * (f(g(x)) - x).abs().mean(),
        "cycle_target": 10 * (g(f(y)) - y).abs().mean(),
        "identity_target": 5 * (g(y) - y).abs().mean(),
        "identity_source": 5 * (f(x) - x).abs().mean(),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    terms = system.losses("discriminators", batch(), at(system))
    expected = {
        "real_forward": (judge_y(y) - 1).square().mean() / 2,
        "fake_forward": judge_y(g(x)).square().mean() / 2,
        "real_backward": (judge_x(x) - 1).square().mean() / 2,
        "fake_backward": judge_x(f(y)).square().mean() / 2,
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_identity_passes_are_left_out_at_weight_zero():
    system = grown("cyclegan")
    calls = []
    system.generators["forward_"].register_forward_hook(lambda *_: calls.append(1))
    assert len(system.losses("generators", batch(), at(system))) == 4
    assert len(calls) == 2


def test_discriminators_see_the_pools_of_both_ways():
    system = grown("cyclegan", pool_size=2)
    for step in range(6):
        system.losses("discriminators", batch(1), at(system, step))
    assert [pool.count.tolist() for pool in system.pools.values()] == [[2], [2]]
    x, y = batch(1).source, batch(1).target
    for way, given in (("forward_", x), ("backward_", y)):
        fake = system.generators[way](given).flatten()
        torch.testing.assert_close(system.pools[way].images[0, 1], fake)


def test_round_trips_are_shown_and_measured():
    system = grown("cyclegan")
    panes = system.sample(batch(), at(system))
    g, f = system.generators["forward_"], system.generators["backward_"]
    x, y = batch().source, batch().target
    for pane, wanted in zip(panes, (x, g(x), f(g(x)), y, f(y), g(f(y))), strict=True):
        torch.testing.assert_close(pane, wanted)
    cycle = system.validate(batch(), at(system))["cycle"]
    first = ((f(g(x)) - x).abs()[0].mean() + (g(f(y)) - y).abs()[0].mean()) / 2
    torch.testing.assert_close(cycle[0], first)


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_rates_fall_linearly_to_zero(name):
    system = grown(name, constant_epochs=2, decay_epochs=4)
    for step, factor in ((0, 1.0), (20, 1.0), (30, 0.75), (40, 0.5), (60, 0.0), (70, 0.0)):
        for player in system.players:
            rate = player.options(at(system, step))["lr"]
            assert abs(rate - 2e-4 * factor) < 1e-15
    assert system.settings.counts_epochs
    assert grown(name, decay_epochs=None).players[0].options(at(system, 99))["lr"] == 0.0
    constant = grown(name, decay_epochs=None)
    assert constant.players[0].options(at(constant, 99))["lr"] == 2e-4


def test_an_epochs_length_is_in_the_identity_only_where_it_counts():
    from ganforge.training.lineage import lineage
    from ganforge.training.prepare import build_plan

    kind = load_system("cyclegan")
    for decay, differ in ((100, True), (None, False)):
        settings = override(kind.Settings(), SMALL | {"decay_epochs": decay})
        ids = {
            lineage(settings, build_plan(settings, (images,)), "data", {}).stage_ids
            for images in (10, 20)
        }
        assert (len(ids) == 2) is differ


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_one_image_a_step_is_one_workers(name):
    kind = load_system(name)
    with pytest.raises(SettingsError, match="workers = 2: with shards = 1 a step of 1 images"):
        override(kind.Settings(), {"workers": 2})
    override(kind.Settings(), {"workers": 2, "batch_size": 4, "shards": 2})


def test_mistakes_are_named():
    rows = (StageSettings(resolution=32), StageSettings(resolution=64))
    with pytest.raises(SettingsError, match=r"stages\.1\.resolution = 64: must be that of stage 0"):
        grown("pix2pix", stages=rows)
    with pytest.raises(SettingsError, match="must be a power of two, at least 32"):
        grown("pix2pix", stages=(StageSettings(resolution=96),))
    with pytest.raises(SettingsError, match="must be a multiple of 4, at least 32"):
        grown("cyclegan", stages=(StageSettings(resolution=30),))


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_deployed_generators_take_images_of_any_sides(name):
    network = grown(name).deploy(None).eval()
    whole = torch.rand(1, 3, 64, 32, dtype=torch.float64) * 2 - 1
    with torch.inference_mode():
        assert network(whole).shape == (1, 3, 64, 32)
        assert network(whole[..., :41, :27]).shape == (1, 3, 41, 27)
        filled = torch.nn.functional.pad(whole[..., :27], (0, 5, 0, 0), mode="replicate")
        if name == "pix2pix":
            torch.testing.assert_close(network(whole[..., :27]), network(filled)[..., :27])
