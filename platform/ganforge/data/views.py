"""What is made of an original image: the planes of pixels that are kept in the cache.

Every resize is Pillow's bicubic, which is antialiased, and is rounded to 8 bits, as the files of
the standard benchmarks are.
"""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from ganforge.data.images import Pixels, to_pixels

Sides = tuple[int, int]  # height, width


class View(Protocol):
    """A function of an image. Its `repr` names it in the cache, so it holds all that matters."""

    def sides(self, height: int, width: int) -> tuple[Sides, ...]:
        """Height and width of each plane made of an image of this height and width."""
        ...

    def planes(self, image: Image.Image) -> tuple[Pixels, ...]:
        """The planes, each (H, W, C) uint8."""
        ...


@dataclass(frozen=True)
class Square:
    """The centre square at one resolution, and its low resolution: (target, source)."""

    resolution: int
    scale: int
    low_resolution_from: str

    def sides(self, height: int, width: int) -> tuple[Sides, ...]:
        low = self.resolution // self.scale
        return (self.resolution, self.resolution), (low, low)

    def planes(self, image: Image.Image) -> tuple[Pixels, ...]:
        side = min(image.size)
        square = _centre(image, side, side)
        target = resized(square, self.resolution, self.resolution)
        origin = target if self.low_resolution_from == "target" else square
        low = self.resolution // self.scale
        return to_pixels(target), to_pixels(resized(origin, low, low))


@dataclass(frozen=True)
class Reduced:
    """The centre square at one resolution: (target,). Smaller images are enlarged."""

    resolution: int

    def sides(self, height: int, width: int) -> tuple[Sides, ...]:
        return ((self.resolution, self.resolution),)

    def planes(self, image: Image.Image) -> tuple[Pixels, ...]:
        side = min(image.size)
        square = _centre(image, side, side)
        return (to_pixels(resized(square, self.resolution, self.resolution)),)


@dataclass(frozen=True)
class Bounded:
    """The original, its longer side reduced to at most `reduce`: (target,)."""

    reduce: int | None = None

    def sides(self, height: int, width: int) -> tuple[Sides, ...]:
        return (bounded(height, width, self.reduce),)

    def planes(self, image: Image.Image) -> tuple[Pixels, ...]:
        return (to_pixels(_limited(image, self.reduce)),)


def bounded(height: int, width: int, reduce: int | None) -> Sides:
    """Height and width after a reduction of the longer side to `reduce`; never an enlargement."""
    longer = max(height, width)
    if reduce is None or longer <= reduce:
        return height, width
    return max(1, round(height * reduce / longer)), max(1, round(width * reduce / longer))


@dataclass(frozen=True)
class Whole:
    """The original, cut right and below to multiples of `scale`, and the low resolution of all of
    it: (target, source). Windows of both at the same position belong together. `reduce` bounds the
    longer side first."""

    scale: int
    reduce: int | None = None

    def sides(self, height: int, width: int) -> tuple[Sides, ...]:
        height, width = bounded(height, width, self.reduce)
        low = height // self.scale, width // self.scale
        return (low[0] * self.scale, low[1] * self.scale), low

    def planes(self, image: Image.Image) -> tuple[Pixels, ...]:
        (height, width), low = self.sides(image.height, image.width)
        target = _limited(image, self.reduce).crop((0, 0, width, height))
        return to_pixels(target), to_pixels(resized(target, low[1], low[0]))


@dataclass(frozen=True)
class Centre:
    """The centre of at most `max_side`, and the low resolution of this cut: (target, source).

    Sides of the source are multiples of 16, so that networks that halve it several times accept it,
    or any whole number where the image is smaller than that.
    """

    max_side: int
    scale: int
    reduce: int | None = None

    def sides(self, height: int, width: int) -> tuple[Sides, ...]:
        height, width = bounded(height, width, self.reduce)
        low = self._low(height), self._low(width)
        return (low[0] * self.scale, low[1] * self.scale), low

    def _low(self, side: int) -> int:
        low = min(side, self.max_side) // self.scale
        return low if low < 16 else low // 16 * 16

    def planes(self, image: Image.Image) -> tuple[Pixels, ...]:
        (height, width), low = self.sides(image.height, image.width)
        target = _centre(_limited(image, self.reduce), width, height)
        return to_pixels(target), to_pixels(resized(target, low[1], low[0]))


def cells(sides: Sides, resolution: int, scale: int) -> int:
    """Non-overlapping squares of side `resolution` in an image, at least 1."""
    height, width = (side // scale * scale // resolution for side in sides)
    return max(1, height * width)


def _limited(image: Image.Image, reduce: int | None) -> Image.Image:
    height, width = bounded(image.height, image.width, reduce)
    return image if image.size == (width, height) else resized(image, width, height)


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Pillow's bicubic, rounded to 8 bits."""
    return image.resize((width, height), Image.Resampling.BICUBIC)
