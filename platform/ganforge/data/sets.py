"""Data sets that torchvision knows by name, read from where it keeps them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganforge.data.places import cache_directory
from ganforge.data.settings import DataSettings
from ganforge.data.source_image import SourceImage
from ganforge.local_files import locked
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class Opened:
    """The training images of a data set; `classes` are empty where it has none."""

    images: Sequence[SourceImage]
    classes: tuple[str, ...]
    mirror: bool


@dataclass(frozen=True)
class _Set:
    """How one data set is read. `files` is where its files are expected, below torchvision's
    folder; `options` are what its class is called with."""

    read: Callable[[Any, str], list[SourceImage]]
    files: str
    options: dict[str, Any]
    mirror: bool


def open_set(data: DataSettings) -> Opened:
    """The data set that `data.source` names; SettingsError where its files are not here.

    Files are fetched only if `data.download` says so.
    """
    # torchvision takes seconds to import, and only these sources need it
    from torchvision import datasets

    name = data.source.removeprefix("torchvision:")
    known = _SETS[name]
    folder = cache_directory(data) / "torchvision"
    kind = getattr(datasets, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if data.download:
            with locked(folder / name):
                found = kind(str(folder), download=True, **known.options)
        else:
            found = kind(str(folder), **known.options)
    except (OSError, RuntimeError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = (
            "put its files there, or set data.root to a folder of images"
            if data.download
            else "set data.download = true where the network allows, or put its files there"
        )
        raise SettingsError(
            f"data.source = {data.source}: cannot be read from {folder / known.files} "
            f"({reason}); {remedy}"
        ) from None
    classes = () if name == "CelebA" else tuple(str(label) for label in found.classes)
    return Opened(known.read(found, name), classes, known.mirror)


def _items(found: Any, name: str) -> list[SourceImage]:
    """Images that are kept together in memory: (n, H, W) or (n, H, W, 3)."""
    levels = np.asarray(found.data, dtype=np.uint8)
    labels = np.asarray(found.targets)
    return [
        SourceImage(f"{name}/{number:05d}", Path(f"{name}/{number:05d}"), "", int(label), pixels)
        for number, (label, pixels) in enumerate(zip(labels, levels, strict=True))
    ]


def _folder(found: Any, name: str) -> list[SourceImage]:
    """Images in one folder for each class."""
    return [
        SourceImage(
            f"{name}/{Path(path).parent.name}/{Path(path).name}", Path(path), "", int(label)
        )
        for path, label in sorted(found.samples)
    ]


def _faces(found: Any, name: str) -> list[SourceImage]:
    """CelebA's aligned faces, without labels."""
    folder = Path(found.root, found.base_folder, "img_align_celeba")
    return [SourceImage(f"{name}/{file}", folder / file) for file in sorted(found.filename)]


_SETS = {
    "MNIST": _Set(_items, "MNIST/raw", {"train": True}, mirror=False),
    "FashionMNIST": _Set(_items, "FashionMNIST/raw", {"train": True}, mirror=False),
    "CIFAR10": _Set(_items, "cifar-10-batches-py", {"train": True}, mirror=True),
    "CelebA": _Set(_faces, "celeba", {"split": "train"}, mirror=True),
    "EuroSAT": _Set(_folder, "eurosat/2750", {}, mirror=True),
}
