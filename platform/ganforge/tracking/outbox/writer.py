"""Writes the entries of an outbox into the store. Writing them twice leaves the same record.

An entry has any of these parts, written in this order:

    run      {run_id, key, experiment}: whose entry it is
    open     what `describe` in tracking/runs.py makes of an opening: the run is made, or found by
             its key
    metrics  {name: value} at `step` and the time `at`: a point that is there already, with the
             same time, is the same point for the store (its primary key)
    params   {name: value}: those that the run does not have yet
    files    {path in the run: name of a kept content}
    stages   results of stages: they replace those of the same index
    tags     {name: value}
    status   RUNNING, or how the run ended, at the time `at`
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException

from ganforge.append_log import Entry
from ganforge.local_files import Linked
from ganforge.settings import SettingsError
from ganforge.tracking.client import check_reachable, open_client
from ganforge.tracking.named_store import check_artifact_uri
from ganforge.tracking.outbox.entry import entry_error
from ganforge.tracking.queries import STAGES, fetch_stages
from ganforge.tracking.run_ref import METRICS_PER_REQUEST
from ganforge.tracking.runs import NotOpened, find_key, log_params, make_run, put_file
from ganforge.training.report import read_stages

#: what every report has, and what tells a stage's start from the end before it, at one `images`
POSITION = "stage/index"
_FOR_EVER = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
#: kinds of errors that a value causes, whatever the state of the store and of the way to it
_OF_VALUES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Writer:
    """Writes synchronously and raises what the store raises; `blob` opens a kept content, or gives
    None where it is gone. An entry that is not one of ganforge's is refused before it is used.

    An entry that the store cannot take *yet*, because its run is unknown there or not opened, holds
    up those after it; with `pass_over` it is left in `waiting` instead, with the reason.
    """

    def __init__(
        self, uri: str, blob: Callable[[str], BinaryIO | None], *, pass_over: bool = False
    ):
        check_reachable(uri)
        self.uri, self.client, self._blob = uri, open_client(uri), blob
        self.pass_over = pass_over
        self.waiting: list[tuple[Entry, str]] = []
        #: run ids by the keys that runs were opened under
        self.ids: dict[str, str] = {}
        self._recorded: dict[str, set[tuple[int, float]]] = {}
        self._checked: set[str] = set()

    def deliver(self, entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
        """Write entries in order, at most 1,000 metrics; those that the store will never take,
        each with the reason, are returned."""
        wrong = [(entry, why) for entry in entries if (why := entry_error(entry))]
        refused = {id(entry) for entry, _ in wrong}
        return wrong + self._taken([entry for entry in entries if id(entry) not in refused])

    def _taken(self, entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
        try:
            self._deliver(entries)
        except Exception as error:
            waits = _may_be_taken_later(error)
            if (waits and not self.pass_over) or not (waits or _is_of_the_entry(error)):
                raise
            self._recorded.clear()
            if len(entries) > 1:
                return [refused for entry in entries for refused in self._taken([entry])]
            why = (str(error).splitlines() or [type(error).__name__])[0][:300]
            if not waits:
                return [(entries[0], why)]
            self.waiting.append((entries[0], why))
        return []

    def _deliver(self, entries: Sequence[Entry]) -> None:
        points: dict[str, list[Metric]] = {}
        for entry in entries:
            if not entry:
                continue
            run_id = self._run_id(entry)
            points.setdefault(run_id, []).extend(self._points(run_id, entry))
            if entry.keys() & {"params", "files", "stages", "tags", "status"}:
                self._log(points)
                self._check_artifacts(run_id)
                self._rest(run_id, entry)
        self._log(points)

    def _run_id(self, entry: Entry) -> str:
        run = entry["run"]
        key = run.get("key", "")
        if run.get("run_id"):
            self.ids.setdefault(key, run["run_id"])
            return run["run_id"]
        found = self.ids.get(key) or find_key(self.client, run["experiment"], key)
        if opening := entry.get("open"):
            found = make_run(self.client, self.uri, run["experiment"], key, opening, found)
        if found is None:
            raise NotOpened(f"run {key} is not opened yet")
        self.ids[key] = found
        return found

    def _check_artifacts(self, run_id: str) -> None:
        """Where the store says that a run's artifacts lie is not trusted, once per run."""
        if run_id not in self._checked:
            check_artifact_uri(self.uri, self.client.get_run(run_id).info.artifact_uri or "")
            self._checked.add(run_id)

    def _points(self, run_id: str, entry: Entry) -> list[Metric]:
        metrics: Mapping[str, float] = entry.get("metrics", {})
        step, at = entry.get("step", 0), entry["at"]
        if POSITION in metrics:
            # a report made again where the first is not in the outbox: its time would be another
            known = self._positions(run_id)
            if (step, metrics[POSITION]) in known:
                return []
            known.add((step, metrics[POSITION]))
        elif "status" in entry and metrics:
            # a finished run that is resumed ends once more, with the same metrics
            before = self.client.get_run(run_id).data.metrics
            metrics = {k: v for k, v in metrics.items() if before.get(k) != v}
        return [Metric(name, value, at, step) for name, value in metrics.items()]

    def _positions(self, run_id: str) -> set[tuple[int, float]]:
        """The reports that are in the record of a run, from whichever outbox they came."""
        if run_id not in self._recorded:
            history = self.client.get_metric_history(run_id, POSITION)
            self._recorded[run_id] = {(point.step, point.value) for point in history}
        return self._recorded[run_id]

    def _log(self, points: dict[str, list[Metric]]) -> None:
        for run_id, metrics in points.items():
            for first in range(0, len(metrics), METRICS_PER_REQUEST):
                self.client.log_batch(run_id, metrics=metrics[first : first + METRICS_PER_REQUEST])
        points.clear()

    def _rest(self, run_id: str, entry: Entry) -> None:
        if "params" in entry:
            log_params(self.client, run_id, entry["params"])
        for path, name in entry.get("files", {}).items():
            content = self._blob(name)
            if content is not None:
                with content:
                    put_file(self.client, run_id, path, content)
        if "stages" in entry:
            self._stages(run_id, entry["stages"])
        if tags := entry.get("tags"):
            self.client.log_batch(run_id, tags=[RunTag(k, str(v)) for k, v in tags.items()])
        status = entry.get("status")
        if status == "RUNNING":
            self.client.update_run(run_id, status=status)
        elif status:
            self.client.set_terminated(run_id, status=status, end_time=entry["at"])

    def _stages(self, run_id: str, rows: list[dict[str, Any]]) -> None:
        known = {result.index: result for result in fetch_stages(self.uri, run_id)}
        known |= read_stages(rows)
        content = json.dumps([known[index].to_json() for index in sorted(known)], indent=1)
        self.client.log_text(run_id, content, STAGES)


def _may_be_taken_later(error: Exception) -> bool:
    """Whether an entry waits for a run, or for somebody who changes what the message names."""
    if isinstance(error, MlflowException):
        return error.error_code == "RESOURCE_DOES_NOT_EXIST"
    return isinstance(error, NotOpened | SettingsError)


def _is_of_the_entry(error: Exception) -> bool:
    """Whether the entry itself cannot be written, and not the store or the way to it at fault."""
    if isinstance(error, MlflowException):
        return error.error_code in _FOR_EVER
    if isinstance(error, OSError | json.JSONDecodeError):  # the latter: an answer of a proxy
        return isinstance(error, Linked)
    return isinstance(error, _OF_VALUES)
