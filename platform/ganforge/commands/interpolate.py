"""`ganforge interpolate`: a generator between two (arXiv:1809.00219, section 3.4)."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save

from ganforge.commands.models import find_model
from ganforge.console import show
from ganforge.inference.interpolation import interpolated
from ganforge.settings import SettingsError, to_json


@dataclass(frozen=True)
class InterpolateOptions:
    """The arguments of `ganforge interpolate`."""

    model: str
    output: str
    stage: int | None = None
    toward: str | None = None
    toward_stage: int | None = None
    alpha: float = 0.8
    tracking_uri: str | None = None


def interpolate(options: InterpolateOptions) -> None:
    """Write settings.json and the weights (1 - alpha)·model + alpha·toward into a new folder, which
    other commands accept as a model. Without `toward`, that is the last stage of the same run."""
    model, toward, alpha = options.model, options.toward, options.alpha
    folder = Path(options.output).expanduser()
    if folder.exists():
        raise SettingsError(f"--output {options.output}: exists already; give a new folder")
    first = find_model(model, options.tracking_uri, options.stage).model
    second = find_model(toward or model, options.tracking_uri, options.toward_stage).model
    if toward is None and first.stage == second.stage:
        raise SettingsError(
            f"--stage {first.stage}: would be interpolated with itself; give an earlier one, "
            "such as the one on pixels alone, or --toward another model"
        )
    if first.system != second.system or first.scale != second.scale:
        raise SettingsError(
            f"--toward {toward}: is {second.system} at scale {second.scale}, the model "
            f"{first.system} at scale {first.scale}; give two trainings of one network"
        )
    weights = interpolated(first.network.state_dict(), second.network.state_dict(), alpha)
    weights_folder = folder / "stages" / str(second.stage)
    weights_folder.mkdir(parents=True)
    (folder / "settings.json").write_text(to_json(second.settings))
    (weights_folder / "generator.safetensors").write_bytes(
        save({name: tensor.contiguous() for name, tensor in weights.items()})
    )
    path = f"stage {first.stage} of {model} to stage {second.stage} of {toward or model}"
    show(f"{folder}: {alpha:g} of the way from {path}")
