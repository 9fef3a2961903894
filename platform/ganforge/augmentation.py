"""Differentiable augmentation: what a discriminator is shown of few images (arXiv:2006.10738).

Every function draws from the default generator, one draw for each image, and none at strength 0,
where the images are returned as they are. With a probability, each image is changed by each kind
with that probability (arXiv:2006.06676, section 2.2). All take and give (N, C, H, W); values of
[-1, 1] may leave it by colour, as in the published code.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(
    images: Tensor,
    color: float,
    translation: float,
    cutout: float,
    probability: Tensor | None = None,
) -> Tensor:
    """T(x) of arXiv:2006.10738, section 3.2: colour, translation and cutout in this order.

    `color` in [0, 1] is 1 as published; `translation` and `cutout` are parts of the side, 1/8 and
    1/2 as published. `probability`, a scalar in [0, 1], is of each of the three for each image;
    None is always. Gradients flow through all of them.
    """
    kinds = ((color, jitter_color), (translation, translate), (cutout, cut_out))
    for strength, change in kinds:
        if strength:
            changed = change(images, strength)
            images = changed if probability is None else _some(images, changed, probability)
    return images


def _some(images: Tensor, changed: Tensor, probability: Tensor) -> Tensor:
    """Each image as it is, or with that probability as it was changed."""
    drawn = torch.rand(len(images), 1, 1, 1, device=images.device)
    return torch.where(drawn < probability, changed, images)


def jitter_color(images: Tensor, strength: float) -> Tensor:
    """Brightness, saturation and contrast of each image.

    x + b with b ~ s·U[-1/2, 1/2); the distance from the mean over channels times 1 + s·U[-1, 1);
    that from the mean over the image times 1 + s·U[-1/2, 1/2). In float32 or wider.
    """
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    images = images + strength * _centred(images)
    images = _stretched(images, (1,), 2 * strength)
    return _stretched(images, (1, 2, 3), strength)


def _centred(images: Tensor) -> Tensor:
    """U[-1/2, 1/2) for each image, (N, 1, 1, 1)."""
    count, like = len(images), images
    return torch.rand(count, 1, 1, 1, device=like.device, dtype=like.dtype) - 0.5


def _stretched(images: Tensor, dims: tuple[int, ...], strength: float) -> Tensor:
    mean = images.mean(dim=dims, keepdim=True)
    return mean + (images - mean) * (1 + strength * _centred(images))


def translate(images: Tensor, part: float) -> Tensor:
    """Each image moved by whole pixels of up to round(part·side) on either axis; zeros move in.

    Slices of a padded image: the backward pass of a gather is not deterministic on a GPU.
    """
    height, width = images.shape[2:]
    most = [int(side * part + 0.5) for side in (height, width)]
    down, right = (_whole(len(images), -limit, limit) for limit in most)
    padded = F.pad(images, (most[1], most[1], most[0], most[0]))
    moved = [
        padded[i, :, most[0] - y : most[0] - y + height, most[1] - x : most[1] - x + width]
        for i, (y, x) in enumerate(zip(down, right, strict=True))
    ]
    return torch.stack(moved)


def cut_out(images: Tensor, part: float) -> Tensor:
    """A rectangle of round(part·side) pixels in each image becomes 0, and is cut at the border.

    Its centre is uniform over the pixels (and, for an even side, the border after the last).
    """
    height, width = images.shape[2:]
    sides = [int(side * part + 0.5) for side in (height, width)]
    rows, columns = (
        _whole(len(images), 0, whole - size % 2)
        for whole, size in zip((height, width), sides, strict=True)
    )
    mask = torch.ones(len(images), 1, height, width)
    for i, (y, x) in enumerate(zip(rows, columns, strict=True)):
        top, left = y - sides[0] // 2, x - sides[1] // 2
        mask[i, :, max(top, 0) : top + sides[0], max(left, 0) : left + sides[1]] = 0
    return images * mask.to(images)


def _whole(count: int, low: int, high: int) -> list[int]:
    """Whole numbers of [low, high], drawn on the CPU: slices need them there, and a GPU would be
    waited for."""
    return torch.randint(low, high + 1, (count,)).tolist()
