"""What is known of an image before and after it was decoded."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SourceImage:
    """A file, or an item of a data set that keeps many images in one file.

    `name` is its path below the root, in POSIX form; images that show one scene share a `scene`
    and stay on one side of the split. `label` is the number of its class, where it has one. Of an
    item `pixels` are known, (H, W) or (H, W, 3) uint8, and `path` is only a name.
    """

    name: str
    path: Path
    scene: str = ""
    label: int | None = None
    pixels: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)

    @property
    def group(self) -> str:
        return self.scene or self.name


@dataclass(frozen=True)
class Decoded:
    """An image whose pixels are known: their sha256 and sides, upright, in 8 bits."""

    image: SourceImage
    digest: str
    height: int
    width: int
