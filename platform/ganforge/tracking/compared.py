"""The runs that a comparison shows: of experiments, of searches, or named one by one."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from ganforge.settings import SettingsError, shown
from ganforge.tracking.client import open_client
from ganforge.tracking.preference import METRIC, Preference, recorded_preference
from ganforge.tracking.queries import list_files

#: what is recorded of every run; the others among its parameters are settings that a search varied
_ESSENTIALS = ("system", "resolutions", "batch_size", "seed")
#: a copy of a setting on another scale, for the axes of MLflow's charts
_COPY = "_log10"
_SEARCH = re.compile(r"[\w.\-]{1,128}")
_CHOICE = re.compile(rf"{METRIC}/([0-9a-f]{{16}})-(?:won|lost|tied)\.json")
#: what a store answers for the id of a run that it does not have, or that it would not give one
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_PAGE = 1000


@dataclass(frozen=True)
class ComparedRun:
    """A trial or training: its names, its recorded settings and last metrics, and what people chose
    of it. `page` is its address in MLflow, where the store is a server; `done` that it has ended.
    """

    run_id: str
    name: str
    experiment: str
    search: str
    system: str
    outcome: str
    done: bool
    resolutions: tuple[int, ...]
    settings: dict[str, str]
    metrics: dict[str, float]
    preference: Preference
    page: str


def compared_runs(uri: str, sources: Sequence[str]) -> list[ComparedRun]:
    """The trials and trainings of these experiments, searches (by id, or by their run) and runs,
    each once, in the order in which they are named and were begun."""
    client = open_client(uri)
    found: dict[str, ComparedRun] = {}
    names: dict[str, str] = {}
    for source in sources:
        for run in _runs(client, uri, source):
            number = run.info.experiment_id
            if number not in names:
                names[number] = client.get_experiment(number).name
            found.setdefault(run.info.run_id, _compared(uri, run, names[number]))
    return list(found.values())


def recorded_keys(uri: str, run: str) -> set[str]:
    """The keys of the choices that a run holds."""
    return {m[1] for path in list_files(uri, run, METRIC) if (m := _CHOICE.fullmatch(path))}


def absent_runs(uri: str, runs: Iterable[str]) -> dict[str, str]:
    """Those of these runs that the store does not have, with its reason. SettingsError where it
    cannot be asked."""
    client = open_client(uri)
    found: dict[str, str] = {}
    for run in dict.fromkeys(runs):
        try:
            stage = client.get_run(run).info.lifecycle_stage
        except MlflowException as error:
            reason = str(error).splitlines()[0]
            if error.error_code not in _ABSENT:
                raise SettingsError(f"run = {run}: unavailable from {uri} ({reason})") from None
            found[run] = reason
        else:
            if stage == "deleted":  # takes no tag and no metric
                found[run] = "it was deleted"
    return found


def _runs(client: MlflowClient, uri: str, source: str) -> list[Run]:
    experiment = client.get_experiment_by_name(source) if source else None
    if experiment is not None:
        return _in_order(_searched(client, [experiment.experiment_id], ""))
    if not _SEARCH.fullmatch(source):
        raise _unknown(client, uri, source)
    try:
        run = client.get_run(source)
    except MlflowException:
        every = [one.experiment_id for one in client.search_experiments(max_results=_PAGE)]
        runs = _in_order(_searched(client, every, f" and tags.search = '{source}'"))
        if not runs:
            raise _unknown(client, uri, source) from None
        return runs
    if run.data.tags.get("kind") == "search":
        below = f" and tags.`mlflow.parentRunId` = '{run.info.run_id}'"
        return _in_order(_searched(client, [run.info.experiment_id], below))
    return [run]


def _unknown(client: MlflowClient, uri: str, source: str) -> SettingsError:
    known = ", ".join(one.name for one in client.search_experiments(max_results=20))
    return SettingsError(
        f"compare = {shown(source)}: neither an experiment, a search nor a run in {uri}; its "
        f"experiments are: {known}"
    )


def _searched(client: MlflowClient, experiments: list[str], condition: str) -> Iterator[Run]:
    for kind in ("trial", "train"):
        token: str | None = None
        while True:
            found = client.search_runs(
                experiments, f"tags.kind = '{kind}'{condition}", max_results=_PAGE, page_token=token
            )
            yield from found
            token = found.token
            if not token:
                break


def _in_order(runs: Iterator[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def _compared(uri: str, run: Run, experiment: str) -> ComparedRun:
    tags, params = run.data.tags, dict(run.data.params)
    sides = params.get("resolutions", "").split()
    page = f"{uri.rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    return ComparedRun(
        run.info.run_id,
        run.info.run_name or run.info.run_id,
        experiment,
        tags.get("search", ""),
        tags.get("system", params.get("system", "")),
        tags.get("outcome", "running"),
        run.info.status in ("FINISHED", "FAILED", "KILLED"),
        tuple(int(side) for side in sides if side.isdecimal() and len(side) < 6),
        {
            key: value
            for key, value in params.items()
            if key not in _ESSENTIALS and not (key.endswith(_COPY) and key[: -len(_COPY)] in params)
        }
        | {key: params[key] for key in ("system", "seed") if key in params},
        {name: value for name, value in run.data.metrics.items() if math.isfinite(value)},
        recorded_preference(tags),
        page if uri.startswith(("http://", "https://")) else "",
    )
