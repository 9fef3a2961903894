"""What degradations do: a crop of an image under each preset, with several draws.

    python examples/degradations.py --out degradations.jpg
    python examples/degradations.py --image photo.png --scale 2 --out degradations.jpg

Without an image it is a part of scikit-image's astronaut. Pixels are enlarged by nearest neighbour.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from ganforge.data.degradation_settings import DEGRADATIONS, Degradation
from ganforge.data.degrade import degraded_window

#: low-resolution pixels of a window, its enlargement, and draws in a row
SIDE, ZOOM, DRAWS = 48, 4, 4
GAP, LINE = 6, 20


def rows(target: np.ndarray, scale: int) -> dict[str, list[np.ndarray]]:
    """The middle of an image, (48, 48, 3) each: one of bicubic and four of each other preset."""
    top, left = ((side // scale - SIDE) // 2 for side in target.shape[:2])
    found = {}
    for name in DEGRADATIONS:
        how = Degradation.model_validate(name)
        found[name] = [
            degraded_window(target, top, left, SIDE, scale, how, "example", number)
            for number in range(DRAWS if how.active else 1)
        ]
    return found


def sheet(found: dict[str, list[np.ndarray]]) -> Image.Image:
    """A row for each preset, with its name above."""
    cell = SIDE * ZOOM
    sides = DRAWS * (cell + GAP) + GAP, len(found) * (cell + LINE + GAP) + GAP
    page = Image.new("RGB", sides, "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for row, (name, windows) in enumerate(found.items()):
        top = GAP + row * (cell + LINE + GAP)
        draw.text((GAP, top), f"data.degradation = {name}", fill="black", font=font)
        for column, window in enumerate(windows):
            image = Image.fromarray(window).resize((cell, cell), Image.Resampling.NEAREST)
            page.paste(image, (GAP + column * (cell + GAP), top + LINE))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, help="an image; none: a built-in photograph")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    # the head and what is around it
    target = data.astronaut()[:256, 96:352]
    if given.image is not None:
        target = np.asarray(Image.open(given.image).convert("RGB"))
    if min(target.shape[:2]) < SIDE * given.scale:
        parser.error(f"--image {given.image}: must have {SIDE * given.scale} pixels a side")
    sheet(rows(target, given.scale)).save(given.out, quality=90)


if __name__ == "__main__":
    main()
