"""Schedules of learning rates in closed form, what of them is identity, and clipped gradients."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SYSTEM, tiny
from torch import nn

from ganforge.schedule import Position, Progress, Stage
from ganforge.settings import SettingsError, override
from ganforge.systems.base import Player
from ganforge.systems.learning_rates import Schedule
from ganforge.systems.settings import SystemSettings
from ganforge.training.multiprocess import run_multiprocess
from ganforge.training.prepare import prepare
from ganforge.training.run import run

STAGE = Stage(8, 80, 0, 4, 2)  # twenty batches of four


def factors(**given: Any) -> list[float]:
    schedule = Schedule(**given)
    return [schedule.factor(STAGE, step) for step in range(STAGE.steps)]


def test_constant_is_one() -> None:
    assert factors() == [1.0] * 20


def test_linear_falls_by_equal_steps() -> None:
    assert factors(kind="linear") == pytest.approx([1 - k / 20 for k in range(20)])
    held = factors(kind="linear", hold=0.5, end=0.2)
    assert held[:11] == [1.0] * 11
    assert held[10:] == pytest.approx([1 - 0.8 * k / 10 for k in range(10)])


def test_cosine_is_half_a_wave() -> None:
    found = factors(kind="cosine", end=0.1)
    assert found[0] == 1.0 and found[10] == pytest.approx(0.55)
    assert found == pytest.approx(
        [0.1 + 0.45 * (1 + math.cos(math.pi * k / 20)) for k in range(20)]
    )
    # symmetric about its middle
    assert [a + b for a, b in zip(found[1:], found[:0:-1], strict=True)] == pytest.approx(
        [1.1] * 19
    )


def test_multistep_falls_where_it_is_told() -> None:
    found = factors(kind="multistep", milestones="8,41", gamma=0.1)
    assert found == pytest.approx([1.0] * 2 + [0.1] * 9 + [0.01] * 9)


def test_warm_up_rises_to_what_follows() -> None:
    assert factors(warmup=16)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    both = factors(kind="linear", warmup=16)
    plain = factors(kind="linear")
    assert both == pytest.approx([min(1.0, (k + 1) / 4) * plain[k] for k in range(20)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule.end": 0.5}, "generator.schedule.end = 0.5: is used by kind linear and cosine"),
        ({"schedule.kind": "cosine", "schedule.gamma": 0.1}, "gamma = 0.1: is used by kind mult"),
        (
            {"schedule.milestones": "4\n"},
            r"generator.schedule.milestones = 4\\n: is used by kind multistep, not by constant",
        ),
        ({"schedule.kind": "multistep"}, "generator.schedule.kind = multistep: needs milestones"),
        (
            {"schedule.kind": "multistep", "schedule.milestones": "4,4"},
            r"generator.schedule.milestones = '4,4': must be numbers of images above 0",
        ),
        ({"clip_norm": 0}, "generator.clip_norm = 0: Input should be greater than 0"),
    ],
)
def test_what_has_no_effect_or_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        override(tiny(), {f"generator.{key}": value for key, value in change.items()})


# ---- what it is part of ----


def settings(epochs: int = 2, **schedule: Any) -> SystemSettings:
    changes = {f"generator.schedule.{key}": value for key, value in schedule.items()}
    return tiny(1, **{"stages.0.epochs": epochs, **changes})


def ids(made: SystemSettings) -> str:
    return prepare(SYSTEM, made).lineage().stage_ids[0]


def test_the_default_is_in_no_id_and_a_length_only_where_it_counts() -> None:
    assert not [key for key in tiny().identity(0) if "schedule" in key or "clip" in key]
    falling = {"kind": "multistep", "milestones": "4"}
    assert ids(settings(2)) == ids(settings(3))
    assert ids(settings(2, **falling)) == ids(settings(3, **falling)) != ids(settings(2))
    assert ids(settings(2, kind="linear")) != ids(settings(3, kind="linear"))


def states(made: SystemSettings, folder: Path) -> dict[Position, str]:
    reports = run(prepare(SYSTEM, override(made, {"rungs": 2})), store=str(folder))
    return {r.position: r.state["state_sha256"] for r in reports if r.state}


def test_a_longer_stage_begins_like_a_shorter_one(tmp_path: Path) -> None:
    """But under a schedule that ends with the stage."""
    at = Position(0, 4)
    for kind, same in (
        ({"kind": "multistep", "milestones": "4"}, True),
        ({"kind": "linear"}, False),
    ):
        short = states(settings(2, **kind), tmp_path / f"short-{same}")
        long = states(settings(4, **kind), tmp_path / f"long-{same}")
        assert (short[at] == long[at]) is same


def test_a_stage_has_a_schedule_of_its_own() -> None:
    two = tiny(2, **{"stages.1.generator.schedule.kind": "cosine"})
    assert [two.at(k).generator.schedule.kind for k in (0, 1)] == ["constant", "cosine"]  # pyright: ignore
    assert [two.at(k).counts_length for k in (0, 1)] == [False, True]


# ---- clipping ----


def stepped(clip: float | None, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
    """What SGD with rate 1 moves the parameters by."""
    module = nn.Linear(3, 2)
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    player = Player(
        "p", module, torch.optim.SGD(module.parameters()), lambda p: {"lr": 1.0},
        clip_norm=lambda s: clip,
    )  # fmt: skip
    player.follow()
    player.step(gradients, Progress(0, STAGE, 0, None, False, torch.tensor(1.0)))
    return [-p.detach() for p in module.parameters()]


def test_large_gradients_are_scaled_together() -> None:
    torch.manual_seed(0)
    gradients = [torch.randn(2, 3), torch.randn(2)]
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
    for clip in (0.5 * norm, 0.01):
        for moved, gradient in zip(
            stepped(clip, [g.clone() for g in gradients]), gradients, strict=True
        ):
            torch.testing.assert_close(moved, gradient * (clip / norm), rtol=1e-4, atol=1e-7)
    for clip in (None, 2 * norm):
        moved = stepped(clip, [g.clone() for g in gradients])
        assert all(torch.equal(a, b) for a, b in zip(moved, gradients, strict=True))


def part(rank: int, world: int, made: SystemSettings) -> list[str]:
    prepared = prepare(SYSTEM, override(made, {"workers": world}))
    return [r.state["state_sha256"] for r in run(prepared, rank=rank, world=world) if r.state]


def test_two_workers_clip_alike() -> None:
    made = tiny(1, **{"generator.clip_norm": 0.01, "generator.schedule.kind": "cosine"})
    alone = part(0, 1, made)
    assert run_multiprocess(2, part, made) == [alone, alone]
    assert alone != part(0, 1, tiny(1, **{"generator.schedule.kind": "cosine"}))
