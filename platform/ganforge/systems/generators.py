"""The generator of SRGAN and ESRGAN: their own, each other's, or a published network."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from ganforge.assets import Assets, from_cache, from_path
from ganforge.networks import foreign
from ganforge.networks.foreign import ForeignError, Known, TrainableForeign
from ganforge.networks.residual import RRDBNet, SRResNet
from ganforge.settings import SettingsError, nearest, override, shown, shown_path
from ganforge.systems.perceptual import resolve_perceptual
from ganforge.systems.super_resolution import FOREIGN, OWN, CropSettings, SuperResolution

KEY = "generator_architecture"
S = TypeVar("S", bound=CropSettings)


def make_generator(settings: CropSettings) -> nn.Module:
    """The network that `generator_architecture` names, (N, C, H, W) in [-1, 1] to
    (N, C, s·H, s·W), not clamped; `initialise` draws its first weights.

    Where a setting that it takes is the other system's, it has that system's default, or its
    published ratio. SettingsError for a published network that does not exist, or not here.
    """
    s = settings
    if s.generator_architecture == "srresnet":
        tanh: bool = getattr(s, "tanh", False)
        norm = getattr(s, "generator_norm", "batch") == "batch"
        return SRResNet(
            s.channels, s.width, _blocks(s), s.scale,
            tanh=tanh, bicubic_skip=s.bicubic_skip, norm=norm,
        )  # fmt: skip
    if s.generator_architecture == "rrdbnet":
        growth: int = getattr(s, "growth", max(s.width // 2, 1))
        return RRDBNet(
            s.channels, s.width, growth, _blocks(s), s.scale, bicubic_skip=s.bicubic_skip
        )
    # a file's statistics of batch norm stay: networks/foreign.py says why
    kept = s.initial_weights != "none"
    return _built(s, keep_statistics=kept)


def _blocks(settings: CropSettings) -> int:
    return cast(Any, settings).blocks


def initialise(generator: nn.Module, settings: CropSettings) -> None:
    """Draw first weights by the network's own rule; RRDBNet's are scaled by `initial_scale`."""
    if isinstance(generator, RRDBNet):
        generator.initialise(getattr(settings, "initial_scale", 0.1))
    else:
        assert isinstance(generator, SRResNet | TrainableForeign)
        generator.initialise()


def restore_constants(generator: nn.Module) -> None:
    """What a player does after its step: see TrainableForeign."""
    if isinstance(generator, TrainableForeign):
        generator.restore_constants()


def resolve_generator(settings: S) -> S:
    """The settings with the shape in one spelling, after a look at the network and its crops.

    SettingsError where spandrel is missing, does not know the family, the family has no such
    network, or the network does not take the crops of a stage.
    """
    if settings.generator_architecture in OWN:
        return settings
    arguments = settings.foreign_arguments()
    shape = json.dumps(arguments, sort_keys=True) if arguments else "default"
    settings = override(settings, {"generator_shape": shape})
    _check_family(settings.generator_architecture)
    kept = settings.initial_weights != "none"
    for index, stage in enumerate(settings.stages):
        here = settings.at(index)
        images = here.batch_size // here.shards
        problem = _problem(
            settings.generator_architecture,
            shape,
            settings.scale,
            settings.channels,
            kept,
            stage.resolution // settings.scale,
            images,
        )
        if problem:
            raise SettingsError(f"stages.{index}.resolution = {stage.resolution}: {problem}")
    return settings


@lru_cache(maxsize=64)
def _problem(
    name: str, shape: str, scale: int, channels: int, kept: bool, side: int, images: int
) -> str:
    """Why a network cannot be trained on so many crops of so many source pixels at a time."""
    arguments = {} if shape == "default" else json.loads(shape)
    network = _network(name, arguments, scale, channels, kept)
    if not network.takes(side):
        least, multiple = max(network.least, 1), max(network.multiple, 1)
        fitting = [n for n in range(least, side + 8 * multiple + least) if network.takes(n)]
        sides = [n * scale for n in fitting if n * scale % 16 == 0]
        near = min(sides, key=lambda n: (abs(n - side * scale), n), default=None)
        return (
            f"{name} takes sources whose sides are at least {least} and multiples of {multiple}, "
            f"and these crops have {side}; give stages.K.resolution = {near} for every stage"
        )
    try:
        with torch.no_grad():
            network(torch.zeros(images, channels, side, side))
    except (RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0][:200]
        return (
            f"{name} cannot be given {images} sources of {side} pixels a side at a time "
            f"({first}); give another resolution, or raise batch_size / shards ({images})"
        )
    return ""


def _built(settings: CropSettings, *, keep_statistics: bool) -> TrainableForeign:
    s = settings
    return _network(
        s.generator_architecture, s.foreign_arguments(), s.scale, s.channels, keep_statistics
    )


def _network(
    name: str, shape: Mapping[str, Any], scale: int, channels: int, kept: bool
) -> TrainableForeign:
    family = _check_family(name)
    try:
        return foreign.build(family, shape, scale, channels, keep_statistics=kept)
    except ForeignError as error:
        raise SettingsError(f"{KEY} = {name}: {family} {error}") from None


def _check_family(name: str) -> str:
    """The family that `generator_architecture` names, if there is one here."""
    family = name.removeprefix(FOREIGN)
    if not foreign.installed():
        raise SettingsError(
            f"{KEY} = {shown(name)}: needs spandrel, which is not installed; "
            "pip install 'ganforge[models]', or give one of " + ", ".join(OWN)
        )
    known = foreign.names()
    if family not in known:
        by_case = {each.lower(): each for each in known}
        near = nearest(family.lower(), by_case)
        hint = f"; did you mean {FOREIGN}{by_case[near]}?" if near else ""
        raise SettingsError(
            f"{KEY} = {shown(name)}: the family must be one of {', '.join(known)}{hint}"
        )
    return family


def known_weights(weights: str) -> Known | None:
    """Which published network the weights are that the setting `initial_weights` names, a path or a
    hash; None where they are those of another one, or where spandrel is missing.

    SettingsError for a file that cannot be read, and for one of a known family that cannot be
    trained.
    """
    key = "initial_weights"
    hashed = weights.startswith("sha256:")
    tensors = from_cache(weights, key) if hashed else from_path(weights, key, "none or a file")
    try:
        return foreign.recognise(tensors)
    except ForeignError as error:
        raise SettingsError(f"{key} = {shown_path(weights)}: {error}") from None


def changes_for(known: Known) -> dict[str, Any]:
    """The settings that make the network which weights are of."""
    return {
        KEY: f"{FOREIGN}{known.name}",
        "generator_shape": json.dumps(known.shape, sort_keys=True) if known.shape else "default",
        "scale": known.scale,
        "channels": known.channels,
    }


class CropSystem(SuperResolution):
    """What SRGAN and ESRGAN share: the choice of a generator, and a perceptual term."""

    @classmethod
    def resolve(cls, settings: S) -> tuple[S, Assets, list[str]]:
        return resolve_perceptual(resolve_generator(settings))

    @classmethod
    def weights_in(cls, settings: CropSettings, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of a published generator under the names of its own class, which other trainers may not
        have kept."""
        if settings.generator_architecture in OWN:
            return tensors
        try:
            known = foreign.recognise(tensors)
        except ForeignError:
            known = None
        if known is None:
            return tensors
        return {f"generator/network.{name}": tensor for name, tensor in known.tensors.items()}
