"""The generator of a stored state, at a stage's end or in the middle of a fade."""

import json

import torch

from ganforge.inference.model import Model, admitted, deployed, grown
from ganforge.schedule import Progress, Stage
from ganforge.settings import SettingsError, read_json
from ganforge.training.checkpoint import CHECKPOINT_NAME, Damaged, Snapshot, Store, restore
from ganforge.training.old_manifest import settings_and_stage

#: after a run's storage: the state of it that measured best
BEST = "best"


def from_store(uri: str, stage: int | None = None, *, trust_code: bool = False) -> Model | None:
    """The model of a checkpoint, or of the newest one in a run's storage that verifies.

    STORAGE/best is the one that measured best. With `stage`, of the kept end of that stage. None
    where `uri` is neither. A system in a file is loaded where it is trusted, or with `trust_code`.
    """
    try:
        return _from_store(uri, stage, trust_code)
    except SettingsError:
        raise
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        # a manifest whose sha256 is right and whose content is not, or tensors of another network
        reason = (str(error).splitlines() or [""])[0]
        raise SettingsError(
            f"model = {uri}: its checkpoint is not as ganforge writes it ({type(error).__name__}: "
            f"{reason}); take another one"
        ) from None


def snapshot_in(uri: str) -> Snapshot | None:
    """The state in a checkpoint's folder, or the newest that verifies in a run's storage, or with
    /best after it the one that measured best; None where it is none of these."""
    store, name = _located(uri)
    if name is not None:
        return _load(store, name)
    return store.newest() if store.names() else None


def _located(uri: str) -> tuple[Store, str | None]:
    """The storage that `uri` is, or the one that it lies in and its name there: of a checkpoint."""
    path, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    parent, _, name = path.rstrip("/").rpartition("/")
    if CHECKPOINT_NAME.fullmatch(name):
        return Store((parent or ".") + mark + query), name
    if name == BEST and parent:
        store = Store(parent + mark + query)
        if store.names():
            return store, name
    return Store(uri), None


def _load(store: Store, name: str) -> Snapshot:
    """The checkpoint of that name, or the one that measured best."""
    if name == BEST:
        found = store.best()
        if found is None:
            raise SettingsError(
                f"model = {store.uri}/{BEST}: no state that was measured is kept there; train with "
                "--set keep=best:1, and --set validation.every_epochs=1 to measure inside stages "
                "too"
            )
        return found
    try:
        return store.load(name)
    except Damaged as damage:
        raise SettingsError(f"model = {store.uri}: checkpoint {damage}; take another one") from None


def _from_store(uri: str, stage: int | None, trust_code: bool) -> Model | None:
    store, name = _located(uri)
    if name is not None:
        return _named(store, name, stage, trust_code)
    if not store.names():
        return None
    found = store.newest() if stage is None else store.at(stage)
    if found is None:
        what = "checkpoint verifies" if stage is None else f"end of stage {stage} is kept"
        raise SettingsError(f"model = {uri}: no {what} there")
    return from_snapshot(found, f"a checkpoint in {uri}", trust_code=trust_code)


def _named(store: Store, name: str, stage: int | None, trust_code: bool) -> Model:
    found = _load(store, name)
    if stage not in (None, found.position.index):
        raise SettingsError(f"stage = {stage}: checkpoint {name} is of {found.position.index}")
    return from_snapshot(found, f"checkpoint {name} in {store.uri}", trust_code=trust_code)


def from_snapshot(snapshot: Snapshot, origin: str, *, trust_code: bool = False) -> Model:
    """The averaged generator of a state as it was at its step: in a fade with its alpha.

    `origin` says in messages where the state lies.
    """

    def name_here(system: str) -> str:
        return admitted(system, origin, trust_code=trust_code)

    manifest = snapshot.manifest
    if "settings" in manifest:
        record, length = read_json(json.dumps(manifest["settings"])), manifest["stage"]
    else:
        record, length = settings_and_stage(manifest, name_here)
    index, step = snapshot.position.index, snapshot.position.step
    record = record | {"system": name_here(record["system"])}
    stage = Stage(**length)
    system = grown(record, index)
    restore(system, snapshot.groups)
    alpha, here = torch.tensor(stage.alpha(step)), system.settings.at(index)
    progress = Progress(index, stage, step, here, stage.fading(step), alpha)
    return deployed(system, record["system"], progress)
