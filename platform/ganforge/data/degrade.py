"""Low resolution as cameras and files make it: blur, reduction, noise, compression."""

import io

import numpy as np
import torch
from PIL import Image, ImageFilter

from ganforge.data.images import Pixels, to_image, to_pixels
from ganforge.data.sampling import between
from ganforge.data.settings import Degradation
from ganforge.draws import Draws, derive

#: Low-resolution pixels around a window that are degraded with it, so that it has no border.
MARGIN = 4


def degrade(target: Pixels, scale: int, how: Degradation, *parts: int | str) -> Pixels:
    """The low resolution of (H, W, C) pixels: (H/s, W/s, C). What is drawn is a function of
    `parts` alone."""
    draws = Draws(*parts, "degradation")
    image = to_image(target)
    sigma = between(draws, how.blur)
    if sigma > 0:
        image = image.filter(ImageFilter.GaussianBlur(sigma))
    low = image.resize((image.width // scale, image.height // scale), Image.Resampling.BICUBIC)
    deviation = between(draws, how.noise)
    if deviation > 0:
        low = _noisy(low, deviation, derive(*parts, "noise"))
    quality = round(between(draws, how.jpeg))
    if quality < 100:
        low = _compressed(low, quality)
    return to_pixels(low)


def degraded_window(
    target: Pixels, top: int, left: int, side: int, scale: int, how: Degradation, *parts: int | str
) -> Pixels:
    """The window of `side` at (top, left), in low-resolution pixels, of an image that is degraded
    around it too: (side, side, C)."""
    height, width = target.shape[0] // scale, target.shape[1] // scale
    above, before = min(top, MARGIN), min(left, MARGIN)
    below, after = min(top + side + MARGIN, height), min(left + side + MARGIN, width)
    around = target[(top - above) * scale : below * scale, (left - before) * scale : after * scale]
    low = degrade(around, scale, how, *parts)
    return low[above : above + side, before : before + side]


def _noisy(image: Image.Image, deviation: float, seed: int) -> Image.Image:
    levels = np.asarray(image).astype(np.float32)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(levels.shape, generator=generator).numpy()
    return Image.fromarray((levels + deviation * noise).round().clip(0, 255).astype(np.uint8))


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert(image.mode)
