"""Manifests of checkpoints that version 0.1 stored. Read in 0.2, and to be deleted after it."""

from collections.abc import Callable
from typing import Any

from ganforge.settings import flatten, override, read_json, to_json
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import StageSettings

_UNUSED = ("data.", "validation.", "stages.", "perceptual.")
#: Settings that were renamed (migrations.py), as they stand in a manifest's identity.
_RENAMED = {"validation.pictures": "validation.images"}


def upgraded(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with the present names of settings in its identity."""
    identity = manifest.get("identity")
    if "settings" in manifest or not isinstance(identity, dict):
        return manifest
    return {**manifest, "identity": {_renamed(key): value for key, value in identity.items()}}


def _renamed(key: str) -> str:
    stage, colon, name = key.rpartition(": ")
    return stage + colon + _RENAMED.get(name, name)


def settings_and_stage(
    manifest: dict[str, Any], admitted: Callable[[str], str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record of settings.json and the stage of the plan, read out of a manifest's identity.

    `admitted` gives the name under which the recorded system may be loaded here.

    It has no lengths of stages, and of the data no more than the sha256: neither is needed to use
    a generator.
    """
    identity = manifest["identity"]
    prefix = f"stages.{manifest['index']}: "
    here = {k.removeprefix(prefix): v for k, v in identity.items() if k.startswith(prefix)}
    base = load_system(admitted(here["system"])).Settings()
    known = flatten(base)
    changes = {k: v for k, v in here.items() if k in known and not k.startswith(_UNUSED)}
    rows: list[StageSettings] = []
    while (side := identity.get(f"stages.{len(rows)}: stage.resolution")) is not None:
        rows.append(StageSettings(resolution=side))
    stage = {
        "resolution": here["stage.resolution"],
        "images": here["steps"] * here["batch_size"],
        "fade_images": here["stage.fade_images"],
        "batch_size": here["batch_size"],
        "shards": here["shards"],
        "task": here["stage.task"],
        "epoch_images": here.get("stage.epoch_images", 0),
        "alpha_unit": here["alpha_unit"],
    }
    return read_json(to_json(override(base, changes | {"stages": tuple(rows)}))), stage
