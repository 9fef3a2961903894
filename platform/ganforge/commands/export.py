"""`ganforge export`: a generator as a file for other runtimes."""

from pathlib import Path

from ganforge.commands.models import find_model, needs_images
from ganforge.inference.export import FORMATS, trace
from ganforge.settings import SettingsError


def export(
    model: str,
    kind: str,
    output: str,
    stage: int | None,
    overwrite: bool,
    tracking_uri: str | None,
) -> None:
    """Write one file, compare it with torch, say by how much it differs."""
    if kind not in FORMATS:
        raise SettingsError(f"--format {kind}: must be {' or '.join(FORMATS)}")
    path = Path(output).expanduser()
    suffix, write = FORMATS[kind]
    if path.suffix != f".{suffix}":
        raise SettingsError(
            f"--output {path}: a file of --format {kind} ends in .{suffix}; name it so, or give "
            "another --format"
        )
    if path.exists() and not overwrite:
        raise SettingsError(f"--output {path}: is there already; --overwrite replaces it")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"--output {path}: there is no folder {path.absolute().parent}")
    found = find_model(model, tracking_uri, stage)
    needs_images(found, "export")
    channels = found.model.settings.channels
    part = path.with_name(f".{path.name}.part.{suffix}")
    try:
        program = trace(found.model.network, channels)
        difference = write(program, found.model.network, channels, part).difference
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    print(
        f"{path}: (N, {channels}, H, W) float32 in [-1, 1] to {found.model.scale} times the sides, "
        f"any N, H and W; differs from torch by at most {difference:.1e}"
    )
