"""A run's inputs and results as files: what is recorded, and how it is read back."""

import json
import tempfile
from pathlib import Path
from typing import Any

from ganforge.assets import check_hash
from ganforge.local_files import MOST_SOURCE, read_file
from ganforge.settings import SettingsError
from ganforge.systems.catalog import admit, in_file
from ganforge.systems.trust import RecordedCode
from ganforge.tracking.client import open_client
from ganforge.tracking.queries import (
    fetch_file,
    fetch_settings,
    fetch_stages,
    fetch_tags,
    read_hashes,
)
from ganforge.training.checkpoint import pack
from ganforge.training.prepare import Prepared

IMAGES = "images.json"
SOURCES = "source"


def input_files(prepared: Prepared) -> dict[str, bytes]:
    """What it takes to train a run again elsewhere and to name what differs there, by path: frozen
    networks under the sha256 by which the settings name them, each image's sha256, and the files
    of a system that is in no installed package."""
    files = {IMAGES: json.dumps(dict(prepared.facts.digests), indent=1).encode()}
    for name, tensors in prepared.assets.items():
        if name != prepared.settings.validation.fid_network:  # a metric's network reaches no weight
            files[asset_path(name)] = pack(tensors)
    for path, text in prepared.sources.items():
        files[f"{SOURCES}/{path}"] = text.encode()
    return files


def asset_path(name: str) -> str:
    """The path of a file of tensors in a run; `name` is "sha256:…"."""
    check_hash(name, "a recorded file")
    return f"assets/{name.removeprefix('sha256:')}.safetensors"


def fetch_generator(
    uri: str, run_id: str, stage: int | None = None, *, trust_code: bool = False
) -> tuple[dict[str, Any], int, bytes]:
    """(record of settings.json, stage, safetensors bytes); the last finished stage by default.

    The system in the record is named as it is loaded here: see `fetch_system`.
    """
    record = fetch_settings(uri, run_id)
    record["system"] = fetch_system(uri, run_id, record["system"], trust_code=trust_code)
    results = fetch_stages(uri, run_id)
    if not results:
        raise SettingsError(f"run {run_id}: no stage is finished, so there is no generator")
    number = results[-1].index if stage is None else stage
    known = [result.index for result in results]
    if number not in known:
        numbers = ", ".join(map(str, known))
        raise SettingsError(f"stage = {stage}: run {run_id} has finished stages {numbers}")
    with tempfile.TemporaryDirectory() as folder:
        path = fetch_file(uri, run_id, f"stages/{number}/generator.safetensors", Path(folder))
        return record, number, path.read_bytes()


def fetch_system(uri: str, run_id: str, name: str, *, trust_code: bool = False) -> str:
    """A recorded system's name on this machine; one of a file comes from the record itself.

    UntrustedCode, before anything of it runs, where this machine has not trusted the record's files
    and `trust_code` does not say so.
    """
    if not in_file(name):
        return name
    client = open_client(uri)
    for owner in _family(uri, run_id):
        if not client.list_artifacts(owner, SOURCES):
            continue
        with tempfile.TemporaryDirectory() as folder:
            top = fetch_file(uri, owner, SOURCES, Path(folder))
            files = sorted(path for path in top.rglob("*") if path.is_file())
            try:
                texts = {
                    path.relative_to(top).as_posix(): read_file(path, MOST_SOURCE).decode()
                    for path in files
                }
            except (OSError, ValueError):
                raise SettingsError(
                    f"run {owner}: its artifacts in {SOURCES}/ are not all Python files in UTF-8; "
                    "take another run"
                ) from None
        return admit(RecordedCode(name, texts, f"run {owner} of {uri}"), trust_code)
    raise SettingsError(f"run {run_id}: the file of system {name} was not recorded")


def system_of(uri: str, experiment: str, *, trust_code: bool = False) -> str:
    """The system that the trials and trainings of an experiment are of."""
    client = open_client(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise SettingsError(f"experiment = {experiment}: not in {uri}")
    names: dict[str, str] = {}
    for kind in ("trial", "train"):
        runs = client.search_runs([found.experiment_id], f"tags.kind = '{kind}'", max_results=1000)
        names |= {r.data.tags["system"]: r.info.run_id for r in runs if "system" in r.data.tags}
    if len(names) != 1:
        listed = ", ".join(sorted(names)) or "no trained system"
        raise SettingsError(f"experiment = {experiment}: has {listed}; name one run with --run")
    name, run_id = names.popitem()
    return fetch_system(uri, run_id, name, trust_code=trust_code)


def fetch_asset(uri: str, run_id: str, name: str) -> bytes | None:
    """A frozen network that a run's settings name by sha256, from the run or its parent."""
    return _of_family(uri, run_id, asset_path(name))


def fetch_images(uri: str, run_id: str) -> dict[str, str]:
    """sha256 of the pixels of each image by name, as recorded; empty where they were not."""
    return read_hashes(run_id, IMAGES, _of_family(uri, run_id, IMAGES) or b"{}")


def _family(uri: str, run_id: str) -> list[str]:
    """A run of the store, and the one above it where there is such a one: its tag may say
    anything."""
    parent = fetch_tags(uri, run_id).get("mlflow.parentRunId")
    if parent is None:
        return [run_id]
    try:
        fetch_tags(uri, parent)
    except SettingsError:
        return [run_id]
    return [run_id, parent]


def _of_family(uri: str, run_id: str, path: str) -> bytes | None:
    """An artifact of a run or of its parent."""
    for owner in _family(uri, run_id):
        with tempfile.TemporaryDirectory() as folder:
            try:
                return fetch_file(uri, owner, path, Path(folder)).read_bytes()
            except SettingsError:
                continue
    return None
