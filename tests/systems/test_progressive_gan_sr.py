"""The flagship against its specification."""

import hashlib

import pytest
import torch

from ganforge.assets import keep
from ganforge.data.batch import Batch
from ganforge.layers import fade_real, upsample_bicubic
from ganforge.networks.vgg import VGGFeatures, layer_numbers
from ganforge.schedule import Progress, Stage
from ganforge.settings import SettingsError, override
from ganforge.systems.perceptual import resolve_network
from ganforge.systems.progressive_gan_sr import ProgressiveGANSR, Settings
from ganforge.systems.settings import ladder

# (W, plan) -> parameters of the active generator at the four stages: 16→32, …, 128→256
GENERATOR = {
    (512, "by-resolution"): (7_180_627, 8_913_747, 9_337_939, 9_439_443),
    (512, "compact"): (4_194_131, 4_618_323, 4_913_491, 5_208_659),
    (64, "by-resolution"): (125_523, 148_627, 153_267, 153_859),
    (64, "compact"): (74_771, 79_411, 84_051, 88_691),
}
CRITIC = {
    512: (20_720_641, 22_489_857, 22_932_097, 23_042_625),
    64: (324_993, 352_609, 359_505, 361_225),
}
OLD_HEAD = {
    "by-resolution": (76_115, 39_251, 20_819),
    "compact": (39_251, 20_819, 20_819),
}
OLD_ENTRY = (2_048, 1_024, 512)


def grown(stage: int, **changes) -> ProgressiveGANSR:
    base = {"perceptual.network": "none", "width": 16}
    given = {key.replace("__", "."): value for key, value in changes.items()}
    system = ProgressiveGANSR(override(Settings(), base | given), {})
    for index in range(stage + 1):
        system.grow(index)
        for player in system.players:
            player.follow()
    return system


def at(system: ProgressiveGANSR, stage: int, alpha: float = 1.0) -> Progress:
    settings = system.settings
    row = Stage(settings.stages[stage].resolution, 100, 0, 16, 4)
    return Progress(stage, row, 0, settings.at(stage), alpha < 1, torch.tensor(alpha))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize(("width", "plan"), GENERATOR)
