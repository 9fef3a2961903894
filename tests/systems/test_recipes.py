"""Settings that exchange an objective, a norm or an average: what each does to a system's terms,
the bits for any number of workers, and that defaults are in no identity."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ganforge import testing
from ganforge.data.batch import Batch
from ganforge.draws import reseed
from ganforge.schedule import Progress, Stage
from ganforge.settings import SettingsError, override
from ganforge.systems.augmented import AugmentProbability
from ganforge.systems.averages import decay_of
from ganforge.systems.base import System
from ganforge.systems.catalog import load_system

COUNT, SIDE = 4, 16
SMALL: dict[str, dict[str, Any]] = {
    "simple_gan": {"latent_size": 5},
    "dcgan": {"latent_size": 5, "features": 4},
    "wgan": {"latent_size": 5, "features": 4},
    "wgan_gp": {"latent_size": 5, "features": 4},
    "conditional_gan": {"latent_size": 5, "features": 4, "num_classes": 3, "embedding_size": 5},
    "srgan": {"width": 4, "blocks": 1, "critic_width": 4, "critic_dense": 8, "scale": 2},
    "esrgan": {
        "width": 4, "growth": 4, "blocks": 1, "critic_width": 4, "critic_dense": 8, "scale": 2,
    },
}  # fmt: skip
#: the settings by which a discriminator has no batch norm
PLAIN: dict[str, dict[str, Any]] = {
    "simple_gan": {},
    "dcgan": {"discriminator_norm": "none"},
    "srgan": {"discriminator_norm": "none"},
    "esrgan": {"critic_norm": False},
}


def grown(name: str, changes: dict[str, Any] | None = None) -> System:
    """A small system in float64 at its only stage, whose weights are not the first ones."""
    kind = load_system(name)
    base: dict[str, Any] = {"stages": ({"resolution": SIDE},)}
    if "perceptual" in kind.Settings.model_fields:
        base["perceptual.network"] = "none"
    system = kind(override(kind.Settings(), base | SMALL[name] | (changes or {})), {})
    system.grow(0)
    torch.manual_seed(5)
    for parameter in system.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    system.double()
    for player in system.players:
        player.follow()
    return system


def at(system: System) -> Progress:
    stage = Stage(SIDE, 100, 0, COUNT, 1)
    return Progress(0, stage, 0, system.settings.at(0), False, torch.tensor(1.0))


def images(system: System) -> Batch:
    torch.manual_seed(2)
    target = torch.rand(COUNT, system.settings.channels, SIDE, SIDE, dtype=torch.float64) * 2 - 1
    source = F.avg_pool2d(target, 2) if system.Data == "super_resolution" else None
    return Batch(target, source, torch.arange(COUNT) % 3, torch.arange(COUNT))


def terms_of(system: System, player: str) -> dict[str, Tensor]:
    batch = images(system)
    reseed("test", player)
    return system.losses(player, batch, at(system))


def both(system: System, player: str) -> tuple[Tensor, Tensor, Any]:
    """Real images, the fakes that the same draws give, and the discriminator."""
    batch = images(system)
    reseed("test", player)
    latent = torch.randn(COUNT, 5).double() if batch.source is None else batch.source
    critic = system.players[0].module
    return batch.target, system.get_submodule("generator")(latent), critic


def squared_slopes(critic: Any, inputs: Tensor) -> Tensor:
    """‖∇D‖² image by image, (N,)."""
    found = []
    for number in range(len(inputs)):
        one = inputs[number : number + 1].detach().requires_grad_()
        (slope,) = torch.autograd.grad(critic(one).sum(), one)
        found.append(slope.square().sum())
    return torch.stack(found)


def adversarial_weight(system: System) -> float:
    return getattr(system.settings, "adversarial_weight", 1.0)


@pytest.mark.parametrize("name", PLAIN)
def test_relativistic_pairs_with_zero_centred_penalties(name):
    pairs = "relativistic_pairs" if name == "esrgan" else "relativistic"
    changes = PLAIN[name] | {"objective": pairs, "r1_weight": 3.0, "r2_weight": 0.5}
    system = grown(name, changes)
    real, fake, critic = both(system, system.players[0].name)
    found = terms_of(system, system.players[0].name)
    assert set(found) == {"adversarial", "r1", "r2"}
    chance = torch.sigmoid(critic(real) - critic(fake))
    torch.testing.assert_close(found["adversarial"], -torch.log(chance).mean())
    torch.testing.assert_close(found["r1"], 3.0 / 2 * squared_slopes(critic, real).mean())
    torch.testing.assert_close(found["r2"], 0.5 / 2 * squared_slopes(critic, fake).mean())
    real, fake, critic = both(system, "generator")
    cost = -torch.log(torch.sigmoid(critic(fake) - critic(real))).mean()
    found = terms_of(system, "generator")
    torch.testing.assert_close(found["adversarial"], adversarial_weight(system) * cost)
    assert not {"r1", "r2"} & set(found)


@pytest.mark.parametrize("name", PLAIN)
def test_hinge(name):
    system = grown(name, PLAIN[name] | {"objective": "hinge"})
    real, fake, critic = both(system, system.players[0].name)
    found = terms_of(system, system.players[0].name)
    expected = (1 - critic(real)).clamp(min=0).mean() + (1 + critic(fake)).clamp(min=0).mean()
    assert set(found) == {"adversarial"}
    torch.testing.assert_close(found["adversarial"], expected)
    real, fake, critic = both(system, "generator")
    found = terms_of(system, "generator")["adversarial"]
    torch.testing.assert_close(found, -adversarial_weight(system) * critic(fake).mean())


@pytest.mark.parametrize("name", PLAIN)
def test_penalties_may_be_added_to_the_systems_own_objective(name):
    own = terms_of(grown(name, PLAIN[name]), "critic" if name == "esrgan" else "discriminator")
    system = grown(name, PLAIN[name] | {"r1_weight": 1.0})
    found = terms_of(system, system.players[0].name)
    assert set(found) == {*own, "r1"}
    for term, value in own.items():
        assert torch.equal(found[term], value), term


def refused(name: str, changes: dict[str, Any]) -> str:
    """The message that refuses `changes`."""
    with pytest.raises(SettingsError) as caught:
        override(load_system(name).Settings(), changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_penalties_of_samples_that_batch_norm_mixes_are_refused():
    message = refused("dcgan", {"r1_weight": 1.0})
    assert message.startswith("r1_weight = 1.0: batch norm (norm = batch) mixes the samples")
    assert message.endswith("set discriminator_norm = none, or r1_weight = 0")
    assert "discriminator_norm = batch" in refused("srgan", {"r2_weight": 1.0})
    assert "set critic_norm = false" in refused("esrgan", {"r1_weight": 1.0})
    assert refused("esrgan", {"stages.1.r1_weight": 2.0}).startswith("stages.1.r1_weight = 2.0")
    assert "r1_weight" in refused("dcgan", {"r1_weight": -1.0})
    assert "objective" in refused("simple_gan", {"objective": "wasserstein"})
    override(load_system("dcgan").Settings(), {"norm": "none", "r1_weight": 1.0})


SPECTRAL: dict[str, dict[str, Any]] = {
    "dcgan": {"discriminator_norm": "spectral"},
    "wgan_gp": {"critic_norm": "spectral"},
    "conditional_gan": {"critic_norm": "spectral"},
    "srgan": {"discriminator_norm": "spectral"},
    "esrgan": {"critic_norm": False, "critic_spectral_norm": True},
}


@pytest.mark.parametrize("name", SPECTRAL)
def test_the_power_iteration_is_stored_and_moves_in_the_critics_turn_alone(name):
    changes = SPECTRAL[name] | {"batch_size": COUNT, "shards": 1, "images_per_epoch": COUNT}
    system = grown(name, changes)
    state = {key: value for key, value in system.state_dict().items() if key.endswith(".u")}
    critic, generator = system.players
    assert state and all(not key.startswith("generator") for key in state)
    progress = at(system)
    for player, moves in ((generator, False), (critic, True)):
        before = {key: value.clone() for key, value in state.items()}
        player.step([torch.full_like(p, 1e-3) for p in player.parameters], progress)
        moved = [key for key in before if not torch.equal(before[key], state[key])]
        # a vector of one number is 1 or -1, and stays
        assert moved == [key for key in state if moves and state[key].numel() > 1]


PENALISED: dict[str, dict[str, Any]] = {
    "wgan_gp": {},
    "conditional_gan": {},
    "esrgan": {"objective": "wasserstein", "critic_norm": False},
    "dcgan": {"discriminator_norm": "none", "r1_weight": 1.0, "r2_weight": 1.0},
}


@pytest.mark.parametrize("name", PENALISED)
def test_finite_differences_have_the_value_of_the_penalty_and_nearly_its_gradient(name):
    found = {}
    for sigma in (0.0, 1e-5):
        system = grown(name, PENALISED[name] | {"gradient_penalty_sigma": sigma})
        critic = system.players[0]
        terms = terms_of(system, critic.name)
        penalty = torch.stack([terms[k] for k in ("gradient_penalty", "r1", "r2") if k in terms])
        weights = [p for p in critic.parameters if p.ndim > 1]
        slopes = torch.autograd.grad(penalty.sum(), weights, allow_unused=True)
        found[sigma] = penalty, torch.cat([g.flatten() for g in slopes if g is not None])
    torch.testing.assert_close(found[1e-5][0], found[0.0][0])
    # of rectified units, which are not smooth, all but the few that change sides
    off = (found[1e-5][1] - found[0.0][1]).norm() / found[0.0][1].norm()
    assert off < 1e-3


AUGMENTED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "simple_gan": ({}, {"adversarial"}),
    "dcgan": ({"norm": "none", "objective": "relativistic", "r1_weight": 1.0}, {"r1"}),
    "wgan": ({}, {"wasserstein"}),
    "wgan_gp": ({}, {"wasserstein", "gradient_penalty"}),
    "conditional_gan": ({}, {"wasserstein"}),
}


@pytest.mark.parametrize("name", AUGMENTED)
def test_critics_are_shown_augmented_images_alone(name):
    """A square of the image's side about any of its pixels covers a quarter of it or more."""
    changes, terms = AUGMENTED[name]
    system = grown(name, changes | {"augment.color": 1.0, "augment.cutout": 1.0})
    shown: list[Tensor] = []
    players = system.players
    players[0].module.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    found = {player.name: terms_of(system, player.name) for player in players}
    assert terms <= set(found[players[0].name])
    assert shown and all((images == 0).float().mean() >= 0.25 for images in shown)
    # and the gradient reaches the generator through what is left
    total = torch.stack(list(found["generator"].values())).sum()
    slopes = torch.autograd.grad(total, players[1].parameters, allow_unused=True)
    assert any(slope is not None and slope.any() for slope in slopes)


