"""A recorded sample grid as what it was made of: each pane's images, with their own pixels.

A grid enlarges small images by a whole factor, so that every pixel is a block of equal ones: taking
one of each block gives the image back. Images above 256 pixels were shrunk when the grid was drawn,
and are shown as the grid has them.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ganforge.metrics.image_quality import psnr
from ganforge.training.grid import PAPER, Tiles, montage_tiles, sheet_tiles

#: far above any grid: 64 rows of six panes
_MOST_PIXELS = 64_000_000


class UnknownGrid(ValueError):
    """An image whose layout is not one that a sample grid has."""


@dataclass(frozen=True)
class Panes:
    """The images of a grid by the title of their pane, each (N, side, side, 3) uint8. `shrunk` is
    the side that they had before the grid was drawn, where they were larger."""

    images: dict[str, np.ndarray]
    side: int
    shrunk: int | None = None

    @property
    def count(self) -> int:
        return len(next(iter(self.images.values())))

    def of(self, *titles: str) -> np.ndarray | None:
        """The first of these panes that there is."""
        return next((self.images[title] for title in titles if title in self.images), None)


def read_panes(
    content: bytes, titles: Sequence[str], resolution: int, last: int, *, from_latent: bool
) -> Panes:
    """The panes of a PNG that a run recorded at a stage of a resolution; `last` is that of its last
    stage, which grids of crops have at every stage. UnknownGrid where it is no such image."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise UnknownGrid(f"{width}x{height} pixels are more than a sample grid has")
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnknownGrid(str(error)) from None
    if from_latent:
        sides = [resolution]
        tiles = _found(sheet_tiles, width, height, len(titles), resolution)
    else:
        sides = list(dict.fromkeys((resolution, last)))
        tiles = _found(montage_tiles, width, height, len(titles))
    cut = {
        title: np.stack([_at(pixels, corner, tiles.side) for corner in corners])
        for title, corners in zip(titles, tiles.corners, strict=True)
    }
    cut = _without_empty(cut)
    for side in sides:
        if side <= tiles.side and tiles.side % side == 0:
            small = {title: images[:, :: tiles.side // side, :: tiles.side // side]
                     for title, images in cut.items()}  # fmt: skip
            if all(_enlarged(small[title], images) for title, images in cut.items()):
                return Panes({title: np.ascontiguousarray(i) for title, i in small.items()}, side)
    return Panes(cut, tiles.side, max(sides) if max(sides) > tiles.side else None)


def _found(find: Callable[..., Tiles], *arguments: int) -> Tiles:
    try:
        return find(*arguments)
    except ValueError as error:
        raise UnknownGrid(str(error)) from None


def _at(pixels: np.ndarray, corner: tuple[int, int], side: int) -> np.ndarray:
    left, top = corner
    return pixels[top : top + side, left : left + side]


def _without_empty(cut: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The last row of a sheet may have fewer images than columns: paper in all panes."""
    paper = np.array(PAPER, np.uint8)
    count = len(next(iter(cut.values())))
    while count > 1 and all((images[count - 1] == paper).all() for images in cut.values()):
        count -= 1
    return {title: images[:count] for title, images in cut.items()}


def _enlarged(small: np.ndarray, large: np.ndarray) -> bool:
    factor = large.shape[1] // small.shape[1]
    return np.array_equal(small.repeat(factor, 1).repeat(factor, 2), large)


def strip(images: np.ndarray) -> tuple[str, bytes]:
    """Images one below the other as a PNG, and its name, which is a function of the pixels: equal
    panes of many runs are one file."""
    count, side, _, _ = images.shape
    name = hashlib.sha256(f"{count}x{side}:".encode() + images.tobytes()).hexdigest()[:32]
    content = io.BytesIO()
    Image.fromarray(images.reshape(count * side, side, 3)).save(content, "PNG", compress_level=4)
    return name, content.getvalue()


def tile_psnr(made: np.ndarray, target: np.ndarray) -> list[float]:
    """PSNR of the luma of each whole tile in dB."""
    first, second = (torch.from_numpy(i).permute(0, 3, 1, 2) / 127.5 - 1 for i in (made, target))
    return [round(value, 4) for value in psnr(first, second, 0).tolist()]


def tile_difference(made: np.ndarray, other: np.ndarray) -> list[float]:
    """Mean absolute difference of the levels of each tile, 0 to 255."""
    found = np.abs(made.astype(np.int16) - other).mean((1, 2, 3))
    return [round(float(value), 4) for value in found]


def tile_digests(images: np.ndarray) -> list[str]:
    """What is equal where images are equal; of equal images in one grid each has its own."""
    found: list[str] = []
    for image in images:
        digest = hashlib.sha256(f"{len(image)}:".encode() + image.tobytes()).hexdigest()[:16]
        found.append(f"{digest}.{sum(f.startswith(digest) for f in found)}")
    return found
