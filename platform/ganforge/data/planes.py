"""The planes of pixels that training and measuring read: packed, or decoded on demand."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from ganforge.data.base import ImageSettings
from ganforge.data.cache import cache_directory
from ganforge.data.image_set import SetFile
from ganforge.data.image_table import ImageTable
from ganforge.data.images import Pixels, load
from ganforge.data.packed import Layout, pack
from ganforge.data.views import View

FETCHES = 16  # from a store at the same time: they wait for it, not for a processor
RECENT_BYTES = 256 * 2**20  # kept by a set that decodes on demand


class Planes(Protocol):
    """The planes that a view makes of each image, (H, W, C) uint8, read-only."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> tuple[Pixels, ...]: ...

    def fetch(self, numbers: Sequence[int]) -> None:
        """Read images that lie far away at the same time, before they are asked for in turn."""
        ...


class OnDemand:
    """The planes of a view, decoded on demand; the most recent are kept, up to RECENT_BYTES."""

    def __init__(self, images: ImageTable, view: View, channels: int):
        self._images, self._view, self._channels = images, view, channels
        self._recent: OrderedDict[int, tuple[Pixels, ...]] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()  # the prefetching thread reads too
        first = images.sources[0].path if len(images) else None
        self._far = isinstance(first, SetFile) and first.images.far

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> tuple[Pixels, ...]:
        with self._lock:
            if number in self._recent:
                self._recent.move_to_end(number)
                return self._recent[number]
        planes = self._view.planes(load(self._images[number], self._channels))
        with self._lock:
            if number not in self._recent:
                self._recent[number] = planes
                self._held += _size(planes)
            while self._held > RECENT_BYTES and len(self._recent) > 1:
                self._held -= _size(self._recent.popitem(last=False)[1])
        return planes

    def fetch(self, numbers: Sequence[int]) -> None:
        if self._far:
            with ThreadPoolExecutor(FETCHES) as threads:
                list(threads.map(self.__getitem__, dict.fromkeys(numbers)))


def _size(planes: tuple[Pixels, ...]) -> int:
    return sum(plane.nbytes for plane in planes)


def open_views(wanted: dict[View, ImageTable], settings: ImageSettings) -> dict[View, Planes]:
    """The images of each view: packed, or on demand if together they need more than
    `data.cache_bytes`."""
    channels = settings.channels
    total = sum(Layout(images, view, channels).total for view, images in wanted.items())
    if total > settings.data.cache_bytes:
        return {view: OnDemand(images, view, channels) for view, images in wanted.items()}
    directory = cache_directory(settings.data)
    return {view: pack(images, view, channels, directory) for view, images in wanted.items()}
