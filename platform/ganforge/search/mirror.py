"""The search as an Optuna storage file, for `optuna-dashboard` and whatever else reads Optuna."""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ganforge.local_files import check_own_folder, open_file, replacing
from ganforge.search.trial import State, Trial
from ganforge.systems.base import Metric

logger = logging.getLogger("ganforge")
#: the file's name, next to the search's journal, and that of the folder with its artifacts
FILE = "optuna.log"
ARTIFACTS = "optuna-artifacts"
_STATES: dict[State, TrialState] = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "killed": TrialState.FAIL,
}
_DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}


class _Appended(BaseJournalBackend):
    """A new file in the format of JournalFileBackend, written through one descriptor: Optuna's own
    opens it by name for every event, and so through a link that somebody puts there, and waits for
    a lock file, which nobody needs where one process writes."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._file = open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        #: those that were not read yet, of which the first has this number: nobody reads one twice
        self._logs: list[dict[str, Any]] = []
        self._first = 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        self._logs = self._logs[log_number_from - self._first :]
        self._first = log_number_from
        return iter(self._logs)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in logs).encode()
        os.write(self._file, text)
        self._logs += logs


class Mirror:
    """Follows a search into a storage file of Optuna's. Nothing is read back from it: it is made
    anew when a search is resumed, and a file that cannot be written stops no search."""

    def __init__(
        self,
        path: Path,
        name: str,
        metric: Metric,
        distributions: Mapping[str, BaseDistribution],
        further: Sequence[Metric] = (),
    ):
        self.path, self.distributions, self.trouble = path, dict(distributions), ""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        metrics = (metric, *further)
        self._several = len(metrics) > 1
        self._numbers: dict[int, int] = {}
        self._waiting: dict[int, Trial] = {}
        self._reported: dict[int, int] = {}
        try:
            self._storage = JournalStorage(_Appended(path))
            directions = [_DIRECTIONS[metric.mode] for metric in metrics]
            self._study = self._storage.create_new_study(directions, name)
            names = [metric.name for metric in metrics]
            self._storage.set_study_system_attr(self._study, "study:metric_names", names)
        except Exception as error:
            self._failed(error)

    def follow(self, trials: Iterable[Trial]) -> None:
        """Write down what has changed. Optuna numbers trials as they come: one that starts before
        those of lower numbers waits for them."""
        self._waiting |= {trial.number: trial for trial in trials}
        for number in sorted(self._waiting):
            if self.trouble:
                return
            if number > len(self._numbers):
                break
            try:
                self._follow(self._waiting.pop(number))
            except Exception as error:
                self._failed(error)

    def _follow(self, trial: Trial) -> None:
        if trial.number not in self._numbers:
            self._numbers[trial.number] = self._storage.create_new_trial(
                self._study, self._frozen(trial)
            )
            self._reported[trial.number] = 0
        number = self._numbers[trial.number]
        if self._storage.get_trial(number).state.is_finished():
            return
        for rung in range(self._reported[trial.number] + 1, trial.rungs_done + 1):
            if self._several:
                break  # Optuna knows scores before the end with one objective alone
            self._storage.set_trial_intermediate_value(number, rung, trial.scores[rung])
            self._reported[trial.number] = rung
        self._storage.set_trial_user_attr(number, "outcome", trial.outcome)
        state = _STATES.get(trial.state)
        if state is not None and trial.rungs_done:
            # Optuna lets nothing be added to a trial that is over: the file comes later
            name, known = f"trial-{trial.number:04d}.png", _grid_id(trial)
            facts = {"artifact_id": known, "filename": name, "mimetype": "image/png"}
            self._storage.set_trial_system_attr(
                number, f"artifacts:{known}", json.dumps(facts | {"encoding": None})
            )
        if state is not None:
            scored = trial.state in ("finished", "stopped") and trial.last_score is not None
            values = [trial.last_score] if scored and trial.last_score is not None else None
            if values is not None and self._several:
                values = [*(trial.last_values or ())] or None
            self._storage.set_trial_state_values(number, state, values)

    def add_grid(self, trial: Trial, content: bytes) -> None:
        """The newest sample grid of a trial that is over, as an artifact of it."""
        if self.trouble:
            return
        try:
            folder = self.path.with_name(ARTIFACTS)
            check_own_folder(folder)
            folder.mkdir(exist_ok=True)
            with replacing(folder / _grid_id(trial), durable=False) as file:
                file.write(content)
        except Exception as error:
            self._failed(error)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        """A trial that runs, with its point."""
        found = {k: d for k, d in self.distributions.items() if k in trial.params}
        attributes: dict[str, Any] = {"trial": trial.number, "storage": trial.folder}
        if trial.repeats is not None:
            attributes |= {"repeats": trial.repeats, "seed": trial.settings.seed}
        if trial.run is not None:
            attributes["mlflow_run"] = trial.run.run_id
        if trial.branch is not None:
            attributes["branched_from"] = trial.branched_from
        now = datetime.now(UTC).replace(tzinfo=None)
        return FrozenTrial(
            number=trial.number,
            trial_id=trial.number,
            state=TrialState.RUNNING,
            value=None,
            # the journal has no clock: of a search that is resumed the durations alone are right
            datetime_start=now - timedelta(seconds=trial.seconds),
            datetime_complete=None,
            params={key: trial.params[key] for key in found},
            distributions=found,
            user_attrs=attributes,
            system_attrs={},
            intermediate_values={},
        )

    def _failed(self, error: Exception) -> None:
        self.trouble = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        logger.warning("%s: not written for Optuna (%s)", self.path, self.trouble)


def _grid_id(trial: Trial) -> str:
    """The name of the file: the dashboard serves those of hexadecimal digits alone."""
    return f"{trial.number:08d}"


def load(path: Path) -> optuna.Study:
    """The study in a mirror file, to be read: `load(path).trials_dataframe()`."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    [found] = storage.get_all_studies()
    return optuna.load_study(study_name=found.study_name, storage=storage)
