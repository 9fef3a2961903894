"""This machine's cache of images: the hashes of decoded files, and packed planes of pixels.

A disk loses bits, and a copy that was cut short has the right length. What is read from the cache
is therefore verified: images that differ from those of a stage's identity would train another stage
under its name.
"""

import hashlib
import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL
from PIL import features

from ganforge import local_files
from ganforge.data.base import ImageSettings
from ganforge.data.image_progress import counted
from ganforge.data.images import Decoded, Pixels, SourceImage, decode, digest, load
from ganforge.data.settings import DataSettings
from ganforge.data.views import View
from ganforge.local_files import DiskFull, locked, replacing
from ganforge.settings import SettingsError

logger = logging.getLogger("ganforge")
# What can change a decoded or resized pixel, besides the file: enters every name in the cache.
FORMAT = (
    f"2-{PIL.__version__}-{features.version('jpg')}-{features.version_feature('libjpeg_turbo')}"
)
RECENT_BYTES = 256 * 2**20  # kept by a set that decodes on demand
_READ_BYTES = 2**22
THREADS = 4  # Pillow and hashlib release the interpreter's lock; no result depends on this
_HASH_BYTES = 32  # at the end of a packed file: sha256 over those of its images
#: packed files that this process has verified, as they were then
_verified: set[tuple[str, int, int, int, int]] = set()


def cache_directory(data: DataSettings) -> Path:
    """`data.cache_directory`, else $GANFORGE_CACHE, else ~/.cache/ganforge."""
    given = data.cache_directory
    return Path(given).expanduser() if given else local_files.cache_directory()


def unwritable(directory: Path, error: OSError) -> SettingsError:
    """The error for a cache that cannot be written."""
    return SettingsError(
        f"data.cache_directory = {directory}: cannot be written ({error.strerror}); set it to a "
        "folder with free space, or data.cache_bytes = 0 to decode images on demand"
    )


def identify(images: Sequence[SourceImage], directory: Path) -> tuple[Decoded, ...]:
    """Each image with the hash of its decoded pixels, which `directory` remembers."""
    with ThreadPoolExecutor(THREADS) as threads:
        found = threads.map(lambda image: _identify(image, directory), images)
        return tuple(counted("reading images", found, len(images)))


def _identify(image: SourceImage, directory: Path) -> Decoded:
    """The hash of the decoded pixels, remembered under the hash of the file's bytes.

    The times of files play no part: a copy or a checkout changes them, an edit may not.
    """
    if image.pixels is not None:
        return Decoded(image, digest(image.pixels), *image.pixels.shape[:2])
    try:
        content = image.path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{image.path}: cannot be read ({error.strerror})") from None
    name = hashlib.sha256(content).hexdigest()
    record = directory / "decoded" / FORMAT / name[:2] / name[2:]
    with suppress(OSError, ValueError):
        text, _, check = record.read_text().rpartition(" ")
        # of this very file, and whole
        if check == _check(name, text):
            found, height, width = text.split(" ")
            return Decoded(image, found, int(height), int(width))
        logger.warning("%s is damaged: %s is decoded again", record, image.name)
    pixels = decode(content, image)
    known = Decoded(image, digest(pixels), *pixels.shape[:2])
    text = f"{known.digest} {known.height} {known.width}"
    with suppress(OSError):  # a cache that cannot be written only costs time
        record.parent.mkdir(parents=True, exist_ok=True)
        with replacing(record, durable=False) as file:
            file.write(f"{text} {_check(name, text)}".encode())
    return known


def _check(name: str, text: str) -> str:
    return hashlib.sha256(f"{name} {text}".encode()).hexdigest()[:16]


