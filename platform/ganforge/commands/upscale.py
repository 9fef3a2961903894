"""`ganforge upscale`: images through a trained generator."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ganforge.commands.models import FoundModel, find_model, needs_images
from ganforge.console import Bars, complain, show
from ganforge.data.decoder import read_header
from ganforge.data.raster import Header, unreadable
from ganforge.errors import GanforgeError
from ganforge.inference.device import find_device
from ganforge.inference.enlarge import enlarge
from ganforge.inference.finished import is_finished
from ganforge.inference.images import SUBSAMPLINGS, Encoding, Photo, read_photo, write_photo
from ganforge.inference.metadata import Metadata
from ganforge.inference.model import Model
from ganforge.inference.output_size import OutputSize, check_room, resized
from ganforge.inference.tiles import check_memory, find_reach
from ganforge.inference.upscale_tasks import UpscaleTask, find_tasks
from ganforge.output_files import check_output, existing_output, make_output_folder, output_file
from ganforge.settings import SettingsError, shown_key

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
    device: str | None = None
    half: bool = False
    batch: int = 1
    size: OutputSize = field(default_factory=OutputSize)
    encoding: Encoding = field(default_factory=Encoding)
    metadata: bool = True
    skip_existing: bool = False


@dataclass(frozen=True)
class ImageOutcome:
    """What became of one image. `status` is written, skipped or failed; sides are the result's,
    0 where it failed; `message` is the error, or what was left out."""

    source: str
    target: str
    status: str
    width: int = 0
    height: int = 0
    message: str = ""


@dataclass(frozen=True)
class UpscaleResult:
    """What `ganforge upscale --json` prints."""

    output: str
    model: str
    run_id: str | None
    scale: int
    written: int
    skipped: int
    failed: int
    images: tuple[ImageOutcome, ...]


class NotAllUpscaled(GanforgeError):
    """Images that failed; the others are written. `args[1]` has a line for each, `args[2]` is the
    UpscaleResult."""

    def __str__(self) -> str:
        return str(self.args[0])


class UpscaleInterrupted(KeyboardInterrupt):
    """`args[0]` is the UpscaleResult of the images that were made before."""


def check_options(options: UpscaleOptions) -> None:
    """SettingsError for options that cannot be followed, before a model is loaded."""
    kind, encoding = options.file_format, options.encoding
    if kind not in SUFFIXES:
        raise SettingsError(f"--format {shown_key(kind)}: must be {', '.join(SUFFIXES)}")
    if encoding.subsampling not in SUBSAMPLINGS:
        raise SettingsError(
            f"--jpeg-subsampling {shown_key(encoding.subsampling)}: must be "
            f"{', '.join(SUBSAMPLINGS)}"
        )
    if options.batch > 1 and options.tile is None:
        raise SettingsError(f"--batch {options.batch}: is a number of tiles; give --tile too")
    options.size.check()
    output = Path(options.output)
    if output.suffix.lower() in SUFFIXES.values() and not output.exists():
        raise SettingsError(
            f"output = {shown_key(options.output)}: is the folder that results are written into; "
            "give a folder"
        )


def upscale(options: UpscaleOptions, found: FoundModel | None = None) -> UpscaleResult:
    """Write the generator's output for each image. One that fails stops no other; what failed is
    printed at the end, and NotAllUpscaled raised. `found` is a model in place of the one that the
    options name."""
    check_options(options)
    device = find_device(options.gpu, options.device)
    folder = Path(options.output).expanduser()
    tasks = find_tasks(Path(options.images).expanduser(), folder, SUFFIXES[options.file_format])
    found = found or find_model(
        options.model, options.tracking_uri, options.stage, trust_code=options.trust_code
    )
    needs_images(found, "upscale")
    model = found.model
    if model.channels not in (1, 3):
        raise SettingsError(f"model = {options.model}: has {model.channels} channels, not 1 or 3")
    if device is not None:
        model.network.to(device)
    notes = _notes(options, model)
    make_output_folder(folder)
    batch = _Batch(options, model, folder)
    try:
        batch.run(tasks)
    except KeyboardInterrupt:
        done = sum(outcome.status != "failed" for outcome in batch.outcomes)
        complain(
            f"{done} of {len(tasks)} images are in {folder}; --skip-existing makes the others",
            "interrupted",
        )
        raise UpscaleInterrupted(_result(options, found, folder, batch.outcomes)) from None
    return _finish(options, found, folder, batch.outcomes, notes)


def _notes(options: UpscaleOptions, model: Model) -> list[str]:
    tile = options.tile
    if tile is None:
        return []
    margin = find_reach(model.network, model.scale)
    times = ((tile + margin.before + margin.after) / tile) ** 2
    if times <= _MAX_REPEATED:
        return []
    return [
        f"--tile {tile}: a tile needs {margin.before} pixels around it, so every pixel is "
        f"computed {times:.0f} times; larger tiles are faster"
    ]


def _finish(
    options: UpscaleOptions,
    found: FoundModel,
    folder: Path,
    outcomes: list[ImageOutcome],
    notes: list[str],
) -> UpscaleResult:
    """Print what became of the images; the result, or NotAllUpscaled with it."""
    result = _result(options, found, folder, outcomes)
    for one in outcomes:
        if one.status == "written" and one.message:
            notes.append(f"{one.source}: {one.message}")
    for note in notes:
        show(f"note: {note}")
    already = f", {result.skipped} of them already" if result.skipped else ""
    show(f"{len(outcomes) - result.failed} of {len(outcomes)} images are in {folder}{already}")
    errors = [one.message for one in outcomes if one.status == "failed"]
    for error in errors:
        complain(error)
    if errors:
        text = f"{len(errors)} of {len(outcomes)} images are not upscaled: {errors[0]}"
        raise NotAllUpscaled(text, errors, result)
    return result


def _result(
    options: UpscaleOptions, found: FoundModel, folder: Path, outcomes: list[ImageOutcome]
) -> UpscaleResult:
    count = Counter(one.status for one in outcomes)
    return UpscaleResult(
        str(folder), options.model, found.run_id, found.model.scale,
        count["written"], count["skipped"], count["failed"], tuple(outcomes),
    )  # fmt: skip


class _Batch:
    """The images of one command, one after the other."""

    def __init__(self, options: UpscaleOptions, model: Model, folder: Path):
        self.options, self.model, self.folder = options, model, folder
        self.outcomes: list[ImageOutcome] = []

    def run(self, tasks: list[UpscaleTask]) -> None:
        """Every task, its outcome in `outcomes`."""
        skipped = 0
        with Bars() as progress:
            several = len(tasks) > 1
            all_bar = progress.add_task("", total=len(tasks)) if several else None
            for number, task in enumerate(tasks, 1):
                bar = progress.add_task(f"{number}/{len(tasks)} {task.name}", total=None)
                if all_bar is not None:
                    also = f", {skipped} skipped" if skipped else ""
                    progress.update(all_bar, description=f"{number - 1}/{len(tasks)} images{also}")
                self.outcomes.append(self._outcome(task, progress, bar))
                progress.remove_task(bar)
                if all_bar is None:
                    continue
                if self.outcomes[-1].status == "skipped":  # takes no time that others will take
                    skipped += 1
                    progress.update(all_bar, total=len(tasks) - skipped)
                else:
                    progress.advance(all_bar)

    def _outcome(self, task: UpscaleTask, progress: Bars, bar: int) -> ImageOutcome:
        try:
            return self._done(task, progress, bar)
        except SettingsError as error:
            reason = str(error)
        except Exception as error:  # of decoders, networks, encoders: the batch continues
            first = (str(error).splitlines() or [type(error).__name__])[0]
            reason = f"{task.source}: is not upscaled: {first}"
        return ImageOutcome(task.name, str(task.target), "failed", message=reason)

    def _done(self, task: UpscaleTask, progress: Bars, bar: int) -> ImageOutcome:
        options, name = self.options, task.target.relative_to(self.folder)
        if os.path.exists(task.target) and task.target.samefile(task.source):
            raise SettingsError(
                f"{task.source}: would be overwritten by its own result; give another --output"
            )
        replace = options.overwrite
        if options.skip_existing:
            there, replace = self._existing(task)
            if there is not None:
                return ImageOutcome(task.name, str(task.target), "skipped", there[1], there[0])
        check_output(self.folder, name, overwrite=replace)
        photo = read_photo(task.source)
        height, width = photo.colour.shape[-2:]
        sides = options.size.sides(height, width, self.model.scale)
        levels = self._levels(task, photo, sides, progress, bar)
        # what is left of the photo is small: memory for its pixels is needed to write the result
        profile, metadata, note = photo.profile, photo.metadata, photo.note
        if options.half and photo.depth == 16:
            note = "; ".join([*filter(None, [note]), "--half keeps fewer than its 16 bits"])
        del photo
        levels = resized(levels, sides, options.size.filter)
        with output_file(self.folder, name, overwrite=replace) as file:
            kept = metadata if options.metadata else Metadata()
            write_photo(file, task.target.suffix, levels, profile, kept, options.encoding)
        return ImageOutcome(task.name, str(task.target), "written", sides[1], sides[0], note)

    def _existing(self, task: UpscaleTask) -> tuple[tuple[int, int] | None, bool]:
        """The sides of a result that is there whole, or None; and whether what is there in its
        stead is replaced."""
        name = task.target.relative_to(self.folder)
        with existing_output(self.folder, name) as file:
            if file is None:
                return None, self.options.overwrite
            header = _header(task.source)
            sides = self.options.size.sides(header.height, header.width, self.model.scale)
            if is_finished(file, task.target.suffix, sides):
                return sides, False
            empty = not os.fstat(file.fileno()).st_size  # such as an interrupt may leave
        if not (empty or self.options.overwrite):
            raise SettingsError(
                f"{task.target}: exists already and is not a whole image of {sides[1]} × "
                f"{sides[0]} pixels; --overwrite with --skip-existing replaces it"
            )
        return None, True

    def _levels(
        self, task: UpscaleTask, photo: Photo, sides: tuple[int, int], progress: Bars, bar: int
    ) -> NDArray[Any]:
        """The enlarged levels, (s·H, s·W, C), if the format of the target can hold a result of
        `sides`."""
        options, model, suffix = self.options, self.model, task.target.suffix
        if photo.alpha is not None and suffix == ".jpg":
            raise SettingsError(
                f"{task.source}: has alpha, which JPEG cannot keep; use --format png"
            )
        if photo.depth == 16 and suffix != ".png":
            raise SettingsError(f"{task.source}: has 16 bits, which only --format png keeps")
        height, width = photo.colour.shape[-2:]
        longest, limit = max(sides), _MAX_SIDE.get(suffix)
        if limit is not None and longest > limit:
            raise SettingsError(
                f"{task.source}: would be {longest} pixels long, and {suffix} holds at "
                f"most {limit}; use --format png"
            )
        check_room((height * model.scale, width * model.scale), sides, photo, str(task.source))
        if options.tile is None:
            check_memory(model.network, model.channels, height, width, str(task.source))
        progress.update(bar, total=height * width)
        try:
            return enlarge(
                model.network,
                photo,
                scale=model.scale,
                channels=model.channels,
                tile=options.tile,
                batch=options.batch,
                half=options.half,
                on_progress=lambda done: progress.advance(bar, done),  # pyright: ignore[reportArgumentType]
            )
        except SettingsError:
            raise
        except (RuntimeError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise SettingsError(
                f"{task.source}: {width} × {height} pixels cannot be put through the generator of "
                f"{model.system} ({reason}); it may need a larger image"
            ) from None


def _header(path: Path) -> Header:
    try:
        with path.open("rb") as file:
            return read_header(file, str(path))
    except OSError as error:
        raise unreadable(str(path), error.strerror or error) from None
