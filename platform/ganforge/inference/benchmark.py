"""A trained generator, and bicubic enlargement, measured on a benchmark folder."""

import math
import re
import statistics
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from ganforge.console import Table, literal
from ganforge.data.batch import Batch
from ganforge.inference.images import SUFFIXES, read_photo
from ganforge.inference.tiles import check_memory, upscale_in_tiles
from ganforge.metrics import efflite0
from ganforge.metrics.image_quality import WINDOW, bicubic, luma, measure
from ganforge.metrics.lpips import LEAST_SIDE, LPIPS
from ganforge.metrics.niqe import measurable, niqe
from ganforge.metrics.rgb_quality import measure_rgb
from ganforge.settings import SettingsError

#: What a name of a low-resolution image may have after that of its high-resolution one: 0801x2.
_SCALE_SUFFIX = re.compile(r"(.+)[xX][0-9]+")
#: From this many pixels on the memory for an image is estimated before it is used.
_LARGE_PIXELS = 1 << 20
#: By how much luma of 16 … 235 is above grey of 0 … 255 in PSNR, the images being equal.
LUMA_DB = 20 * math.log10(255 / 219)


@dataclass(frozen=True)
class ImageMetrics:
    """The metrics of one image, or their means: PSNR in dB and SSIM of the luma, and where its
    network is installed `perceptual_efflite0` (metrics/efflite0.py), which is smaller where an
    image looks better. NIQE (metrics/niqe.py), lower where an image looks more natural, is that of
    the image, of bicubic and of the original; None for images that have fewer than two blocks with
    texture. LPIPS is there where it was asked for, over the network `lpips_network`, and None for
    images too small for it.

    `measured_on` is "luma", 16 … 235, or of an image that is stored with a single channel "grey",
    0 … 255: so the published figures are computed. "grey as luma" is a grey image that is stored
    with three channels. PSNR on luma is about `LUMA_DB` higher. "rgb" are the three channels.
    """

    name: str
    psnr: float
    ssim: float
    psnr_bicubic: float
    ssim_bicubic: float
    measured_on: str = "luma"
    perceptual_efflite0: float | None = None
    perceptual_efflite0_bicubic: float | None = None
    niqe: float | None = None
    niqe_bicubic: float | None = None
    niqe_original: float | None = None
    lpips: float | None = None
    lpips_bicubic: float | None = None
    lpips_network: str | None = None


def evaluate_benchmark(
    network: nn.Module | None,
    folder: str | Path,
    scale: int,
    channels: int = 3,
    failed: list[str] | None = None,
    *,
    tile: int | None = None,
    half: bool = False,
    rgb: bool = False,
    lpips: LPIPS | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ImageMetrics]:
    """Metrics of `network` and of bicubic enlargement for each image of a benchmark, by name.

    `folder` holds HR/ and LR/ with equally named files (or NAME.png and NAMEx2.png), and HR is
    `scale` times LR; the remainder of an HR side that `scale` does not divide is cut off. A
    single-channel image is given to a network of three channels as three equal ones and measured on
    its own grey scale. A network of one channel is given, and measured on, the Y channel of colour
    images. Without a network the metrics are those of bicubic.

    With `tile` the network works in tiles of so many source pixels a side, with `half` in half
    precision; with `rgb` colour images are measured on R, G and B in place of Y; with `lpips`
    (metrics/lpips.py) by that distance too.

    An image that cannot be measured is a SettingsError; with `failed` it becomes a line in it, and
    the others are measured. `on_progress(done, all)` is called after each image.
    """
    if channels not in (1, 3):
        raise SettingsError(f"channels = {channels}: benchmarks need a model of 1 or 3 channels")
    rows: list[ImageMetrics] = []
    pairs = _pairs(Path(folder))
    for number, (target, source) in enumerate(pairs, 1):
        try:
            rows.append(_row(network, target, source, scale, channels, tile, half, rgb, lpips))
        except SettingsError as error:
            if failed is None:
                raise
            failed.append(str(error))
        except Exception as error:  # of decoders and networks: they have no common base
            if failed is None:
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            failed.append(f"{source}: is not measured: {reason}")
        if on_progress is not None:
            on_progress(number, len(pairs))
    return rows


def benchmark_scale(folder: str | Path) -> int:
    """How many times larger HR is than LR: the median over the images, so that sides which were
    rounded when they were reduced change nothing."""
    pairs = _pairs(Path(folder))
    ratios = [max(high) / max(low) for high, low in map(_both_sides, pairs) if high and low]
    if not ratios:  # no header can be read: say why
        for path in pairs[0]:
            _read(path)
    return max(1, round(statistics.median(ratios)))


