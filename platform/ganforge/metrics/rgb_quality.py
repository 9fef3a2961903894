"""PSNR and SSIM of the three channels, in place of the luma's: for what is published that way."""

import torch
from torch import Tensor

from ganforge.data.batch import Batch
from ganforge.metrics.image_quality import EQUAL_PSNR, PEAK, bicubic, luma, ssim


def measure_rgb(generated: Tensor, batch: Batch, scale: int) -> dict[str, Tensor]:
    """psnr, ssim, psnr_bicubic, ssim_bicubic against `batch.target`, each (N,) float64.

    PSNR is that of the mean squared error over all channels, SSIM the mean of the channels' SSIM
    (as BasicSR has both with test_y_channel off). Images (N, C, H, W) in [-1, 1] are rounded to 8
    bits, and a border of `scale` pixels is shaved.
    """
    if batch.source is None:
        raise ValueError("the batch has no source: bicubic needs the low-resolution images")
    found: dict[str, Tensor] = {}
    for suffix, images in (("", generated), ("_bicubic", bicubic(batch.source, scale))):
        pairs = [
            (images[:, channel : channel + 1], batch.target[:, channel : channel + 1])
            for channel in range(images.shape[1])
        ]
        errors = torch.stack([_error(*pair, scale) for pair in pairs]).mean(0)
        least = PEAK**2 / 10 ** (EQUAL_PSNR / 10)
        found[f"psnr{suffix}"] = 10 * torch.log10(PEAK**2 / errors.clamp_min(least))
        found[f"ssim{suffix}"] = torch.stack([ssim(*pair, scale) for pair in pairs]).mean(0)
    return found


def _error(first: Tensor, second: Tensor, border: int) -> Tensor:
    """Mean squared error of a single channel, 0 … 255, without its border: (N,)."""
    height, width = first.shape[-2:]
    inner = slice(border, height - border), slice(border, width - border)
    difference = luma(first)[:, *inner] - luma(second)[:, *inner]
    return difference.square().flatten(1).mean(1)
