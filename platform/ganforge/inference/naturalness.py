"""Finished images measured without originals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ganforge.console import Table, literal
from ganforge.inference.images import SUFFIXES, read_photo
from ganforge.metrics.niqe import measurable, niqe
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
    """NIQE of each image of a folder, by name.

    What cannot be read or measured becomes a line in `failed`; a folder without images is a
    SettingsError. `on_progress(done, all)` is called after each image.
    """
    paths = _images(Path(folder).expanduser())
    found: list[ImageNaturalness] = []
    for number, path in enumerate(paths, 1):
        try:
            found.append(_measured(path))
        except SettingsError as error:
            failed.append(str(error))
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


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SettingsError(f"{folder}: no such folder; give one with finished images")
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not paths:
        raise SettingsError(f"{folder}: no images ({', '.join(sorted(SUFFIXES))})")
    return paths


def _measured(path: Path) -> ImageNaturalness:
    colour = read_photo(path).colour
    height, width = colour.shape[-2:]
    if not measurable(height, width, 0):
        raise SettingsError(
            f"{path}: {height} × {width} pixels: NIQE needs two blocks of 96 pixels a side"
        )
    found = niqe(colour[None], 0).item()
    if found != found:
        raise SettingsError(f"{path}: has no texture anywhere, which NIQE cannot measure")
    return ImageNaturalness(path.name, found)
