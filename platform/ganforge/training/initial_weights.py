"""Weights that a run begins with in place of drawn ones: tensors, fitted by name and shape.

In the setting they are a hash of their content, so they are a part of every stage's identity, are
recorded with the run, and are there when it is reproduced. Their names are `player/parameter`.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ganforge.assets import Assets, from_cache, from_path, keep, tensors_sha256
from ganforge.settings import SettingsError, shown_key
from ganforge.systems.base import System
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import SystemSettings

KEY = "initial_weights"
NONE = "none"
#: names that an error lists
_LISTED = 3


def resolve_initial_weights(
    name: str, settings: SystemSettings, assets: Assets
) -> tuple[str, Assets, list[str]]:
    """("sha256:…" or none, those tensors, a line about what begins as usual) for system `name`.

    SettingsError where less than half of a file fits, and where fitted tensors, which a search or a
    record names, do not all fit: a trial with other shapes would be compared with those that begin
    with them.
    """
    given = settings.initial_weights
    if given == NONE:
        return NONE, {}, []
    known = given.startswith("sha256:")
    found = from_cache(given, KEY) if known else from_path(given, KEY, "none or a file of tensors")
    wanted = parameters_of(name, settings, assets)
    prefix = f"{KEY} = {shown_key(given)}"
    if known and found and all(key.partition("/")[2] for key in found):
        for key, tensor in found.items():
            shape = wanted.get(key)
            if shape != tensor.shape:
                there = "is not in these networks" if shape is None else f"is {_sides(shape)} here"
                raise SettingsError(
                    f"{prefix}: {shown_key(key)}, {_sides(tensor.shape)}, {there}; keep the "
                    "settings that decide the networks, or begin with other weights"
                )
        return given, {given: found}, []
    deployed = deployed_players(name, settings, assets)
    fitted = fit(found, wanted, deployed)
    if 2 * len(fitted) < max(len(found), 1):
        strange = {k: t for k, t in found.items() if not fit({k: t}, wanted, deployed)}
        examples = [_difference(key, strange[key], wanted, deployed) for key in strange][:_LISTED]
        raise SettingsError(
            f"{prefix}: {len(fitted)} of its {len(found)} tensors fit a network of {name} by name "
            f"and shape ({', '.join(examples) or 'it has none'}); give weights of such a network, "
            "or the settings that they were trained with"
        )
    key = "sha256:" + tensors_sha256(fitted)
    keep(key, fitted)
    return key, {key: fitted}, _left_open(wanted, fitted)


def _difference(
    key: str, tensor: Tensor, wanted: Mapping[str, torch.Size], deployed: Sequence[str]
) -> str:
    here = next((wanted[name] for name in _names(key, deployed) if name in wanted), None)
    known = "is not here" if here is None else f"is {_sides(here)} here"
    return f"{shown_key(key)}, {_sides(tensor.shape)}, {known}"


def _sides(shape: torch.Size) -> str:
    return "×".join(map(str, shape)) or "a number"


def _left_open(wanted: Mapping[str, torch.Size], fitted: Mapping[str, Tensor]) -> list[str]:
    """By player, how many of its tensors are taken, where that is not all."""
    lines = []
    for player in dict.fromkeys(key.partition("/")[0] for key in wanted):
        mine = [key for key in wanted if key.startswith(f"{player}/")]
        taken = sum(key in fitted for key in mine)
        if taken < len(mine):
            first = next(key for key in mine if key not in fitted)
            lines.append(
                f"{KEY}: {taken} of the {len(mine)} tensors of {player} are taken; the others, "
                f"such as {first.partition('/')[2]}, begin as usual"
            )
    return lines


def parameters_of(name: str, settings: SystemSettings, assets: Assets) -> dict[str, torch.Size]:
    """What the players of a system have at any of its stages: shapes by `player/parameter`."""
    found: dict[str, torch.Size] = {}
    system = _built(name, settings, assets)
    for index in range(len(settings.stages)):
        system.grow(index)
        for player in system.players:
            for key, tensor in player.module.state_dict().items():
                found.setdefault(f"{player.name}/{key}", tensor.shape)
    return found


def deployed_players(name: str, settings: SystemSettings, assets: Assets) -> list[str]:
    """The players whose averages are deployed: what a file of bare names is of."""
    players = _built(name, settings, assets).players
    averaged = [player.name for player in players if player.average is not None]
    return averaged or [player.name for player in players if player.name.startswith("generator")]


def _built(name: str, settings: SystemSettings, assets: Assets) -> System:
    bare = settings.model_copy(update={KEY: NONE})
    return load_system(name)(bare, assets)


def fit(
    found: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], deployed: Sequence[str]
) -> dict[str, Tensor]:
    """The tensors that have a name and shape of `wanted`, under that name.

    A name may be `player/parameter`, `player.parameter`, or that of a parameter of the generator,
    in a deployed network or not.
    """
    fitted: dict[str, Tensor] = {}
    for key, tensor in found.items():
        for name in _names(key, deployed):
            if wanted.get(name) == tensor.shape and name not in fitted:
                # a file in half precision begins a run in float32
                whole = tensor.float() if tensor.is_floating_point() else tensor
                fitted[name] = whole.contiguous()
                break
    return dict(sorted(fitted.items()))


def _names(key: str, deployed: Sequence[str]) -> list[str]:
    """What a tensor of a file may be."""
    player, _, rest = key.partition(".")
    bare = key.removeprefix("module.").removeprefix("network.")
    return [key, f"{player}/{rest}", *(f"{owner}/{bare}" for owner in deployed)]
