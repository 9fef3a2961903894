"""The objectives of the systems from a latent, each against an oracle written out in float64."""

import pytest
import torch
from torch.nn import functional as F

from ganforge.data.batch import Batch
from ganforge.draws import reseed
from ganforge.schedule import Progress, Stage
from ganforge.settings import SettingsError, override
from ganforge.systems.base import System
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import StageSettings
from ganforge.training.loop import Loop, Means, grow
from ganforge.training.prepare import build_plan
from ganforge.training.workers import Workers

COUNT, LATENT = 6, 7


def grown(name: str, **changes) -> System:
    """A small system in float64 at its last stage, whose weights are not the first ones."""
    kind = load_system(name)
    given = {key.replace("__", "."): value for key, value in changes.items()}
    small = {"latent_size": LATENT, **({"width": 8} if "progan" in name else {})}
    if "features" in kind.Settings.model_fields:
        small["features"] = 4
    sides = (4, 8) if "progan" in name else (16,)
    small["stages"] = tuple(StageSettings(resolution=side) for side in sides)
    system = kind(override(kind.Settings(), small | given), {})
    for index in range(len(sides)):
        system.grow(index)
        for player in system.players:
            player.follow()
    torch.manual_seed(5)
    for parameter in system.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return system.double()


def at(system: System, alpha: float = 1.0) -> Progress:
    stage = Stage(system.settings.stages[-1].resolution, 100, 0, COUNT, 1)
    last = len(system.settings.stages) - 1
    settings = system.settings.at(last)
    return Progress(last, stage, 0, settings, alpha < 1, torch.tensor(alpha, dtype=torch.float64))


def random_images(system: System) -> Batch:
    side, channels = system.settings.stages[-1].resolution, system.settings.channels
    torch.manual_seed(2)
    target = torch.rand(COUNT, channels, side, side, dtype=torch.float64) * 2 - 1
    return Batch(target, label=torch.arange(COUNT) % 3, index=torch.arange(COUNT))


def compare(system: System, player: str, progress: Progress, oracle) -> None:
    """Terms, weights and draws: z first, then one u for each image."""
    batch = random_images(system)
    reseed("test", player)
    terms = system.losses(player, batch, progress)
    reseed("test", player)
    z = torch.randn(COUNT, LATENT).double()
    expected = oracle(batch, z)
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, atol=1e-10, rtol=1e-10, msg=name)


@pytest.mark.parametrize("name", ["simple_gan", "dcgan"])
def test_binary_objectives(name):
    system = grown(name)
    generator, discriminator = system.generator, system.discriminator

    def cost(images, label):
        chance = torch.sigmoid(discriminator(images))
        return F.binary_cross_entropy(chance, torch.full_like(chance, label))

    def of_discriminator(batch, z):
        return {"adversarial": 0.5 * (cost(batch.target, 1.0) + cost(generator(z), 0.0))}

    compare(system, "discriminator", at(system), of_discriminator)
    compare(system, "generator", at(system), lambda _, z: {"adversarial": cost(generator(z), 1.0)})


def test_wasserstein_objectives():
    system = grown("wgan")
    critic, generator = system.critic, system.generator
    compare(
        system,
        "critic",
        at(system),
        lambda b, z: {"wasserstein": -(critic(b.target).mean() - critic(generator(z)).mean())},
    )
    compare(
        system, "generator", at(system), lambda _, z: {"adversarial": -critic(generator(z)).mean()}
    )


