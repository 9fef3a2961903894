"""Images that show the same: copies at another size, of another format, or saved once more.

Such a pair trains twice on one scene, and may lie on both sides of the split, so that what is
measured is known already. Thumbnails are compared, not files: a copy has other bytes.
"""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganforge.data.decoder import decode
from ganforge.data.image_set import SetFile
from ganforge.data.images import FORMATS, SourceImage, eight_bits
from ganforge.data.raster import Header, unreadable
from ganforge.local_files import replacing
from ganforge.settings import SettingsError

#: More images than this are not compared with each other: pairs grow with the square.
MAX_COMPARED = 20_000
#: Larger images are not decoded for a comparison.
MAX_PIXELS = 40_000_000
_SIDE, _COLOUR_SIDE = 32, 8  # of a thumbnail in grey and in colour
#: So much do thumbnails of copies correlate. With the rules below, all 214 pairs of one scene in
#: the standard benchmarks' HR and LR are found, and one pair of 251 different photographs.
_CORRELATION = 0.985
_SAME_NAME = 0.9  # that of two images of one name, one a whole number of times as large
_MOST_APART = 0.06  # mean difference, as a part of the range
_SHAPE = 0.04  # relative difference of width / height
_LEAST_DEVIATION = 4.0  # levels: below, an image is flat, and like every other flat one
_LENGTH = _SIDE**2 + 3 * _COLOUR_SIDE**2
_BLOCK = 1024
_MOST_PAIRS, _MOST_OF_A_NAME = 20_000, 64  # where everything resembles everything
Thumbnail = NDArray[np.uint8]
_THREADS = 4


@dataclass(frozen=True)
class Copies:
    """Two images that look alike, the larger one first, and how many times larger it is."""

    larger: str
    smaller: str
    times: float

    def __str__(self) -> str:
        size = "of the same size" if self.times < 1.02 else f"{self.times:.3g} times smaller"
        return f"{self.smaller} is {self.larger}, {size}"


@dataclass(frozen=True)
class Compared:
    """Images that look alike; lines of those whose pixels cannot be decoded; what was left out."""

    copies: Sequence[Copies] = ()
    unreadable: Sequence[str] = ()
    notes: str = ""


def find_copies(
    images: Sequence[SourceImage], headers: Mapping[str, Header], directory: Path
) -> Compared:
    """Compare files of different scenes with each other, by thumbnails, which the cache
    `directory` remembers."""
    files, missing, notes, packed = [], [], [], 0
    for image in images:
        header = headers[image.name]
        if isinstance(image.path, SetFile):
            packed += 1  # to compare it, all of the set would be fetched
        elif image.pixels is None and header.width * header.height > MAX_PIXELS:
            missing.append(image.name)
        elif image.pixels is None:
            files.append(image)
    if packed:
        notes.append(f"{packed} images of packed sets were not compared with others")
    if missing:
        notes.append(
            f"{len(missing)} images of more than {MAX_PIXELS // 10**6} megapixels were not "
            f"compared with others ({missing[0]}{', …' if len(missing) > 1 else ''})"
        )
    if len(files) > MAX_COMPARED:
        notes.append(f"{len(files)} images were not compared, since they are over {MAX_COMPARED}")
        files = []
    with ThreadPoolExecutor(_THREADS) as threads:
        thumbnails = list(threads.map(lambda image: _remembered(image, directory), files))
    damaged = [one for one in thumbnails if isinstance(one, str)]
    kept = [
        (file, one)
        for file, one in zip(files, thumbnails, strict=True)
        if not isinstance(one, str) and _varies(one)
    ]
    stack = np.array([one for _, one in kept], np.float32).reshape(-1, _LENGTH)
    shown = [headers[file.name] for file, _ in kept]
    pairs, whole = _alike(stack, [min(one.width, one.height) >= _SIDE for one in shown])
    if not whole:
        notes.append("so many images resemble each other that not all copies were looked for")
    pairs |= _same_names(stack, [file.name for file, _ in kept], shown)
    found = [
        _copies(shown[a], shown[b], kept[a][0].name, kept[b][0].name)
        for a, b in pairs
        if kept[a][0].group != kept[b][0].group and _one_shape(shown[a], shown[b])
    ]
    found.sort(key=lambda copies: (copies.larger, copies.smaller))
    return Compared(found, damaged, "; ".join(notes))


def _remembered(image: SourceImage, directory: Path) -> Thumbnail | str:
    """The thumbnail of a file, kept under the hash of its bytes; or why it cannot be decoded."""
    try:
        content = image.path.read_bytes()
        name = hashlib.sha256(content).hexdigest()
        kept = directory / "thumbnails" / name[:2] / name[2:]
        with suppress(OSError):
            levels = np.frombuffer(kept.read_bytes(), np.uint8)
            if len(levels) == _LENGTH:
                return levels
        levels = thumbnail(content, str(image.path))
    except OSError as error:
        return str(unreadable(str(image.path), error.strerror or error))
    except SettingsError as error:
        return str(error)
    with suppress(OSError):  # a cache that cannot be written only costs time
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept, durable=False) as file:
            file.write(levels.tobytes())
    return levels