def _both_sides(pair: tuple[Path, Path]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sides of a pair from the headers, () where one cannot be read."""
    return _header_sides(pair[0]), _header_sides(pair[1])


def means(rows: Sequence[ImageMetrics]) -> ImageMetrics:
    """The means of all metrics, as a row named "mean": of NIQE and LPIPS over the images that have
    them."""
    words = ("name", "measured_on", "lpips_network")
    numbers = [field.name for field in fields(ImageMetrics) if field.name not in words]
    columns = {n: [v for row in rows if (v := getattr(row, n)) is not None] for n in numbers}
    found = {n: sum(v) / len(v) for n, v in columns.items() if v}
    kinds = {row.measured_on for row in rows}
    return ImageMetrics(
        "mean",
        **found,
        measured_on=kinds.pop() if len(kinds) == 1 else "both",
        lpips_network=rows[0].lpips_network,
    )


def table(rows: Sequence[ImageMetrics], title: str, *, bicubic_only: bool = False) -> Table:
    """The rows and their means, ready to print."""
    mean = means(rows)
    notes = [*_set_notes(rows, mean, bicubic_only), *_grey_notes(rows)]
    shown = Table(caption=literal("\n".join(notes)) if notes else None, caption_justify="left")
    shown.title = literal(title)
    shown.add_column("image")
    headings = ["PSNR", "bicubic", "gain", "SSIM", "bicubic"]
    alone = ["bicubic PSNR", "SSIM"]
    if seen := mean.perceptual_efflite0 is not None:
        headings += ["perceptual", "bicubic"]
        alone += ["perceptual"]
    for heading in alone if bicubic_only else headings:
        shown.add_column(heading, justify="right")
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
        if seen:
            both = (row.perceptual_efflite0, row.perceptual_efflite0_bicubic)
            chosen += tuple(f"{value:.4f}" for value in (both[1:] if bicubic_only else both))
        shown.add_row(literal(row.name), *chosen, style="bold" if row is mean else None)
    return shown


def _set_notes(rows: Sequence[ImageMetrics], mean: ImageMetrics, bicubic_only: bool) -> list[str]:
    """Means for which the table has no columns; of one image NIQE says little."""
    lines: list[str] = []
    if mean.lpips_network is not None:
        own = "" if bicubic_only or mean.lpips is None else f"{mean.lpips:.4f}, "
        values = "" if mean.lpips is None else f"{own}bicubic {mean.lpips_bicubic:.4f} "
        having = _having([row.lpips for row in rows], "are large enough")
        lines.append(f"LPIPS ({mean.lpips_network}) {values}(lower is better{having})")
    if mean.niqe is not None:
        own = "" if bicubic_only else f"{mean.niqe:.2f}, "
        others = f"bicubic {mean.niqe_bicubic:.2f}, originals {mean.niqe_original:.2f}"
        having = _having([row.niqe for row in rows], "have two blocks of texture")
        lines.append(f"NIQE {own}{others} (lower is better{having})")
    return lines


def _having(values: Sequence[float | None], why: str) -> str:
    """Of how many images a mean is, where it is not of all."""
    count = sum(value is not None for value in values)
    return "" if count == len(values) else f"; {count} of {len(values)} images {why}"


def _grey_notes(rows: Sequence[ImageMetrics]) -> list[str]:
    """What the way in which grey images are stored changes in their figures."""
    lines = []
    for kind, text in (
        ("grey", "one channel, measured on 0 … 255; stored as RGB, PSNR would be {} dB higher"),
        ("grey as luma", "grey stored as RGB, measured on luma; as one channel, {} dB lower"),
    ):
        names = [row.name for row in rows if row.measured_on == kind]
        if names:
            listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            lines.append(f"{listed}: {text.format(f'about {LUMA_DB:.2f}')}")
    return lines


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Paths of each high-resolution image and its low-resolution one, in order of their names."""
    targets, sources = (_images(folder, part) for part in ("HR", "LR"))
    by_stem: dict[str, list[Path]] = {}
    for path in targets.values():
        by_stem.setdefault(path.stem, []).append(path)
    found: dict[Path, list[Path]] = {path: [] for path in targets.values()}
    lonely: list[str] = []
    for name, source in sources.items():
        shorter = _SCALE_SUFFIX.fullmatch(source.stem)
        same = [targets[name]] if name in targets else by_stem.get(source.stem, [])
        if not same and shorter is not None:
            same = by_stem.get(shorter[1], [])
        if len(same) > 1:
            raise _ambiguous(folder, f"LR/{name}", (f"HR/{path.name}" for path in same))
        if same:
            found[same[0]].append(source)
        else:
            lonely.append(f"LR/{name}")
    for target, matches in found.items():
        if len(matches) > 1:
            raise _ambiguous(folder, f"HR/{target.name}", (f"LR/{p.name}" for p in matches))
    lonely += [f"HR/{target.name}" for target, matches in found.items() if not matches]
    if lonely:
        listed = ", ".join(lonely[:5]) + (", …" if len(lonely) > 5 else "")
        raise SettingsError(
            f"{folder}: {len(lonely)} images are in only one of HR/ and LR/ ({listed}); "
            "give both the same name, or NAME.png and NAMEx2.png"
        )
    if not found:
        raise SettingsError(f"{folder}: no images in HR/ and LR/ ({', '.join(sorted(SUFFIXES))})")
    return [(target, source) for target, (source,) in sorted(found.items())]


def _images(folder: Path, part: str) -> dict[str, Path]:
    """The images of HR/ or LR/ by name; names that start with a dot are other systems' own."""
    if not (folder / part).is_dir():
        raise SettingsError(
            f"{folder / part}: no such folder; a benchmark folder holds HR/ and LR/ with "
            "equally named images"
        )
    paths = sorted((folder / part).iterdir())
    return {
        path.name: path
        for path in paths
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    }


def _ambiguous(folder: Path, name: str, others: Iterable[str]) -> SettingsError:
    return SettingsError(
        f"{folder}: {name} pairs with {' and with '.join(others)}; leave one of them"
    )


def _header_sides(path: Path) -> tuple[int, ...]:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as file:
            return file.size
    except Exception:  # what decoders raise has no common base; it is reported when it is measured
        return ()


def _read(path: Path) -> Tensor:
    """An image file as (C, H, W) in [-1, 1], of one channel where the file has one, else three."""
    photo = read_photo(path)
    if photo.depth != 8:
        raise SettingsError(f"{path}: more than 8 bits a channel; convert it to 8 bits")
    return photo.colour


def _row(
    network: nn.Module | None,
    target_path: Path,
    source_path: Path,
    scale: int,
    channels: int,
    tile: int | None,
    half: bool,
    rgb: bool,
    lpips: LPIPS | None,
) -> ImageMetrics:
    target, source = _read(target_path), _read(source_path)
    measured_on = "grey" if len(target) == 1 else "luma"
    if len(target) == 3 and bool((target == target[:1]).all()):
        measured_on = "grey as luma"
    if channels == 1:
        target, source = _grey(target), _grey(source)
    _check_sides(target, source, scale, target_path)
    rows, columns = source.shape[-2:]
    height, width = rows * scale, columns * scale
    if network is not None and tile is None and rows * columns > _LARGE_PIXELS:
        fix = "use --tile 256, or leave it out"
        check_memory(network, channels, rows, columns, str(source_path), fix)
    if network is None:
        generated = bicubic(source[None], scale)[0]
    else:
        given = _with_channels(source, channels)
        generated = upscale_in_tiles(network, given, scale, tile, half=half)
        if generated.shape != (channels, height, width):
            raise SettingsError(
                f"{source_path}: the network makes {tuple(generated.shape)} from "
                f"{tuple(source.shape)}; scale = {scale} needs {(channels, height, width)}: give "
                "a benchmark of the network's scale"
            )
    batch = Batch(target[None, :, :height, :width], _with_channels(source, len(target))[None])
    generated = _with_channels(generated, len(target))
    colour = rgb and len(target) == 3
    metrics = (measure_rgb if colour else measure)(generated[None], batch, scale)
    measured_on = "rgb" if colour else measured_on
    found = {name: values.item() for name, values in metrics.items()}
    enlarged = generated
    if network is not None:
        enlarged = bicubic(_with_channels(source, len(target))[None], scale)[0]
    if (features := efflite0.network()) is not None:
        for suffix, image in (("", generated), ("_bicubic", enlarged)):
            distance = efflite0.measured(features, image, batch.target[0])
            found[f"perceptual_efflite0{suffix}"] = distance
    if lpips is not None and min(height, width) >= LEAST_SIDE:
        for suffix, image in (("", generated), ("_bicubic", enlarged)):
            found[f"lpips{suffix}"] = lpips(image, batch.target[0])
    if measurable(height, width, scale):
        three = torch.stack([generated, enlarged, batch.target[0]])
        values = niqe(three, scale).tolist()
        if not any(map(math.isnan, values)):
            names = ("niqe", "niqe_bicubic", "niqe_original")
            found |= dict(zip(names, values, strict=True))
    return ImageMetrics(
        target_path.name,
        **found,
        measured_on=measured_on,
        lpips_network=None if lpips is None else lpips.network,
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
    rests = [large - scale * small for large, small in zip(high, low, strict=True)]
    if any(not 0 <= rest < scale for rest in rests):
        rounded = all(-scale < rest < scale for rest in rests)
        why = (
            f"; the LR sides were rounded up: cut the HR sides to multiples of {scale} and reduce "
            "them again"
            if rounded
            else ""
        )
        raise SettingsError(
            f"{path}: {sides}: with scale = {scale} each HR side must be {scale} times the LR "
            f"side, plus a remainder below {scale}{why}"
        )
    if min(low) * scale < WINDOW + 2 * scale:
        raise SettingsError(
            f"{path}: {sides}: SSIM needs an HR side of {WINDOW + 2 * scale} pixels"
        )
