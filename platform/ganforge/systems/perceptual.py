"""The perceptual term that several systems share: settings, the network's file, the value."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Self, TypeVar

import torch
from pydantic import model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor

from ganforge.assets import Assets, from_cache, from_path, keep, tensors_sha256
from ganforge.local_files import cache_directory
from ganforge.losses import directions_apart, mean_absolute, mean_squared, perceptual
from ganforge.metrics.efflite0 import load_weights
from ganforge.networks.efficientnet_lite import EfficientNetLite0, is_efflite0
from ganforge.networks.efficientnet_lite import tensor_names as efflite0_names
from ganforge.networks.vgg import VGGFeatures, layer_numbers, tensor_names
from ganforge.settings import SettingsError, Strict, override, setting, shown_key

S = TypeVar("S", bound=Any)
#: how EfficientNet-Lite0 is called in `perceptual.network`: as in metrics, and in full
EFFLITE0 = ("efflite0", "efficientnet-lite0")


class Comparison(NamedTuple):
    """Which features are compared, and how."""

    layer: str
    before_activation: bool
    distance: Callable[[Tensor, Tensor], Tensor]


class FeatureTerm(Strict):
    """λ · the mean squared distance between the features of VGG-19's first block; with the weights
    of EfficientNet-Lite0, λ · how differently its features point at five depths."""

    network: str = setting(
        "auto", "VGG-19 weights: auto, imagenet, none, or a file; efflite0: EfficientNet-Lite0"
    )
    weight: float = setting(1.0, "weight of the term", ge=0, per_stage=True)
    shift: int = setting(
        0,
        "compared are crops, cut at a point drawn for each shard, that leave out so many pixels "
        "(half the side at most): a network with strides then leaves no grid",
        ge=0,
        per_stage=True,
        added=True,
    )

    @property
    def comparison(self) -> Comparison:
        return Comparison("block1_conv2", False, mean_squared)


class Perceptual(FeatureTerm):
    """λ · the mean distance between VGG-19 features of the target and of the generated image."""

    layer: str = setting("block5_conv4", "of VGG-19: convolution whose features are compared")
    before_activation: bool = setting(
        False, "of VGG-19: features before the ReLU of that convolution"
    )
    distance: Literal["mse", "l1"] = setting("mse", "of VGG-19: how features are compared")

    @property
    def comparison(self) -> Comparison:
        distance = mean_absolute if self.distance == "l1" else mean_squared
        return Comparison(self.layer, self.before_activation, distance)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.layer not in layer_numbers():
            raise ValueError(
                f"layer = {shown_key(self.layer)}: VGG-19 has {', '.join(layer_numbers())}"
            )
        return self


class PerceptualTerm:
    """The frozen network, outside of the module tree: in no state dict, average or hash."""

    def __init__(self, term: FeatureTerm, assets: Assets):
        layer, before_activation, _ = term.comparison
        self._network: EfficientNetLite0 | VGGFeatures | None = None
        if term.network in assets:
            tensors = assets[term.network]
            if is_efflite0(tensors):
                self._network = EfficientNetLite0(tensors)
            else:
                self._network = VGGFeatures(tensors, layer, before_activation=before_activation)

    def terms(
        self, term: FeatureTerm, real: Tensor, fake: Tensor, dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """{"perceptual": its weighted value}, or nothing without a network or a weight.

        The features are computed in `dtype`, or in that of the network's weights.
        """
        if self._network is None or not term.weight:
            return {}
        network = self._network.to(device=fake.device, dtype=dtype)
        real, fake = cut_alike(real, fake, term.shift)
        if isinstance(network, EfficientNetLite0):
            value = perceptual(network.depths, real, fake, directions_apart)
        else:
            value = perceptual(network, real, fake, term.comparison.distance)
        return {"perceptual": term.weight * value}


def cut_alike(first: Tensor, second: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """The same crop of both, (N, C, H, W) to (N, C, H - m, W - m) with m the smaller of `shift` and
    half a side, at one of the (m + 1)² offsets, each as likely; at 0 all of both, without a draw.

    A network with strides has pixels that it weighs more, a grid of its own. Crops as cut from the
    photographs always lie on that grid in the same way, and a generator is trained to fill it in.
    """
    height, width = first.shape[2:]
    shift = min(shift, height // 2, width // 2)
    if not shift:
        return first, second
    top, left = torch.randint(shift + 1, (2,)).tolist()
    rows, columns = slice(top, top + height - shift), slice(left, left + width - shift)
    return first[:, :, rows, columns], second[:, :, rows, columns]


def resolve_perceptual(settings: S) -> tuple[S, Assets, list[str]]:
    """Settings with `perceptual.network` by the hash of its content; that content; warnings."""
    term: FeatureTerm = settings.perceptual
    if term.weight == 0 and not any(stage.overrides for stage in settings.stages):
        name, assets, warnings = "none", {}, []
    else:
        layer = term.comparison.layer
        name, assets, warnings = resolve_network(term.network, "perceptual.network", layer)
    return override(settings, {"perceptual.network": name}), assets, warnings


def resolve_network(
    network: str, key: str, layer: str = "block1_conv2"
) -> tuple[str, Assets, list[str]]:
    """The tensors that `network` names: ("sha256:…" or "none", those tensors, warnings).

    `network` is auto, imagenet, none, efflite0, a path or "sha256:…" of tensors resolved before;
    `key` is the setting's name for errors. Of VGG-19, tensors of layers beyond `layer` are left
    out, and a file need not have them. With `auto` the term is left out where torchvision's weights
    are unavailable.
    """
    if network == "none":
        return "none", {}, []
    if network.startswith("sha256:"):
        found = from_cache(network, key)
        tensors = dict(found) if is_efflite0(found) else _up_to(layer, found, network, key)
        return network, {network: tensors}, []
    if network in EFFLITE0:
        whole = load_weights(key, network)
        tensors = {name: whole[name].float() for name in sorted(efflite0_names())}
    elif network in ("auto", "imagenet"):
        try:
            tensors = _imagenet(layer)
        except (OSError, RuntimeError) as error:
            reason = (
                f"torchvision's VGG-19 weights are unavailable ({type(error).__name__}: {error})"
            )
            if network == "imagenet":
                raise SettingsError(
                    f"{key} = imagenet: {reason}; give the path of a VGG-19 file, or none"
                ) from None
            return "none", {}, [f"{key} = auto: training without the perceptual term, {reason}"]
    else:
        found = from_path(network, key, "auto, imagenet, none, efflite0 or a path")
        tensors = _up_to(layer, found, network, key)
    name = "sha256:" + tensors_sha256(tensors)
    keep(name, tensors)
    return name, {name: tensors}, []


def _up_to(layer: str, found: Mapping[str, Tensor], network: str, key: str) -> dict[str, Tensor]:
    """The tensors of the layers up to `layer`, if all are there."""
    wanted = tensor_names(layer)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise SettingsError(
            f"{key} = {network}: has no {missing[0]}, which the layer {layer} needs; give a "
            "VGG-19 state dict with torchvision's names that holds it, or choose a layer before it"
        )
    return {name: found[name].float() for name in sorted(wanted)}


def _imagenet(layer: str) -> dict[str, Tensor]:
    """Torchvision's ImageNet weights up to a layer, fetched once."""
    path = cache_directory() / "assets" / f"vgg19-imagenet-{layer}.safetensors"
    if path.exists():
        return load_file(path)
    # torchvision takes seconds to import, and only this one choice needs it
    from torchvision.models import VGG19_Weights

    weights = VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    tensors = {name: weights[name].clone() for name in tensor_names(layer)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return tensors
