"""`ganforge export`: a generator as a file for other runtimes."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ganforge.commands.models import find_model, needs_images
from ganforge.console import show
from ganforge.inference.export import FORMATS, trace
from ganforge.output_files import check_output, output_file
from ganforge.settings import SettingsError


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


def export(options: ExportOptions) -> None:
    """Write one file, compare it with torch, print by how much it differs."""
    kind = options.file_format
    if kind not in FORMATS:
        raise SettingsError(f"--format {kind}: must be {' or '.join(FORMATS)}")
    path = Path(options.output).expanduser()
    suffix, write = FORMATS[kind]
    if path.suffix != f".{suffix}":
        raise SettingsError(
            f"--output {path}: a file of --format {kind} ends in .{suffix}; rename it, or give "
            "another --format"
        )
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"--output {path}: no such folder: {path.absolute().parent}")
    check_output(path.parent, path.name, overwrite=options.overwrite)
    found = find_model(
        options.model, options.tracking_uri, options.stage, trust_code=options.trust_code
    )
    needs_images(found, "export")
    channels = found.model.channels
    program = trace(found.model.network, channels)
    # made aside, in a folder of this user's alone: the libraries write to a path
    with tempfile.TemporaryDirectory() as aside:
        made = write(program, found.model.network, channels, Path(aside, f"generator.{suffix}"))
        with (
            output_file(path.parent, path.name, overwrite=options.overwrite) as file,
            made.path.open("rb") as content,
        ):
            shutil.copyfileobj(content, file)
    show(
        f"{path}: (N, {channels}, H, W) float32 in [-1, 1] to {found.model.scale} times the sides, "
        f"any N, H and W; differs from torch by at most {made.difference:.1e}"
    )
