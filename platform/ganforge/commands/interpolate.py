"""`ganforge interpolate`: a generator between two (arXiv:1809.00219, section 3.4)."""

from pathlib import Path

from rich.console import Console
from safetensors.torch import save

from ganforge.commands.models import find_model
from ganforge.inference.interpolation import interpolated
from ganforge.settings import SettingsError, to_json


def interpolate(
    model: str,
    stage: int | None,
    toward: str | None,
    toward_stage: int | None,
    alpha: float,
    output: str,
    tracking_uri: str | None,
) -> None:
    """Write settings.json and the weights (1 - alpha)·model + alpha·toward into a new folder, which
    other commands take as a model. Without `toward` it is the last stage of the same."""
    folder = Path(output).expanduser()
    if folder.exists():
        raise SettingsError(f"--output {output}: is there already; give a new folder")
    first = find_model(model, tracking_uri, stage).model
    second = find_model(toward or model, tracking_uri, toward_stage).model
    if toward is None and first.stage == second.stage:
        raise SettingsError(
            f"--stage {first.stage}: would be mixed with itself; give an earlier one, "
            "such as the one on pixels alone, or --toward another model"
        )
    if first.system != second.system or first.scale != second.scale:
        raise SettingsError(
            f"--toward {toward}: is {second.system} at scale {second.scale}, the model "
            f"{first.system} at scale {first.scale}; give two trainings of one network"
        )
    weights = interpolated(first.network.state_dict(), second.network.state_dict(), alpha)
    place = folder / "stages" / str(second.stage)
    place.mkdir(parents=True)
    (folder / "settings.json").write_text(to_json(second.settings))
    (place / "generator.safetensors").write_bytes(
        save({name: tensor.contiguous() for name, tensor in weights.items()})
    )
    way = f"stage {first.stage} of {model} to stage {second.stage} of {toward or model}"
    Console().print(f"{folder}: {alpha:g} of the way from {way}", soft_wrap=True)