def penalty(critic, real, fake) -> torch.Tensor:
    """Equation 3 of arXiv:1704.00028, image by image."""
    u = torch.rand(COUNT, 1, 1, 1, dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    between = (u * real + (1 - u) * fake.detach()).requires_grad_()
    for number in range(COUNT):
        score = critic(between)[number].sum()
        (slope,) = torch.autograd.grad(score, between)
        total += (slope.flatten().norm() - 1) ** 2 / COUNT
    return total


def test_penalised_objectives():
    system = grown("wgan_gp", gradient_penalty_weight=7.0)
    critic, generator = system.critic, system.generator

    def of_critic(batch, z):
        fake = generator(z)
        difference = critic(batch.target).mean() - critic(fake).mean()
        return {
            "gradient_penalty": 7.0 * penalty(critic, batch.target, fake),
            "wasserstein": -difference,
        }

    compare(system, "critic", at(system), of_critic)
    compare(
        system, "generator", at(system), lambda _, z: {"adversarial": -critic(generator(z)).mean()}
    )


def test_conditional_objectives_give_the_labels_to_both_players_and_to_the_penalty():
    system = grown("conditional_gan", num_classes=3, embedding_size=5)
    critic, generator = system.critic, system.generator

    def of_critic(batch, z):
        fake = generator(z, batch.label)
        difference = critic(batch.target, batch.label).mean() - critic(fake, batch.label).mean()
        labelled = penalty(lambda x: critic(x, batch.label), batch.target, fake)
        return {"gradient_penalty": 10.0 * labelled, "wasserstein": -difference}

    def of_generator(batch, z):
        return {"adversarial": -critic(generator(z, batch.label), batch.label).mean()}

    compare(system, "critic", at(system), of_critic)
    compare(system, "generator", at(system), of_generator)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
@pytest.mark.parametrize("networks", ["pggan", "reference"])
def test_progressive_objectives(networks, alpha):
    system = grown("progan_a", networks=networks, drift_weight=0.25)
    progress = at(system, alpha)
    where = (progress.fading, progress.alpha)
    critic, generator = system.critic, system.generator

    def of_critic(batch, z):
        coarse = F.interpolate(F.avg_pool2d(batch.target, 2), scale_factor=2, mode="nearest")
        real, fake = (1 - alpha) * coarse + alpha * batch.target, generator(z, *where)
        scores = critic(real, *where)
        # minibatch standard deviation mixes the images of a group: the gradient of the sum
        u = torch.rand(COUNT, 1, 1, 1, dtype=torch.float64)
        between = (u * real + (1 - u) * fake.detach()).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between, *where).sum(), between)
        norms = slope.flatten(1).norm(dim=1)
        return {
            "gradient_penalty": 10.0 * ((norms - 1) ** 2).mean(),
            "wasserstein": critic(fake, *where).mean() - scores.mean(),
            "drift": 0.25 * (scores**2).mean(),
        }

    compare(system, "critic", progress, of_critic)
    compare(
        system,
        "generator",
        progress,
        lambda _, z: {"adversarial": -critic(generator(z, *where), *where).mean()},
    )


class Noise:
    """Data that are noise."""

    def __init__(self, system: System):
        self.system = system

    def batch(self, index: int, step: int, shard: int) -> Batch:
        return random_images(self.system).to("cpu", torch.float32)


def test_a_turn_of_wgans_critic_ends_within_the_bound_norm_scales_apart():
    kind = load_system("wgan")
    changes = {"features": 4, "clip": 0.003, "batch_size": COUNT, "shards": 1}
    settings = override(
        kind.Settings(), {**changes, "stages": (StageSettings(resolution=16),), "latent_size": 3}
    )
    system, plan = kind(settings, {}), build_plan(settings, (COUNT,))
    grow(system, plan, 0)
    critic = system.players[0]
    assert [p.name for p in system.players] == ["critic", "generator"]
    Loop(system, plan, Noise(system), Workers(), Means()).turn(critic, plan.progress(0, 0))  # type: ignore[arg-type]
    for name, parameter in system.critic.named_parameters():
        scale = name == "layers.3.weight"  # the instance norm's
        assert (parameter.abs().max() <= 0.003) == (not scale), name
    assert abs(system.critic.layers[3].weight.mean() - 1) < 0.1
    assert system.generator.layers[0].weight.abs().max() > 0.003  # the generator is not clipped


def test_sizes_that_do_not_fit_are_named():
    for name, stages, message in [
        ("dcgan", [24], "stages.0.resolution = 24: must be a power of two, at least 16"),
        ("wgan", [32, 64], "stages.1.resolution = 64: these networks do not grow"),
        ("progan_a", [8, 32], "stages.1.resolution = 32: must be twice"),
        ("progan_t", [4, 12], "stages.1.resolution = 12: must be twice"),
    ]:
        kind = load_system(name)
        rows = tuple(StageSettings(resolution=side) for side in stages)
        with pytest.raises(SettingsError, match=message):
            override(kind.Settings(), {"stages": rows})
    with pytest.raises(SettingsError, match="width = 4: must be at least 8"):
        override(load_system("progan_a").Settings(), {"width": 4})


def test_progan_batches_of_the_specification():
    sizes = {}
    for name, target in (("progan_a", 256), ("progan_t", 1024)):
        settings = load_system(name).Settings()
        assert settings.stages[0].resolution == 4 and settings.stages[-1].resolution == target
        plan = build_plan(settings, (1000,) * len(settings.stages))
        sizes[name] = [stage.batch_size for stage in plan.stages]
        faded = [stage.fade_images / stage.images for stage in plan.stages]
        assert faded == [0.0] + [0.5] * (len(plan.stages) - 1)
    assert sizes["progan_a"] == [32, 32, 32, 16, 16, 16, 16]
    assert sizes["progan_t"] == [8, 8, 8, 4, 4, 4, 4, 2, 1]
    kind = load_system("progan_t")
    plan = build_plan(override(kind.Settings(), kind.PRESETS["pggan"]), (1000,) * 9)
    assert [s.batch_size for s in plan.stages] == [16] * 6 + [14, 6, 3]
    assert [s.images for s in plan.stages] == [800_000] + [1_600_000] * 8
    assert [s.fade_images for s in plan.stages] == [0] + [800_000] * 8
