"""The model registry: a run's generator under a name, to be served, exported and used by it."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient, artifacts
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.entities import Metric as Point
from mlflow.exceptions import MlflowException

from ganforge.inference.model import build
from ganforge.settings import SettingsError
from ganforge.systems.base import Metric
from ganforge.systems.catalog import load_system
from ganforge.tracking.artifacts import fetch_generator
from ganforge.tracking.client import open_client
from ganforge.tracking.named_store import check_artifact_uri
from ganforge.tracking.package import GENERATOR, write_exports, write_model
from ganforge.tracking.queries import fetch_stages
from ganforge.training.lineage import digest
from ganforge.training.report import StageResult

CHAMPION = "champion"
_FORBIDDEN = str.maketrans({"/": "-", ":": "-", "@": "-"})


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    `differences` are the largest from torch of its exports, by format; `incumbent` is the
    version that stays champion because it is better; `notes` say what is missing.
    """

    name: str
    version: str
    differences: dict[str, float]
    notes: list[str]
    incumbent: str | None = None

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}" if self.incumbent else champion(self.name)


def champion(name: str) -> str:
    return f"models:/{name}@{CHAMPION}"


def model_name(experiment: str) -> str:
    """An experiment's name as a model's: without the signs that model URIs are made of."""
    return experiment.translate(_FORBIDDEN)


def check_model_name(name: str, option: str) -> None:
    """Refuse a name that no model URI can hold; `option` gave it."""
    if name != model_name(name) or not name.strip():
        raise SettingsError(f"{option} {name}: a model's name must have none of / : @; try another")


def register(
    uri: str,
    run_id: str,
    name: str,
    *,
    stage: int | None = None,
    metric: Metric | None = None,
    contest: bool = True,
    trust_code: bool = False,
) -> Registered:
    """Register the generator of a run's last stage, or of `stage`, as a new version of `name`.

    It becomes the champion. In a contest it does not if the present one was measured on the same
    data, by the same metric and at the same resolution, and is better.
    """
    client = open_client(uri)
    record, number, weights = fetch_generator(uri, run_id, stage, trust_code=trust_code)
    model = build(record, number, weights)
    if model.takes != "image":
        raise SettingsError(f"{model.system} makes images from noise: it is not registered")
    result = next(r for r in fetch_stages(uri, run_id) if r.index == number)
    facts = _facts(result, model.settings, metric or load_system(model.system).metric)
    run = client.get_run(run_id)
    if contest and (known := _known(client, name, run_id, facts)):
        return Registered(name, known, {}, ["it is registered already"])
    entry = client.create_logged_model(run.info.experiment_id, GENERATOR, run_id)
    try:
        check_artifact_uri(uri, entry.artifact_location)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "model")
            write_model(folder, model, record, weights, run_id, entry.model_id)
            differences, notes = write_exports(folder, model)
            client.log_model_artifacts(entry.model_id, str(folder))
        client.finalize_logged_model(entry.model_id, LoggedModelStatus.READY)
    except BaseException:
        client.finalize_logged_model(entry.model_id, LoggedModelStatus.FAILED)
        raise
    client.log_outputs(run_id, [LoggedModelOutput(entry.model_id, step=0)])
    client.log_batch(
        run_id,
        metrics=[
            Point(f"export/{key}_max_difference", value, run.info.start_time, 0)
            for key, value in differences.items()
        ],
    )
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = facts | {f"export.{key}_max_difference": f"{v:.3g}" for key, v in differences.items()}
    # by its URI: MLflow would look models:/ID up in the store of the working directory
    made = client.create_model_version(
        name, entry.artifact_location, run_id, tags=tags, model_id=entry.model_id
    )
    found = _incumbent(client, name, facts) if contest else None
    if found is None:
        client.set_registered_model_alias(name, CHAMPION, str(made.version))
    return Registered(name, str(made.version), differences, notes, found)


def _facts(result: StageResult, settings: Any, metric: Metric) -> dict[str, str]:
    """What a version is compared by, as its tags."""
    same = {
        "data": result.data,
        "validation": settings.validation.model_dump(mode="json"),
        "resolution": result.resolution,
        "channels": settings.channels,
        "seed": settings.seed,
    }
    return {
        "system": settings.system,
        "stage": str(result.index),
        "resolution": str(result.resolution),
        "metric": metric.name,
        "mode": metric.mode,
        "value": repr(result.score(metric.name)),
        "measured_on": digest(same),
    }


def _known(client: MlflowClient, name: str, run_id: str, facts: dict[str, str]) -> str | None:
    """The champion's version if it is this very stage of this run: a resumed search ends twice."""
    try:
        present = client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException:
        return None
    same = (present.run_id, present.tags.get("stage")) == (run_id, facts["stage"])
    return str(present.version) if same else None


def _incumbent(client: MlflowClient, name: str, facts: dict[str, str]) -> str | None:
    """The champion's version if it is comparable and better than the model of these `facts`."""
    try:
        present = client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException:
        return None
    compared = ("metric", "mode", "measured_on")
    if any(present.tags.get(key) != facts[key] for key in compared):
        return None
    try:
        old, new = float(present.tags["value"]), float(facts["value"])
    except ValueError:
        return None
    better = old > new if facts["mode"] == "max" else old < new
    return str(present.version) if better else None


def fetch_registered(uri: str, reference: str, folder: Path) -> tuple[Path, str | None]:
    """Download the files of `models:/NAME@ALIAS`, NAME/VERSION, NAME (its champion) or a model id
    into `folder`; their folder there, and the run it is of."""
    client = open_client(uri)
    name, at, alias = reference.removeprefix("models:/").strip("/").partition("@")
    name, slash, number = name.partition("/")
    try:
        if name.startswith("m-") and not slash and not at:
            model = client.get_logged_model(name)
            source, run_id = model.artifact_location, model.source_run_id
        else:
            found = (
                client.get_model_version(name, number)
                if slash
                else client.get_model_version_by_alias(name, alias or CHAMPION)
            )
            source, run_id = found.source, found.run_id
        check_artifact_uri(uri, str(source))
        local = artifacts.download_artifacts(str(source), dst_path=str(folder), tracking_uri=uri)
    except (MlflowException, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise SettingsError(f"model = {reference}: unavailable from {uri} ({reason})") from None
    return Path(local), run_id


def log_benchmark(uri: str, run_id: str, name: str, metrics: dict[str, float], table: str) -> None:
    """Metrics on a benchmark: metrics benchmark/NAME/… of a run, and benchmarks/NAME.csv."""
    client = open_client(uri)
    now = client.get_run(run_id).info.end_time or client.get_run(run_id).info.start_time
    check_artifact_uri(uri, client.get_run(run_id).info.artifact_uri or "")
    client.log_batch(
        run_id,
        metrics=[Point(f"benchmark/{name}/{k}", v, now, 0) for k, v in metrics.items()],
    )
    client.log_text(run_id, table, f"benchmarks/{name}.csv")


def log_lineage(uri: str, run_id: str, name: str, text: str) -> None:
    """The chain of models that images came through: lineage/NAME.json of a run."""
    client = open_client(uri)
    check_artifact_uri(uri, client.get_run(run_id).info.artifact_uri or "")
    client.log_text(run_id, text, f"lineage/{name}.json")
