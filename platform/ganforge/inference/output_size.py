"""Exact sides for a result, whatever the factor of the network: a resize after it."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ganforge.memory import machine_bytes
from ganforge.settings import SettingsError, shown_key

#: Pillow's resampling filters, by the names that it has for them
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}
DEFAULT_FILTER = "lanczos"
#: what the network's result, the resized one and their copies in Pillow hold for a channel
_COPIES = 3


@dataclass(frozen=True)
class OutputSize:
    """How large a result is to be; with nothing given, as large as the network makes it.

    `outscale` is a factor of the source's sides. `width` or `height` keeps the shape, both together
    are the sides as they are. `max_side` makes a result smaller whose longer side is above it.
    Sides are rounded to the nearest pixel, halves upwards.
    """

    outscale: float | None = None
    width: int | None = None
    height: int | None = None
    max_side: int | None = None
    filter: str = DEFAULT_FILTER

    def check(self, *, as_options: bool = True) -> None:
        """SettingsError for what contradicts itself; it names options, or arguments of Python."""

        def named(name: str) -> str:
            return "--" + name.replace("_", "-") if as_options else name

        given = [
            n for n in ("outscale", "width", "height", "max_side") if getattr(self, n) is not None
        ]
        if len(given) > 1 and set(given) != {"width", "height"}:
            raise SettingsError(
                f"{' and '.join(map(named, given))}: give one of {named('outscale')}, "
                f"{named('width')} with or without {named('height')}, and {named('max_side')}"
            )
        for name in given:
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if name == "outscale":
                if not number or not 0 < value <= 64:
                    raise SettingsError(
                        f"{named(name)} {shown_key(value)}: must be a factor above 0 and at most "
                        "64, such as 3.5"
                    )
            elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SettingsError(
                    f"{named(name)} {shown_key(value)}: must be a whole number of pixels from 1 on"
                )
        if self.filter not in FILTERS:
            raise SettingsError(
                f"{named('filter')} {shown_key(self.filter)}: must be {', '.join(FILTERS)}"
            )

    def sides(self, height: int, width: int, scale: int) -> tuple[int, int]:
        """(height, width) of the result for a source of these sides and a network of `scale`."""
        if self.outscale is not None:
            factor = Fraction(str(self.outscale))  # as it is written: 1.1 is 11/10
            return _rounded(height * factor), _rounded(width * factor)
        if self.width is not None and self.height is not None:
            return self.height, self.width
        if self.width is not None:
            return _rounded(Fraction(height * self.width, width)), self.width
        if self.height is not None:
            return self.height, _rounded(Fraction(width * self.height, height))
        made = height * scale, width * scale
        if self.max_side is None or max(made) <= self.max_side:
            return made
        factor = Fraction(self.max_side, max(made))
        return _rounded(made[0] * factor), _rounded(made[1] * factor)


def _rounded(side: Fraction) -> int:
    return max(1, int(side + Fraction(1, 2)))


def check_room(made: tuple[int, int], sides: tuple[int, int], photo: Any, name: str) -> None:
    """Refuse a resize that takes more than half of this machine's memory, before any work."""
    if made == sides:
        return
    channels = len(photo.colour) + (photo.alpha is not None)
    pixels = made[0] * made[1] + sides[0] * sides[1]
    needed, limit = pixels * channels * _COPIES * photo.depth // 8, machine_bytes() // 2
    if needed > limit:
        gib = 2**30
        raise SettingsError(
            f"{name}: {sides[1]} × {sides[0]} pixels would take about {needed / gib:.1f} GiB, more "
            f"than half of the memory here ({limit / gib:.1f} GiB); give a smaller size"
        )


def resized(levels: NDArray[Any], sides: tuple[int, int], name: str) -> NDArray[Any]:
    """Levels (H, W, C), uint8 or uint16, with other sides (height, width), by a filter of
    `FILTERS`; as they are where they have these sides.

    Alpha is resized by itself: colour under alpha 0 is that of its surroundings already.
    """
    if levels.shape[:2] == sides:
        return levels
    height, width = sides
    colours = 3 if levels.shape[2] > 2 else 1
    made = np.empty((height, width, levels.shape[2]), levels.dtype)
    if levels.dtype == np.uint8:
        parts = [slice(0, colours), slice(colours, None)][: 1 + (levels.shape[2] > colours)]
        for part in parts:
            planes = levels[..., part]
            image = Image.fromarray(planes if planes.shape[2] == 3 else planes[..., 0])
            found = np.asarray(image.resize((width, height), FILTERS[name]))
            made[..., part] = found.reshape(height, width, -1)
        return made
    for channel in range(levels.shape[2]):  # Pillow has no colour of 16 bits: exact in float32
        plane = Image.fromarray(levels[..., channel].astype(np.float32))
        found = np.asarray(plane.resize((width, height), FILTERS[name]))
        made[..., channel] = np.clip(np.rint(found), 0, 65535)
    return made


def resized_planes(planes: Tensor, sides: tuple[int, int], name: str) -> Tensor:
    """(C, H, W) in [-1, 1] with other sides, float32; as it is where it has these sides."""
    if planes.shape[-2:] == sides:
        return planes
    height, width = sides
    made = torch.empty(len(planes), height, width)
    for number, plane in enumerate(planes):
        image = Image.fromarray(plane.to("cpu", torch.float32).contiguous().numpy())
        found = np.array(image.resize((width, height), FILTERS[name]))
        made[number] = torch.from_numpy(found).clamp(-1, 1)
    return made.to(planes.device)
