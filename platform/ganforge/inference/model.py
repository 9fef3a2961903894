"""A trained generator from where it was recorded or stored, ready to be used."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from ganforge.local_files import MOST_RECORD, MOST_SOURCE, MOST_TENSORS, read_file
from ganforge.precision import full_float32
from ganforge.schedule import Progress, finished
from ganforge.settings import SettingsError, override, read_json, validated
from ganforge.systems.base import System
from ganforge.systems.catalog import admit, in_file, load_system
from ganforge.systems.trust import RecordedCode
from ganforge.training.source_code import user_sources

#: The folder next to settings.json with the files of a system that is in no installed package.
SOURCES = "source"


@dataclass(frozen=True)
class Model:
    """A deployable network: one tensor in [-1, 1] in, one out. `scale` is target by source side.

    `system` is the name by which its class is found, `takes` what the network is given. A model of
    another trainer has no settings, and the name of its architecture.
    """

    network: nn.Module
    settings: Any
    stage: int
    scale: int
    system: str
    takes: str = "image"
    channels: int = 3


def build(record: dict[str, Any], stage: int, weights: bytes) -> Model:
    """A stage's generator from the record in settings.json and its safetensors bytes."""
    system = grown(record, stage)
    model = deployed(system, record["system"], finished(system.settings, stage))
    try:
        model.network.load_state_dict(load_tensors(weights))
    except (RuntimeError, SafetensorError) as error:
        raise SettingsError(
            f"these weights are not of stage {stage} of {record['system']}: {error}"
        ) from None
    return model


def grown(record: dict[str, Any], stage: int) -> System:
    """A system with the modules it has at `stage`; their weights are yet to be loaded."""
    kind = load_system(record["system"])
    settings = validated(kind.Settings, record["settings"])
    if hasattr(
        settings, "perceptual"
    ):  # a term of training alone: inference does not need its file
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
    return system


def deployed(system: System, name: str, progress: Progress) -> Model:
    """The generator that a system deploys, at a point of its training; float32 in full."""
    full_float32()
    network = system.deploy(progress).eval().requires_grad_(False)
    scale = system.source_scale(system.settings)
    settings = system.settings
    return Model(network, settings, progress.index, scale, name, system.takes, settings.channels)


def admitted(name: str, origin: str, near: Path | None = None, *, trust_code: bool) -> str:
    """The name under which a record's system is loaded here; UntrustedCode where it may not be.

    The code of FILE.py:Class is in the folder `source` in `near`, else in the file that the name
    says. `origin` says in messages whose record it is.
    """
    if not in_file(name):
        return name
    folder = None if near is None else near / SOURCES
    sources = _texts(folder) if folder is not None and folder.is_dir() else _followed(name, origin)
    return admit(RecordedCode(name, sources, origin), trust_code)


def _texts(folder: Path) -> dict[str, str]:
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {
            path.relative_to(folder).as_posix(): read_file(path, MOST_SOURCE).decode()
            for path in files
        }
    except (OSError, ValueError) as error:
        raise SettingsError(f"{folder}: cannot be read as Python files ({error})") from None


def _followed(name: str, origin: str) -> dict[str, str]:
    """The text of the file that a record names, and of the files that it imports."""
    path = Path(name.rpartition(":")[0])
    if not path.is_file():
        raise SettingsError(
            f"system = {name}: {origin} names this file, and there is none here; call ganforge "
            "from the folder that holds it, or use the run by its id"
        )
    try:
        return user_sources(path)
    except (OSError, ValueError, SyntaxError, RecursionError) as error:
        raise SettingsError(f"system = {name}: cannot be read as Python ({error})") from None


def from_folder(path: Path, stage: int | None = None, *, trust_code: bool = False) -> Model:
    """A model from a `stages/K/generator.safetensors` with a settings.json above it.

    Of a folder the last stage, or the one asked for. A system in a file is loaded where it is
    trusted, or with `trust_code`.
    """
    file = path if path.is_file() else _newest(path, stage)
    number = _stage_number(file)
    found = None if number < 0 else number
    for folder in (file.parent, *file.parent.parents):
        if (folder / "settings.json").is_file():
            record = _record(folder / "settings.json")
            rows = record["settings"].get("stages")
            last = len(rows) - 1 if isinstance(rows, list) else 0
            name = admitted(record["system"], f"{folder}", folder, trust_code=trust_code)
            record = record | {"system": name}
            return build(record, last if found is None else found, _weights(file))
    raise SettingsError(f"model = {path}: there is no settings.json next to or above {file.name}")


def _record(path: Path) -> dict[str, Any]:
    try:
        return read_json(read_file(path, MOST_RECORD).decode())
    except (OSError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingsError(f"{path}: cannot be used as settings ({reason})") from None


def _weights(path: Path) -> bytes:
    try:
        return read_file(path, MOST_TENSORS)
    except OSError as error:
        raise SettingsError(f"model = {path}: {error.strerror}") from None


def stored_generators(folder: Path) -> list[Path]:
    """The files below a folder that hold a stage's generator. What vanishes while it is read, or
    may not be read, is not there."""
    name = "generator.safetensors"
    return [Path(top, name) for top, _, files in os.walk(folder) if name in files]


def _run_folder(file: Path, below: Path) -> Path:
    """The folder of the run that a stored generator belongs to, as settings.json marks it."""
    for folder in file.parents:
        if (folder / "settings.json").is_file() or folder == below:
            return folder
    return below


def _newest(folder: Path, stage: int | None) -> Path:
    found = sorted(sorted(stored_generators(folder)), key=_stage_number)
    runs = sorted({_run_folder(file, folder) for file in found})
    if len(runs) > 1:
        named = ", ".join(str(run) for run in runs[:3]) + (", …" if len(runs) > 3 else "")
        raise SettingsError(
            f"model = {folder}: has the states of {len(runs)} runs; give the folder of one: {named}"
        )
    if stage is not None:
        numbers = ", ".join(str(_stage_number(file)) for file in found)
        found = [file for file in found if _stage_number(file) == stage]
        if not found:
            raise SettingsError(f"stage = {stage}: {folder} has stages {numbers or 'none'}")
    if not found:
        raise SettingsError(f"model = {folder}: no generator.safetensors is below it")
    return found[-1]


def _stage_number(file: Path) -> int:
    name = file.parent.name
    return int(name) if name.isascii() and name.isdigit() and len(name) < 10 else -1
