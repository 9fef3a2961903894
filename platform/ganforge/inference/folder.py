"""Which image files are meant, and under which names their results are written."""

from dataclasses import dataclass
from pathlib import Path

from ganforge.inference.images import SUFFIXES
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class Task:
    """An image file, its name as told to people, and the file that is made of it."""

    source: Path
    name: str
    target: Path


def find_tasks(given: Path, output: Path, suffix: str) -> list[Task]:
    """The tasks for one image, or for all images in a folder and the folders below it.

    Sub-folders are mirrored. A result is called like its source with the new suffix; where two
    sources would meet, and never otherwise, the old suffix stays in the name: a.jpg.png.
    """
    if given.is_file():
        sources, root = [given], given.parent
    elif given.is_dir():
        root, inside = given, output.resolve()
        sources = [
            path
            for path in sorted(given.rglob("*"))
            if path.suffix.lower() in SUFFIXES
            and path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(root).parts)
            and (inside == root.resolve() or not path.resolve().is_relative_to(inside))
        ]
    else:
        raise SettingsError(f"{given}: no such image or folder")
    if not sources:
        raise SettingsError(f"{given}: no images in it ({', '.join(sorted(SUFFIXES))})")
    names = [path.relative_to(root) for path in sources]
    wanted = [_key(name.with_suffix(suffix)) for name in names]
    # a name that keeps its old suffix must not meet a plain one either
    plain = {key for key in wanted if wanted.count(key) == 1}
    taken: set[str] = set()
    tasks = []
    for source, name, key in zip(sources, names, wanted, strict=True):
        target, number = name.with_suffix(suffix), 1
        while key not in plain and (number == 1 or _key(target) in taken | plain):
            ending = suffix if number == 1 else f"-{number}{suffix}"
            target, number = name.with_name(name.name + ending), number + 1
        tasks.append(Task(source, name.as_posix(), output / target))
        taken.add(_key(target))
    return tasks


def _key(path: Path) -> str:
    """Equal for names that are one file on some disks."""
    return path.as_posix().casefold()
