"""The image files that a command is to upscale, and the names of their results."""

from dataclasses import dataclass
from pathlib import Path

from ganforge.inference.images import SUFFIXES
from ganforge.inference.listing import images_below
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class UpscaleTask:
    """An image file, the name it is reported under, and the file to write."""

    source: Path
    name: str
    target: Path


def find_tasks(given: Path, output: Path, suffix: str) -> list[UpscaleTask]:
    """The tasks for one image, or for all images in a folder and the folders below it.

    Sub-folders are mirrored, those that are links too, as in training; names that start with a dot
    are skipped, and what lies in `output`. A result has the name of its source with the new suffix.
    Only where two sources would get one name does the old suffix stay in it: a.jpg.png.
    """
    if given.is_file():
        sources, root = [given], given.parent
    elif given.is_dir():
        root = given
        sources = sorted(images_below(given, output.resolve()))
    else:
        raise SettingsError(f"{given}: no such image or folder")
    if not sources:
        raise SettingsError(f"{given}: no images in it ({', '.join(sorted(SUFFIXES))})")
    names = [path.relative_to(root) for path in sources]
    wanted = [_key(name.with_suffix(suffix)) for name in names]
    # a name that keeps its old suffix must not equal a plain one either
    plain = {key for key in wanted if wanted.count(key) == 1}
    taken: set[str] = set()
    tasks = []
    for source, name, key in zip(sources, names, wanted, strict=True):
        target, number = name.with_suffix(suffix), 1
        while key not in plain and (number == 1 or _key(target) in taken | plain):
            ending = suffix if number == 1 else f"-{number}{suffix}"
            target, number = name.with_name(name.name + ending), number + 1
        tasks.append(UpscaleTask(source, name.as_posix(), output / target))
        taken.add(_key(target))
    return tasks


def _key(path: Path) -> str:
    """Equal for names that are one file on some disks."""
    return path.as_posix().casefold()
