"""Networks whose features FID and KID compare: a seeded random one, and Inception where it is here.

Metrics over the random network are proxies and named so: they rank the runs of one experiment and
cannot be compared with published ones.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge.assets import Assets, from_cache, keep, present, tensors_sha256
from ganforge.metrics.efflite0 import load_weights
from ganforge.networks.efficientnet_lite import tensor_names
from ganforge.settings import SettingsError

KEY = "validation.fid_network"
PROXY_SEED = 20170626
PROXY_SIDE = 64
INCEPTION_SIDE = 299
_WIDTHS = (3, 32, 64, 64)


class RandomFeatures(nn.Module):
    """Three convolutions with stride 2 and fixed random weights; (N, 3, H, W) to (N, 128).

    Images are brought to 64 × 64; the features are mean and standard deviation of the 64 last
    channels over the image. Weights N(0, 2 / fan_in) and biases N(0, 0.01) are drawn from one
    seed on the CPU, so that the network is the same everywhere.
    """

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(PROXY_SEED)
        self.weights, self.biases = [], []
        for before, after in pairwise(_WIDTHS):
            weight = torch.randn(after, before, 3, 3, generator=generator)
            self.weights.append(weight * (2 / (before * 9)) ** 0.5)
            self.biases.append(0.1 * torch.randn(after, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        found = _resized(images, PROXY_SIDE)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            found = F.conv2d(found, weight.to(found), bias.to(found), stride=2, padding=1)
            found = F.leaky_relu(found, 0.2)
        spread = found.var(dim=(2, 3), correction=0).sqrt()
        return torch.cat([found.mean(dim=(2, 3)), spread], dim=1)


class InceptionFeatures(nn.Module):
    """Inception-v3 of torchvision up to its last pooling: (N, 3, H, W) in [-1, 1] to (N, 2048)."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        # torchvision takes seconds to import, and only this network needs it
        from torchvision.models import inception_v3

        with torch.device("meta"):
            network = inception_v3(weights=None, init_weights=False, transform_input=False)
        network.load_state_dict(dict(tensors), assign=True)
        network.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        self.network = network.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.network.to(images.device)(_resized(images, INCEPTION_SIDE))


def _resized(images: Tensor, side: int) -> Tensor:
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)


def resolve_features(network: str) -> tuple[str, Assets]:
    """What `validation.fid_network` means on this machine: proxy, none or "sha256:…" of the
    network that is measured in addition to the proxy, with its tensors.

    Run once by the driver. `auto` uses Inception if torchvision's file is on the machine and
    downloads nothing; `inception` downloads it, and a failure is a SettingsError; so is `efflite0`
    without its package.
    """
    if network in ("proxy", "none"):
        return network, {}
    if network.startswith("sha256:"):  # a recorded run: a metric is not a reason to refuse it
        return (network, {network: from_cache(network, KEY)}) if present(network) else ("proxy", {})
    if network == "efflite0":
        tensors = load_weights(KEY)
        tensors = {name: tensors[name].contiguous() for name in tensor_names()}
        return _kept(tensors)
    if network == "auto" and not _inception_file().is_file():
        return "proxy", {}
    # torchvision takes seconds to import
    from torchvision.models import Inception_V3_Weights

    try:
        found = Inception_V3_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        if network == "auto":
            return "proxy", {}
        raise SettingsError(
            f"{KEY} = inception: torchvision's Inception weights are unavailable "
            f"({type(error).__name__}: {error}); put them at {_inception_file()}, or set proxy"
        ) from None
    return _kept({name: tensor.contiguous() for name, tensor in found.items()})


def _kept(tensors: dict[str, Tensor]) -> tuple[str, Assets]:
    name = "sha256:" + tensors_sha256(tensors)
    keep(name, tensors)
    return name, {name: tensors}


def _inception_file() -> Path:
    return Path(torch.hub.get_dir(), "checkpoints", "inception_v3_google-0cc3c7bd.pth")
