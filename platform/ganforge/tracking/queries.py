"""What a store knows about runs: the best one, its settings, its stages, its files."""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from pydantic import TypeAdapter, ValidationError

from ganforge.schedule import Position
from ganforge.settings import SettingsError, read_json, shown
from ganforge.tracking.client import open_client
from ganforge.tracking.named_store import check_artifact_uri
from ganforge.training.report import StageResult, checked_stages

SETTINGS = "settings.json"
STAGES = "stages.json"
STATES = "states"
_RECORDS = TypeAdapter(list[dict[str, Any]])
_HASHES = TypeAdapter(dict[str, str])


def best_run(uri: str, experiment: str, metric: str, mode: str) -> str:
    """Id of the trial or training with the best last value of `metric` in an experiment."""
    client = open_client(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        known = ", ".join(e.name for e in client.search_experiments(max_results=20))
        raise SettingsError(f"experiment = {experiment}: not in {uri}; there are: {known}")
    runs: list[Run] = [
        run
        for kind in ("trial", "train")
        for run in client.search_runs(
            [found.experiment_id], f"tags.kind = '{kind}'", max_results=5000
        )
        if metric in run.data.metrics
    ]
    if not runs:
        raise SettingsError(f"experiment = {experiment}: no run has the metric {metric}")
    sign = 1 if mode == "max" else -1
    # a finished run comes before one that was stopped or failed; older before newer
    order = [
        (
            run.data.tags.get("outcome") == "finished",
            sign * run.data.metrics[metric],
            -run.info.start_time,
        )
        for run in runs
    ]
    return runs[order.index(max(order))].info.run_id


def ranked_params(uri: str, name: str, metric: str, mode: str, count: int) -> list[dict[str, str]]:
    """The recorded settings of a run, or of the `count` best runs of an experiment, best first."""
    client = open_client(uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return [dict(client.get_run(name).data.params)]
        except MlflowException:
            raise SettingsError(
                f"points = {shown(name)}: neither a file that ends in .json, .jsonl or .csv, nor a "
                f"run or an experiment in {uri}"
            ) from None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    sign = -1 if mode == "max" else 1
    scored = [
        (sign * run.data.metrics[metric], run.info.run_id, dict(run.data.params))
        for run in runs
        if math.isfinite(run.data.metrics.get(metric, math.nan)) and run.data.params
    ]
    return [params for *_, params in sorted(scored, key=lambda row: row[:2])[:count]]


@dataclass(frozen=True)
class RecordedTrial:
    """An ended trial of a search, or a training: its recorded settings, the fingerprint of its
    data, its search, how many stages it trained, parts counted, and its score; None where it failed
    or has none."""

    params: dict[str, str]
    system: str
    data: str
    search: str
    stages: float
    score: float | None
    failed: bool


def recorded_trials(uri: str, experiment: str, metric: str) -> list[RecordedTrial]:
    """The trials and trainings of an experiment that failed, or ended with a value of `metric` or
    without; in the order in which they began. Those that were cut off are left out."""
    client = open_client(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        known = ", ".join(e.name for e in client.search_experiments(max_results=20))
        raise SettingsError(
            f"warm-start = {shown(experiment)}: no such experiment in {uri}; there are: {known}"
        )
    runs: list[Run] = []
    for kind in ("trial", "train"):
        token: str | None = None
        while True:
            page = client.search_runs(
                [found.experiment_id], f"tags.kind = '{kind}'", max_results=1000, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                break
    runs.sort(key=lambda run: (run.info.start_time, run.info.run_id))
    ended = [run for run in runs if run.info.status in ("FINISHED", "FAILED")]
    return [_recorded_trial(run, metric) for run in ended]


def _recorded_trial(run: Run, metric: str) -> RecordedTrial:
    metrics, tags = run.data.metrics, run.data.tags
    failed = run.info.status == "FAILED"
    score = metrics.get(metric, math.nan)
    # of the newest report, which may be of a rung inside a stage
    inside = metrics.get("stage/index", math.nan) + metrics.get("stage/done", math.nan)
    stages = inside if math.isfinite(inside) else metrics.get("stages_done", 0.0)
    return RecordedTrial(
        dict(run.data.params),
        tags.get("system", ""),
        tags.get("data.fingerprint", ""),
        tags.get("search", ""),
        stages if math.isfinite(stages) else 0.0,
        score if math.isfinite(score) and not failed else None,
        failed,
    )


def fetch_settings(uri: str, run_id: str) -> dict[str, Any]:
    """The record of a run's settings.json, migrated to the present schema."""
    _run(uri, run_id)  # is there such a run?
    try:
        return read_json(_text(uri, run_id, SETTINGS))
    except (ValueError, RecursionError) as error:
        raise _not_as_written(run_id, SETTINGS, "a settings file", error) from None


def fetch_stages(uri: str, run_id: str) -> list[StageResult]:
    """The finished stages of a run, in order; empty when it has none yet."""
    _check_artifacts(uri, run_id)
    files = open_client(uri).list_artifacts(run_id)
    if not any(file.path == STAGES for file in files):
        return []
    try:
        records = _RECORDS.validate_json(_text(uri, run_id, STAGES))
        found = checked_stages(records)
    except ValueError as error:
        raise _not_as_written(run_id, STAGES, "a list of finished stages", error) from None
    return [found[index] for index in sorted(found)]


def _not_as_written(run_id: str, name: str, what: str, error: Exception) -> SettingsError:
    """An artifact that this program did not write so."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
    else:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    return SettingsError(
        f"run {run_id}: its artifact {name} is not {what} ({reason}); it is damaged or of another "
        "program: take another run, or put a copy of the file back"
    )


def state_path(position: Position) -> str:
    """The artifact that holds the hashes of the state stored at a position."""
    return f"{STATES}/{position.index:03d}-{position.step:09d}.json"


def fetch_states(uri: str, run_id: str) -> dict[Position, dict[str, str]]:
    """The hashes of every state that a run stored; none where only stages were recorded."""
    found: dict[Position, dict[str, str]] = {}
    if not list_files(uri, run_id, STATES):
        return found
    with tempfile.TemporaryDirectory() as folder:
        for path in fetch_file(uri, run_id, STATES, Path(folder)).glob("*.json"):
            index, _, step = path.stem.partition("-")
            if not (index.isdecimal() and step.isdecimal()):
                continue  # of no state: nothing is compared with it
            hashes = read_hashes(run_id, f"{STATES}/{path.name}", path.read_bytes())
            found[Position(int(index), int(step))] = hashes
    return found


def read_hashes(run_id: str, name: str, content: bytes) -> dict[str, str]:
    """The sha256 by name in an artifact of a run."""
    try:
        return _HASHES.validate_json(content)
    except ValueError as error:
        raise _not_as_written(run_id, name, "a table of sha256", error) from None


def fetch_experiment(uri: str, run_id: str) -> str:
    """The name of the experiment that a run is in."""
    return open_client(uri).get_experiment(_run(uri, run_id).info.experiment_id).name


def fetch_tags(uri: str, run_id: str) -> dict[str, str]:
    """All tags of a run."""
    return dict(_run(uri, run_id).data.tags)


def fetch_curves(uri: str, run_id: str) -> dict[str, dict[int, float]]:
    """All metrics of a run: values by images shown, by name."""
    names, client = _run(uri, run_id).data.metrics, open_client(uri)
    return {
        name: {point.step: point.value for point in client.get_metric_history(run_id, name)}
        for name in sorted(names)
    }


def fetch_file(uri: str, run_id: str, path: str, folder: Path) -> Path:
    """Download one artifact of a run into `folder`; its path there."""
    client = open_client(uri)
    _check_artifacts(uri, run_id)
    try:
        return Path(client.download_artifacts(run_id, path, str(folder)))
    except (MlflowException, OSError) as error:
        raise SettingsError(f"run {run_id}: no artifact {path} in {uri} ({error})") from None


def list_files(uri: str, run_id: str, folder: str) -> list[str]:
    """Paths of the artifacts directly in a folder of a run."""
    _check_artifacts(uri, run_id)
    return [
        file.path for file in open_client(uri).list_artifacts(run_id, folder) if not file.is_dir
    ]


def _check_artifacts(uri: str, run_id: str) -> None:
    """Is there such a run, and may its artifacts lie where they do?"""
    check_artifact_uri(uri, _run(uri, run_id).info.artifact_uri or "")


def _run(uri: str, run_id: str) -> Run:
    try:
        return open_client(uri).get_run(run_id)
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"run = {run_id}: unavailable from {uri} ({reason})") from None


def _text(uri: str, run_id: str, path: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return fetch_file(uri, run_id, path, Path(folder)).read_text("utf-8")
