"""How much memory a served model lets one request take, and images in tiles within it."""

import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganforge.inference.tiles import bytes_per_pixel, find_reach, memory_bytes, upscale_tiles
from ganforge.metrics.image_quality import to_bytes
from ganforge.settings import SettingsError

#: The variable that sets the bytes one request may take.
VARIABLE = "GANFORGE_SERVED_BYTES"
_MOST_BYTES, _MEMORY_PART = 2 * 2**30, 4
#: What the server makes of one number of JSON: 137 bytes were measured until the model is given
#: an array; of an answer, lists, text and the text's bytes.
_NUMBER_IN, _NUMBER_OUT = 140, 40
TILE = 256
#: Images whose whole pass takes more than this part of the limit are cut into tiles.
_NETWORK_PART = 4


def served_bytes() -> int:
    """The memory that one request may take: $GANFORGE_SERVED_BYTES, else a quarter of this
    machine's, and at most 2 GiB."""
    given = os.environ.get(VARIABLE)
    if given is None:
        return min(_MOST_BYTES, memory_bytes() // _MEMORY_PART)
    if not (given.isascii() and given.isdigit() and int(given)):
        raise SettingsError(f"{VARIABLE} = {given}: must be a number of bytes above 0")
    return int(given)


class Requests:
    """A network of `channels` channels that enlarges `scale` times, within `limit` bytes."""

    def __init__(self, network: nn.Module, channels: int, scale: int, limit: int):
        self._network, self._channels = network, channels
        self._scale, self._limit = scale, limit
        self._per_pixel = bytes_per_pixel(network, channels)
        try:
            reach = find_reach(network, scale)
            self._margins: int | None = reach.before + reach.after
        except SettingsError:  # the network looks at the whole image
            self._margins = None

    def tile(self, count: int, height: int, width: int) -> int | None:
        """The tiles in which such a request is made, none for whole images; SettingsError where it
        would take more memory than it may."""
        if not count * height * width:
            raise SettingsError(
                f"{count} images of {width} × {height} pixels: there is nothing to enlarge; give "
                "at least one image of one pixel"
            )
        numbers = count * height * width * self._channels
        carried = numbers * (_NUMBER_IN + _NUMBER_OUT * self._scale**2)
        tile, pixels = None, height * width
        if self._margins is not None and self._per_pixel * pixels > self._limit // _NETWORK_PART:
            side = TILE + self._margins
            tile, pixels = TILE, min(height, side) * min(width, side)
        needed = carried + self._per_pixel * pixels
        if needed > self._limit:
            raise SettingsError(
                f"{count} images of {width} × {height} pixels take about {needed / 2**30:.2f} GiB, "
                f"more than a request may take ({self._limit / 2**30:.2f} GiB); send fewer or "
                f"smaller images, or set {VARIABLE} where the model is served"
            )
        return tile

    def enlarge(self, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 (N, H, W, C) to uint8 (N, s·H, s·W, C); SettingsError for what is too large."""
        count, height, width, _ = levels.shape
        tile, scale = self.tile(count, height, width), self._scale
        made = np.empty((count, scale * height, scale * width, self._channels), np.uint8)
        for number, one in enumerate(levels):
            image = torch.from_numpy(one).permute(2, 0, 1).float() / 127.5 - 1
            for top, left, pixels in upscale_tiles(self._network, image, scale, tile):
                found = to_bytes(pixels.to("cpu", torch.float32)[None])[0].permute(1, 2, 0).numpy()
                rows, columns = slice(top, top + len(found)), slice(left, left + found.shape[1])
                made[number, rows, columns] = found
        return made
