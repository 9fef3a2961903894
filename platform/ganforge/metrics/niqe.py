"""NIQE: how natural an image looks, without an original to compare with.

A. Mittal, R. Soundararajan and A. C. Bovik, "Making a 'completely blind' image quality analyzer",
IEEE Signal Processing Letters 20 (3), 2013. Features and the model of undistorted photographs are
those of the authors' MATLAB release, on the Y channel, as BasicSR and tables of super-resolution
have them.
"""

import math
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ganforge.metrics.image_quality import luma

#: side of a block in pixels of the first scale
BLOCK = 96
#: fewer blocks have no covariance
LEAST_BLOCKS = 2
_SCALES = 2
_MODEL = Path(__file__).with_name("niqe_model.txt")
_RADIUS, _SIGMA = 3, 7 / 6
#: levels of 0 … 255 that differ by less are equal up to the rounding of a sum
_FLAT = 1e-9
#: the neighbours whose products with a pixel are described: rows down, columns right
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
#: MATLAB's imresize by 1/2: the cubic kernel with a = -1/2, twice as wide, at ±1/2, ±3/2, …
_HALVING = tuple(weight / 256 for weight in (-3, -9, 29, 111, 111, 29, -9, -3))


def measurable(height: int, width: int, border: int) -> bool:
    """Whether an image of these sides has enough blocks within its border."""
    rows, columns = ((side - 2 * border) // BLOCK for side in (height, width))
    return min(rows, columns) > 0 and rows * columns >= LEAST_BLOCKS


@torch.no_grad()
def niqe(images: Tensor, border: int) -> Tensor:
    """Distance of each image's statistics from those of undistorted photographs; lower is better.

    (N, C, H, W) in [-1, 1] with C 1 or 3, (N,) float64 out, ≥ 0. Measured on the rounded luma
    (16 … 235; one channel on its own 0 … 255) of whole blocks of 96 × 96 pixels from the upper left
    within `border`; what does not fill a block is left out, and fewer than two blocks are a
    ValueError. Equation 10 of the paper. NaN where fewer than two blocks have any texture.
    """
    height, width = images.shape[-2:]
    if not measurable(height, width, border):
        raise ValueError(
            f"images of {height} × {width} pixels: NIQE needs {LEAST_BLOCKS} blocks of {BLOCK} "
            f"pixels a side within a border of {border}"
        )
    inner = luma(images.cpu())[:, border : height - border, border : width - border].round()
    return torch.stack([_of_blocks(block_features(plane)) for plane in inner])


def block_features(plane: Tensor) -> Tensor:
    """Natural scene statistics of the blocks of one (H, W) float64 plane of 0 … 255: (blocks, 36).

    Equations 1 to 7 at two scales, 18 each: shape and scale of the normalised levels, and of each
    of four products of neighbours shape, mean, left and right scale.
    """
    rows, columns = (side // BLOCK for side in plane.shape)
    plane = plane[: rows * BLOCK, : columns * BLOCK]
    found: list[Tensor] = []
    for scale in range(_SCALES):
        side = BLOCK >> scale
        blocks = normalised(plane).unflatten(1, (columns, side)).unflatten(0, (rows, side))
        blocks = blocks.transpose(1, 2).flatten(0, 1)
        shape, left, right = asymmetric_gaussian(blocks.flatten(1))
        found += [shape, (left + right) / 2]
        for shift in _NEIGHBOURS:
            products = blocks * blocks.roll(shift, dims=(1, 2))
            shape, left, right = asymmetric_gaussian(products.flatten(1))
            mean = (right - left) * torch.exp(torch.lgamma(2 / shape) - torch.lgamma(1 / shape))
            found += [shape, mean, left, right]
        if scale + 1 < _SCALES:
            plane = halved(halved(plane).T).T
    return torch.stack(found, dim=1)


def normalised(plane: Tensor) -> Tensor:
    """(x - μ) / (σ + 1) with Gaussian local means and deviations over 7 × 7 pixels (equation 1);
    edges are repeated.

    Exactly 0 where the levels are flat. Others leave the rounding of their own sums there, whose
    sign then decides which side of a distribution those pixels count for.
    """
    mean = _local_means(plane)
    variance = _local_means(plane.square()) - mean.square()
    apart = plane - mean
    apart = torch.where(apart.abs() < _FLAT, 0.0, apart)
    return apart / (variance.abs().sqrt() + 1)


def _local_means(plane: Tensor) -> Tensor:
    """Means of a (H, W) plane under a Gaussian window.

    Shifted sums in place of a convolution, whose bits may depend on the machine.
    """
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    plane = F.pad(plane[None, None], (_RADIUS,) * 4, mode="replicate")[0, 0]
    taps = (weights / weights.sum()).tolist()
    for dim in (0, 1):
        length = plane.shape[dim] - 2 * _RADIUS
        total = taps[0] * plane.narrow(dim, 0, length)
        part = torch.empty_like(total)
        for shift in range(1, len(taps)):
            total += torch.mul(plane.narrow(dim, shift, length), taps[shift], out=part)
        plane = total
    return plane


def halved(plane: Tensor) -> Tensor:
    """Rows of a plane, an even number, reduced to half as many; edges are mirrored."""
    length, reach = len(plane), len(_HALVING) // 2 - 1
    indices = torch.arange(-reach, length + reach)
    indices = torch.where(indices < 0, -1 - indices, indices)
    indices = torch.where(indices >= length, 2 * length - 1 - indices, indices)
    padded, total = plane[indices], torch.zeros_like(plane[::2])
    for shift, weight in enumerate(_HALVING):
        total += weight * padded[shift : shift + length : 2]
    return total


def asymmetric_gaussian(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shape α, left and right scale β of each row's asymmetric generalised Gaussian, by moments.

    Lasmar, Stitou and Berthoumieu 2009; α is the best of 0.2, 0.201, … 10. (N, samples) float64 to
    three of (N,); NaN where a row has no negative or no positive value.
    """
    squares = samples.square()
    left, right = (
        ((squares * side).sum(1) / side.sum(1)).sqrt() for side in (samples < 0, samples > 0)
    )
    ratio = left / right
    spread = samples.abs().mean(1).square() / squares.mean(1)
    wanted = spread * (ratio**3 + 1) * (ratio + 1) / (ratio.square() + 1).square()
    shapes, spreads = _shapes()
    shape = shapes[(spreads - wanted[:, None]).square().argmin(1)]
    shape = torch.where(wanted.isnan(), math.nan, shape)
    scale = torch.exp((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2)
    return shape, left * scale, right * scale


@cache
def _shapes() -> tuple[Tensor, Tensor]:
    """The values of α that are tried, and E|x|² / E x² of each."""
    shapes = torch.arange(200, 10001, dtype=torch.float64) / 1000
    inverse = 1 / shapes
    log = 2 * torch.lgamma(2 * inverse) - torch.lgamma(inverse) - torch.lgamma(3 * inverse)
    return shapes, log.exp()


def _of_blocks(features: Tensor) -> Tensor:
    """NIQE of the blocks of one image; one that lacks a feature is left out of the covariance."""
    whole = features[~features.isnan().any(1)]
    if len(whole) < LEAST_BLOCKS:
        return features.new_tensor(math.nan)
    return _distance(features.nanmean(0), torch.cov(whole.T))


def _distance(mean: Tensor, covariance: Tensor) -> Tensor:
    """sqrt((μ1 - μ2)ᵀ ((Σ1 + Σ2) / 2)⁻¹ (μ1 - μ2)), equation 10."""
    model_mean, model_covariance = _model()
    apart = mean - model_mean
    inverse = torch.linalg.pinv((covariance + model_covariance) / 2, hermitian=True)
    return (apart @ inverse @ apart).sqrt()


@cache
def _model() -> tuple[Tensor, Tensor]:
    """Mean (36,) and covariance (36, 36) of undistorted photographs."""
    rows = torch.from_numpy(np.loadtxt(_MODEL))
    return rows[0], rows[1:]
