"""A trained generator, and bicubic enlargement, measured on a benchmark folder."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor, nn

from ganforge.console import Table
from ganforge.data.batch import Batch
from ganforge.inference.tiles import upscale
from ganforge.metrics.image_quality import WINDOW, bicubic, luma, measure
from ganforge.settings import SettingsError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class ImageMetrics:
    """The metrics of one image, or their means: PSNR in dB and SSIM of the luma."""

    name: str
    psnr: float
    ssim: float
    psnr_bicubic: float
    ssim_bicubic: float


def evaluate_benchmark(
    network: nn.Module | None, folder: str | Path, scale: int, channels: int = 3
) -> list[ImageMetrics]:
    """Metrics of `network` and of bicubic enlargement for each image of a benchmark, by name.

    `folder` holds HR/ and LR/ with equally named files, and HR is `scale` times LR; the remainder
    of an HR side that `scale` does not divide is cut off. A single-channel image is given to a
    network of three channels as three equal ones and measured on its own grey scale. A network of
    one channel is given, and measured on, the Y channel of colour images. Without a network the
    metrics are those of bicubic.
    """
    if channels not in (1, 3):
        raise SettingsError(f"channels = {channels}: benchmarks need a model of 1 or 3 channels")
    pairs = _pairs(Path(folder))
    return [_row(network, target, source, scale, channels) for target, source in pairs]


def benchmark_scale(folder: str | Path) -> int:
    """How many times larger HR is than LR, from the first image."""
    target, source = (_read(path) for path in _pairs(Path(folder))[0])
    return max(1, target.shape[-1] // source.shape[-1])


def means(rows: Sequence[ImageMetrics]) -> ImageMetrics:
    """The means of all metrics, as a row named "mean"."""
    numbers = [field.name for field in fields(ImageMetrics) if field.name != "name"]
    return ImageMetrics(
        "mean", **{n: sum(getattr(row, n) for row in rows) / len(rows) for n in numbers}
    )


def table(rows: Sequence[ImageMetrics], title: str, *, bicubic_only: bool = False) -> Table:
    """The rows and their means, ready to print."""
    shown = Table(title=title)
    shown.add_column("image")
    headings = ("PSNR", "bicubic", "gain", "SSIM", "bicubic")
    for heading in ("bicubic PSNR", "SSIM") if bicubic_only else headings:
        shown.add_column(heading, justify="right")
    mean = means(rows)
    for row in [*rows, mean]:
        if row is mean:
            shown.add_section()
        cells = (
            f"{row.psnr:.2f}",
            f"{row.psnr_bicubic:.2f}",
            f"{row.psnr - row.psnr_bicubic:+.2f}",
            f"{row.ssim:.4f}",
            f"{row.ssim_bicubic:.4f}",
        )
        chosen = (cells[1], cells[4]) if bicubic_only else cells
        shown.add_row(row.name, *chosen, style="bold" if row is mean else None)
    return shown


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Paths of each high-resolution image and its low-resolution one, in order of their names."""
    found = []
    for part in ("HR", "LR"):
        if not (folder / part).is_dir():
            raise SettingsError(
                f"{folder / part}: no such folder; a benchmark folder holds HR/ and LR/ with "
                "equally named images"
            )
        paths = (folder / part).iterdir()
        found.append({p.name: p for p in paths if p.suffix.lower() in SUFFIXES and p.is_file()})
    targets, sources = found
    unpaired = sorted(targets.keys() ^ sources.keys())
    if unpaired:
        listed = ", ".join(unpaired[:5]) + (", …" if len(unpaired) > 5 else "")
        raise SettingsError(
            f"{folder}: {len(unpaired)} images are in only one of HR/ and LR/ ({listed}); "
            "give both the same name"
        )
    if not targets:
        raise SettingsError(f"{folder}: no images in HR/ and LR/ ({', '.join(sorted(SUFFIXES))})")
    return [(targets[name], sources[name]) for name in sorted(targets)]


def _read(path: Path) -> Tensor:
    """An image file as (C, H, W) in [-1, 1], of one channel where the file has one, else three."""
    try:
        with Image.open(path) as file:
            if file.mode[:1] in ("I", "F"):
                raise SettingsError(f"{path}: more than 8 bits a channel; convert it to 8 bits")
            upright = ImageOps.exif_transpose(file)
            grey = upright.mode in ("1", "L", "LA")
            levels = np.array(upright.convert("L" if grey else "RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise SettingsError(f"{path}: not a readable image ({error})") from None
    image = torch.from_numpy(levels).float() / 127.5 - 1
    return image[None] if grey else image.permute(2, 0, 1)


def _row(
    network: nn.Module | None, target_path: Path, source_path: Path, scale: int, channels: int
) -> ImageMetrics:
    target, source = _read(target_path), _read(source_path)
    if channels == 1:
        target, source = _grey(target), _grey(source)
    _check_sides(target, source, scale, target_path)
    height, width = source.shape[-2] * scale, source.shape[-1] * scale
    if network is None:
        generated = bicubic(source[None], scale)[0]
    else:
        generated = upscale(network, _with_channels(source, channels))
        if generated.shape != (channels, height, width):
            raise SettingsError(
                f"{source_path}: the network makes {tuple(generated.shape)} from "
                f"{tuple(source.shape)}; scale = {scale} needs {(channels, height, width)}: give "
                "a benchmark of the network's scale"
            )
    batch = Batch(target[None, :, :height, :width], _with_channels(source, len(target))[None])
    metrics = measure(_with_channels(generated, len(target))[None], batch, scale)
    return ImageMetrics(
        target_path.name, **{name: values.item() for name, values in metrics.items()}
    )


def _grey(image: Tensor) -> Tensor:
    """The channel on which metrics are measured, as an image: (1, H, W) in [-1, 1]."""
    return (luma(image[None]) / 127.5 - 1).float() if len(image) == 3 else image


def _with_channels(image: Tensor, channels: int) -> Tensor:
    """A grey image as equal channels, or a colour image as the mean of its channels."""
    if len(image) == channels:
        return image
    return image.expand(channels, -1, -1) if len(image) == 1 else image.mean(0, keepdim=True)


def _check_sides(target: Tensor, source: Tensor, scale: int, path: Path) -> None:
    high, low = target.shape[-2:], source.shape[-2:]
    sides = f"HR {high[0]} × {high[1]}, LR {low[0]} × {low[1]}"
    if any(not 0 <= large - scale * small < scale for large, small in zip(high, low, strict=True)):
        raise SettingsError(
            f"{path}: {sides}: with scale = {scale} each HR side must be {scale} times the LR "
            f"side, plus a remainder below {scale}"
        )
    if min(low) * scale < WINDOW + 2 * scale:
        raise SettingsError(
            f"{path}: {sides}: SSIM needs an HR side of {WINDOW + 2 * scale} pixels"
        )
