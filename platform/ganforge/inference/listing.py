"""The image files below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from ganforge.inference.images import SUFFIXES
from ganforge.settings import SettingsError


def images_below(root: Path, output: Path | None = None) -> Iterator[Path]:
    """The images in a folder and the folders below it, those that are links too, as in training.

    Names that start with a dot are skipped, and what lies in `output`, a folder below `root`. A
    folder that cannot be listed is a SettingsError.
    """
    seen: set[str] = set()
    for here, folders, names in os.walk(root, followlinks=True, onerror=_raise):
        real = os.path.realpath(here)
        results = (
            output is not None and output != root.resolve() and Path(real).is_relative_to(output)
        )
        if real in seen or results:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(here, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and path.is_file():
                yield path


def _raise(error: OSError) -> None:
    raise SettingsError(
        f"{error.filename}: cannot be listed ({error.strerror}); change its permissions, or "
        "remove it"
    )
