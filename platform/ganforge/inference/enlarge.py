"""A photo through a network; grey, alpha and the depth of the file are kept."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from ganforge.inference.images import Photo
from ganforge.inference.tiles import upscale_tiles
from ganforge.layers import upsample_bicubic

# full-range luma and chroma of ITU-R BT.601, as JPEG has them, of R, G, B in [-1, 1]
_TO_CHROMA = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)


def enlarge(
    network: nn.Module,
    photo: Photo,
    *,
    scale: int,
    channels: int,
    tile: int | None = None,
    batch: int = 1,
    half: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> NDArray[Any]:
    """Levels (s·H, s·W, C) of a photo enlarged by a network of `channels` channels.

    uint8 or uint16 as the file had them; C counts alpha, which is enlarged by bicubic; invisible
    colour has no part in what is visible. A network of one channel is given the luma of a colour
    photo, and the chroma is enlarged by bicubic. `on_progress(n)` is called after n more source
    pixels.
    """
    colour, limit = bled(photo), 2**photo.depth - 1
    chroma = None
    if len(colour) == 3 and channels == 1:
        luma, chroma = torch.tensordot(_TO_CHROMA, colour, 1).split([1, 2])
        source, chroma = luma, _bicubic(chroma, scale)
    else:
        source = colour.expand(channels, -1, -1)
    height, width = (side * scale for side in colour.shape[-2:])
    alphas = [] if photo.alpha is None else [_bicubic(photo.alpha, scale)]
    total = len(colour) + len(alphas)
    levels = np.empty((height, width, total), np.uint16 if photo.depth == 16 else np.uint8)
    for alpha in alphas:
        levels[..., len(colour) :] = _levels(alpha, limit)
    for top, left, made in upscale_tiles(network, source, scale, tile, batch=batch, half=half):
        rows = slice(top, top + made.shape[1])
        columns = slice(left, left + made.shape[2])
        made = made.to("cpu", torch.float32)
        if chroma is not None:
            planes = torch.cat([made, chroma[:, rows, columns]])
            made = torch.tensordot(torch.linalg.inv(_TO_CHROMA), planes, 1)
        elif len(colour) == 1:
            made = made.mean(0, keepdim=True)
        levels[rows, columns, : len(colour)] = _levels(made, limit)
        if on_progress is not None:
            on_progress(made.shape[1] * made.shape[2] // scale**2)
    return levels


def bled(photo: Photo) -> Tensor:
    """The colour of a photo, where it is invisible that of the nearest visible pixel.

    Files have any colour under alpha 0, mostly black: enlarged as it is, it would be mixed into the
    edges of what is visible.
    """
    if photo.alpha is None:
        return photo.colour
    hidden = photo.alpha[0].numpy() <= -1
    if hidden.all() or not hidden.any():
        return photo.colour
    indices = np.empty((2, *hidden.shape), np.int32)
    ndimage.distance_transform_edt(
        hidden, return_distances=False, return_indices=True, indices=indices
    )
    rows, columns = indices
    return photo.colour[:, torch.from_numpy(rows), torch.from_numpy(columns)]


def _bicubic(planes: Tensor, scale: int) -> Tensor:
    return upsample_bicubic(planes[None], scale)[0] if scale > 1 else planes


def _levels(planes: Tensor, limit: int) -> NDArray[Any]:
    """(C, H, W) in [-1, 1] to (H, W, C) in 0 … limit; NaN becomes 0."""
    rounded = ((planes.double().clamp(-1, 1) + 1) * (limit / 2)).round()
    whole = torch.nan_to_num(rounded, nan=0.0).to(torch.int32)
    return whole.permute(1, 2, 0).numpy()
