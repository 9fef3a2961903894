"""Runs as the driver sees them: opened once, ended once, with an outcome in plain words."""

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from ganforge.settings import to_json
from ganforge.tracking.client import experiment_id, open_client
from ganforge.tracking.description import data_name
from ganforge.tracking.named_store import check_artifact_uri
from ganforge.tracking.process import identity, is_dead
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.versions import source, versions

Kind = Literal["search", "trial", "train", "reproduce"]
Status = Literal["FINISHED", "FAILED", "KILLED", "RUNNING"]
KEY = "ganforge.key"
_PARAM_LIMIT = 6000


class NotOpened(LookupError):
    """A run is named by a key under which the store has none: another outbox opens it."""


@dataclass(frozen=True)
class Opening:
    """What is recorded of a new run.

    `searched` are the settings that differ between the trials of a search: they become parameters,
    next to a few essentials. All settings are in the artifact settings.json. `parent` is the id of
    the run above it; `parent_key` its key, where it has no id yet.
    """

    kind: Kind
    name: str
    settings: Any
    searched: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    description: str = ""
    parent: str | None = None
    parent_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def describe(opening: Opening) -> dict[str, Any]:
    """An opening as plain data, with everything that is known now: the run may be made later."""
    tags = {
        "kind": opening.kind,
        "system": opening.settings.system,
        **identity(),
        **versions(),
        **source(),
        **opening.tags,
    }
    if opening.fingerprint:
        tags["data.fingerprint"] = opening.fingerprint
    if opening.parent:
        tags["mlflow.parentRunId"] = opening.parent
    if opening.description:
        tags["mlflow.note.content"] = opening.description
    params = essentials(opening.settings) | dict(opening.searched)
    return {
        "name": opening.name,
        "start": int(time.time() * 1000),
        "tags": tags,
        "params": {name: _short(value) for name, value in params.items()},
        "settings": to_json(opening.settings),
        "data": _dataset(opening) if opening.fingerprint else None,
        "parent_key": opening.parent_key,
    }


def open_run(uri: str, experiment: str, opening: Opening, key: str = "") -> RunRef:
    """Make a run and write down everything that is known before it starts."""
    client = open_client(uri)
    return RunRef(
        uri,
        make_run(client, uri, experiment, key, describe(opening), None),
        experiment=experiment,
        key=key,
    )


def make_run(
    client: MlflowClient,
    uri: str,
    experiment: str,
    key: str,
    opening: Mapping[str, Any],
    found: str | None,
) -> str:
    """The run of an opening, made or, with `found`, completed; its id. Twice makes one run."""
    run_id = found
    if run_id is None:
        tags = dict(opening["tags"])
        if key:
            tags[KEY] = key
        if (parent_key := opening["parent_key"]) and "mlflow.parentRunId" not in tags:
            parent = find_key(client, experiment, parent_key)
            if parent is None:
                raise NotOpened(f"run {parent_key} is not opened yet")
            tags["mlflow.parentRunId"] = parent
        run_id = client.create_run(
            experiment_id(client, uri, experiment),
            start_time=opening["start"],
            tags=tags,
            run_name=opening["name"],
        ).info.run_id
    check_artifact_uri(uri, client.get_run(run_id).info.artifact_uri or "")
    log_params(client, run_id, opening["params"])
    client.log_text(run_id, opening["settings"], "settings.json")
    if data := opening["data"]:
        _log_dataset(client, run_id, data)
    return run_id


def find_key(client: MlflowClient, experiment: str, key: str) -> str | None:
    """Id of the run that was opened under a key."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    runs = client.search_runs([found.experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
    return runs[0].info.run_id if runs else None


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    """Log the parameters that a run does not have: the store refuses to change one."""
    known = client.get_run(run_id).data.params
    new = [Param(name, _short(value)) for name, value in params.items() if name not in known]
    if new:
        client.log_batch(run_id, params=new)


def put_file(client: MlflowClient, run_id: str, path: str, content: BinaryIO) -> None:
    """Log an open file under a path of its own."""
    folder, _, name = path.rpartition("/")
    with tempfile.TemporaryDirectory() as aside:
        named = Path(aside, name)
        # the file that is open, not its name: another one may stand under that by now
        opened = Path(f"/proc/self/fd/{content.fileno()}")
        if opened.exists():
            named.symlink_to(opened)
        else:
            with named.open("xb") as file:
                shutil.copyfileobj(content, file)
        client.log_artifact(run_id, str(named), folder or None)


def _short(value: Any) -> str:
    return str(value)[:_PARAM_LIMIT]


def essentials(settings: Any) -> dict[str, Any]:
    """The few settings that a person looks for in any run."""
    return {
        "system": settings.system,
        "resolutions": " ".join(str(stage.resolution) for stage in settings.stages),
        "batch_size": settings.batch_size,
        "seed": settings.seed,
    }


def _dataset(opening: Opening) -> dict[str, str]:
    return {
        "name": data_name(opening.settings),
        "digest": opening.fingerprint[:36],
        "source": ", ".join(opening.settings.data.folders) or "scikit-image and scikit-learn",
    }


def _log_dataset(client: MlflowClient, run_id: str, data: Mapping[str, str]) -> None:
    dataset = Dataset(data["name"], data["digest"], source_type="local", source=data["source"])
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, datasets=[DatasetInput(dataset, [context])])


def end_run(
    run: RunRef,
    status: Status,
    outcome: str,
    *,
    metrics: Mapping[str, float] | None = None,
    note: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """End a run explicitly: a process that dies leaves RUNNING for ever.

    `outcome` is "finished", "stopped early at stage K" or "failed: REASON".
    """
    client = open_client(run.uri)
    now = int(time.time() * 1000)
    client.log_batch(
        run.run_id,
        metrics=[Metric(k, v, now, 0) for k, v in (metrics or {}).items()],
        tags=[RunTag(k, v) for k, v in ending_tags(outcome, note, tags).items()],
    )
    client.set_terminated(run.run_id, status=status)


def ending_tags(
    outcome: str, note: str | None = None, tags: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What a run's tags say once it is over."""
    found = {"outcome": outcome, **(tags or {})}
    if note is not None:
        found["mlflow.note.content"] = note
    return {name: _short(value) for name, value in found.items()}


def close_orphans(uri: str, experiment: str) -> list[str]:
    """End the runs that a dead driver left RUNNING; returns their ids."""
    client = open_client(uri)
    found = client.search_runs(
        [experiment_id(client, uri, experiment)],
        "attributes.status = 'RUNNING'",
        max_results=1000,
    )
    orphans = [run.info.run_id for run in found if is_dead(run.data.tags)]
    for run_id in orphans:
        end_run(RunRef(uri, run_id), "KILLED", "failed: its driver died")
    return orphans
