"""Runs as the driver sees them: opened once, ended once, with an outcome in words."""

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from ganforge.settings import to_json
from ganforge.tracking.description import data_name
from ganforge.tracking.record import Tracking
from ganforge.tracking.store import experiment_id, open_client
from ganforge.tracking.versions import source, versions

Kind = Literal["search", "trial", "train", "reproduce"]
Status = Literal["FINISHED", "FAILED", "KILLED", "RUNNING"]
_PARAM_LIMIT = 6000


@dataclass(frozen=True)
class Opening:
    """What a new run is told about itself.

    `searched` are the settings that differ between the trials of a search: they become parameters,
    beside a few essentials. All settings are in the artifact settings.json.
    """

    kind: Kind
    name: str
    settings: Any
    searched: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    description: str = ""
    parent: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def open_run(uri: str, experiment: str, opening: Opening) -> Tracking:
    """Make a run and write down everything that is known before it starts."""
    client = open_client(uri)
    tags = {
        "kind": opening.kind,
        "system": opening.settings.system,
        "driver.host": platform.node(),
        "driver.pid": str(os.getpid()),
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
    run = client.create_run(
        experiment_id(client, uri, experiment), tags=tags, run_name=opening.name
    )
    run_id = run.info.run_id
    params = essentials(opening.settings) | dict(opening.searched)
    client.log_batch(run_id, params=[Param(k, _short(v)) for k, v in params.items()])
    client.log_text(run_id, to_json(opening.settings), "settings.json")
    if opening.fingerprint:
        _log_dataset(client, run_id, opening)
    return Tracking(uri, run_id)


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


def _log_dataset(client: MlflowClient, run_id: str, opening: Opening) -> None:
    root = getattr(opening.settings.data, "root", None)
    dataset = Dataset(
        name=data_name(opening.settings),
        digest=opening.fingerprint[:36],
        source_type="local",
        source=str(root or "scikit-image and scikit-learn"),
    )
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, datasets=[DatasetInput(dataset, [context])])


def continue_run(tracking: Tracking) -> None:
    """Set a run to RUNNING again: its search or training is resumed by this process."""
    client = open_client(tracking.uri)
    client.update_run(tracking.run_id, status="RUNNING")
    tags = {"driver.host": platform.node(), "driver.pid": str(os.getpid())}
    client.log_batch(tracking.run_id, tags=[RunTag(k, v) for k, v in tags.items()])


def end_run(
    tracking: Tracking,
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
    client = open_client(tracking.uri)
    found = {"outcome": outcome, **(tags or {})}
    if note is not None:
        found["mlflow.note.content"] = note
    now = int(time.time() * 1000)
    client.log_batch(
        tracking.run_id,
        metrics=[Metric(k, v, now, 0) for k, v in (metrics or {}).items()],
        tags=[RunTag(k, _short(v)) for k, v in found.items()],
    )
    client.set_terminated(tracking.run_id, status=status)


def reap(uri: str, experiment: str) -> list[str]:
    """End the runs that a dead driver of this machine left RUNNING; returns their ids."""
    client = open_client(uri)
    found = client.search_runs(
        [experiment_id(client, uri, experiment)],
        f"attributes.status = 'RUNNING' and tags.`driver.host` = '{platform.node()}'",
        max_results=1000,
    )
    orphans = [run.info.run_id for run in found if not _alive(run.data.tags.get("driver.pid", ""))]
    for run_id in orphans:
        end_run(Tracking(uri, run_id), "KILLED", "failed: its driver died")
    return orphans


def _alive(pid: str) -> bool:
    if not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
