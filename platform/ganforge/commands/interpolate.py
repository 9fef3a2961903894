"""`ganforge interpolate`: a generator between two (arXiv:1809.00219, section 3.4)."""

import os
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save

from ganforge.commands.models import find_model
from ganforge.console import show
from ganforge.inference.interpolation import interpolated
from ganforge.inference.model import SOURCES, stored_generators
from ganforge.output_files import check_output, make_output_folder, output_file
from ganforge.settings import SettingsError, to_json
from ganforge.systems.catalog import written_sources


@dataclass(frozen=True)
class InterpolateOptions:
    """The arguments of `ganforge interpolate`."""

    model: str
    output: str
    stage: int | None = None
    toward: str | None = None
    toward_stage: int | None = None
    alpha: float = 0.8
    overwrite: bool = False
    tracking_uri: str | None = None
    trust_code: bool = False


def interpolate(options: InterpolateOptions) -> None:
    """Write settings.json and the weights (1 - alpha)·model + alpha·toward into a new folder, which
    other commands accept as a model. Without `toward`, that is the last stage of the same run."""
    model, toward, alpha = options.model, options.toward, options.alpha
    folder = Path(options.output).expanduser()
    if os.path.lexists(folder) and not options.overwrite:
        raise SettingsError(
            f"--output {options.output}: exists already; give a new folder, or --overwrite to "
            "replace the model in it"
        )
    uri, trust = options.tracking_uri, options.trust_code
    first = find_model(model, uri, options.stage, trust_code=trust).model
    second = find_model(toward or model, uri, options.toward_stage, trust_code=trust).model
    for name, found in ((model, first), (toward or model, second)):
        if found.settings is None:
            raise SettingsError(
                f"model = {name}: is of another trainer ({found.system}), and what is made of two "
                "models has settings; give models of ganforge's"
            )
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
    content = save({name: tensor.contiguous() for name, tensor in weights.items()})
    files = {
        "settings.json": to_json(second.settings).encode(),
        **{f"{SOURCES}/{p}": text.encode() for p, text in written_sources(second.system).items()},
        f"stages/{second.stage}/generator.safetensors": content,
    }
    make_output_folder(folder)
    others = set(stored_generators(folder)) - {folder / n for n in files}
    if others:  # the last stage is what a folder is used by
        raise SettingsError(
            f"--output {options.output}: holds {min(others)} of another stage, which would be used "
            "in place of this one; remove it, or give a new folder"
        )
    for name in files:
        check_output(folder, name, overwrite=options.overwrite)
    for name, content in files.items():
        with output_file(folder, name, overwrite=options.overwrite) as file:
            file.write(content)
    path = f"stage {first.stage} of {model} to stage {second.stage} of {toward or model}"
    show(f"{folder}: {alpha:g} of the way from {path}")
