"""What `--model` may name, and the model it names."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ganforge.inference.exported import from_exported
from ganforge.inference.foreign import from_foreign, is_foreign
from ganforge.inference.model import Model, build, from_folder
from ganforge.inference.stored import from_store
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class FoundModel:
    """A model, and the run that recorded it, if there is one."""

    model: Model
    name: str
    run_id: str | None = None
    uri: str | None = None


def find_model(
    reference: str,
    tracking_uri: str | None,
    stage: int | None = None,
    *,
    trust_code: bool = False,
) -> FoundModel:
    """The model that a reference names; of a run the last finished stage, or `stage`.

    A reference is a folder or file of weights (also of another trainer), a checkpoint or a run's
    storage (on a disk or in an object store), runs:/ID, models:/NAME@ALIAS or models:/NAME/VERSION,
    or the id of a run. What they hold of Python is run where this machine has trusted it, or with
    `trust_code`.
    """
    if not reference.strip():
        raise SettingsError(
            "model is empty: give the id of a run, models:/NAME@champion, a folder or a file"
        )
    scheme = reference.partition(":")[0] if ":/" in reference else ""
    if scheme not in ("runs", "models"):
        path = Path(reference).expanduser()
        if scheme or path.exists():
            model = _from_storage(reference if scheme else str(path), stage, trust_code)
            return FoundModel(model, reference)
    elif scheme == "runs":
        reference = reference.removeprefix("runs:/").partition("/")[0]
    if scheme != "models" and not re.fullmatch("[0-9a-f]{32}", reference):
        raise SettingsError(
            f"model = {reference}: no such file or folder, and not the id of a run (32 digits), "
            "runs:/ID or models:/NAME@champion"
        )
    # MLflow takes seconds to import: not for a folder
    from ganforge.tracking.artifacts import fetch_generator
    from ganforge.tracking.client import existing_uri
    from ganforge.tracking.registry import fetch_registered

    uri = existing_uri(tracking_uri)
    if scheme == "models":
        with tempfile.TemporaryDirectory() as folder:
            weights, run_id = fetch_registered(uri, reference, Path(folder))
            model = from_folder(weights, trust_code=trust_code)
            if stage not in (None, model.stage):
                raise SettingsError(
                    f"stage = {stage}: {reference} holds stage {model.stage} alone; name run "
                    f"{run_id} for another"
                )
            return FoundModel(model, reference, run_id, uri)
    fetched = fetch_generator(uri, reference, stage, trust_code=trust_code)
    return FoundModel(build(*fetched), reference, reference, uri)


def _from_storage(uri: str, stage: int | None, trust_code: bool) -> Model:
    if is_foreign(Path(uri)) and Path(uri).is_file():
        exported = from_exported(Path(uri), trust_code=trust_code)
        return exported or from_foreign(Path(uri))
    stored = None if Path(uri).is_file() else from_store(uri, stage, trust_code=trust_code)
    if stored is not None:
        return stored
    if "://" in uri:
        raise SettingsError(f"model = {uri}: has no checkpoint")
    return from_folder(Path(uri), stage, trust_code=trust_code)


def needs_images(found: FoundModel, action: str) -> None:
    """Refuse a generator that makes images from noise, for a command that gives it images."""
    if found.model.takes != "image":
        raise SettingsError(
            f"model = {found.name}: {found.model.system} makes images from noise, so there is "
            f"nothing to {action}"
        )
