"""`ganforge interpolate`: a generator between two (arXiv:1809.00219, section 3.4)."""

from pathlib import Path

from rich.console import Console
from safetensors.torch import save

from ganforge.interpolation import interpolated
from ganforge.settings import SettingsError, to_json
from ganforge.verbs.evaluate import open_model


def interpolate(
    model: str, toward: str, alpha: float, output: str, tracking_uri: str | None
) -> None:
    """Write settings.json and the weights (1 - alpha)·model + alpha·toward into a new folder, which
    other commands take as a model."""
    folder = Path(output).expanduser()
    if folder.exists():
        raise SettingsError(f"--output {output}: is there already; give a new folder")
    first, second = open_model(model, tracking_uri), open_model(toward, tracking_uri)
    if first.settings.system != second.settings.system or first.scale != second.scale:
        raise SettingsError(
            f"--toward {toward}: is {second.settings.system} at scale {second.scale}, the model "
            f"{first.settings.system} at scale {first.scale}; give two trainings of one network"
        )
    weights = interpolated(first.network.state_dict(), second.network.state_dict(), alpha)
    place = folder / "stages" / str(first.stage)
    place.mkdir(parents=True)
    (folder / "settings.json").write_text(to_json(first.settings))
    (place / "generator.safetensors").write_bytes(
        save({name: tensor.contiguous() for name, tensor in weights.items()})
    )
    Console().print(f"{folder}: {alpha:g} of the way from {model} to {toward}", soft_wrap=True)
