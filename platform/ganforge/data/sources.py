"""Where images come from: a folder, the built-in photographs and digits, or a torchvision data
set; and whether they can be used. Names and headers alone are read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganforge.data.base import ImageSettings
from ganforge.data.cache import cache_directory, kept_of
from ganforge.data.images import SourceImage, read_headers
from ganforge.data.inventory import Inventory, converted, skipped
from ganforge.data.listing import list_folder
from ganforge.data.raster import Header
from ganforge.data.settings import DataSettings
from ganforge.data.views import bounded
from ganforge.local_files import locked
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class Source:
    """Images in order. Labels are numbers of `classes`, of which there are none without labels.

    `mirror`: a mirrored image is still a valid one, which is not true of digits. `enlarge`: the
    images are smaller than the networks' inputs and are always enlarged. `inventory` says what is
    done to the files of a folder, and which are skipped. `roots` are the numbers of the images'
    folders where there are several. `held_out` are images of a folder of their own; without any, a
    part of `images` is held out.
    """

    images: tuple[SourceImage, ...]
    classes: tuple[str, ...] = ()
    mirror: bool = True
    enlarge: bool = False
    inventory: Inventory = field(default=Inventory(), compare=False)
    roots: tuple[int, ...] = ()
    held_out: tuple[SourceImage, ...] = ()


@dataclass(frozen=True)
class Folder:
    """A folder by the setting that names it, and how many images it needs: one to train on and one
    to hold out, unless it is for one of the two."""

    key: str
    path: str
    least: int = 2

    def __str__(self) -> str:
        return f"{self.key} = {self.path}"


def root_folders(data: DataSettings) -> list[Folder]:
    """The folders of training images; none where `data.source` names them."""
    if data.root is not None:
        return [Folder("data.root", data.root)]
    return [Folder(f"data.roots.{number}", path) for number, path in enumerate(data.roots)]


def source_setting(data: DataSettings) -> str:
    """The setting that says where the images are, for messages."""
    if data.roots:
        return f"data.roots = {', '.join(data.roots)}"
    return f"data.source = {data.source}" if data.root is None else f"data.root = {data.root}"


def find_source(
    data: DataSettings, folder: Folder | None = None, *, labelled: bool = False
) -> Source:
    """The images of a folder, without one of `data.root`, and without that of `data.source`;
    `labelled` needs classes, which a folder has as sub-folders."""
    if folder is None and data.root is not None:
        folder = Folder("data.root", data.root)
    if folder is not None:
        listing = list_folder(folder.path, kept_of(data), folder.key)
        images = [SourceImage(name, path) for name, path in listing.images.items()]
        source = _by_folder(folder, images) if labelled else Source(tuple(images))
        return replace(source, inventory=skipped(listing))
    if data.source == "digits":
        return Source(tuple(builtin_digits()), DIGITS, mirror=False, enlarge=True)
    if data.source == "photographs":
        source = Source(tuple(builtin_photographs()))
    else:
        source = torchvision_source(data)
    if labelled and not source.classes:
        raise SettingsError(
            f"data.source = {data.source}: these images have no classes; set data.root to a folder "
            "with a sub-folder for each class, or data.source to digits"
        )
    return source


def _by_folder(folder: Folder, images: list[SourceImage]) -> Source:
    outside = [image.name for image in images if "/" not in image.name]
    if outside:
        raise SettingsError(
            f"{folder}: {len(outside)} of {len(images)} images lie outside of "
            f"sub-folders (the first is {outside[0]}), so their class is not known; put each image "
            "into the folder of its class"
        )
    classes = tuple(sorted({image.name.partition("/")[0] for image in images}))
    number = {name: label for label, name in enumerate(classes)}
    labelled = (replace(image, label=number[image.name.partition("/")[0]]) for image in images)
    return Source(tuple(labelled), classes)


def usable_source(
    data: DataSettings,
    channels: int,
    needed_side: int,
    folder: Folder | None = None,
    *,
    labelled: bool = False,
) -> Source:
    """What `find_source` finds, if targets of side `needed_side` can be made of it; else
    SettingsError.

    Only headers are read, so that thousands of images take seconds.
    """
    source = find_source(data, folder, labelled=labelled)
    return checked_source(source, data, channels, needed_side, folder)


def checked_source(
    source: Source, data: DataSettings, channels: int, needed_side: int, folder: Folder | None
) -> Source:
    """The images of `folder` that can be used, with what their headers say; else SettingsError."""
    check_channels(channels)
    here = source_setting(data) if folder is None else str(folder)
    if not source.images:
        raise SettingsError(
            f"{here}: has no images; put PNG, JPEG, WebP, TIFF or BMP files there or below it"
        )
    headers = read_headers(source.images)
    enlarging = source.enlarge or data.smaller == "enlarge"
    if not (enlarging and data.view == "resize"):
        source = _large_enough(source, headers, data, here, needed_side)
    if len({image.group for image in source.images}) < (folder.least if folder else 2):
        raise SettingsError(
            f"{here}: has {len(source.images)} image; at least 2 are needed, "
            "one to train and one held out; add images"
        )
    used = {image.name: headers[image.name] for image in source.images}
    return replace(source, inventory=source.inventory + converted(used))


def _large_enough(
    source: Source, headers: dict[str, Header], data: DataSettings, here: str, needed_side: int
) -> Source:
    """The images of at least `needed_side`: all of them, unless smaller ones are skipped."""
    reduce = data.max_side if data.view == "crop" else None
    large = []
    for image in source.images:
        header = headers[image.name]
        if min(bounded(header.height, header.width, reduce)) >= needed_side:
            large.append(image)
    small = len(source.images) - len(large)
    kept = set(large)
    left_out = [image.name for image in source.images if image not in kept]
    if not small or (data.smaller == "skip" and large):
        why = {f"smaller than {needed_side} pixels": tuple(left_out)} if small else {}
        inventory = source.inventory + Inventory(skipped=why)
        return replace(source, images=tuple(large), inventory=inventory)
    first = headers[left_out[0]]
    raise SettingsError(
        f"{here}: {small} of {len(source.images)} images are smaller than "
        f"the target side of the last stage, {needed_side} (the first is {left_out[0]}, "
        f"{first.width}×{first.height}); remove them, set data.smaller = skip, or "
        "end the stages at a smaller resolution"
    )


def find_unlabelled(settings: ImageSettings, folder: Folder | None) -> Source:
    """Images of which no label is used; else SettingsError."""
    return usable_source(settings.data, settings.channels, largest_resolution(settings), folder)


def find_labelled(settings: ImageSettings, folder: Folder | None) -> Source:
    """Images with the numbers of their classes; else SettingsError."""
    side = largest_resolution(settings)
    return usable_source(settings.data, settings.channels, side, folder, labelled=True)


def check_classes(settings: ImageSettings, source: Source) -> None:
    """SettingsError unless there are as many classes as the system has labels for (`num_classes`,
    if it has that setting), each with enough images."""
    here = source_setting(settings.data)
    least = 1 if source.held_out else 2
    wanted = getattr(settings, "num_classes", len(source.classes))
    if len(source.classes) != wanted:
        names = ", ".join(source.classes[:5]) + (", …" if len(source.classes) > 5 else "")
        raise SettingsError(
            f"num_classes = {wanted}: {here} has {len(source.classes)} classes ({names}); "
            f"set num_classes = {len(source.classes)}, or give other images"
        )
    labels = [image.label for image in source.images]
    for number, name in enumerate(source.classes):
        if labels.count(number) < least:
            raise SettingsError(
                f"{here}: class {name} has {labels.count(number)} usable images; at least 2 are "
                "needed, one to train and one held out; add images or remove the class"
            )


def largest_resolution(settings: ImageSettings) -> int:
    """The side of the largest targets of all stages."""
    return max(stage.resolution for stage in settings.stages)


def check_channels(channels: int) -> None:
    """SettingsError unless images can have that many channels."""
    if channels not in (1, 3):
        raise SettingsError(
            f"channels = {channels}: images have 3 (colour) or 1 (grey); set 3 or 1"
        )


# package, folder, files; docs/data.md says who made them and under which terms
_PHOTOGRAPHS = {
    "skimage": (
        "data",
        (
            "astronaut.png",
            "chelsea.png",
            "coffee.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "motorcycle_left.png",
            "motorcycle_right.png",
            "retina.jpg",
            "rocket.jpg",
        ),
    ),
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
}


def builtin_photographs() -> list[SourceImage]:
    """The eleven photographs of ten scenes in the installed scikit-learn and scikit-image."""
    images = []
    for package, (folder, names) in _PHOTOGRAPHS.items():
        for name in names:
            path = _inside(package, f"{folder}/{name}")
            if path is None:
                raise SettingsError(
                    f"data.source = photographs: the photograph {package}/{name} is missing; "
                    "`pip install scikit-learn scikit-image`, or set data.root to a folder"
                )
            scene = "motorcycle" if name.startswith("motorcycle") else ""
            images.append(SourceImage(f"{package}/{name}", path, scene))
    return images


def _inside(package: str, name: str) -> Path | None:
    """A file of an installed package, which is located, not imported: it is slow to import."""
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0], name) if folders else None
    return path if path is not None and path.is_file() else None


DIGITS = tuple("0123456789")


def builtin_digits() -> list[SourceImage]:
    """The 1,797 handwritten digits in the installed scikit-learn, 8 × 8 pixels, with labels.

    In the order of `sklearn.datasets.load_digits`, levels 0 … 16 stretched to 0 … 255.
    """
    path = _inside("sklearn", "datasets/data/digits.csv.gz")
    if path is None:
        raise SettingsError(
            "data.source = digits: sklearn/datasets/data/digits.csv.gz is missing; "
            "`pip install scikit-learn`, or set data.root to a folder"
        )
    table = np.loadtxt(path, delimiter=",")
    levels = np.round(table[:, :64] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    return _labelled_items("digits", 4, levels, table[:, 64])


def _labelled_items(
    name: str, digits: int, levels: NDArray[np.uint8], labels: Iterable[float]
) -> list[SourceImage]:
    """Images that one file holds, (n, H, W) or (n, H, W, 3), numbered with so many digits."""
    items = []
    for number, (label, pixels) in enumerate(zip(labels, levels, strict=True)):
        key = f"{name}/{number:0{digits}d}"
        items.append(SourceImage(key, Path(key), "", int(label), pixels))
    return items


class _Arrays(Protocol):
    """A torchvision data set that keeps its images together in memory."""

    @property
    def data(self) -> ArrayLike: ...
    @property
    def targets(self) -> ArrayLike: ...


class _Folders(Protocol):
    """A torchvision data set with one folder for each class."""

    @property
    def samples(self) -> Sequence[tuple[str, int]]: ...


class _Faces(Protocol):
    """torchvision's CelebA."""

    @property
    def root(self) -> str | Path: ...
    @property
    def base_folder(self) -> str: ...
    @property
    def filename(self) -> Sequence[str]: ...


