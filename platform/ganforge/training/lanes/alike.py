"""Which runs can be lanes of one program: all but some numbers must be equal."""

from collections.abc import Sequence
from typing import Any

import torch

from ganforge.schedule import Plan
from ganforge.settings import SettingsError, field_flags, flatten, shown_key
from ganforge.systems.base import Player, System
from ganforge.training.lanes.tensor import Lanes

#: whose networks and objectives are tested against the same runs one by one
SYSTEMS = (
    "dcgan", "wgan", "wgan_gp", "progan_a", "progan_t", "progressive_gan_sr",
)  # fmt: skip
#: a convolution of one group has other bits than the same one among others (measured)
LEAST = 2


def check_alike(systems: Sequence[System], plans: Sequence[Plan]) -> None:
    """Raise SettingsError, naming the setting, for runs whose first stages are no lanes of one
    program."""
    if len(systems) < LEAST:
        raise SettingsError(f"lanes = {len(systems)}: must be at least {LEAST}; use run() for one")
    first = plans[0].settings[0]
    if problem := _refused(first, plans[0]):
        raise SettingsError(f"lanes: {problem}")
    for number, (system, plan) in enumerate(zip(systems, plans, strict=True)):
        given = plan.settings[0]
        if type(system) is not type(systems[0]):
            raise SettingsError(
                f"lanes: lane {number} is of {given.system}, lane 0 of {first.system}; lanes are "
                "of one system"
            )
        if problems := _differences(first, given, systems[0].players, number):
            raise SettingsError("\n".join(problems))
        if plan.stages[0] != plans[0].stages[0]:
            raise SettingsError(
                f"lanes: stage 0 of lane {number} is {plan.stages[0]}, of lane 0 "
                f"{plans[0].stages[0]}; give both the same resolution, length and batch"
            )
    for key, values in _numbers([plan.settings[0] for plan in plans]).items():
        if 0 in values and any(values):
            raise SettingsError(
                f"{key}: is 0 in lane {values.index(0)} and not in all lanes; 0 leaves a term out, "
                "so give it to all lanes or to none"
            )


def _refused(settings: Any, plan: Plan) -> str:
    """Why no two runs of these settings can be lanes; empty where they can."""
    if settings.system not in SYSTEMS:
        return f"system = {settings.system}: must be one of {', '.join(SYSTEMS)}"
    if settings.device == "cuda" or plan.device.type != "cpu":
        return "device = cuda: lanes are for a CPU; set device=cpu"
    if settings.precision != "float32":
        return f"precision = {settings.precision}: lanes are in float32; set precision=float32"
    if settings.workers > 1:
        return f"workers = {settings.workers}: lanes are of one process; set workers=1"
    if (target := getattr(settings, "augment_target", None)) is not None:
        return (
            f"augment_target = {target:g}: each lane would have its own probability; set "
            "augment_target=none"
        )
    if settings.on_divergence == "rollback":
        return "on_divergence = rollback: a lane cannot go back by itself; set on_divergence=stop"
    return ""


def _differences(first: Any, given: Any, players: Sequence[Player], number: int) -> list[str]:
    """A line for each setting in which a lane differs and must not."""
    here, there, flags = flatten(first), flatten(given), field_flags(first)
    found = []
    for key in sorted(here.keys() | there.keys()):
        old, new = here.get(key), there.get(key)
        if old == new or key.startswith("stages."):
            continue
        of_optimizer = any(key.startswith(f"{player.name}.") for player in players)
        real = isinstance(old, float) and isinstance(new, float) and "." not in key
        if of_optimizer or (real and flags[key]["per_stage"]):
            continue
        found.append(
            f"{key} = {shown_key(new)} in lane {number}, and {shown_key(old)} in lane 0: lanes may "
            "differ in the settings of optimizers and in weights of terms; give one value to all"
        )
    return found


def _numbers(lanes: Sequence[Any]) -> dict[str, list[float]]:
    """The settings of one level that are not equal in all lanes: what objectives read."""
    names = [key for key in flatten(lanes[0]) if isinstance(getattr(lanes[0], key, None), float)]
    values = {name: [getattr(settings, name) for settings in lanes] for name in names}
    return {name: found for name, found in values.items() if len(set(found)) > 1}


def joined(lanes: Sequence[Any], dtype: torch.dtype) -> Any:
    """One settings object for all lanes: what differs is one number a lane."""
    update = {
        name: Lanes(torch.tensor(values, dtype=dtype)) for name, values in _numbers(lanes).items()
    }
    return lanes[0].model_copy(update=update)
