"""`ganforge upscale`: images through a trained generator."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from ganforge.commands.models import find_model, needs_images
from ganforge.console import Bars, complain, show
from ganforge.inference.enlarge import enlarge
from ganforge.inference.images import Photo, read_photo, write_photo
from ganforge.inference.model import Model
from ganforge.inference.tiles import check_memory, find_reach
from ganforge.inference.upscale_tasks import UpscaleTask, find_tasks
from ganforge.settings import SettingsError

#: repeated work from which a note recommends larger tiles
_MAX_REPEATED = 4
SUFFIXES = {"png": ".png", "jpg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True)
class UpscaleOptions:
    """The arguments of `ganforge upscale`."""

    images: str
    model: str
    output: str
    tile: int | None = None
    file_format: str = "png"
    gpu: bool = False
    stage: int | None = None
    overwrite: bool = False
    tracking_uri: str | None = None


def upscale(options: UpscaleOptions) -> None:
    """Write the generator's output for each image; errors are printed at the end."""
    kind, tile = options.file_format, options.tile
    if kind not in SUFFIXES:
        raise SettingsError(f"--format {kind}: must be {', '.join(SUFFIXES)}")
    if options.gpu and not torch.cuda.is_available():
        raise SettingsError("--gpu: torch sees no CUDA device here; leave --gpu out")
    folder = Path(options.output).expanduser()
    tasks = find_tasks(Path(options.images).expanduser(), folder, SUFFIXES[kind])
    found = find_model(options.model, options.tracking_uri, options.stage)
    needs_images(found, "upscale")
    loaded = found.model
    if loaded.settings.channels not in (1, 3):
        raise SettingsError(
            f"model = {options.model}: has {loaded.settings.channels} channels, not 1 or 3"
        )
    if options.gpu:
        loaded.network.cuda()
    errors, notes = [], []
    if tile is not None:
        margin = find_reach(loaded.network, loaded.scale)
        times = ((tile + margin.before + margin.after) / tile) ** 2
        if times > _MAX_REPEATED:
            notes.append(
                f"--tile {tile}: a tile needs {margin.before} pixels around it, so every pixel is "
                f"computed {times:.0f} times; larger tiles are faster"
            )
    _make_folder(folder)
    with Bars() as progress:
        for number, task in enumerate(tasks, 1):
            bar = progress.add_task(f"{number}/{len(tasks)} {task.name}", total=None)
            try:
                photo = _read(task, options.overwrite)
                if photo.note:
                    notes.append(f"{task.name}: {photo.note}")
                _write(task, photo, loaded, tile, progress, bar)
            except SettingsError as error:
                errors.append(str(error))
            except (OSError, RuntimeError, MemoryError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                errors.append(f"{task.source}: {reason}")
            progress.remove_task(bar)
    for note in notes:
        show(f"note: {note}")
    show(f"{len(tasks) - len(errors)} of {len(tasks)} images are in {folder}")
    for error in errors:
        complain(error)
    if errors:
        sys.exit(1)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"--output {folder}: is not usable as a folder ({error.strerror})"
        ) from None


def _read(task: UpscaleTask, overwrite: bool) -> Photo:
    if task.target.exists():
        if task.target.samefile(task.source):
            raise SettingsError(
                f"{task.source}: would be overwritten by its own result; give another --output"
            )
        if not overwrite:
            raise SettingsError(f"{task.target}: exists already; --overwrite replaces it")
    return read_photo(task.source)


def _write(
    task: UpscaleTask, photo: Photo, model: Model, tile: int | None, progress: Bars, bar: int
) -> None:
    if photo.alpha is not None and task.target.suffix == ".jpg":
        raise SettingsError(f"{task.source}: has alpha, which JPEG cannot keep; use --format png")
    if photo.depth == 16 and task.target.suffix != ".png":
        raise SettingsError(f"{task.source}: has 16 bits, which only --format png keeps")
    height, width = photo.colour.shape[-2:]
    if tile is None:
        check_memory(model.network, model.settings.channels, height, width, str(task.source))
    progress.update(bar, total=height * width)  # pyright: ignore[reportArgumentType]
    levels = enlarge(
        model.network,
        photo,
        scale=model.scale,
        channels=model.settings.channels,
        tile=tile,
        on_progress=lambda done: progress.advance(bar, done),  # pyright: ignore[reportArgumentType]
    )
    task.target.parent.mkdir(parents=True, exist_ok=True)
    write_photo(task.target, levels, photo.profile)
