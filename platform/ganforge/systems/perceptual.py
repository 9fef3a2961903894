"""The perceptual term that several systems share: settings, the network's file, the value."""

from typing import Any, Literal, Self, TypeVar

from pydantic import model_validator
from torch import Tensor

from ganforge.assets import Assets, resolve_vgg
from ganforge.losses import mean_absolute, mean_squared, perceptual
from ganforge.networks.vgg import VGGFeatures, layer_numbers
from ganforge.settings import Strict, override, setting

S = TypeVar("S", bound=Any)


class Perceptual(Strict):
    """λ · the mean distance between VGG-19 features of the target and of the generated image."""

    network: str = setting("auto", "VGG-19 weights: auto, imagenet, none, or a file")
    weight: float = setting(1.0, "weight of the term", ge=0, per_stage=True)
    layer: str = setting("block5_conv4", "convolution whose features are compared")
    before_activation: bool = setting(False, "features before the ReLU of that convolution")
    distance: Literal["mse", "l1"] = setting("mse", "how features are compared")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.layer not in layer_numbers():
            raise ValueError(f"layer = {self.layer}: VGG-19 has {', '.join(layer_numbers())}")
        return self


def resolve_perceptual(settings: S) -> tuple[S, Assets, list[str]]:
    """Settings with `perceptual.network` by the hash of its content; that content; warnings."""
    term: Perceptual = settings.perceptual
    if term.weight == 0 and not any(stage.overrides for stage in settings.stages):
        name, assets, warnings = "none", {}, []
    else:
        name, assets, warnings = resolve_vgg(term.network, "perceptual.network", term.layer)
    return override(settings, {"perceptual.network": name}), assets, warnings


class PerceptualTerm:
    """The frozen network, outside of the module tree: in no state dict, average or hash."""

    def __init__(self, term: Perceptual, assets: Assets):
        self._features = None
        if term.network in assets:
            self._features = VGGFeatures(
                assets[term.network], term.layer, before_activation=term.before_activation
            )

    def terms(self, term: Perceptual, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """{"perceptual": its weighted value}, or nothing without a network or a weight."""
        if self._features is None or not term.weight:
            return {}
        features = self._features.to(fake.device)
        distance = mean_absolute if term.distance == "l1" else mean_squared
        return {"perceptual": term.weight * perceptual(features, real, fake, distance)}
