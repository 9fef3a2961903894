"""Files that settings name, turned into tensors and known by the sha256 of their content."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from ganforge.local_files import cache_directory, replacing
from ganforge.networks.vgg import tensor_names
from ganforge.settings import SettingsError

Assets = dict[str, dict[str, Tensor]]


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes, in order of names; independent of layout."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def resolve_vgg(
    network: str, key: str, layer: str = "block1_conv2"
) -> tuple[str, Assets, list[str]]:
    """The VGG-19 tensors that `network` names: ("sha256:…" or "none", those tensors, warnings).

    `network` is auto, imagenet, none, a path or "sha256:…" of tensors resolved before; `key` is the
    setting's name for errors. Tensors of layers beyond `layer` are left out, and a file need not
    have them. `auto` goes on without where torchvision's weights cannot be had.
    """
    if network == "none":
        return "none", {}, []
    if network.startswith("sha256:"):
        return network, {network: _up_to(layer, from_cache(network, key), network, key)}, []
    if network in ("auto", "imagenet"):
        try:
            tensors = _imagenet(layer)
        except (OSError, RuntimeError) as error:
            reason = f"torchvision's VGG-19 weights cannot be had ({type(error).__name__}: {error})"
            if network == "imagenet":
                raise SettingsError(
                    f"{key} = imagenet: {reason}; give the path of a VGG-19 file, or none"
                ) from None
            return "none", {}, [f"{key} = auto: training without the perceptual term, {reason}"]
    else:
        tensors = _up_to(layer, _from_path(network, key), network, key)
    name = "sha256:" + tensors_sha256(tensors)
    keep(name, tensors)
    return name, {name: tensors}, []


def keep(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Put resolved tensors into the cache, where `reproduce` looks for them by their hash."""
    path = _cached_path(name)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(save({n: t.contiguous() for n, t in tensors.items()}))


def present(name: str) -> bool:
    """Whether resolved tensors are in the cache of this machine."""
    return _cached_path(name).exists()


def _cached_path(name: str) -> Path:
    return cache_directory() / "assets" / f"{name.removeprefix('sha256:')}.safetensors"


def from_cache(name: str, key: str) -> dict[str, Tensor]:
    """Tensors resolved before, by their hash; SettingsError if they are not on this machine."""
    path = _cached_path(name)
    if not path.exists():
        raise SettingsError(
            f"{key} = {name}: these tensors are not on this machine; give the path of the file "
            "they come from"
        )
    tensors = load_file(path)
    if "sha256:" + tensors_sha256(tensors) != name:
        raise SettingsError(f"{key} = {name}: {path} is damaged; delete it and give the file again")
    return tensors


def _from_path(text: str, key: str) -> dict[str, Tensor]:
    path = Path(text).expanduser()
    if not path.is_file():
        raise SettingsError(f"{key} = {text}: no such file; give auto, imagenet, none or a path")
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SettingsError(
            f"{key} = {text}: not a file of tensors ({type(error).__name__}); give a state dict "
            "saved with torch.save or safetensors"
        ) from None
    return {n: t for n, t in found.items() if isinstance(t, Tensor)}


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
