"""The sample grids of a run, read back from its record."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ganforge.tracking.queries import fetch_file, list_files

_FOLDER = "grids"
_NAME = re.compile(r"stage-(\d+)-(\d+)\.png$")


def in_order(paths: Sequence[str]) -> list[tuple[int, int, str]]:
    """(stage, step, path) of the sample grids among `paths`, in the order of training."""
    found = [(int(m[1]), int(m[2]), path) for path in paths if (m := _NAME.search(path))]
    return sorted(found)


def list_grids(uri: str, run_id: str) -> list[tuple[int, int, str]]:
    """(stage, step, path) of a run's sample grids, in the order of training."""
    return in_order(list_files(uri, run_id, _FOLDER))


def newest_grid(uri: str, run_id: str, stage: int | None = None) -> bytes | None:
    """The PNG of a run's newest sample grid, or of the newest of a stage; None where none is
    recorded."""
    chosen = [path for index, _, path in list_grids(uri, run_id) if stage in (None, index)]
    if not chosen:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return fetch_file(uri, run_id, chosen[-1], Path(folder)).read_bytes()
