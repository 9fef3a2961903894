"""How good images are: PSNR and SSIM as the super-resolution literature reports them.

Each metric of an image is computed from that image alone, so that it has the same bits in any
batch and on any worker.
"""

import torch
from torch import Tensor

from ganforge.data.batch import Batch
from ganforge.layers import upsample_bicubic

PEAK = 255.0
#: PSNR of equal images in dB, where the formula says infinity: a mean stays finite.
EQUAL_PSNR = 100.0
#: Side of the window of SSIM in pixels, and the standard deviation of its weights.
WINDOW = 11
SIGMA = 1.5


def to_bytes(images: Tensor) -> Tensor:
    """round(127.5·(x + 1)) as uint8: [-1, 1] to 0 … 255, any shape.

    Values outside are clamped; what is not a number becomes 0.
    """
    return torch.nan_to_num(_rounded(images), nan=0.0).to(torch.uint8)


def luma(images: Tensor) -> Tensor:
    """The channel on which metrics are measured: (N, C, H, W) in [-1, 1] to (N, H, W) float64.

    Images are rounded to 8 bits first. Y = 16 + 65.481·R + 128.553·G + 24.966·B with R, G, B in
    [0, 1] (ITU-R BT.601, 16 … 235, not rounded again, as BasicSR has it); images of a single
    channel keep their own scale 0 … 255.
    """
    levels = _rounded(images)
    if levels.shape[1] == 1:
        return levels[:, 0]
    if levels.shape[1] != 3:
        raise ValueError(f"{levels.shape[1]} channels: metrics need images of 1 or 3 channels")
    red, green, blue = (levels / PEAK).unbind(1)
    return 16 + 65.481 * red + 128.553 * green + 24.966 * blue


def _rounded(images: Tensor) -> Tensor:
    """8-bit levels in float64; what is not a number stays so and shows in the metrics."""
    return ((images.double().clamp(-1, 1) + 1) * 127.5).round()


@torch.no_grad()
def psnr(first: Tensor, second: Tensor, border: int) -> Tensor:
    """10·log10(255² / mean (a - b)²) of the luma without `border` pixels on each side, in dB.

    (N, C, H, W) twice in [-1, 1], (N,) float64 out; equal images give 100.
    """
    first, second = _shaved(first, border), _shaved(second, border)
    error = _means((first - second).square())
    return 10 * torch.log10(PEAK**2 / error.clamp_min(PEAK**2 / 10 ** (EQUAL_PSNR / 10)))


@torch.no_grad()
def ssim(first: Tensor, second: Tensor, border: int) -> Tensor:
    """Mean structural similarity of the luma without `border` pixels on each side.

    Equation 13 of Wang et al. 2004 ("Image quality assessment: from error visibility to structural
    similarity"): K1 = 0.01, K2 = 0.03, L = 255, Gaussian windows of 11 × 11 pixels and sigma 1.5
    that lie inside the image. (N, C, H, W) twice in [-1, 1], (N,) float64 out, at most 1.
    """
    first, second = _shaved(first, border, WINDOW), _shaved(second, border, WINDOW)
    mean_first, mean_second = windows(first), windows(second)
    variance_first = windows(first.square()) - mean_first.square()
    variance_second = windows(second.square()) - mean_second.square()
    covariance = windows(first * second) - mean_first * mean_second
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    likeness = (2 * mean_first * mean_second + c1) * (2 * covariance + c2)
    bound = mean_first.square() + mean_second.square() + c1
    return _means(likeness / (bound * (variance_first + variance_second + c2)))


def _shaved(images: Tensor, border: int, least: int = 1) -> Tensor:
    height, width = images.shape[-2:]
    if min(height, width) < least + 2 * border:
        raise ValueError(
            f"images of {height} × {width} pixels: at least {least} must remain on each side "
            f"without a border of {border}, so {least + 2 * border}"
        )
    return luma(images)[:, border : height - border, border : width - border]


def windows(planes: Tensor) -> Tensor:
    """Gaussian means of all windows inside (N, H, W): (N, H - 10, W - 10).

    Shifted sums in place of a convolution, whose bits may depend on the size of the batch.
    """
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * SIGMA**2))
    taps = (weights / weights.sum()).tolist()
    for dim in (1, 2):
        length = planes.shape[dim] - WINDOW + 1
        total = taps[0] * planes.narrow(dim, 0, length)
        part = torch.empty_like(total)
        for shift in range(1, WINDOW):
            total += torch.mul(planes.narrow(dim, shift, length), taps[shift], out=part)
        planes = total
    return planes


def _means(planes: Tensor) -> Tensor:
    """Mean of each plane by itself: (N, H, W) to (N,)."""
    return torch.stack([plane.contiguous().mean() for plane in planes])


def bicubic(source: Tensor, scale: int) -> Tensor:
    """The baseline: each image of `source` enlarged by itself, (N, C, H, W) in [-1, 1]."""
    enlarged = [upsample_bicubic(image[None], scale) for image in source]
    return torch.cat(enlarged).clamp(-1, 1)


def measure(generated: Tensor, batch: Batch, scale: int) -> dict[str, Tensor]:
    """psnr, ssim, psnr_bicubic, ssim_bicubic against `batch.target`, each (N,) float64.

    A border of `scale` pixels is shaved. Images too small for a window of SSIM have no ssim.
    """
    if batch.source is None:
        raise ValueError(
            "the batch has no source: the bicubic metrics need the low-resolution images"
        )
    metrics: dict[str, Tensor] = {}
    fits = min(batch.target.shape[-2:]) >= WINDOW + 2 * scale
    for suffix, images in (("", generated), ("_bicubic", bicubic(batch.source, scale))):
        if images.shape != batch.target.shape:
            shapes = f"{tuple(images.shape)}, target {tuple(batch.target.shape)}"
            raise ValueError(f"images of another shape than the target: {shapes}")
        metrics[f"psnr{suffix}"] = psnr(images, batch.target, scale)
        if fits:
            metrics[f"ssim{suffix}"] = ssim(images, batch.target, scale)
    return metrics
