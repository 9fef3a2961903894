"""Views that make two planes of one file, (target, source): the halves of an image, or a
photograph and its edges."""

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from PIL import Image

from ganforge.data.images import Pixels, to_image
from ganforge.data.views import Bounded, Reduced, Sides


@dataclass(frozen=True)
class SideBySide:
    """Source and target side by side, divided at `column` (none: in the middle); each half is then
    seen as `inner` sees it."""

    inner: Reduced | Bounded
    column: int | None
    source_left: bool

    def sides(self, height: int, width: int) -> tuple[Sides, ...]:
        column = self._column(width)
        left, right = self.inner.sides(height, column), self.inner.sides(height, width - column)
        return right + left if self.source_left else left + right

    def planes(self, image: Image.Image) -> tuple[Pixels, ...]:
        column = self._column(image.width)
        left = self.inner.planes(image.crop((0, 0, column, image.height)))
        right = self.inner.planes(image.crop((column, 0, image.width, image.height)))
        return right + left if self.source_left else left + right

    def _column(self, width: int) -> int:
        return width // 2 if self.column is None else self.column


@dataclass(frozen=True)
class Edges:
    """A photograph and its edges, white on black: Canny's, of scikit-image, after a Gaussian of
    `sigma` pixels at the size that `inner` gives the photograph."""

    inner: Reduced | Bounded
    sigma: float
    made_by: str = "scikit-image " + version("scikit-image")  # in the name of what is cached

    def sides(self, height: int, width: int) -> tuple[Sides, ...]:
        return self.inner.sides(height, width) * 2

    def planes(self, image: Image.Image) -> tuple[Pixels, ...]:
        # scikit-image takes seconds to import, and only this view needs it
        from skimage.feature import canny

        (target,) = self.inner.planes(image)
        grey = np.asarray(to_image(target).convert("L"))
        edges = canny(grey.astype(np.float64) / 255, sigma=self.sigma).astype(np.uint8) * 255
        return target, np.repeat(edges[..., None], target.shape[-1], axis=2)
