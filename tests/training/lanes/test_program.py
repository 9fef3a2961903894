"""Each lane is the run that its settings make by themselves, whatever the other lanes hold."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from ganforge.schedule import Position
from ganforge.settings import SettingsError, override
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import StageSettings
from ganforge.testing import small
from ganforge.training import loop
from ganforge.training.checkpoint import collect
from ganforge.training.lanes import program
from ganforge.training.lanes.program import train_lanes
from ganforge.training.loop import NotFinite, Training, train
from ganforge.training.prepare import Prepared
from ganforge.training.run import open_run_data
from ganforge.training.workers import Workers

SHORT = {"images_per_epoch": 16, "reports_per_stage": 2}
SIXTEEN = {"stages": (StageSettings(resolution=16, epochs=1),)}
AUGMENT = {"augment.color": 1.0, "augment.translation": 0.125, "augment.cutout": 0.5}
#: settings of every system between them that change what a turn computes
CASES: dict[str, dict[str, Any]] = {
    "dcgan": {
        **SIXTEEN,
        "discriminator_norm": "none",
        "objective": "relativistic",
        "r1_weight": 3.0,
        "r2_weight": 4.0,
        "average_images": 100,
    },
    "wgan": SIXTEEN,
    "wgan_gp": {**SIXTEEN, "critic_norm": "spectral", "average_images": 100},
    "progan_a": {**SIXTEEN, **AUGMENT, "gradient_penalty_sigma": 0.1},
    "progressive_gan_sr": {"generator.clip_norm": 0.5},
}
FLAGSHIP = "progressive_gan_sr"


@cache
def prepared(system: str) -> Prepared:
    width = "width" if "pro" in system else "features"
    return small(system, {**SHORT, **CASES[system], width: 8})


def lane(system: str, number: int, **changes: Any) -> Prepared:
    """The `number`-th of many settings that lanes may have."""
    base = prepared(system)
    other = "critic" if hasattr(base.settings, "critic") else "discriminator"
    found = {
        "generator.learning_rate": 1e-3 * (1 + number),
        f"{other}.learning_rate": 2e-3 / (1 + number),
        "generator.schedule.warmup": 8 * (number % 2),
    }
    for key in ("gradient_penalty_weight", "r1_weight"):
        if getattr(base.settings, key, 0):
            found[key] = 5.0 + number
    return replace(base, settings=override(base.settings, found | changes))


def made(one: Prepared) -> Training:
    return Training(load_system(one.system)(one.settings, one.assets), Position())


def together(lanes: list[Prepared], wrap: Any = lambda data: data) -> tuple[list, list]:
    """What lanes report, and the state of each at the end."""
    trainings, plans = [made(one) for one in lanes], [one.plan() for one in lanes]
    data = open_run_data(lanes[0], plans[0])
    try:
        reports = list(train_lanes(trainings, plans, wrap(data)))
    finally:
        data.close()
    return reports, [collect(training.system) for training in trainings]


class Wide:
    """The same batches in float64."""

    def __init__(self, data: Any):
        self.data = data

    def batch(self, *where: int) -> Any:
        found = self.data.batch(*where)
        source = None if found.source is None else found.source.double()
        return replace(found, target=found.target.double(), source=source)


@pytest.fixture
def wide(monkeypatch):
    """Weights in float64, where the order of a sum does not show."""

    def grow(system, plan, index):
        narrow(system, plan, index)
        system.double()
        for player in system.players:
            player.follow()
            if player.average is not None:
                player.average.double()

    narrow = loop.grow
    monkeypatch.setattr(loop, "grow", grow)
    monkeypatch.setattr(program, "grow", grow)


def alone(one: Prepared) -> tuple[list, Any]:
    """What the run by itself reports of its first stage, and its state there."""
    training, plan, reports = made(one), one.plan(), []
    data = open_run_data(one, plan)
    try:
        for report in train(training, plan, Wide(data), Workers()):  # pyright: ignore
            reports.append(report)
            if report.kind == "stage":
                break
    finally:
        data.close()
    return reports, collect(training.system)


@pytest.mark.parametrize("system", CASES)
def test_each_lane_is_the_run_by_itself(wide, system):
    lanes = [lane(system, number) for number in range(3)]
    reports, states = together(lanes, Wide)
    for number, one in enumerate(lanes):
        wanted, state = alone(one)
        mine = [row[number] for row in reports]
        assert len(mine) == len(wanted) == 3
        for here, there in zip(mine, wanted, strict=True):
            assert (here.position, here.kind, here.images) == (
                there.position, there.kind, there.images,
            )  # fmt: skip
            assert here.metrics == pytest.approx(there.metrics, rel=1e-8, abs=1e-10)
        assert states[number].keys() == state.keys()
        for group, tensors in state.items():
            assert states[number][group].keys() == tensors.keys()
            for name, tensor in tensors.items():
                found = states[number][group][name]
                torch.testing.assert_close(found, tensor, rtol=1e-6, atol=1e-9)


def same_bits(first: dict, second: dict) -> bool:
    return all(
        torch.equal(tensor, second[group][name])
        for group, tensors in first.items()
        for name, tensor in tensors.items()
    )


@pytest.mark.parametrize("system", ["dcgan", FLAGSHIP])
def test_a_lanes_bits_do_not_depend_on_its_neighbours(system):
    _, first = together([lane(system, number) for number in (0, 1, 2)])
    _, second = together([lane(system, number) for number in (5, 1, 7)])
    assert same_bits(first[1], second[1])
    assert not same_bits(first[0], second[0])


def test_a_lane_that_diverges_stops_and_the_others_go_on():
    wild = lane(FLAGSHIP, 1, **{"critic.learning_rate": 1e30})
    reports, states = together([lane(FLAGSHIP, 0), wild, lane(FLAGSHIP, 2)])
    _, calm = together([lane(FLAGSHIP, number) for number in (0, 1, 2)])
    assert same_bits(states[0], calm[0])
    assert same_bits(states[2], calm[2])
    last = reports[-1]
    assert [getattr(one, "kind", None) for one in last] == ["stage", None, "stage"]
    assert isinstance(last[1], NotFinite)
    assert "is nan at stage 0, step 0" in str(last[1])


def test_where_all_lanes_diverge_the_program_ends():
    wild = [lane(FLAGSHIP, n, **{"critic.learning_rate": 1e30}) for n in (0, 1)]
    reports, _ = together(wild)
    assert all(isinstance(one, NotFinite) for one in reports[-1])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 4}, "batch_size = 4 in lane 1, and 8 in lane 0"),
        ({"seed": 7}, "seed = 7 in lane 1"),
        ({"width": 12}, "width = 12 in lane 1, and 8 in lane 0"),
        ({"critic_steps": 2}, "critic_steps = 2 in lane 1, and 1 in lane 0"),
        ({"drift_weight": 0.0}, "drift_weight: is 0 in lane 1 and not in all lanes"),
        ({"images_per_epoch": 64}, "images_per_epoch = 64 in lane 1"),
        ({"stages.0.epochs": 9}, "stage 0 of lane 1 is"),
    ],
)
def test_what_lanes_must_have_in_common_is_named(changes, named):
    with pytest.raises(SettingsError, match="lane 1") as found:
        together([lane(FLAGSHIP, 0), lane(FLAGSHIP, 1, **changes)])
    assert named in str(found.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"precision": "bfloat16"}, "precision = bfloat16"),
        ({"workers": 2}, "workers = 2"),
        ({"device": "cuda"}, "device = cuda"),
        ({"on_divergence": "rollback"}, "on_divergence = rollback"),
    ],
)
def test_what_no_lanes_may_have_is_named(changes, named):
    with pytest.raises(SettingsError, match=named):
        together([lane(FLAGSHIP, number, **changes) for number in (0, 1)])


def test_a_probability_of_augmentation_is_of_one_run():
    changes = {"objective": "binary", "augment.color": 1.0, "augment_target": 0.6}
    with pytest.raises(SettingsError, match=r"augment_target = 0\.6: each lane would have its own"):
        together([lane("dcgan", number, **changes) for number in (0, 1)])


def test_one_lane_is_a_run_by_itself():
    with pytest.raises(SettingsError, match="lanes = 1: must be at least 2"):
        together([lane(FLAGSHIP, 0)])


def test_other_systems_and_two_systems_are_refused():
    other = small("simple_gan", SHORT)
    with pytest.raises(SettingsError, match="system = simple_gan: must be one of dcgan"):
        together([other, other])
    with pytest.raises(SettingsError, match="lane 1 is of wgan, lane 0 of dcgan"):
        together([lane("dcgan", 0), lane("wgan", 0)])
