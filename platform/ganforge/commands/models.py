"""What `--model` may name, and the model it names."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ganforge.inference.model import Model, build, from_folder
from ganforge.inference.stored import from_store
from ganforge.settings import SettingsError


@dataclass(frozen=True)
class Found:
    """A model, and where it is recorded: the run it is of, if there is one."""

    model: Model
    name: str
    run_id: str | None = None
    uri: str | None = None


def find_model(reference: str, tracking_uri: str | None, stage: int | None = None) -> Found:
    """The model that a reference names; of a run the last finished stage, or `stage`.

    A reference is a folder or file of weights, a checkpoint or a run's storage (on a disk or in an
    object store), runs:/ID, models:/NAME@ALIAS or models:/NAME/VERSION, or the id of a run.
    """
    scheme = reference.partition(":")[0] if ":/" in reference else ""
    if scheme not in ("runs", "models"):
        place = Path(reference).expanduser()
        if scheme or place.exists():
            model = _placed(reference if scheme else str(place), stage)
            return Found(model, reference)
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
            path, run_id = fetch_registered(uri, reference, Path(folder))
            model = from_folder(path)
            if stage not in (None, model.stage):
                raise SettingsError(
                    f"stage = {stage}: {reference} holds stage {model.stage} alone; name run "
                    f"{run_id} for another"
                )
            return Found(model, reference, run_id, uri)
    return Found(build(*fetch_generator(uri, reference, stage)), reference, reference, uri)


def _placed(place: str, stage: int | None) -> Model:
    stored = None if Path(place).is_file() else from_store(place, stage)
    if stored is not None:
        return stored
    if "://" in place:
        raise SettingsError(f"model = {place}: no checkpoint there")
    return from_folder(Path(place), stage)


def needs_images(found: Found, verb: str) -> None:
    """Refuse a generator that makes images from noise, for a verb that gives it images."""
    if found.model.takes != "image":
        raise SettingsError(
            f"model = {found.name}: {found.model.system} makes images from noise, so there is "
            f"nothing to {verb}"
        )
