"""`ganforge upscale`: images through a trained generator."""

import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ganforge.commands.models import find_model, needs_images
from ganforge.inference.enlarge import enlarge
from ganforge.inference.folder import Task, find_tasks
from ganforge.inference.images import Photo, read_photo, write_photo
from ganforge.inference.model import Model
from ganforge.inference.tiles import check_memory, find_reach
from ganforge.settings import SettingsError

#: so many times the work is worth a word
_DEAR = 4
SUFFIXES = {"png": ".png", "jpg": ".jpg", "webp": ".webp"}


def upscale(
    images: str,
    model: str,
    output: str,
    tile: int | None,
    stage: int | None,
    kind: str,
    overwrite: bool,
    gpu: bool,
    tracking_uri: str | None,
) -> None:
    """Write what the generator makes of each image; what went wrong is told at the end."""
    if kind not in SUFFIXES:
        raise SettingsError(f"--format {kind}: must be {', '.join(SUFFIXES)}")
    if gpu and not torch.cuda.is_available():
        raise SettingsError("--gpu: torch sees no CUDA device here; leave --gpu away")
    goal = Path(output).expanduser()
    tasks = find_tasks(Path(images).expanduser(), goal, SUFFIXES[kind])
    found = find_model(model, tracking_uri, stage)
    needs_images(found, "upscale")
    loaded = found.model
    if loaded.settings.channels not in (1, 3):
        raise SettingsError(f"model = {model}: has {loaded.settings.channels} channels, not 1 or 3")
    if gpu:
        loaded.network.cuda()
    troubles, notes = [], []
    if tile is not None:
        around = find_reach(loaded.network, loaded.scale)
        times = ((tile + around.before + around.after) / tile) ** 2
        if times > _DEAR:
            notes.append(
                f"--tile {tile}: a tile needs {around.before} pixels around it, so all is computed "
                f"{times:.0f} times; larger tiles are faster"
            )
    _make(goal)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    silent = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=silent) as progress:
        for number, task in enumerate(tasks, 1):
            bar = progress.add_task(f"{number}/{len(tasks)} {task.name}", total=None)
            try:
                photo = _read(task, overwrite)
                if photo.note:
                    notes.append(f"{task.name}: {photo.note}")
                _write(task, photo, loaded, tile, progress, bar)
            except SettingsError as error:
                troubles.append(str(error))
            except (OSError, RuntimeError, MemoryError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                troubles.append(f"{task.source}: {reason}")
            progress.remove_task(bar)
    for note in notes:
        print(f"note: {note}")
    print(f"{len(tasks) - len(troubles)} of {len(tasks)} images are in {goal}")
    for trouble in troubles:
        print(f"error: {trouble}", file=sys.stderr)
    if troubles:
        sys.exit(1)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--output {folder}: cannot be a folder ({error.strerror})") from None


def _read(task: Task, overwrite: bool) -> Photo:
    if task.target.exists():
        if task.target.samefile(task.source):
            raise SettingsError(
                f"{task.source}: would be replaced by its own result; use another --output"
            )
        if not overwrite:
            raise SettingsError(f"{task.target}: is there already; --overwrite replaces it")
    return read_photo(task.source)


def _write(
    task: Task, photo: Photo, model: Model, tile: int | None, progress: Progress, bar: int
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
        shown=lambda done: progress.advance(bar, done),  # pyright: ignore[reportArgumentType]
    )
    task.target.parent.mkdir(parents=True, exist_ok=True)
    write_photo(task.target, levels, photo.profile)
