"""Packed planes of pixels: one file that all processes of a machine map into their memory.

At its end is the sha256 of each image's planes, and one of all these. The last one is verified when
a process opens the file, which takes as long for large images as for small ones, and an image when
the process first reads it: bits that a disk has lost never reach a network.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganforge.data.cache import FORMAT, THREADS, unwritable
from ganforge.data.image_progress import counted
from ganforge.data.image_table import ImageTable
from ganforge.data.images import Pixels, load
from ganforge.data.ordered import ordered
from ganforge.data.views import View
from ganforge.local_files import DiskFull, locked, replacing
from ganforge.settings import SettingsError

logger = logging.getLogger("ganforge")
HASH_BYTES = 32
_READ_BYTES = 2**22


class Layout:
    """Where the planes of each image lie in a file of all planes in order."""

    def __init__(self, images: ImageTable, view: View, channels: int):
        sizes, self._which = images.sizes
        self._sides = [view.sides(height, width) for height, width in sizes]
        self._channels = channels
        planes = [sum(height * width for height, width in sides) for sides in self._sides]
        #: bytes of an image where all have the same, else where each ends
        self._each = channels * planes[0] if len(planes) == 1 else 0
        self._ends = np.empty(0, np.int64)
        if not self._each:
            self._ends = np.cumsum(channels * np.array(planes, np.int64)[self._which])
        #: bytes of all planes
        self.total = self.span(len(images) - 1)[1] if len(images) else 0

    def __len__(self) -> int:
        return len(self._which)

    def span(self, number: int) -> tuple[int, int]:
        """The offsets of the first byte of an image, and of the one after its last."""
        if self._each:
            return number * self._each, (number + 1) * self._each
        return int(self._ends[number - 1]) if number else 0, int(self._ends[number])

    def planes(self, number: int) -> list[tuple[int, int, int]]:
        """For each plane of an image: offset, height and width."""
        found, offset = [], self.span(number)[0]
        for height, width in self._sides[self._which[number]]:
            found.append((offset, height, width))
            offset += height * width * self._channels
        return found


class Packed:
    """Planes in one read-only memory-mapped file, which all processes of a machine share."""

    def __init__(self, path: Path, images: ImageTable, view: View, channels: int, layout: Layout):
        self._path, self._images, self._view, self._channels = path, images, view, channels
        self._layout = layout
        content = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        self._bytes = content[: self._layout.total]
        self._hashes = _hashes(content, self._layout)
        self._verified: NDArray[np.bool_] = np.zeros(len(images), np.bool_)
        #: planes of damaged images that the disk does not take again
        self._own: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._layout)

    def __getitem__(self, number: int) -> tuple[Pixels, ...]:
        if not self._verified[number]:
            self._verify(number)
            self._verified[number] = True
        begin, end = self._layout.span(number)
        found = self._bytes[begin:end]
        if number in self._own:
            found = np.frombuffer(self._own[number], np.uint8)
        return tuple(
            found[offset - begin :][: height * width * self._channels].reshape(
                height, width, self._channels
            )
            for offset, height, width in self._layout.planes(number)
        )

    def fetch(self, numbers: Sequence[int]) -> None:
        """Nothing: all of it is here."""

    def _verify(self, number: int) -> None:
        """What is not what was packed is made again from the image, and written where it was."""
        if self._intact(number):
            return
        logger.warning(
            "%s is damaged at %s: it is made again from the images",
            *(self._path, self._images.sources[number].name),
        )
        planes = self._view.planes(load(self._images[number], self._channels))
        content = b"".join(plane.tobytes() for plane in planes)
        with suppress(OSError), self._path.open("r+b") as file:
            _write_at(file.fileno(), content, self._layout.span(number)[0])
        # not written, or to another file, which another process has made anew at this path
        if not self._intact(number):
            self._own[number] = content

    def _intact(self, number: int) -> bool:
        """Whether an image has the bytes that were packed."""
        begin, end = self._layout.span(number)
        found = hashlib.sha256(self._bytes[begin:end].data).digest()
        return found == self._hashes[number].tobytes()


def pack(images: ImageTable, view: View, channels: int, directory: Path) -> Packed:
    """The packed file of these images, made now unless it is there.

    Its name is a hash of the pixels and of all that is done to them, so it is never out of date.
    """
    listing = json.dumps([FORMAT, repr(view), channels, images.content])
    path = directory / "packed" / (hashlib.sha256(listing.encode()).hexdigest()[:32] + ".pixels")
    layout = Layout(images, view, channels)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _whole(path, layout):
            with locked(path):
                if not _whole(path, layout):  # another process may have made it meanwhile
                    if path.exists():
                        logger.warning("%s is damaged: it is made again from the images", path)
                    _write(path, images, view, channels, layout)
    except DiskFull as error:
        raise SettingsError(f"data.cache_directory = {directory}: {error}") from None
    except OSError as error:
        raise unwritable(directory, error) from None
    return Packed(path, images, view, channels, layout)


def _hashes(content: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint8]:
    """The sha256 of each image's planes, (n, 32), of a packed file's content."""
    end = layout.total + HASH_BYTES * len(layout)
    return content[layout.total : end].reshape(len(layout), HASH_BYTES)


def _whole(path: Path, layout: Layout) -> bool:
    """Whether a packed file has the right length, and the hashes of its images that it was written
    with."""
    found, left = hashlib.sha256(), HASH_BYTES * len(layout)
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != layout.total + left + HASH_BYTES:
                return False
            # read in parts and not mapped: what a process has touched counts as its memory
            file.seek(layout.total)
            while left and (part := file.read(min(left, _READ_BYTES))):
                found.update(part)
                left -= len(part)
            return found.digest() == file.read()
    except FileNotFoundError:
        return False


def _write(path: Path, images: ImageTable, view: View, channels: int, layout: Layout) -> None:
    length = layout.total + HASH_BYTES * (len(layout) + 1)
    with replacing(path, num_bytes=length) as file:

        def write_one(number: int) -> bytes:
            planes, found = view.planes(load(images[number], channels)), hashlib.sha256()
            for plane, (offset, height, width) in zip(planes, layout.planes(number), strict=True):
                if plane.shape != (height, width, channels):
                    raise SettingsError(
                        f"{images[number].image.name}: the image has changed since it was listed; "
                        "start again"
                    )
                content = plane.tobytes()
                found.update(content)
                # Written, not mapped: a full disk is then an error instead of a signal.
                _write_at(file.fileno(), content, offset)
            return found.digest()

        written = ordered(write_one, range(len(images)), THREADS)
        hashes = b"".join(counted("packing images", written, len(images)))
        _write_at(file.fileno(), hashes + hashlib.sha256(hashes).digest(), layout.total)


def _write_at(descriptor: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written
