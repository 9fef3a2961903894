"""What the images are: decoded pixels, their order and the split, as one hash."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ganforge.data.decode import decode, digest
from ganforge.data.places import FORMAT
from ganforge.data.settings import DataSettings
from ganforge.data.source_image import Decoded, SourceImage
from ganforge.data.sources import Source
from ganforge.draws import permutation
from ganforge.local_files import replacing
from ganforge.settings import SettingsError

_END = "end\n"  # a note cut short by a crash lacks it
THREADS = 4  # Pillow and hashlib release the interpreter's lock; no result depends on this


@dataclass(frozen=True)
class Catalog:
    """Decoded images in order, and which are held out.

    `train` and `validation` are numbers into `images`; those held out are in drawn order, so that
    the first few are a fair sample. `classes` are named where images have labels; `mirror` says
    that a mirrored image is as good as the original.
    """

    images: tuple[Decoded, ...]
    train: tuple[int, ...]
    validation: tuple[int, ...]
    fingerprint: str
    classes: tuple[str, ...] = ()
    mirror: bool = True


def mirrors(data: DataSettings, catalog: Catalog) -> bool:
    """Whether half of the samples are mirrored: as settings say, or else as suits the source."""
    return catalog.mirror if data.horizontal_flip is None else data.horizontal_flip


def open_catalog(source: Source, fraction: float, seed: int, directory: Path) -> Catalog:
    """Decode (or remember) every image and split them.

    The fingerprint changes with a pixel, a label, the order or the split; not with the folder's
    place or with a file that was encoded anew without loss.
    """
    images = source.images
    with ThreadPoolExecutor(THREADS) as threads:
        known = tuple(threads.map(lambda image: _identify(image, directory), images))
    labels = [image.label for image in images]
    train, validation = split([image.group for image in images], fraction, seed, labels)
    listing: list[object] = [[item.digest for item in known], train, validation]
    if source.classes or not source.mirror:
        listing += [labels, source.mirror]
    fingerprint = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    return Catalog(
        known, tuple(train), tuple(validation), fingerprint, source.classes, source.mirror
    )


def split(
    groups: Sequence[str], fraction: float, seed: int, labels: Sequence[int | None] | None = None
) -> tuple[list[int], list[int]]:
    """Numbers to train on, ascending, and numbers held out, in drawn order.

    round(fraction · n) whole images are held out, at least 1 and at most n - 1; fewer where only
    a larger group is left. Groups are never divided. Of each label the same part is held out, at
    least 1 where it has two images.
    """
    wanted = min(max(1, round(fraction * len(groups))), len(groups) - 1)
    labels = labels or [None] * len(groups)
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    scenes = list(members.values())
    left = _quotas(labels, wanted)
    held: list[int] = []
    for drawn in permutation(len(scenes), seed, "split").tolist():
        label = labels[scenes[drawn][0]]
        if len(scenes[drawn]) <= left[label]:
            held += scenes[drawn]
            left[label] -= len(scenes[drawn])
    kept = set(held)
    return [number for number in range(len(groups)) if number not in kept], held


def _quotas(labels: Sequence[int | None], wanted: int) -> dict[int | None, int]:
    """`wanted` shared out by the sizes of the classes: whole parts, then the largest remainders."""
    counts = Counter(labels)
    exact = {label: wanted * count / len(labels) for label, count in counts.items()}
    found = {label: int(share) for label, share in exact.items()}
    order = sorted(exact, key=lambda label: (found[label] - exact[label], label or 0))
    for label in order[: wanted - sum(found.values())]:
        found[label] += 1
    return {label: max(min(1, counts[label] - 1), share) for label, share in found.items()}


def _identify(image: SourceImage, directory: Path) -> Decoded:
    """The hash of the decoded pixels, remembered under the hash of the file's bytes.

    Times of files are not asked: a copy or a checkout changes them, an edit need not.
    """
    if image.pixels is not None:
        return Decoded(image, digest(image.pixels), *image.pixels.shape[:2])
    try:
        content = image.path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{image.path}: cannot be read ({error.strerror})") from None
    name = hashlib.sha256(content).hexdigest()
    note = directory / "decoded" / FORMAT / name[:2] / name[2:]
    with suppress(OSError, ValueError):
        found, height, width, end = note.read_text().split(" ")
        if end == _END:
            return Decoded(image, found, int(height), int(width))
    pixels = decode(content, image)
    known = Decoded(image, digest(pixels), *pixels.shape[:2])
    with suppress(OSError):  # a cache that cannot be written only costs time
        note.parent.mkdir(parents=True, exist_ok=True)
        with replacing(note, durable=False) as file:
            file.write(f"{known.digest} {known.height} {known.width} {_END}".encode())
    return known