class Planes(Protocol):
    """The planes that a view makes of each image, (H, W, C) uint8, read-only."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> tuple[Pixels, ...]: ...


def layout(images: Sequence[Decoded], view: View, channels: int) -> list[list[tuple[int, ...]]]:
    """For each image and plane: offset, height and width in a file of all planes in order."""
    table, offset = [], 0
    for known in images:
        row = []
        for height, width in view.sides(known.height, known.width):
            row.append((offset, height, width))
            offset += height * width * channels
        table.append(row)
    return table


def num_bytes(images: Sequence[Decoded], view: View, channels: int) -> int:
    """The size of the packed file."""
    sides = (view.sides(known.height, known.width) for known in images)
    return channels * sum(height * width for planes in sides for height, width in planes)


class Packed:
    """Planes in one read-only memory-mapped file, which all processes of a machine share."""

    def __init__(self, path: Path, images: Sequence[Decoded], view: View, channels: int):
        self._table = layout(images, view, channels)
        self._channels = channels
        self._bytes = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, number: int) -> tuple[Pixels, ...]:
        return tuple(
            self._bytes[offset : offset + height * width * self._channels].reshape(
                height, width, self._channels
            )
            for offset, height, width in self._table[number]
        )


class OnDemand:
    """The same planes, decoded on demand; the most recent are kept, up to RECENT_BYTES."""

    def __init__(self, images: Sequence[Decoded], view: View, channels: int):
        self._images, self._view, self._channels = images, view, channels
        self._recent: OrderedDict[int, tuple[Pixels, ...]] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()  # the prefetching thread reads too

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


def _size(planes: tuple[Pixels, ...]) -> int:
    return sum(plane.nbytes for plane in planes)


def open_views(
    wanted: dict[View, Sequence[Decoded]], settings: ImageSettings
) -> dict[View, Planes]:
    """The images of each view: packed, or on demand if together they need more than
    `data.cache_bytes`."""
    channels = settings.channels
    total = sum(num_bytes(images, view, channels) for view, images in wanted.items())
    if total > settings.data.cache_bytes:
        return {view: OnDemand(images, view, channels) for view, images in wanted.items()}
    directory = cache_directory(settings.data)
    return {view: pack(images, view, channels, directory) for view, images in wanted.items()}


def pack(images: Sequence[Decoded], view: View, channels: int, directory: Path) -> Packed:
    """The packed file of these images, made now unless it is there.

    Its name is a hash of the pixels and of all that is done to them, so it is never out of date.
    """
    listing = json.dumps([FORMAT, repr(view), channels, [known.digest for known in images]])
    path = directory / "packed" / (hashlib.sha256(listing.encode()).hexdigest()[:32] + ".pixels")
    total = num_bytes(images, view, channels)
    ends = _ends(layout(images, view, channels), channels)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _whole(path, total, ends):
            with locked(path):
                if not _whole(path, total, ends):  # another process may have made it meanwhile
                    if path.exists():
                        logger.warning("%s is damaged: it is made again from the images", path)
                    _write(path, images, view, channels)
    except DiskFull as error:
        raise SettingsError(f"data.cache_directory = {directory}: {error}") from None
    except OSError as error:
        raise unwritable(directory, error) from None
    return Packed(path, images, view, channels)


def _ends(table: list[list[tuple[int, ...]]], channels: int) -> list[int]:
    """The offset after the last plane of each image."""
    return [row[-1][0] + row[-1][1] * row[-1][2] * channels for row in table]


def _whole(path: Path, total: int, ends: Sequence[int]) -> bool:
    """Whether a packed file holds what was written into it.

    It is read once by each process that opens it, and again after it has changed."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_size != total + _HASH_BYTES:
                return False
            key = (str(path), facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
            if key in _verified:
                return True
            begins = [0, *ends[:-1]]

            def hashed(begin: int, end: int) -> bytes:
                found = hashlib.sha256()
                while begin < end and (
                    part := os.pread(file.fileno(), min(end - begin, _READ_BYTES), begin)
                ):
                    found.update(part)
                    begin += len(part)
                return found.digest()

            with ThreadPoolExecutor(THREADS) as threads:
                hashes = b"".join(threads.map(hashed, begins, ends))
            if hashlib.sha256(hashes).digest() != os.pread(file.fileno(), _HASH_BYTES, total):
                return False
    except FileNotFoundError:
        return False
    _verified.add(key)
    return True


def _write(path: Path, images: Sequence[Decoded], view: View, channels: int) -> None:
    table, total = layout(images, view, channels), num_bytes(images, view, channels)
    with (
        replacing(path, num_bytes=total + _HASH_BYTES) as file,
        ThreadPoolExecutor(THREADS) as threads,
    ):

        def write_one(number: int) -> bytes:
            planes, found = view.planes(load(images[number], channels)), hashlib.sha256()
            for plane, (offset, height, width) in zip(planes, table[number], strict=True):
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

        written = threads.map(write_one, range(len(images)))
        hashes = b"".join(counted("packing images", written, len(images)))
        _write_at(file.fileno(), hashlib.sha256(hashes).digest(), total)


def _write_at(descriptor: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written
