"""`ganforge export`: a generator as a file for other runtimes."""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ganforge.commands.models import FoundModel, find_model, needs_images
from ganforge.console import Bars, show
from ganforge.inference.export import FORMATS, WEIGHTS, Exported, trace
from ganforge.output_files import check_output, output_file
from ganforge.settings import SettingsError, shown_key, to_json

#: how --size is written
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


@dataclass(frozen=True)
class ExportOptions:
    """The arguments of `ganforge export`."""

    model: str
    output: str
    file_format: str = "onnx"
    stage: int | None = None
    overwrite: bool = False
    tracking_uri: str | None = None
    trust_code: bool = False
    size: str | None = None


def export(options: ExportOptions, found: FoundModel | None = None) -> None:
    """Write one file, compare it with torch, print by how much it differs. `found` is a model in
    place of the one that the options name."""
    kind = options.file_format
    suffixes = {name: suffix for name, (suffix, _) in FORMATS.items()} | {n: n for n in WEIGHTS}
    if kind not in suffixes:
        raise SettingsError(f"--format {kind}: must be {', '.join(suffixes)}")
    size = _size(options.size, kind)
    path, suffix = Path(options.output).expanduser(), suffixes[kind]
    if path.suffix != f".{suffix}":
        raise SettingsError(
            f"--output {path}: a file of --format {kind} ends in .{suffix}; rename it, or give "
            "another --format"
        )
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"--output {path}: no such folder: {path.absolute().parent}")
    check_output(path.parent, path.name, overwrite=options.overwrite)
    found = found or find_model(
        options.model, options.tracking_uri, options.stage, trust_code=options.trust_code
    )
    needs_images(found, "export")
    # made aside, in a folder of this user's alone: the libraries write to a path
    with tempfile.TemporaryDirectory() as aside, Bars() as progress:
        progress.add_task(f"{kind}: written and compared with torch", total=None)
        made = _made(found, kind, size, Path(aside, f"generator.{suffix}"))
        with (
            output_file(path.parent, path.name, overwrite=options.overwrite) as file,
            made.path.open("rb") as content,
        ):
            shutil.copyfileobj(content, file)
    model = found.model
    if kind in WEIGHTS:
        show(f"{path}: the weights of {model.system}, read back without a difference")
        return
    sides = "any N, H and W" if size is None else f"N = 1, H = {size[0]}, W = {size[1]}"
    show(
        f"{path}: (N, {model.channels}, H, W) float32 in [-1, 1] to {model.scale} times the sides, "
        f"{sides}; differs from torch by at most {made.difference:.1e}"
    )


def _size(given: str | None, kind: str) -> tuple[int, int] | None:
    if given is None:
        return None
    if kind in WEIGHTS:
        raise SettingsError(f"--size {given}: weights have no size; leave it out")
    found = _SIZE.fullmatch(given)
    if found is None:
        raise SettingsError(
            f"--size {shown_key(given)}: must be HEIGHTxWIDTH in pixels, such as 256x256"
        )
    return int(found[1]), int(found[2])


def _made(found: FoundModel, kind: str, size: tuple[int, int] | None, path: Path) -> Exported:
    model = found.model
    if kind in WEIGHTS:
        about = {"system": model.system, "scale": str(model.scale), "model": found.name}
        if model.settings is not None:
            about |= {"settings": to_json(model.settings), "stage": str(model.stage)}
        return WEIGHTS[kind](model.network, path, about)
    try:
        traced = trace(model.network, model.channels, size)
    except Exception as error:  # what a network does with its sides is its own affair
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        fix = "give another --format" if size else "give --size HEIGHTxWIDTH, for one size"
        raise SettingsError(
            f"--format {kind}: {model.system} cannot be made into a program for "
            f"{'these' if size else 'any'} sides ({type(error).__name__}: {reason}); {fix}"
        ) from None
    return FORMATS[kind][1](traced, model.network, model.channels, path)
