"""The generator of a stored state, at a stage's end or in the middle of a fade."""

from typing import Any

import torch

from ganforge.inference.model import Model, deployed, grown
from ganforge.schedule import Progress, Stage
from ganforge.settings import SettingsError, flatten, override, read_json, to_json
from ganforge.systems.catalog import load_system
from ganforge.systems.settings import StageSettings
from ganforge.training.checkpoint import CHECKPOINT_NAME, Damaged, Snapshot, Store, restore

_UNUSED = ("data.", "validation.", "stages.", "perceptual.")


def from_store(place: str, stage: int | None = None) -> Model | None:
    """The model of a checkpoint, or of the newest one in a run's storage that verifies.

    With `stage`, of the kept end of that stage. None where `place` is neither.
    """
    path, mark, query = place.partition("?") if "://" in place else (place, "", "")
    parent, _, name = path.rstrip("/").rpartition("/")
    if CHECKPOINT_NAME.fullmatch(name):
        return _named(Store((parent or ".") + mark + query), name, stage)
    store = Store(place)
    if not store.names():
        return None
    found = store.newest() if stage is None else store.at(stage)
    if found is None:
        what = "checkpoint verifies" if stage is None else f"end of stage {stage} is kept"
        raise SettingsError(f"model = {place}: no {what} there")
    return from_snapshot(found)


def _named(store: Store, name: str, stage: int | None) -> Model:
    try:
        found = store.load(name)
    except Damaged as damage:
        raise SettingsError(f"model = {store.uri}: checkpoint {damage}; take another one") from None
    if stage not in (None, found.position.index):
        raise SettingsError(f"stage = {stage}: checkpoint {name} is of {found.position.index}")
    return from_snapshot(found)


def from_snapshot(snapshot: Snapshot) -> Model:
    """The averaged generator of a state as it was at its step: in a fade with its alpha."""
    facts: dict[str, Any] = snapshot.manifest["identity"]
    index, step = snapshot.position.index, snapshot.position.step
    prefix = f"stages.{index}: "
    here = {k.removeprefix(prefix): v for k, v in facts.items() if k.startswith(prefix)}
    name = here["system"]
    settings = _settings(name, here, facts)
    stage = Stage(
        here["stage.resolution"],
        here["steps"] * here["batch_size"],
        here["stage.fade_images"],
        here["batch_size"],
        here["shards"],
        here["stage.task"],
        here.get("stage.epoch_images", 0),
        here["alpha_unit"],
    )
    system = grown(read_json(to_json(settings)), index)
    restore(system, snapshot.groups)
    alpha = torch.tensor(stage.alpha(step))
    progress = Progress(index, stage, step, settings.at(index), stage.fading(step), alpha)
    return deployed(system, name, progress)


def _settings(name: str, here: dict[str, Any], facts: dict[str, Any]) -> Any:
    """Settings with the networks of the recorded ones. A manifest has no lengths of stages, and of
    the data no more than the sha256: neither is needed to use a generator."""
    base = load_system(name).Settings()
    known = flatten(base)
    changes = {k: v for k, v in here.items() if k in known and not k.startswith(_UNUSED)}
    rows: list[StageSettings] = []
    while (side := facts.get(f"stages.{len(rows)}: stage.resolution")) is not None:
        rows.append(StageSettings(resolution=side))
    return override(base, changes | {"stages": tuple(rows)})
