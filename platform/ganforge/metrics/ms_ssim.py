"""How much images of one set differ: multi-scale structural similarity of pairs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ganforge.metrics.image_quality import PEAK, WINDOW, windows

#: Weights of the scales, finest first (Wang et al. 2003, section 3.2).
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def num_scales(side: int) -> int:
    """Scales of images whose smaller side is `side`: as long as a window of 11 px fits, at most
    5, which 176 px have; 0 below 11 px."""
    return sum(side // 2**scale >= WINDOW for scale in range(len(WEIGHTS)))


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """Multi-scale structural similarity of images, (N, C, H, W) twice in [-1, 1], (N,) float64.

    Equation 7 of Wang, Simoncelli and Bovik 2003 ("Multi-scale structural similarity for image
    quality assessment"): the product of contrast·structure of each scale and of the luminance of
    the coarsest, each to the power of its weight; between scales 2 × 2 means. A channel is measured
    by itself and channels are averaged. Small images have fewer scales, whose weights are scaled
    to a sum of 1; negative terms count as 0.
    """
    scales = num_scales(min(first.shape[-2:]))
    if not scales:
        raise ValueError(f"images of {tuple(first.shape[-2:])} pixels: at least {WINDOW} needed")
    total = sum(WEIGHTS[:scales]) if scales < len(WEIGHTS) else 1.0  # all five as published
    weights = [weight / total for weight in WEIGHTS[:scales]]
    a, b = ((images.double() + 1) * (PEAK / 2) for images in (first, second))
    found = torch.ones(len(a), dtype=torch.float64, device=a.device)
    for scale, weight in enumerate(weights):
        luminance, contrast = _terms(a, b)
        term = luminance * contrast if scale == scales - 1 else contrast
        found = found * term.mean(dim=(1, 2, 3)).clamp_min(0) ** weight
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return found


def _terms(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance and contrast·structure of each window inside: (N, C, H - 10, W - 10) twice."""
    shape = first.shape
    planes = [images.reshape(-1, *shape[-2:]) for images in (first, second)]
    mean_first, mean_second = (windows(plane) for plane in planes)
    variance_first = windows(planes[0].square()) - mean_first.square()
    variance_second = windows(planes[1].square()) - mean_second.square()
    covariance = windows(planes[0] * planes[1]) - mean_first * mean_second
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    bound = mean_first.square() + mean_second.square() + c1
    luminance = (2 * mean_first * mean_second + c1) / bound
    contrast = (2 * covariance + c2) / (variance_first + variance_second + c2)
    sides = luminance.shape[-2:]
    return luminance.reshape(*shape[:2], *sides), contrast.reshape(*shape[:2], *sides)


class Diversity:
    """Mean MS-SSIM of neighbours in a set: high where images resemble each other.

    The same of the real images is reported with it: it says how much they resemble each other.
    """

    def describe(self, images: Tensor, index: Tensor) -> list[float]:
        if len(images) < 2 or not num_scales(min(images.shape[-2:])):
            return []
        return ms_ssim(images[:-1].cpu(), images[1:].cpu()).tolist()

    def compare(self, real: Sequence[list[float]], fake: Sequence[list[float]]) -> dict[str, float]:
        found = {}
        for name, chunks in (("ms_ssim", fake), ("ms_ssim_real", real)):
            values = [value for chunk in chunks for value in chunk]
            if values:
                found[name] = math.fsum(values) / len(values)
        return found
