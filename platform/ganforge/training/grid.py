"""Sample grids: one row per picture, one column per pane."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ganforge.fidelity import to_bytes

GAP = 4
#: Neutral and in the middle, so that the edges of white and of black pictures show.
PAPER = (96, 96, 96)
INK = (255, 255, 255)


def montage(
    panes: Sequence[Tensor], titles: Sequence[str] | None = None, max_pane: int = 256
) -> Tensor:
    """Panes side by side (source | bicubic | generated | target), as uint8 (H, W, 3).

    Each pane is (N, C, h, w) in [-1, 1] with 1 or 3 channels; sides may differ from pane to pane.
    All are shown at one size: the largest pane times the greatest whole factor that keeps its
    longer side within `max_pane`, or shrunk to `max_pane`. Smaller panes are enlarged by nearest
    neighbour, so that a low-resolution source shows its pixels.
    """
    _check(panes, titles)
    height, width = _cell([(pane.shape[-2], pane.shape[-1]) for pane in panes], max_pane)
    head = _title_height(height) if titles else 0
    rows, columns = len(panes[0]), len(panes)
    size = (GAP + columns * (width + GAP), head + GAP + rows * (height + GAP))
    canvas = Image.new("RGB", size, PAPER)
    for column, pane in enumerate(panes):
        left = GAP + column * (width + GAP)
        for row, picture in enumerate(pane):
            shown = _shown(picture, height, width)
            canvas.paste(shown, (left, head + GAP + row * (height + GAP)))
    if titles:
        _write(canvas, titles, width, head)
    return torch.from_numpy(np.array(canvas))


def _check(panes: Sequence[Tensor], titles: Sequence[str] | None) -> None:
    if not panes or len({len(pane) for pane in panes}) > 1 or not len(panes[0]):
        counts = [len(pane) for pane in panes]
        raise ValueError(f"panes of {counts} pictures: each pane needs the same number, at least 1")
    for number, pane in enumerate(panes):
        if pane.ndim != 4 or pane.shape[1] not in (1, 3):
            raise ValueError(
                f"pane {number} is {tuple(pane.shape)}: it must be (N, C, H, W) with C of 1 or 3"
            )
    if titles is not None and len(titles) != len(panes):
        raise ValueError(f"{len(titles)} titles for {len(panes)} panes: give one to each pane")


def _cell(sizes: list[tuple[int, int]], max_pane: int) -> tuple[int, int]:
    """Height and width at which every pane is shown."""
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    longer = max(height, width)
    if longer <= max_pane:
        return height * (max_pane // longer), width * (max_pane // longer)
    return max(1, round(height * max_pane / longer)), max(1, round(width * max_pane / longer))


def _shown(picture: Tensor, height: int, width: int) -> Image.Image:
    levels = to_bytes(picture.detach()).cpu().expand(3, -1, -1).permute(1, 2, 0)
    image = Image.fromarray(levels.contiguous().numpy())
    smaller = height < image.height or width < image.width
    how = Image.Resampling.LANCZOS if smaller else Image.Resampling.NEAREST
    return image.resize((width, height), how)


def _title_height(height: int) -> int:
    return max(14, min(24, height // 8))


def _write(canvas: Image.Image, titles: Sequence[str], width: int, head: int) -> None:
    """Each title in the middle above its column, all in the largest letters that fit."""
    draw = ImageDraw.Draw(canvas)
    sizes = range(round(head * 0.62), 6, -1)
    fonts = [ImageFont.load_default(size) for size in sizes]
    longest = [max(draw.textlength(title, font) for title in titles) for font in fonts]
    font = next((f for f, long in zip(fonts, longest, strict=True) if long <= width), fonts[-1])
    for column, title in enumerate(titles):
        while draw.textlength(title, font) > width:
            title = title[:-1]
        middle = GAP + column * (width + GAP) + width / 2
        draw.text((middle, GAP / 2 + head / 2), title, fill=INK, font=font, anchor="mm")
