"""LPIPS (arXiv:1801.03924) as torchmetrics computes it, over networks whose ImageNet weights
torchvision publishes: where those are on this machine or can be fetched."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ganforge.metrics.image_quality import to_bytes
from ganforge.settings import SettingsError

#: two images (C, H, W) in [-1, 1] to their distance
Distance = Callable[[Tensor, Tensor], float]
#: networks by their names in the literature: torchvision's name, and that of its weights
_NETWORKS = {
    "alex": ("alexnet", "AlexNet_Weights"),
    "vgg": ("vgg16", "VGG16_Weights"),
    "squeeze": ("squeezenet1_1", "SqueezeNet1_1_Weights"),
}


def load_lpips(name: str) -> Distance:
    """LPIPS over the network alex, vgg or squeeze; SettingsError without its package or weights."""
    if name not in _NETWORKS:
        raise SettingsError(f"lpips = {name}: must be one of {', '.join(_NETWORKS)}")
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity as LPIPS
    except ImportError:
        raise SettingsError(
            f"lpips = {name}: needs torchmetrics: pip install 'ganforge[lpips]'"
        ) from None
    _check_weights(name)
    network = LPIPS(net_type=name).eval()

    @torch.no_grad()
    def distance(first: Tensor, second: Tensor) -> float:
        """Of images as they would be stored, in 8 bits; grey ones as three equal channels."""
        pair = (to_bytes(image)[None].float() / 127.5 - 1 for image in (first, second))
        return network(*(image.cpu().expand(-1, 3, -1, -1) for image in pair)).item()

    return distance


def _check_weights(name: str) -> None:
    """Fetch the file if it is missing, and refuse another one: torchmetrics opens what is there."""
    import torchvision.models

    model, weights = _NETWORKS[name]
    published = getattr(torchvision.models, weights).IMAGENET1K_V1
    path = Path(torch.hub.get_dir(), "checkpoints", Path(published.url).name)
    try:
        if not path.is_file():
            published.get_state_dict(progress=False, check_hash=True)
        content = path.read_bytes()
    except (OSError, RuntimeError) as error:
        raise SettingsError(
            f"lpips = {name}: torchvision's weights of {model} are unavailable "
            f"({type(error).__name__}: {error}); put {published.url} at {path}"
        ) from None
    # the name ends in the first digits of the content's sha256
    wanted = re.findall(r"-([0-9a-f]{8})\.pth$", path.name)[0]
    if (found := hashlib.sha256(content).hexdigest()[:8]) != wanted:
        raise SettingsError(
            f"lpips = {name}: {path} has the sha256 {found}…, not {wanted}…: it is damaged or "
            f"another file; delete it, or put {published.url} there"
        )
