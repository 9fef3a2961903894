"""LPIPS (arXiv:1801.03924) as torchmetrics computes it, over networks whose ImageNet weights
torchvision publishes: where those are on this machine or can be fetched."""

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ganforge.console import show
from ganforge.metrics.image_quality import to_bytes
from ganforge.settings import SettingsError

#: networks by their names in the literature: torchvision's name, and that of its weights
_NETWORKS = {
    "alex": ("alexnet", "AlexNet_Weights"),
    "vgg": ("vgg16", "VGG16_Weights"),
    "squeeze": ("squeezenet1_1", "SqueezeNet1_1_Weights"),
}
#: pixels a side from which on each of them has all its depths
LEAST_SIDE = 64


@dataclass(frozen=True)
class LPIPS:
    """The distance of two images over one of the networks."""

    network: str
    module: nn.Module

    @torch.no_grad()
    def __call__(self, first: Tensor, second: Tensor) -> float:
        """Of images (C, H, W) in [-1, 1], in 8 bits as they would be stored; grey ones as three
        equal channels. Sides of at least `LEAST_SIDE`."""
        pair = (to_bytes(image)[None].float() / 127.5 - 1 for image in (first, second))
        return self.module(*(image.cpu().expand(-1, 3, -1, -1) for image in pair)).item()


def load_lpips(name: str) -> LPIPS:
    """LPIPS over the network alex, vgg or squeeze; SettingsError without its package or weights."""
    if name not in _NETWORKS:
        raise SettingsError(f"lpips = {name}: must be one of {', '.join(_NETWORKS)}")
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
    except ImportError:
        raise SettingsError(
            f"lpips = {name}: needs torchmetrics: pip install 'ganforge[lpips]'"
        ) from None
    _check_weights(name)
    network = LearnedPerceptualImagePatchSimilarity(net_type=cast("Any", name))
    return LPIPS(name, network.eval())


def _check_weights(name: str) -> None:
    """Fetch the file if it is missing, and refuse another one: torchmetrics opens what is there."""
    import torchvision.models

    model, weights = _NETWORKS[name]
    published = getattr(torchvision.models, weights).IMAGENET1K_V1
    path = Path(torch.hub.get_dir(), "checkpoints", Path(published.url).name)
    if not path.is_file():
        show(f"fetching {published.url}", errors=True)
    try:
        # tensors alone: what torchmetrics opens afterwards has no code in it
        published.get_state_dict(progress=False, check_hash=True, weights_only=True)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise SettingsError(
            f"lpips = {name}: torchvision's weights of {model} are unavailable "
            f"({type(error).__name__}: {reason}); put {published.url} at {path}"
        ) from None
    if not found.startswith(wanted := named_hash(path)):
        raise SettingsError(
            f"lpips = {name}: {path} has the sha256 {found[: len(wanted)]}…, not {wanted}…: it is "
            f"damaged or another file; delete it, or put {published.url} there"
        )


def named_hash(path: Path) -> str:
    """The first digits of the sha256 that a file of torchvision's has in its name, before .pth."""
    return path.stem.rpartition("-")[2]
