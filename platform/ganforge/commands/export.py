"""`ganforge export`: a generator as a file for other runtimes."""

from dataclasses import dataclass
from pathlib import Path

from ganforge.commands.models import find_model, needs_images
from ganforge.console import show
from ganforge.inference.export import FORMATS, trace
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
    if path.exists() and not options.overwrite:
        raise SettingsError(f"--output {path}: exists already; --overwrite replaces it")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"--output {path}: no such folder: {path.absolute().parent}")
    found = find_model(options.model, options.tracking_uri, options.stage)
    needs_images(found, "export")
    channels = found.model.settings.channels
    part = path.with_name(f".{path.name}.part.{suffix}")
    try:
        program = trace(found.model.network, channels)
        difference = write(program, found.model.network, channels, part).difference
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    show(
        f"{path}: (N, {channels}, H, W) float32 in [-1, 1] to {found.model.scale} times the sides, "
        f"any N, H and W; differs from torch by at most {difference:.1e}"
    )