def thumbnail(content: bytes, name: str) -> Thumbnail:
    """32 × 32 levels of grey, then 8 × 8 of colour, as a row; SettingsError if that fails."""
    small = _drafted(content)
    if small is None:
        small = Image.fromarray(eight_bits(decode(content, name, FORMATS)))
    rows = []
    for mode, side in (("L", _SIDE), ("RGB", _COLOUR_SIDE)):
        made = small.convert(mode).resize((side, side), Image.Resampling.BOX)
        rows.append(np.asarray(made).reshape(-1))
    return np.concatenate(rows)


def _drafted(content: bytes) -> Image.Image | None:
    """A JPEG, decoded at a fraction of its sides: no more is needed for a thumbnail. None of other
    files, and of those that are turned."""
    if not content.startswith(b"\xff\xd8"):
        return None
    try:
        image = Image.open(io.BytesIO(content), formats=["JPEG"])
        if image.getexif().get(0x0112, 1) != 1 or image.mode not in ("L", "RGB"):
            return None
        image.draft("RGB", (4 * _SIDE, 4 * _SIDE))
        image.load()
    except Exception:  # what Pillow raises on broken files has no common base
        return None
    return image


def _varies(levels: Thumbnail) -> bool:
    return float(levels[: _SIDE**2].std()) >= _LEAST_DEVIATION


def _alike(
    thumbnails: NDArray[np.float32], large: Sequence[bool]
) -> tuple[set[tuple[int, int]], bool]:
    """Pairs of rows, as numbers, that look alike, and whether all were looked at. Rows of images
    that are not `large` are left out: a thumbnail of a digit says too little."""
    rows = np.flatnonzero(large)
    unit = _unit(thumbnails[rows])
    found: set[tuple[int, int]] = set()
    seen = 0
    for first in range(0, len(unit), _BLOCK):
        correlation = unit[first : first + _BLOCK] @ unit[first:].T
        candidates = np.argwhere(np.triu(correlation, 1) > _CORRELATION)
        for row, other in candidates[: _MOST_PAIRS - seen]:
            one, two = int(rows[first + row]), int(rows[first + other])
            if _near(thumbnails[one], thumbnails[two]):
                found.add((one, two))
        seen += len(candidates)
        if seen > _MOST_PAIRS:
            return found, False
    return found, True


def _same_names(
    thumbnails: NDArray[np.float32], names: Sequence[str], headers: Sequence[Header]
) -> set[tuple[int, int]]:
    """Pairs of rows whose images have one name, one of them a whole number of times the sides of
    the other, and resemble each other."""
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        groups.setdefault(_stem(name), []).append(number)
    found = set()
    for group in groups.values():
        for one, two in combinations(group[:_MOST_OF_A_NAME], 2):
            if _whole_times(headers[one], headers[two]):
                unit = _unit(thumbnails[[one, two]])
                alike = float(unit[0] @ unit[1]) > _SAME_NAME
                if alike and _near(thumbnails[one], thumbnails[two]):
                    found.add((one, two))
    return found


def _unit(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows whose products are the correlations of grey levels."""
    levels = thumbnails[:, : _SIDE**2]
    centred = levels - levels.mean(1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True).clip(1e-6)


def _near(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether levels are near each other, and colours too, unless one has none."""
    apart = np.abs(one - other)
    grey, colours = apart[: _SIDE**2].mean(), apart[_SIDE**2 :].mean()
    most = 255 * _MOST_APART
    return bool(grey < most and (colours < most or _grey(one) or _grey(other)))


def _grey(thumbnail: NDArray[np.float32]) -> bool:
    return not np.ptp(thumbnail[_SIDE**2 :].reshape(-1, 3), axis=1).any()


def _stem(name: str) -> str:
    """The name of a file without folders, and without what names of copies end with."""
    stem = PurePosixPath(name).stem.lower()
    ending = r"[-_ .]*(x[2348]|[2348]x|hr|lr|gt|low|small|copy|\(\d+\))"
    return re.sub(rf"({ending})+$", "", stem) or stem


def _whole_times(one: Header, other: Header) -> bool:
    """Whether one has a whole number of times, from 2 to 8, the sides of the other, but for a
    remainder."""
    large, small = sorted((one, other), key=lambda header: header.width)[::-1]
    times = large.width // small.width
    return 2 <= times <= 8 and large.height // small.height == times


def _one_shape(one: Header, other: Header) -> bool:
    shapes = (one.width / one.height, other.width / other.height)
    # a side of few pixels is rounded by a large part of it
    slack = _SHAPE + 1 / min(one.width, one.height, other.width, other.height)
    return abs(shapes[0] / shapes[1] - 1) <= slack


def _copies(one: Header, other: Header, name: str, other_name: str) -> Copies:
    times = one.width / other.width
    if times < 1:
        return Copies(other_name, name, 1 / times)
    return Copies(name, other_name, times)