def test_parameter_counts_at_all_four_stages(width, plan, scale):
    target = 256 * scale // 2
    changes = {"scale": scale, "stages": ladder(16, target, scale=scale)}
    system = ProgressiveGANSR(
        override(
            Settings(), {"width": width, "plan": plan, "perceptual.network": "none", **changes}
        ),
        {},
    )
    for index, expected in enumerate(GENERATOR[width, plan]):
        system.grow(index)
        fading = count(system.generator), count(system.critic)
        if width == 512 and index and scale == 2:
            assert fading[0] - expected == OLD_HEAD[plan][index - 1]
            assert fading[1] - CRITIC[512][index] == OLD_ENTRY[index - 1]
        system.players[1].follow()
        assert count(system.deploy(at(system, index))) == expected
        if scale == 2:
            old = list(system.critic.from_image.values())[:-1]
            assert fading[1] - sum(map(count, old)) == CRITIC[width][index]


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("width", [16, 32])
def test_parameter_counts_of_preserving_growth(width, scale):
    """A residual block has two 3 × 3 convolutions from the width to the width."""
    stages = ladder(16, 128 * scale // 2, scale=scale)
    system = grown(0, width=width, growth="preserving", scale=scale, stages=stages)
    first = count(system.deploy(at(system, 0)))
    described = grown(0, width=width, scale=scale, stages=stages)
    assert first == count(described.deploy(at(described, 0)))
    for index in (1, 2):
        system.grow(index)
        system.players[1].follow()
        expected = first + index * 2 * (9 * width**2 + width)
        assert count(system.deploy(at(system, index))) == expected == count(system.generator)
        for part in ("blocks", "from_image"):  # the critic grows as described
            assert len(getattr(system.critic, part)) >= index + 1 - (part == "from_image")


def test_a_preserving_growth_keeps_the_deployed_network_and_compares_with_sharp_images():
    system = grown(0, growth="preserving", pixel_weight=1.0)
    for parameter in system.generator.parameters():
        torch.nn.init.normal_(parameter)
    system.players[1].average.load_state_dict(system.generator.state_dict())
    source = torch.rand(1, 3, 9, 9)
    before = system.deploy(at(system, 0))(source)
    system.grow(1)
    for player in system.players:
        player.follow()
    assert torch.equal(system.deploy(at(system, 1, alpha=0.25))(source), before)
    progress, images = at(system, 1, alpha=0.25), batch(64)
    seen = []
    system.critic.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    system.losses("critic", images, progress)
    assert any(torch.equal(images.target, image) for image in seen)
    terms = system.losses("generator", images, progress)
    fake = system.generator(images.source, True, torch.tensor(0.25))
    torch.testing.assert_close(terms["pixel"], (images.target - fake).abs().mean())


def test_growth_as_described_is_in_no_id():
    described, other = Settings(), Settings(growth="preserving")
    assert "growth" not in described.identity(0)
    assert other.identity(0)["growth"] == "preserving"


def test_starting_at_four_takes_six_stages():
    system = grown(5, stages=ladder(4, 256))
    out = system.deploy(at(system, 5))(torch.zeros(1, 3, 8, 8))
    assert out.shape == (1, 3, 16, 16) and len(system.settings.stages) == 6


def test_sources_of_any_size_grow_by_the_scale():
    for scale in (2, 4):
        system = grown(1, scale=scale, stages=ladder(16, 64 * scale // 2, scale=scale))
        out = system.deploy(at(system, 1))(torch.zeros(2, 3, 10, 7))
        assert out.shape == (2, 3, 10 * scale, 7 * scale)


def batch(side: int = 32, count: int = 4) -> Batch:
    torch.manual_seed(5)
    target = torch.rand(count, 3, side, side) * 2 - 1
    return Batch(target, torch.nn.functional.avg_pool2d(target, 2))


def test_terms_of_both_players_by_preset():
    system = grown(0)
    progress = at(system, 0)
    assert set(system.losses("critic", batch(), progress)) == {
        "wasserstein",
        "gradient_penalty",
        "drift",
    }
    assert set(system.losses("generator", batch(), progress)) == {"adversarial"}
    pixel = grown(0, pixel_weight=2.0, drift_weight=0.0, bicubic_skip=True)
    assert "drift" not in pixel.losses("critic", batch(), at(pixel, 0))
    terms = pixel.losses("generator", batch(), at(pixel, 0))
    expected = 2 * (batch().target - upsample_bicubic(batch().source)).abs().mean()
    torch.testing.assert_close(terms["pixel"], expected)  # the branch starts at zero
    still = grown(0, adversarial_weight=0.0)
    assert still.losses("critic", batch(), at(still, 0)) == {}


def test_weights_scale_their_terms():
    system = grown(0)
    one, half = at(system, 0), None
    torch.manual_seed(1)
    full = system.losses("critic", batch(), one)
    changed = override(system.settings, {"gradient_penalty_weight": 5, "drift_weight": 5e-4})
    half = Progress(0, one.stage, 0, changed, False, one.alpha)
    torch.manual_seed(1)
    terms = system.losses("critic", batch(), half)
    for name in ("gradient_penalty", "drift"):
        torch.testing.assert_close(terms[name] * 2, full[name])
    assert torch.equal(terms["wasserstein"], full["wasserstein"])


def test_both_players_compare_with_the_faded_real_image():
    system = grown(1, pixel_weight=1.0)
    progress = at(system, 1, alpha=0.25)
    images = batch(64)
    seen = []
    system.critic.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    system.losses("critic", images, progress)
    real = fade_real(images.target, torch.tensor(0.25))
    assert any(torch.equal(real, image) for image in seen)
    terms = system.losses("generator", images, progress)
    fake = system.generator(images.source, True, torch.tensor(0.25))
    torch.testing.assert_close(terms["pixel"], (real - fake).abs().mean())


def test_the_critics_turn_leaves_the_generator_alone():
    system = grown(0)
    terms = system.losses("critic", batch(), at(system, 0))
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is None for p in system.generator.parameters())
    assert all(p.grad is not None for p in system.critic.parameters())


def test_first_weights_of_a_block_depend_on_seed_stage_and_name_alone():
    three, five = grown(2, stages=ladder(4, 32)), grown(2, stages=ladder(4, 128))
    for (name, mine), (other, theirs) in zip(
        three.state_dict().items(), five.state_dict().items(), strict=True
    ):
        assert name == other and torch.equal(mine, theirs)
    again = grown(2, stages=ladder(4, 32), seed=1)
    assert not torch.equal(again.generator.base.conv1.weight, three.generator.base.conv1.weight)


def test_growth_keeps_weights_moments_and_averages(tiny):
    from ganforge.data.prepare import open_data
    from ganforge.schedule import Position
    from ganforge.training.loop import Training, grow, train
    from ganforge.training.prepare import prepare
    from ganforge.training.workers import Workers

    for reset in (False, True):
        prepared = prepare("progressive_gan_sr", tiny(reset_optimizer=reset))
        plan = prepared.plan()
        system = ProgressiveGANSR(prepared.settings, {})
        data = open_data("super_resolution", prepared.settings, plan.stages, 2, 0)
        training = Training(system, Position())
        for report in train(training, plan, data, Workers()):
            if report.kind == "stage":
                break
        data.close()
        player = system.players[1]
        weights = {n: p.clone() for n, p in player.module.named_parameters()}
        moments = {p: s["exp_avg_sq"].clone() for p, s in player.optimizer.state.items()}
        averages = {n: p.clone() for n, p in player.average.named_parameters()}
        grow(system, plan, 1)
        for name, parameter in player.module.named_parameters():
            if name in weights:
                assert torch.equal(parameter, weights[name])
                assert (parameter in player.optimizer.state) is not reset
                if not reset:
                    state = player.optimizer.state[parameter]["exp_avg_sq"]
                    assert torch.equal(state, moments[parameter])
            else:
                assert parameter not in player.optimizer.state
        grown_average = dict(player.average.named_parameters())
        assert all(torch.equal(grown_average[n], value) for n, value in averages.items())
        new = dict(player.module.named_parameters())
        for name in grown_average.keys() - averages.keys():
            assert torch.equal(grown_average[name], new[name])


# --- the perceptual term ---------------------------------------------------------------------


def fake_vgg() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"features.0": (64, 3, 3, 3), "features.2": (64, 64, 3, 3)}
    found = {}
    for name, shape in shapes.items():
        found[f"{name}.weight"] = torch.randn(shape, generator=generator) * 0.05
        found[f"{name}.bias"] = torch.zeros(shape[0])
    return found


def with_vgg(tmp_path, **changes) -> ProgressiveGANSR:
    path = tmp_path / "vgg.pt"
    torch.save(fake_vgg(), path)
    settings = override(Settings(), {"width": 16, "perceptual.network": str(path), **changes})
    resolved, assets, warnings = ProgressiveGANSR.resolve(settings)
    assert not warnings and resolved.perceptual.network.startswith("sha256:")
    system = ProgressiveGANSR(resolved, assets)
    system.grow(0)
    return system


def test_perceptual_term_is_zero_only_for_equal_images_and_trains_the_generator(tmp_path):
    system = with_vgg(tmp_path, adversarial_weight=0.0)
    terms = system.losses("generator", batch(), at(system, 0))
    assert set(terms) == {"perceptual"} and terms["perceptual"].item() > 0
    terms["perceptual"].backward()
    assert any(p.grad.abs().sum() > 0 for p in system.generator.parameters())
    system.generator.forward = lambda *_: batch().target
    assert system.losses("generator", batch(), at(system, 0))["perceptual"].item() == 0


@pytest.mark.parametrize(
    ("gate", "least", "there"),
    [("hr", 32, True), ("lr", 32, False), ("lr", 16, True), ("hr", 33, False)],
)
def test_perceptual_gate(tmp_path, gate, least, there):
    system = with_vgg(tmp_path, **{"perceptual.gate": gate, "perceptual.min_size": least})
    assert ("perceptual" in system.losses("generator", batch(), at(system, 0))) is there


def test_frozen_features_are_in_no_state(tmp_path):
    system = with_vgg(tmp_path)
    assert not [name for name in system.state_dict() if "block1" in name or "features" in name]


def test_vgg_features_by_hand_and_cut():
    tensors = fake_vgg()
    images = torch.rand(1, 3, 8, 8) * 2 - 1
    network = VGGFeatures(tensors)
    mean = torch.tensor((0.485, 0.456, 0.406)).reshape(1, 3, 1, 1)
    deviation = torch.tensor((0.229, 0.224, 0.225)).reshape(1, 3, 1, 1)
    x = ((images + 1) / 2 - mean) / deviation
    for name in ("features.0", "features.2"):
        x = torch.relu(
            torch.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)
        )
    torch.testing.assert_close(network(images), x)
    assert network(images).shape == (1, 64, 8, 8)
    numbers = layer_numbers()
    assert numbers["block5_conv4"] == 34 and numbers["block3_conv1"] == 10
    with pytest.raises(ValueError, match=r"has no features\.5\.weight"):
        VGGFeatures(tensors, "block2_conv1")


