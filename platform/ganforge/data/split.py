"""Which images are held out, and the fingerprint: pixels, order and split as one hash."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ganforge.data.cache import identify
from ganforge.data.catalog import Catalog
from ganforge.data.image_table import ImageTable, Numbers
from ganforge.data.settings import DataSettings
from ganforge.data.sources import Source
from ganforge.draws import permutation
from ganforge.settings import SettingsError


def mirrors(data: DataSettings, catalog: Catalog) -> bool:
    """Whether half of the samples are mirrored: as the setting says, else as the source allows."""
    return catalog.mirror if data.horizontal_flip is None else data.horizontal_flip


def open_catalog(source: Source, fraction: float, seed: int, directory: Path) -> Catalog:
    """Decode every image, or look up its hash in the cache `directory`, and split them.

    The fingerprint changes with a pixel, a label, the order, the split or the folder that an image
    is in; not with a folder's path or with a file that was encoded again without loss.
    """
    images = (*source.images, *source.held_out)
    known = ImageTable.of(identify(images, directory))
    lows = [image.low for image in images if image.low is not None]
    low = ImageTable.of(identify(lows, directory))
    labels = [image.label for image in images]
    train, validation = _divided(source, fraction, seed)
    listing: list[object] = [known.hexadecimal(), train, validation]
    if source.classes or not source.mirror:
        listing += [labels, source.mirror]
    if source.roots:
        listing.append(list(source.roots))
    if lows:
        listing.append({"low": low.hexadecimal()})
    fingerprint = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    return Catalog(
        known,
        Numbers(train),
        Numbers(validation),
        fingerprint,
        source.classes,
        source.mirror,
        Numbers(source.roots[number] for number in train if source.roots),
        low,
    )


def _divided(source: Source, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the images to train on and of those held out: the user's own, or a part of each
    class of each folder."""
    count, groups = len(source.images), [image.group for image in source.images]
    if source.held_out:
        own = [image.group for image in source.held_out]
        return list(range(count)), [count + number for number in _drawn(own, seed)]
    labels = [image.label for image in source.images]
    if source.roots:
        # both images of a pair count for their folder, of which whole pairs are held out
        pairs = len({*groups}) < len({*zip(groups, labels, strict=True)})
        classes = max(1, len(source.classes))
        labels = [
            root * classes + (0 if pairs else label or 0)
            for root, label in zip(source.roots, labels, strict=True)
        ]
    train, held = split(groups, fraction, seed, labels)
    empty = set(source.roots) - {source.roots[number] for number in train if source.roots}
    if empty:
        raise SettingsError(
            f"validation.fraction = {fraction}: holds out all images of folder {min(empty)} of "
            "data.roots; lower it, or name validation images by validation.root"
        )
    return train, held


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
    left = _quotas(labels, wanted)
    held: list[int] = []
    for scene in _scenes(groups, seed):
        label = labels[scene[0]]
        if len(scene) <= left[label]:
            held += scene
            left[label] -= len(scene)
    kept = set(held)
    return [number for number in range(len(groups)) if number not in kept], held


def _scenes(groups: Sequence[str], seed: int) -> list[list[int]]:
    """The numbers of each group, the groups in drawn order."""
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    scenes = list(members.values())
    return [scenes[drawn] for drawn in permutation(len(scenes), seed, "split").tolist()]


def _drawn(groups: Sequence[str], seed: int) -> list[int]:
    """All numbers, group by group in drawn order."""
    return [number for scene in _scenes(groups, seed) for number in scene]


def _quotas(labels: Sequence[int | None], wanted: int) -> dict[int | None, int]:
    """`wanted` shared out by the sizes of the classes: whole parts, then the largest remainders."""
    counts = Counter(labels)
    exact = {label: wanted * count / len(labels) for label, count in counts.items()}
    found = {label: int(share) for label, share in exact.items()}
    order = sorted(exact, key=lambda label: (found[label] - exact[label], label or 0))
    for label in order[: wanted - sum(found.values())]:
        found[label] += 1
    return {label: max(min(1, counts[label] - 1), share) for label, share in found.items()}
