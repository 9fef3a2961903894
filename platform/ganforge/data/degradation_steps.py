"""The single steps by which an image is degraded, each from an image of 8 bits to one of 8 bits,
as files have between the programs that do such things.

A step says how far away a pixel can be that it uses, so that a window can be degraded with what is
around it.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter

from ganforge.data.degradation_settings import Filter
from ganforge.data.images import to_image, to_pixels
from ganforge.data.kernels import (
    SINC_RADIUS,
    Kernel,
    averaged,
    convolve,
    gaussian_kernel,
    gaussian_radius,
    sinc_kernel,
)

_PILLOWS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
#: Pixels to each side that a filter uses, of the smaller of the two images.
_SUPPORT: dict[Filter, int] = {"bicubic": 2, "bilinear": 1, "area": 1, "lanczos": 3}
#: The level at which Poisson noise has the deviation that is asked for.
_MIDDLE = 128
#: the smallest sigma of an anisotropic Gaussian, which then is one pixel wide
_NARROW = 0.05


@dataclass(frozen=True)
class Gaussian:
    """Blur with one sigma, Pillow's: three boxes after each other."""

    sigma: float

    @property
    def radius(self) -> int:
        """Pixels to each side that it uses."""
        return int(np.ceil(3 * self.sigma)) + 1

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(self.sigma))


@dataclass(frozen=True)
class Anisotropic:
    """Blur with two sigmas, the first along `angle` (radians)."""

    along: float
    across: float
    angle: float

    @property
    def radius(self) -> int:
        """Pixels to each side that it uses."""
        return gaussian_radius(max(self.along, self.across))

    def __call__(self, image: Image.Image) -> Image.Image:
        along, across = max(self.along, _NARROW), max(self.across, _NARROW)
        return _filtered(image, gaussian_kernel(along, across, self.angle))


@dataclass(frozen=True)
class Sinc:
    """A low-pass filter that rings: what sharpening and strong compression leave at edges."""

    cutoff: float
    radius = SINC_RADIUS

    def __call__(self, image: Image.Image) -> Image.Image:
        return _filtered(image, sinc_kernel(self.cutoff))


@dataclass(frozen=True)
class Resize:
    """To `size` times the sides of the low resolution, by Pillow's filters, which are antialiased,
    or by areas. The corners stay where they are, so that images remain aligned."""

    size: float
    filter: Filter

    @property
    def support(self) -> int:
        """Pixels of the smaller image, to each side, that it uses."""
        return _SUPPORT[self.filter]

    def __call__(self, image: Image.Image, width: int, height: int) -> Image.Image:
        width, height = (max(1, round(side * self.size)) for side in (width, height))
        if self.filter == "area":
            return to_image(averaged(to_pixels(image), height, width))
        return image.resize((width, height), _PILLOWS[self.filter])


@dataclass(frozen=True)
class GaussianNoise:
    """Noise of one deviation in levels, `grey`: the same in all channels."""

    deviation: float
    grey: bool
    seed: int
    radius = 0

    def __call__(self, image: Image.Image) -> Image.Image:
        levels = np.asarray(image).astype(np.float32)
        shape = (*levels.shape[:2], 1) if self.grey and levels.ndim > 2 else levels.shape
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(shape, generator=generator).numpy()
        return _rounded(levels + self.deviation * noise)


@dataclass(frozen=True)
class PoissonNoise:
    """Noise of counted light: of level x its variance is deviation² · x / 128 (section 3.1)."""

    deviation: float
    grey: bool
    seed: int
    radius = 0

    def __call__(self, image: Image.Image) -> Image.Image:
        levels = np.asarray(image).astype(np.float32)
        light = np.asarray(image.convert("L")).astype(np.float32) if self.grey else levels
        gain = self.deviation**2 / _MIDDLE
        generator = torch.Generator().manual_seed(self.seed)
        counted = torch.poisson(torch.from_numpy(light) / gain, generator=generator)
        noise = counted.numpy() * np.float32(gain) - light
        return _rounded(levels + (noise[..., None] if noise.ndim < levels.ndim else noise))


@dataclass(frozen=True)
class Compression:
    """Written to a file of a lossy format and read again."""

    format: str  # JPEG or WEBP
    quality: int
    radius = 0

    def __call__(self, image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, self.format, quality=self.quality)
        return Image.open(file).convert(image.mode)


Local = Gaussian | Anisotropic | Sinc | GaussianNoise | PoissonNoise | Compression
Step = Local | Resize


def _filtered(image: Image.Image, kernel: Kernel) -> Image.Image:
    return to_image(convolve(to_pixels(image), kernel))


def _rounded(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
