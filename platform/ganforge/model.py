"""A trained generator from where it was recorded or stored, ready to be used."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from ganforge.schedule import Progress, Stage
from ganforge.settings import SettingsError, override, read_json, validated
from ganforge.systems.catalog import load_system


@dataclass(frozen=True)
class Model:
    """A deployable network: one tensor in [-1, 1] in, one out. `scale` is target by source side."""

    network: nn.Module
    settings: Any
    stage: int
    scale: int


def build(record: dict[str, Any], stage: int, weights: bytes) -> Model:
    """A stage's generator from the record in settings.json and its safetensors bytes."""
    kind = load_system(record["system"])
    settings = validated(kind.Settings, record["settings"])
    if hasattr(settings, "perceptual"):  # a term of training alone: its file is not needed here
        settings = override(settings, {"perceptual.network": "none"})
    if not 0 <= stage < len(settings.stages):
        raise SettingsError(
            f"stage = {stage}: the settings have stages 0 to {len(settings.stages) - 1}"
        )
    system = kind(settings, {})
    for index in range(stage + 1):
        system.grow(index)
        for player in system.players:
            player.follow()
    row = settings.stages[stage]
    finished = Progress(
        stage,
        Stage(row.resolution, 1, 0, settings.batch_size, settings.shards),
        1,
        settings.at(stage),
        fading=False,
        alpha=torch.tensor(1.0),
    )
    network = system.deploy(finished)
    try:
        network.load_state_dict(load_tensors(weights))
    except (RuntimeError, SafetensorError) as error:
        raise SettingsError(
            f"these weights are not of stage {stage} of {record['system']}: {error}"
        ) from None
    return Model(network.eval().requires_grad_(False), settings, stage, kind.source_scale(settings))


def from_folder(path: Path) -> Model:
    """A model from a `stages/K/generator.safetensors` with a settings.json above it."""
    file = path if path.is_file() else _newest(path)
    stage = int(file.parent.name) if file.parent.name.isdigit() else None
    for folder in (file.parent, *file.parent.parents):
        if (folder / "settings.json").is_file():
            record = read_json((folder / "settings.json").read_text())
            last = len(record["settings"].get("stages", [None])) - 1
            return build(record, last if stage is None else stage, file.read_bytes())
    raise SettingsError(f"model = {path}: no settings.json beside or above {file.name}")


def _newest(folder: Path) -> Path:
    found = sorted(folder.rglob("generator.safetensors"), key=_stage_number)
    if not found:
        raise SettingsError(f"model = {folder}: has no generator.safetensors below it")
    return found[-1]


def _stage_number(file: Path) -> int:
    return int(file.parent.name) if file.parent.name.isdigit() else -1
