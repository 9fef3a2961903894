"""Finished images measured without originals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ganforge.console import Table, literal
from ganforge.inference.images import SUFFIXES, read_photo
from ganforge.inference.listing import images_below
from ganforge.metrics.niqe import BLOCK, measurable, niqe
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class ImageNaturalness:
    """NIQE of one image (metrics/niqe.py), or the mean of a folder; lower looks more natural."""

    name: str
    niqe: float


def measure_folder(
    folder: str | Path,
    failed: list[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ImageNaturalness]:
    """NIQE of each image in a folder and the folders below it, by name.

    What cannot be read or measured becomes a line in `failed`; a folder without images is a
    SettingsError. `on_progress(done, all)` is called after each image.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise SettingsError(f"{root}: no such folder; give one with finished images")
    paths = sorted(images_below(root))
    if not paths:
        raise SettingsError(f"{root}: no images in it ({', '.join(sorted(SUFFIXES))})")
    found: list[ImageNaturalness] = []
    for number, path in enumerate(paths, 1):
        try:
            found.append(ImageNaturalness(path.relative_to(root).as_posix(), _measured(path)))
        except SettingsError as error:
            failed.append(str(error))
        except Exception as error:  # of decoders, and of an image for which memory is too small
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            failed.append(f"{path}: is not measured: {reason}")
        if on_progress is not None:
            on_progress(number, len(paths))
    return found


def mean_of(rows: Sequence[ImageNaturalness]) -> ImageNaturalness:
    """The mean, as a row named "mean"."""
    return ImageNaturalness("mean", sum(row.niqe for row in rows) / len(rows))


def naturalness_table(rows: Sequence[ImageNaturalness], title: str) -> Table:
    """The rows and their mean, ready to print."""
    shown = Table("image", caption="lower is better", caption_justify="left")
    shown.title = literal(title)
    shown.add_column("NIQE", justify="right")
    for row in rows:
        shown.add_row(literal(row.name), f"{row.niqe:.2f}")
    shown.add_section()
    shown.add_row("mean", f"{mean_of(rows).niqe:.2f}", style="bold")
    return shown


def _measured(path: Path) -> float:
    colour = read_photo(path).colour
    height, width = colour.shape[-2:]
    if not measurable(height, width, 0):
        raise SettingsError(
            f"{path}: {height} × {width} pixels: NIQE needs two blocks of {BLOCK} pixels a side; "
            "leave it out"
        )
    found = niqe(colour[None], 0).item()
    if math.isnan(found):
        raise SettingsError(
            f"{path}: fewer than two blocks of {BLOCK} pixels a side have any texture, and NIQE "
            "measures texture; leave it out"
        )
    return found
