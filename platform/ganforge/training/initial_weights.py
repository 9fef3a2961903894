"""Weights that a run begins with in place of drawn ones: tensors, fitted by name and shape.

In the setting they are a hash of their content, so they are a part of every stage's identity, are
recorded with the run, and are there when it is reproduced. Their names are `player/parameter`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ganforge.assets import Assets, from_cache, from_path, keep, tensors_sha256
from ganforge.schedule import finished
from ganforge.settings import SettingsError, shown_key, shown_path
from ganforge.systems.base import System
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import SystemSettings

KEY = "initial_weights"
NONE = "none"
#: tensors that an error or a note names
_LISTED = 3


@dataclass(frozen=True)
class Networks:
    """What the players of a system have at any of its stages: `tensors`, without content, by
    `player/parameter`, and under which other `names` files have them."""

    tensors: dict[str, Tensor]
    names: dict[str, str]

    def own(self, key: str) -> str:
        """The name here of a tensor in a file."""
        bare = key.removeprefix("module.")
        return next((n for n in (key, bare) if n in self.tensors), self.names.get(bare, key))


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
    fitted_before = known and bool(found) and all("/" in key for key in found)
    networks = networks_of(name, settings, assets)
    prefix = f"{KEY} = {shown_path(given)}"
    if fitted_before:
        for key, tensor in found.items():
            if difference := _difference(key, tensor, networks):
                raise SettingsError(
                    f"{prefix}: {difference}; keep the settings that decide the networks, or begin "
                    "with other weights"
                )
        return given, {given: found}, []
    found = load_system(name).weights_in(settings, found)
    fitted = fit(found, networks)
    if 2 * len(fitted) < max(len(found), 1):
        wrong = [line for key, t in found.items() if (line := _difference(key, t, networks))]
        raise SettingsError(
            f"{prefix}: {len(fitted)} of its {len(found)} tensors fit a network of {name} by name "
            f"and shape ({'; '.join(wrong[:_LISTED]) or 'it has none'}); give weights of such a "
            "network, or the settings that they were trained with"
        )
    for key, tensor in fitted.items():
        if not torch.isfinite(tensor).all():
            raise SettingsError(f"{prefix}: {shown_key(key)} has values that are not finite")
    key = "sha256:" + tensors_sha256(fitted)
    keep(key, fitted)
    return key, {key: fitted}, _left_open(networks, fitted)


def fit(found: Mapping[str, Tensor], networks: Networks) -> dict[str, Tensor]:
    """The tensors whose name and shape a network has, by their names and of their types there. Of
    two for one the first is taken."""
    fitted: dict[str, Tensor] = {}
    for key, tensor in found.items():
        name = networks.own(key)
        if name not in fitted and not _difference(key, tensor, networks):
            fitted[name] = tensor.to(networks.tensors[name].dtype).contiguous()
    return dict(sorted(fitted.items()))


def _difference(key: str, tensor: Tensor, networks: Networks) -> str:
    """Why a tensor of a file is not one of the networks'; empty where it is."""
    here = networks.tensors.get(networks.own(key))
    head = f"{shown_key(key)}, {_sides(tensor.shape)},"
    if here is None:
        return f"{head} is not here"
    if here.shape != tensor.shape:
        return f"{head} is {_sides(here.shape)} here"
    if here.is_floating_point() != tensor.is_floating_point():
        return f"{head} is of {tensor.dtype}, here of {here.dtype}"
    return ""


def _sides(shape: torch.Size) -> str:
    return "×".join(map(str, shape)) or "a number"


def _left_open(networks: Networks, fitted: Mapping[str, Tensor]) -> list[str]:
    """By player, how many of its tensors are taken, where that is not all."""
    lines = []
    for player in dict.fromkeys(key.partition("/")[0] for key in networks.tensors):
        mine = [key for key in networks.tensors if key.startswith(f"{player}/")]
        left = [key for key in mine if key not in fitted]
        if left:
            lines.append(
                f"{KEY}: {len(mine) - len(left)} of the {len(mine)} tensors of {player} are taken; "
                f"the others, such as {left[0].partition('/')[2]}, begin as usual"
            )
    return lines


def networks_of(name: str, settings: SystemSettings, assets: Assets) -> Networks:
    """The networks of a system, grown stage by stage.

    Names of a deployed generator are found by content: every tensor is filled with a number of its
    own, and looked for in what the system deploys.
    """
    system = load_system(name)(settings.model_copy(update={KEY: NONE}), assets)
    tensors: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    for index in range(len(settings.stages)):
        system.grow(index)
        numbers: dict[float, str] = {}
        for player in system.players:
            player.follow()
            averages = {} if player.average is None else player.average.state_dict()
            for key, tensor in player.module.state_dict().items():
                own = f"{player.name}/{key}"
                tensors.setdefault(own, torch.empty_like(tensor, device="meta"))
                names.setdefault(f"{player.name}.{key}", own)
                numbers[float(len(numbers) + 1)] = own
                for part in (tensor, averages.get(key, tensor)):
                    part.fill_(len(numbers))
        for key, own in _found(system.state_dict(), numbers):
            names.setdefault(key, own)
        for key, own in _found(_deployed(system, settings, index), numbers):
            names.setdefault(key, own)
            names.setdefault(key.removeprefix("network."), own)
    return Networks(tensors, names)


def _found(state: Mapping[str, Tensor], numbers: Mapping[float, str]) -> list[tuple[str, str]]:
    firsts = ((key, tensor.flatten()[0].item()) for key, tensor in state.items() if tensor.numel())
    return [(key, numbers[number]) for key, number in firsts if number in numbers]


def _deployed(system: System, settings: SystemSettings, index: int) -> Mapping[str, Tensor]:
    """What the system deploys at the end of a stage; nothing of one that deploys nothing."""
    try:
        return dict(system.deploy(finished(settings, index)).state_dict())
    except TypeError:
        return {}
