"""`ganforge upscale`: images through a trained generator."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from ganforge.commands.models import FoundModel, find_model, needs_images
from ganforge.console import Bars, complain, show
from ganforge.errors import GanforgeError
from ganforge.inference.enlarge import enlarge
from ganforge.inference.images import Photo, read_photo, write_photo
from ganforge.inference.model import Model
from ganforge.inference.tiles import check_memory, find_reach
from ganforge.inference.upscale_tasks import UpscaleTask, find_tasks
from ganforge.output_files import check_output, make_output_folder, output_file
from ganforge.settings import SettingsError

#: repeated work from which a note recommends larger tiles
_MAX_REPEATED = 4
SUFFIXES = {"png": ".png", "jpg": ".jpg", "webp": ".webp"}
#: the longest side that a format holds
_MAX_SIDE = {".jpg": 65_500, ".webp": 16_383}


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
    trust_code: bool = False


def upscale(options: UpscaleOptions, found: FoundModel | None = None) -> list[Path]:
    """Write the generator's output for each image; the files. One that fails stops no other; what
    failed is printed at the end, and NotAllUpscaled raised. `found` is a model in place of the one
    that the options name."""
    kind, tile = options.file_format, options.tile
    if kind not in SUFFIXES:
        raise SettingsError(f"--format {kind}: must be {', '.join(SUFFIXES)}")
    if options.gpu and not torch.cuda.is_available():
        raise SettingsError("--gpu: torch sees no CUDA device here; leave --gpu out")
    folder = Path(options.output).expanduser()
    tasks = find_tasks(Path(options.images).expanduser(), folder, SUFFIXES[kind])
    found = found or find_model(
        options.model, options.tracking_uri, options.stage, trust_code=options.trust_code
    )
    needs_images(found, "upscale")
    loaded = found.model
    if loaded.channels not in (1, 3):
        raise SettingsError(f"model = {options.model}: has {loaded.channels} channels, not 1 or 3")
    if options.gpu:
        loaded.network.cuda()
    errors, notes, written = [], [], []
    if tile is not None:
        margin = find_reach(loaded.network, loaded.scale)
        times = ((tile + margin.before + margin.after) / tile) ** 2
        if times > _MAX_REPEATED:
            notes.append(
                f"--tile {tile}: a tile needs {margin.before} pixels around it, so every pixel is "
                f"computed {times:.0f} times; larger tiles are faster"
            )
    make_output_folder(folder)
    with Bars() as progress:
        for number, task in enumerate(tasks, 1):
            bar = progress.add_task(f"{number}/{len(tasks)} {task.name}", total=None)
            try:
                photo = _read(task, folder, options.overwrite)
                if photo.note:
                    notes.append(f"{task.name}: {photo.note}")
                levels = _made(task, photo, loaded, tile, progress, bar)
                name = task.target.relative_to(folder)
                with output_file(folder, name, overwrite=options.overwrite) as file:
                    write_photo(file, task.target.suffix, levels, photo.profile)
                written.append(task.target)
            except SettingsError as error:
                errors.append(str(error))
            except Exception as error:  # of decoders, networks, encoders: the batch continues
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                errors.append(f"{task.source}: is not upscaled: {reason}")
            progress.remove_task(bar)
    for note in notes:
        show(f"note: {note}")
    show(f"{len(tasks) - len(errors)} of {len(tasks)} images are in {folder}")
    for error in errors:
        complain(error)
    if errors:
        raise NotAllUpscaled(
            f"{len(errors)} of {len(tasks)} images are not upscaled: {errors[0]}", errors
        )
    return written


class NotAllUpscaled(GanforgeError):
    """Images that failed; the others are written. `args[1]` has a line for each."""


def _read(task: UpscaleTask, folder: Path, overwrite: bool) -> Photo:
    if os.path.exists(task.target) and task.target.samefile(task.source):
        raise SettingsError(
            f"{task.source}: would be overwritten by its own result; give another --output"
        )
    check_output(folder, task.target.relative_to(folder), overwrite=overwrite)
    return read_photo(task.source)


def _made(
    task: UpscaleTask, photo: Photo, model: Model, tile: int | None, progress: Bars, bar: int
) -> NDArray[Any]:
    """The enlarged levels, (s·H, s·W, C), if the format of the target can hold them."""
    if photo.alpha is not None and task.target.suffix == ".jpg":
        raise SettingsError(f"{task.source}: has alpha, which JPEG cannot keep; use --format png")
    if photo.depth == 16 and task.target.suffix != ".png":
        raise SettingsError(f"{task.source}: has 16 bits, which only --format png keeps")
    height, width = photo.colour.shape[-2:]
    longest, limit = max(height, width) * model.scale, _MAX_SIDE.get(task.target.suffix)
    if limit is not None and longest > limit:
        raise SettingsError(
            f"{task.source}: would be {longest} pixels long, and {task.target.suffix} holds at "
            f"most {limit}; use --format png"
        )
    if tile is None:
        check_memory(model.network, model.channels, height, width, str(task.source))
    progress.update(bar, total=height * width)  # pyright: ignore[reportArgumentType]
    try:
        return enlarge(
            model.network,
            photo,
            scale=model.scale,
            channels=model.channels,
            tile=tile,
            on_progress=lambda done: progress.advance(bar, done),  # pyright: ignore[reportArgumentType]
        )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingsError(
            f"{task.source}: {width} × {height} pixels cannot be put through the generator of "
            f"{model.system} ({reason}); it may need a larger image"
        ) from None
