"""Kernels that blur images, convolution with them, and reduction by areas.

As in Real-ESRGAN (arXiv:2107.10833): Gaussians of section 3.1, the sinc filter of section 3.3.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from ganforge.data.images import Pixels

Kernel = NDArray[np.float64]

#: Pixels that a sinc kernel reaches to each side: 21 × 21, the largest of the paper's sizes.
SINC_RADIUS = 10


def gaussian_radius(sigma: float) -> int:
    """Pixels that a Gaussian kernel reaches to each side: four deviations, all but 1 part in 3,000
    of its weight in two dimensions."""
    return max(1, int(np.ceil(4 * sigma)))


def gaussian_kernel(along: float, across: float, angle: float) -> Kernel:
    """An anisotropic Gaussian, (2r+1, 2r+1) with sum 1: its covariance of (x, y) is
    R diag(along², across²) Rᵀ, where R turns by `angle` in radians (equations 2 and 3)."""
    y, x = _offsets(gaussian_radius(max(along, across)))
    cosine, sine = np.cos(angle), np.sin(angle)
    ahead, aside = x * cosine + y * sine, y * cosine - x * sine
    kernel = np.exp(-0.5 * ((ahead / along) ** 2 + (aside / across) ** 2))
    return kernel / kernel.sum()


def sinc_kernel(cutoff: float) -> Kernel:
    """A two-dimensional low-pass filter with a sharp end, which rings, (21, 21) with sum 1.

    ω/(2πr) J₁(ωr) at a distance of r pixels (equation 6) and ω²/4π in the middle; `cutoff` is ω as
    a part of π, the highest frequency: in (0, 1].
    """
    y, x = _offsets(SINC_RADIUS)
    distance, omega = np.hypot(x, y), cutoff * np.pi
    bessel = torch.special.bessel_j1(torch.from_numpy(omega * distance)).numpy()
    middle = distance == 0
    kernel = omega * bessel / (2 * np.pi * np.where(middle, 1, distance))
    kernel[middle] = omega**2 / (4 * np.pi)
    return kernel / kernel.sum()


def convolve(pixels: Pixels, kernel: Kernel) -> Pixels:
    """(H, W, C) pixels with a point-symmetric kernel, rounded; edges are continued outwards.

    By Fourier transforms of numpy, which has no threads: the same bits however many a process has.
    """
    radius, height, width = kernel.shape[0] // 2, *pixels.shape[:2]
    planes = np.moveaxis(pixels, 2, 0).astype(np.float32)
    planes = np.pad(planes, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    size = _quick(height + 2 * radius), _quick(width + 2 * radius)
    found = np.fft.rfft2(planes, size) * np.fft.rfft2(kernel.astype(np.float32), size)
    # what wraps around lies in the first 2r rows and columns, which are left out
    inside = np.s_[:, 2 * radius : 2 * radius + height, 2 * radius : 2 * radius + width]
    result = np.fft.irfft2(found, size)[inside]
    return np.moveaxis(result.round().clip(0, 255).astype(np.uint8), 0, 2)


def averaged(pixels: Pixels, height: int, width: int) -> Pixels:
    """(H, W, C) pixels to (height, width, C): each the mean of the area that it covers, parts of
    pixels included, rounded. Pillow's box takes or leaves whole pixels, which moves what is there
    by up to half a pixel of the result."""
    rows = _means(pixels, height)
    columns = _means(np.swapaxes(rows, 0, 1), width)
    return np.swapaxes(columns, 0, 1).round().astype(np.uint8)


def _means(levels: Pixels | NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Means over `length` equal parts of the first axis: differences of the running sum."""
    sums = np.zeros((len(levels) + 1, *levels.shape[1:]))
    np.cumsum(levels, 0, np.float64, sums[1:])
    borders = np.arange(length + 1) * (len(levels) / length)
    whole = np.minimum(borders.astype(int), len(levels) - 1)
    part = (borders - whole).reshape(-1, *[1] * (levels.ndim - 1))
    at_borders = sums[whole] + part * levels[whole]
    return np.diff(at_borders, axis=0) * (length / len(levels))


def _offsets(radius: int) -> tuple[Kernel, Kernel]:
    """Rows and columns from the middle of a kernel."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    return y, x


@lru_cache(maxsize=1024)
def _quick(length: int) -> int:
    """The next length without prime factors above 5, whose transform is quick."""
    rest = length
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return length if rest == 1 else _quick(length + 1)