def test_augmentation_without_strength_is_in_no_identity_and_draws_nothing():
    kind = load_system("dcgan")
    settings = override(kind.Settings(), {"stages.0.augment.color": 0.5})
    assert not any("augment" in key for key in kind.Settings().identity(0))
    assert settings.identity(0)["augment.color"] == 0.5
    assert "augment.cutout" in refused("dcgan", {"augment.cutout": 1.5})
    plain, none = grown("wgan_gp"), grown("wgan_gp", {"augment.color": 0.0})
    for term, value in terms_of(plain, "critic").items():
        assert torch.equal(value, terms_of(none, "critic")[term])


def test_the_probability_of_augmentation_follows_the_signs_of_real_scores():
    """Section 3 of arXiv:2006.06676 by hand, for signs that are given."""
    adaptive = AugmentProbability()
    signs, probability = 0.0, 0.0
    for turn in range(60):
        adaptive.adjust(0.6, 0.05)
        step = 0.05 if signs > 0.6 else -0.05
        probability = min(max(probability + step, 0.0), 1.0)
        assert adaptive.probability.item() == pytest.approx(probability, abs=1e-6)
        scores = torch.tensor([3.0, 0.1, 2.0, 5.0 if turn < 35 else -1.0])
        adaptive.observe(scores)
        signs += (scores.sign().mean().item() - signs) / 4
    assert 0 < probability < 1  # it rose to the top, and is on its way down