def _arrays(found: _Arrays, name: str) -> list[SourceImage]:
    levels = np.asarray(found.data, dtype=np.uint8)
    return _labelled_items(name, 5, levels, np.asarray(found.targets))


def _folders(found: _Folders, name: str) -> list[SourceImage]:
    return [
        SourceImage(
            f"{name}/{Path(path).parent.name}/{Path(path).name}", Path(path), "", int(label)
        )
        for path, label in sorted(found.samples)
    ]


def _faces(found: _Faces, name: str) -> list[SourceImage]:
    """The aligned faces, without labels."""
    folder = Path(found.root, found.base_folder, "img_align_celeba")
    return [SourceImage(f"{name}/{file}", folder / file) for file in sorted(found.filename)]


@dataclass(frozen=True)
class _TorchvisionSet:
    """How a data set is read. `files` is where its files are expected, below torchvision's
    folder; `options` are the arguments of its class."""

    read: Callable[[Any, str], list[SourceImage]]
    files: str
    options: Mapping[str, bool | str]
    mirror: bool


_TORCHVISION_SETS = {
    "MNIST": _TorchvisionSet(_arrays, "MNIST/raw", {"train": True}, mirror=False),
    "FashionMNIST": _TorchvisionSet(_arrays, "FashionMNIST/raw", {"train": True}, mirror=False),
    "CIFAR10": _TorchvisionSet(_arrays, "cifar-10-batches-py", {"train": True}, mirror=True),
    "CelebA": _TorchvisionSet(_faces, "celeba", {"split": "train"}, mirror=True),
    "EuroSAT": _TorchvisionSet(_folders, "eurosat/2750", {}, mirror=True),
}


def torchvision_source(data: DataSettings) -> Source:
    """The training images of the data set that `data.source` names; SettingsError where its files
    are not on this machine. They are downloaded only with `data.download`."""
    # torchvision takes seconds to import, and only these sources need it
    from torchvision import datasets

    name = data.source.removeprefix("torchvision:")
    known = _TORCHVISION_SETS[name]
    folder = cache_directory(data) / "torchvision"
    data_set = getattr(datasets, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if data.download:
            with locked(folder / name):
                found = data_set(str(folder), download=True, **known.options)
        else:
            found = data_set(str(folder), **known.options)
    except (OSError, RuntimeError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        fix = (
            "put its files there, or set data.root to a folder of images"
            if data.download
            else "set data.download = true where the network allows, or put its files there"
        )
        raise SettingsError(
            f"data.source = {data.source}: cannot be read from {folder / known.files} "
            f"({reason}); {fix}"
        ) from None
    classes = () if name == "CelebA" else tuple(str(label) for label in found.classes)
    return Source(tuple(known.read(found, name)), classes, known.mirror, enlarge=True)
