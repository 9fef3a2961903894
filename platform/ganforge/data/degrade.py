"""Low resolution as cameras and files make it: blur, reduction, noise, compression."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageFilter

from ganforge.data.decode import Pixels
from ganforge.data.settings import Degradation
from ganforge.draws import Draws, derive

#: Low-resolution pixels around a window that are degraded with it, so that it has no border.
MARGIN = 4


def degrade(target: Pixels, scale: int, how: Degradation, *place: int | str) -> Pixels:
    """The low resolution of (H, W, C) pixels: (H/s, W/s, C). What is drawn is a function of
    `place` alone."""
    draws = Draws(*place, "degradation")
    image = to_image(target)
    sigma = between(draws, how.blur)
    if sigma > 0:
        image = image.filter(ImageFilter.GaussianBlur(sigma))
    low = image.resize((image.width // scale, image.height // scale), Image.Resampling.BICUBIC)
    deviation = between(draws, how.noise)
    if deviation > 0:
        low = _noisy(low, deviation, derive(*place, "noise"))
    quality = round(between(draws, how.jpeg))
    if quality < 100:
        low = _compressed(low, quality)
    return to_pixels(low)


def degraded_window(
    target: Pixels, top: int, left: int, side: int, scale: int, how: Degradation, *place: int | str
) -> Pixels:
    """The window of `side` at (top, left), in low-resolution pixels, of an image that is degraded
    around it too: (side, side, C)."""
    height, width = target.shape[0] // scale, target.shape[1] // scale
    above, before = min(top, MARGIN), min(left, MARGIN)
    below, after = min(top + side + MARGIN, height), min(left + side + MARGIN, width)
    around = target[(top - above) * scale : below * scale, (left - before) * scale : after * scale]
    low = degrade(around, scale, how, *place)
    return low[above : above + side, before : before + side]


def between(draws: Draws, limits: Sequence[float]) -> float:
    """A number drawn evenly between two limits; of equal limits their value."""
    low, high = limits
    return low + (high - low) * draws.below(1 << 20) / (1 << 20)


def to_image(pixels: Pixels) -> Image.Image:
    """(H, W, 1) or (H, W, 3) pixels as an image."""
    return Image.fromarray(
        np.ascontiguousarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    )


def to_pixels(image: Image.Image) -> Pixels:
    """An image as (H, W, C) pixels."""
    array = np.asarray(image)
    return array if array.ndim == 3 else array[..., None]


def _noisy(image: Image.Image, deviation: float, seed: int) -> Image.Image:
    levels = np.asarray(image).astype(np.float32)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(levels.shape, generator=generator).numpy()
    return Image.fromarray((levels + deviation * noise).round().clip(0, 255).astype(np.uint8))


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert(image.mode)