def test_images_are_changed_as_often_as_the_discriminator_needs_it():
    """One that takes every image for real is shown all of them changed, in so many turns."""
    changes = {"augment.cutout": 1.0, "augment_target": 0.6, "batch_size": 8, "augment_images": 40}
    system = grown("simple_gan", changes)
    discriminator = system.players[0].module
    weight, bias = list(discriminator.parameters())[-2:]
    with torch.no_grad():
        weight.zero_()
        bias.fill_(1.0)
    shown: list[Tensor] = []
    discriminator.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    found = [terms_of(system, "discriminator")["augment_probability"].item() for _ in range(10)]
    # the average of signs is above 0.6 after four turns: 1 - (3/4)^4
    assert found == pytest.approx([0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1])
    assert all(((images == 0).flatten(1).float().mean(1) >= 0.25).all() for images in shown[-2:])
    first = terms_of(grown("simple_gan", changes), "discriminator")["adversarial"]
    plain = terms_of(grown("simple_gan"), "discriminator")["adversarial"]
    torch.testing.assert_close(first, plain)  # at first none is


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"augment_target": 0.6}, "augment.color, augment.translation and augment.cutout are 0"),
        (
            {"augment_target": 0.6, "augment.color": 1.0, "stages.0.augment.color": 0.0},
            "stages.0.augment.color, augment.translation and augment.cutout are 0",
        ),
        (
            {"augment_target": 0.6, "augment.color": 1.0, "objective": "relativistic"},
            "objective = relativistic: compares pairs",
        ),
        ({"augment_target": 1.0}, "augment_target"),
    ],
)
def test_a_target_that_cannot_be_followed_is_refused(changes, said):
    assert said in refused("dcgan", changes)