def test_networks_resolve_by_content(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    torch.save(fake_vgg() | {"classifier.0.weight": torch.zeros(1)}, path)
    name, assets, _ = resolve_network(str(path), "perceptual.network")
    other = tmp_path / "b.pt"
    torch.save(fake_vgg(), other)
    assert resolve_network(str(other), "perceptual.network")[0] == name
    again, found, _ = resolve_network(name, "perceptual.network")  # from the cache, by its hash
    assert again == name and all(torch.equal(found[name][k], v) for k, v in assets[name].items())
    assert resolve_network("none", "k") == ("none", {}, [])
    with pytest.raises(SettingsError, match="not on this machine"):
        resolve_network("sha256:" + hashlib.sha256().hexdigest(), "perceptual.network")
    with pytest.raises(SettingsError, match="no such file"):
        resolve_network(str(tmp_path / "c.pt"), "perceptual.network")
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, other)
    with pytest.raises(SettingsError, match=r"has no features\.0\.bias"):
        resolve_network(str(other), "perceptual.network")
    keep(name, assets[name])  # already there: nothing happens


def test_auto_continues_without_weights_that_are_unavailable(monkeypatch):
    import ganforge.systems.perceptual as room

    def unreachable(layer: str) -> dict[str, torch.Tensor]:
        raise OSError("no route")

    monkeypatch.setattr(room, "_imagenet", unreachable)
    name, assets, warnings = resolve_network("auto", "perceptual.network")
    assert (name, assets) == ("none", {}) and "no route" in warnings[0]
    with pytest.raises(SettingsError, match="are unavailable"):
        resolve_network("imagenet", "perceptual.network")
