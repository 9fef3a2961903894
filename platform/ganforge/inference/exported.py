"""Weights that were taken home (inference/export.py), with a record of what they are inside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ganforge.assets import from_path
from ganforge.inference.export import load_weights
from ganforge.inference.model import Model, admitted, deployed, grown
from ganforge.schedule import finished
from ganforge.settings import SettingsError, read_json, shown_path


def from_exported(path: Path, *, trust_code: bool = False) -> Model | None:
    """The generator in a .safetensors or .pth of `ganforge export`; None for any other file.

    Of an export before stages were recorded the last one. A system in a file is loaded where it is
    trusted, or with `trust_code`. SettingsError where weights and record do not fit.
    """
    about = _about(path)
    if not isinstance(about.get("settings"), str) or "system" not in about:
        return None
    prefix = f"model = {shown_path(path)}"
    try:
        record = read_json(about["settings"])
        index = int(about.get("stage", len(record["settings"]["stages"]) - 1))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise SettingsError(f"{prefix}: its record cannot be read ({reason})") from None
    system = admitted(record["system"], prefix, trust_code=trust_code)
    made = grown(record | {"system": system}, index)
    model = deployed(made, system, finished(made.settings, index))
    try:
        load_weights(model.network, from_path(str(path), "model"))
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[-1].strip()[:200]
        raise SettingsError(
            f"{prefix}: its weights are not of stage {index} of {system} ({reason})"
        ) from None
    return model


def _about(path: Path) -> Mapping[str, Any]:
    """What stands with the tensors of a file; empty where nothing does, or it is not of tensors."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                found = file.metadata()
        elif path.suffix == ".pth":
            found = torch.load(path, map_location="meta", weights_only=True).get("about", {})
        else:
            return {}
    except Exception:  # it is read as tensors next: the error is of that
        return {}
    return found if isinstance(found, Mapping) else {}