def test_the_decay_by_images_is_that_by_step_of_the_same_half_life():
    kind = load_system("srgan")
    for batch_size, count in ((16, 1000), (4, 1000), (16, 8)):
        changes = {"batch_size": batch_size, "average_images": count}
        by_images = override(kind.Settings(), changes)
        decay = 0.5 ** (batch_size / count)
        assert decay_of(by_images) == decay
        assert decay_of(override(kind.Settings(), {"average_decay": decay})) == decay
        # after `count` images what was there weighs half
        assert decay_of(by_images) ** (count / batch_size) == pytest.approx(0.5)
    staged = override(kind.Settings(), {"stages.1.average_images": 32, "stages.1.batch_size": 32})
    assert [decay_of(staged.at(k)) for k in range(3)] == [0.0, 0.5, 0.0]
    assert "average_images" not in staged.identity(0)
    assert staged.identity(1)["average_images"] == 32
    assert "average_images" in refused("pix2pix", {"average_images": 0})


@pytest.mark.parametrize("name", ["simple_gan", "dcgan", "wgan", "wgan_gp", "conditional_gan"])
def test_systems_of_papers_without_an_average_have_one_where_images_are_given(name):
    assert grown(name).players[1].average is None
    system = grown(name, {"batch_size": COUNT, "average_images": 2 * COUNT})
    player = system.players[1]
    assert player.average is not None and system.averaged() is player.average
    before = [p.clone() for p in player.average.parameters()]
    player.step([torch.ones_like(p) for p in player.parameters], at(system))
    decay = 0.5**0.5
    for old, mean, new in zip(before, player.average.parameters(), player.parameters, strict=True):
        torch.testing.assert_close(mean, decay * old + (1 - decay) * new)


def test_spectral_norm_in_place_of_batch_norm_only():
    message = refused("esrgan", {"critic_spectral_norm": True})
    assert "critic_spectral_norm = true: batch norm" in message and "critic_norm = false" in message


def test_a_u_net_has_no_batch_norm():
    for name, norm in (("srgan", "discriminator_norm = batch"), ("esrgan", "critic_norm = true")):
        form = "discriminator_form" if name == "srgan" else "critic_form"
        assert f"{norm}: {form} = unet has no batch norm" in refused(name, {form: "unet"})
        system = grown(name, PLAIN[name] | {form: "unet"})
        scores = system.players[0].module(torch.rand(2, 3, SIDE, SIDE, dtype=torch.float64))
        assert scores.shape == (2, 1, SIDE, SIDE)
    kind = load_system("esrgan")
    assert not any("critic_form" in key for key in kind.Settings().identity(0))


def test_objectives_and_penalties_are_settings_of_a_stage():
    kind = load_system("srgan")
    changes = {
        "discriminator_norm": "none",
        "stages.2.objective": "hinge",
        "stages.2.r1_weight": 1.0,
    }
    settings = override(kind.Settings(), changes)
    assert [settings.at(k).objective for k in range(3)] == ["binary", "binary", "hinge"]
    identities = [settings.identity(k) for k in range(3)]
    assert "objective" not in identities[1] and identities[2]["objective"] == "hinge"
    assert "r1_weight" not in identities[1] and identities[2]["r1_weight"] == 1.0


#: settings by system, all of which any number of workers must train to the same bits
RECIPES: list[tuple[str, dict[str, Any]]] = [
    (
        "dcgan",
        {
            "discriminator_norm": "none",
            "objective": "relativistic",
            "r1_weight": 1.0,
            "r2_weight": 1.0,
            "average_images": 64,
        },
    ),
    ("simple_gan", {"objective": "hinge", "augment": {"color": 1.0, "translation": 0.125}}),
    (
        "dcgan",
        {
            "augment": {"color": 1.0, "translation": 0.125, "cutout": 0.5},
            "augment_target": -0.5,
            "augment_images": 32,
        },
    ),
    (
        "esrgan",
        {
            "critic_form": "unet",
            "critic_norm": False,
            "critic_spectral_norm": True,
            "objective": "relativistic_pairs",
            "r1_weight": 1.0,
        },
    ),
    ("srgan", {"objective": "hinge", "discriminator_norm": "spectral"}),
    ("wgan_gp", {"critic_norm": "spectral", "gradient_penalty_sigma": 0.1}),
    ("progan_a", {"gradient_penalty_sigma": 0.1, "augment": {"color": 1.0, "cutout": 0.5}}),
]


def test_any_number_of_workers_ends_in_the_same_bits():
    prepared = [testing.small(name, changes) for name, changes in RECIPES]
    testing.check_workers(prepared, worker_counts=[3])


@pytest.mark.parametrize("name, changes", RECIPES, ids=lambda value: str(value)[:60])
def test_promises(name, changes):
    prepared = testing.small(name, changes)
    testing.check_first_weights(prepared)
    testing.check_finite(prepared)
    testing.check_resume(prepared)
    if changes.get("objective") != "relativistic_pairs":
        # in a difference of scores the bias of a layer cancels while no unit of it changes sides
        testing.check_turns(prepared)
