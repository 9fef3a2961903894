"""All folders that settings name, each read by itself, as one source: several of training images,
and one of validation images.

One folder alone keeps the names, and so the fingerprint, that it has always had.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

from ganforge.data.base import ImageSettings
from ganforge.data.images import SourceImage
from ganforge.data.inventory import Inventory, Names
from ganforge.data.kinds import kind_of
from ganforge.data.sources import Folder, Source, root_folders
from ganforge.settings import SettingsError

#: what names of validation images begin with
HELD_OUT = "validation.root/"


def find_images(kind: str, settings: ImageSettings) -> Source:
    """The images that settings name, for a kind of data set; else SettingsError.

    Names and headers alone are read. Images of several folders are named by the folder's number and
    their path below it (`1/cats/a.png`), validation images by `validation.root/` and their path.
    """
    if settings.data.given_pairs and kind != "super_resolution":
        raise SettingsError(
            "data.low_resolution, data.low_resolution_name: are for systems that enlarge images, "
            "which this one does not; leave them out"
        )
    found = _training(kind, settings)
    root = settings.validation.root
    if root is not None:
        own = kind_of(kind).find(settings, Folder("validation.root", root, least=1))
        found = _with_held_out(found, own, Folder("validation.root", root))
    kind_of(kind).check(settings, found)
    return found


def _training(kind: str, settings: ImageSettings) -> Source:
    least = 2 if settings.validation.root is None else 1
    folders = [replace(folder, least=least) for folder in root_folders(settings.data)]
    if len(folders) < 2:
        return kind_of(kind).find(settings, folders[0] if folders else None)
    _refuse_again(folders)
    return _joined([kind_of(kind).find(settings, folder) for folder in folders])


def _refuse_again(folders: Sequence[Folder]) -> None:
    seen: dict[str, Folder] = {}
    for folder in folders:
        far = "://" in folder.path
        real = folder.path if far else os.path.realpath(os.path.expanduser(folder.path))
        if real in seen:
            raise SettingsError(
                f"{folder}: is the folder of {seen[real].key} again; give each folder once, and "
                "data.weights to show one more often"
            )
        seen[real] = folder


def _joined(parts: Sequence[Source]) -> Source:
    """Several sources in order; classes of one name are one class."""
    classes = tuple(sorted({name for part in parts for name in part.classes}))
    images: list[SourceImage] = []
    inventory = Inventory()
    for number, part in enumerate(parts):
        labels = {old: classes.index(name) for old, name in enumerate(part.classes)}
        named = _renamed(part, f"{number}/")
        images += [
            image if image.label is None else replace(image, label=labels[image.label])
            for image in named.images
        ]
        inventory += named.inventory
    roots = tuple(number for number, part in enumerate(parts) for _ in part.images)
    return Source(tuple(images), classes, inventory=inventory, roots=roots)


def _with_held_out(found: Source, own: Source, folder: Folder) -> Source:
    if own.classes != found.classes:
        here, there = (", ".join(classes) for classes in (own.classes, found.classes))
        raise SettingsError(
            f"{folder}: has the classes {here}; must have those of the training images "
            f"({there}), each in a sub-folder of its name"
        )
    taken = [image.name for image in found.images if image.name.startswith(HELD_OUT)]
    if taken:
        raise SettingsError(
            f"data.root: {taken[0]} has a name that only images of validation.root have; rename "
            f"the folder {HELD_OUT}"
        )
    named = _renamed(own, HELD_OUT)
    return replace(found, held_out=named.images, inventory=found.inventory + named.inventory)


def _renamed(source: Source, prefix: str) -> Source:
    """The same images with `prefix` before their names and scenes."""

    def longer(names: Names) -> dict[str, tuple[str, ...]]:
        return {why: tuple(prefix + name for name in those) for why, those in names.items()}

    images = [
        replace(
            one,
            name=prefix + one.name,
            scene=one.scene and prefix + one.scene,
            low=one.low and replace(one.low, name=prefix + one.low.name),
        )
        for one in source.images
    ]
    listed = source.inventory
    inventory = Inventory(
        {prefix + name: header for name, header in listed.used.items()},
        longer(listed.converted),
        longer(listed.skipped),
    )
    return replace(source, images=tuple(images), inventory=inventory)
