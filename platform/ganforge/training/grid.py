"""Sample grids: one row per image, one column per pane."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ganforge.metrics.image_quality import to_bytes

GAP = 4
#: Neutral and in the middle, so that the edges of white and of black images show.
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
        for row, pixels in enumerate(pane):
            shown = _shown(pixels, height, width)
            canvas.paste(shown, (left, head + GAP + row * (height + GAP)))
    if titles:
        _write(canvas, titles, width, head)
    return torch.from_numpy(np.array(canvas))


def _check(panes: Sequence[Tensor], titles: Sequence[str] | None) -> None:
    if not panes or len({len(pane) for pane in panes}) > 1 or not len(panes[0]):
        counts = [len(pane) for pane in panes]
        raise ValueError(f"panes of {counts} images: each pane needs the same number, at least 1")
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


def _shown(pixels: Tensor, height: int, width: int) -> Image.Image:
    levels = to_bytes(pixels.detach()).cpu().expand(3, -1, -1).permute(1, 2, 0)
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


def sheets(
    panes: Sequence[Tensor],
    titles: Sequence[str] | None = None,
    labels: Sequence[int] | None = None,
    max_cell: int = 64,
    max_sheet: int = 768,
) -> Tensor:
    """Each pane as a sheet of its own, side by side (generated | real), as uint8 (H, W, 3).

    Panes are as for `montage`, of equal sides. A sheet has as many columns as rows, or half as many
    rows; with labels a column for each class, its number above it, in order of the labels, and of
    each class as many images as of the rarest. Images are enlarged by a whole factor as long as
    they keep within `max_cell` and their sheet within `max_sheet`, or shrunk to it.
    """
    _check(panes, titles)
    order, columns, heads = _arranged(len(panes[0]), labels)
    room = min(max_cell, max_sheet // columns - 1)
    shown = []
    for pane in panes:
        rows = [pane[order[first : first + columns]] for first in range(0, len(order), columns)]
        height, width = _cell([(pane.shape[-2], pane.shape[-1])], room)
        shown.append(_tiled(rows, height, width, heads))
    width, height = max(s.width for s in shown), max(s.height for s in shown)
    head = 20 if titles else 0
    canvas = Image.new("RGB", (GAP + len(shown) * (width + GAP), head + GAP + height + GAP), PAPER)
    for column, sheet in enumerate(shown):
        canvas.paste(sheet, (GAP + column * (width + GAP), head + GAP))
    if titles:
        _write(canvas, titles, width, head)
    return torch.from_numpy(np.array(canvas))


def strips(rows: Tensor, max_width: int = 1024) -> Tensor:
    """Rows of images that lead from one to another: (rows, columns, C, H, W) in [-1, 1] to uint8
    (H', W', 3)."""
    _check(list(rows), None)
    height, width = _cell([(rows.shape[-2], rows.shape[-1])], max_width // rows.shape[1] - 1)
    tiled = _tiled(list(rows), height, width, [])
    canvas = Image.new("RGB", (tiled.width + 2 * GAP, tiled.height + 2 * GAP), PAPER)
    canvas.paste(tiled, (GAP, GAP))
    return torch.from_numpy(np.array(canvas))


def _arranged(count: int, labels: Sequence[int] | None) -> tuple[list[int], int, list[str]]:
    """The order of the images, row by row; the number of columns; what stands above them."""
    classes = sorted(set(labels or ()))
    if labels is None or not 1 < len(classes) <= 16:
        columns = next(c for c in range(1, count + 1) if c * c >= count or c * (c // 2) >= count)
        columns = min(2 ** (columns - 1).bit_length(), count)
        return sorted(range(count), key=lambda n: labels[n] if labels else 0), columns, []
    members = {label: [n for n, mine in enumerate(labels) if mine == label] for label in classes}
    fewest = min(len(numbers) for numbers in members.values())
    # many of each class: the columns of the classes several times side by side
    times = next(k for k in range(1, fewest + 1) if fewest <= 2 * len(classes) * k * k)
    rows = fewest // times
    order = [
        members[label][block * rows + row]
        for row in range(rows)
        for block in range(times)
        for label in classes
    ]
    return order, times * len(classes), [str(label) for label in classes] * times


def _tiled(rows: Sequence[Tensor], height: int, width: int, heads: Sequence[str]) -> Image.Image:
    """Images row by row, a pixel of paper between them, under the heads of the columns."""
    head = 14 if heads else 0
    columns = max(len(row) for row in rows)
    size = (columns * (width + 1) - 1, head + len(rows) * (height + 1) - 1)
    canvas = Image.new("RGB", size, PAPER)
    for number, row in enumerate(rows):
        for column, pixels in enumerate(row):
            at = (column * (width + 1), head + number * (height + 1))
            canvas.paste(_shown(pixels, height, width), at)
    draw = ImageDraw.Draw(canvas)
    for column, text in enumerate(heads):
        middle = column * (width + 1) + width / 2
        draw.text((middle, head / 2), text, fill=INK, font=ImageFont.load_default(11), anchor="mm")
    return canvas


@dataclass(frozen=True)
class Tiles:
    """Where the images of a grid lie: squares of `side` pixels, of each pane the (left, top) of
    each image, in the order in which they were drawn."""

    side: int
    corners: tuple[tuple[tuple[int, int], ...], ...]


def montage_tiles(width: int, height: int, panes: int) -> Tiles:
    """The tiles of a grid that `montage` made of `panes` titled panes of square images; ValueError
    for a size that it makes of none."""
    column, left_over = divmod(width - GAP, panes)
    side = column - GAP
    if side < 1 or left_over:
        raise ValueError(f"{width} pixels are not divided into {panes} equal columns")
    top = _title_height(side) + GAP
    rows, left_over = divmod(height - top, side + GAP)
    if rows < 1 or left_over:
        raise ValueError(f"{height} pixels are not divided into rows of {side} under titles")
    return Tiles(
        side,
        tuple(
            tuple((GAP + pane * column, top + row * (side + GAP)) for row in range(rows))
            for pane in range(panes)
        ),
    )


def sheet_tiles(width: int, height: int, panes: int, resolution: int) -> Tiles:
    """The tiles of a grid that `sheets` made of `panes` titled panes of images of a resolution, the
    last row full; ValueError for a size that it makes of none."""
    pitch, left_over = divmod(width - GAP, panes)
    sheet, below = pitch - GAP, height - 20 - 2 * GAP
    for columns in range(1, max(sheet, 0) + 1 if not left_over else 0):
        if (room := min(64, 768 // columns - 1)) < 1:
            break
        _, side = _cell([(resolution, resolution)], room)
        if columns * (side + 1) - 1 != sheet:
            continue
        for head in (0, 14):
            rows, left_over = divmod(below - head + 1, side + 1)
            if rows >= 1 and not left_over:
                top = 20 + GAP + head
                cells = [
                    (c * (side + 1), r * (side + 1)) for r in range(rows) for c in range(columns)
                ]
                return Tiles(
                    side,
                    tuple(
                        tuple((GAP + pane * pitch + x, top + y) for x, y in cells)
                        for pane in range(panes)
                    ),
                )
    raise ValueError(f"{width}x{height} pixels are not {panes} sheets of images of {resolution}")
