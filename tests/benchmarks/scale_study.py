"""A search of many trials in one process: all that a search does at each event, without Ray.

Its trials have made-up scores. What Tune calls is called here as Tune calls it, with as many trials
at a time, in turns; the journal, the sampler, the strategy, MLflow, the file for Optuna, the table
of trials, the ledger's size and the report are those of a search, and each step is timed.
"""

import hashlib
import io
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from ray import tune
from small import METRIC, SYSTEM, tiny

from ganforge.cluster.job import Job
from ganforge.console import Console
from ganforge.search.dashboard import Progress
from ganforge.search.journal import Journal, local_file
from ganforge.search.limits import Limits
from ganforge.search.request import SearchRequest
from ganforge.search.result import SearchResult
from ganforge.search.search import _Search  # pyright: ignore[reportPrivateUsage]
from ganforge.search.trial import Trial
from ganforge.search.tune_adapter import Rungs
from ganforge.training.prepare import prepare
from ganforge.training.report import StageResult

#: one setting of the whole run and one of each stage, of several kinds
SPACE = {
    "generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic_steps": tune.randint(1, 5),
    "pixel_weight": tune.uniform(0.0, 10.0),
    "stages.1.generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "stages.2.batch_size": tune.choice([4, 8]),
}
#: nothing is started with it
_JOB: Any = Job(None, None, METRIC, "", 1, 1, False, None)  # pyright: ignore[reportArgumentType]
#: reports of a stage, its end among them
_REPORTS = 4


def made_up(trial: Trial, rung: int) -> float:
    """A score that hangs on the settings, on the rung, and on a draw of each trial's own; on the
    last two alone where the settings are not known."""
    digest = hashlib.sha256(f"{trial.number} {rung}".encode()).digest()
    noise = int.from_bytes(digest[:4], "big") / 2**32
    if not (params := trial.params):
        return 20 + rung + noise
    far = sum(
        abs(math.log10(params[key]) - best)
        for key, best in (("generator.learning_rate", -3.0), ("critic.learning_rate", -2.6))
    )
    return 20 + rung - 2 * far - abs(params["pixel_weight"] - 5) / 5 + noise


class Clock:
    """Seconds of each step by the trials that had begun: of the calling thread's processor time,
    and of wall time."""

    def __init__(self) -> None:
        self.begun = 0
        #: by step a row for each call: trials begun, processor seconds, wall seconds
        self.calls: dict[str, list[tuple[int, float, float]]] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[list[str]]:
        """Time the block, under the name `step` with what the block has appended."""
        wall, busy, further = time.perf_counter(), time.thread_time(), list[str]()
        yield further
        took = time.thread_time() - busy, time.perf_counter() - wall
        self.calls.setdefault("".join([step, *further]), []).append((self.begun, *took))

    def seconds(self, step: str) -> float:
        """Processor seconds of all calls of a step."""
        return sum(busy for _, busy, _ in self.calls.get(step, ()))

    def each(self, step: str, low: float, high: float, part: int = 1) -> float | None:
        """Mean milliseconds of a call while so many trials had begun, the dearest fiftieth left
        out: `part` 1 is processor time, 2 wall time."""
        found = sorted(call[part] for call in self.calls.get(step, ()) if low < call[0] <= high)
        found = found[: max(1, len(found) - len(found) // 50)]
        return 1000 * sum(found) / len(found) if found else None

    def wrapped(self, owner: Any, name: str, step: str) -> None:
        """Have every call of a method of one object timed."""
        method = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            with self(step):
                return method(*arguments, **options)

        setattr(owner, name, timed)


class _NoCoordinator:
    """Decisions of which no worker hears."""

    departing = False

    def decide(self, trial: int, rung: int, proceed: bool) -> None: ...
    def resume(self, trial: int, rung: int) -> None: ...


class _TrialOfTune:
    """What the callbacks look at of a trial of Tune's."""

    def __init__(self, number: int):
        self.config = {"trial": number}


class _Played(_Search):
    """A search whose trials are played in this process, `at_a_time` of them in turns."""

    clock: Clock
    at_a_time: int

    def _tune(self) -> None:
        clock, state, callback = self.clock, self.search_state, self.callback
        rungs = Rungs(state, self.coordinator)
        running: list[tuple[Trial, Iterator[dict[str, Any]]]] = []
        while True:
            while len(running) < self.at_a_time:
                with clock("suggest") as call:
                    trial = state.suggest()
                    call.append("" if trial is not None else " nothing")
                if trial is None:
                    break
                clock.begun = len(state.trials)
                with clock("start"):
                    callback.on_trial_start(0, [], _TrialOfTune(trial.number))
                running.append((trial, summaries(trial, self.request.metric.name)))
            if not running:
                return
            trial, left = running.pop(0)
            theirs = _TrialOfTune(trial.number)
            for summary in left:
                rung = "stages" in summary
                with clock("decide at a rung" if rung else "report"):
                    rungs.on_trial_result(None, theirs, summary)
                with clock("show a rung" if rung else "show a report"):
                    callback.on_trial_result(0, [], theirs, summary)
                break
            else:
                self._ended(trial, theirs)
                continue
            if trial.stop:
                self._ended(trial, theirs)
            else:
                running.append((trial, left))

    def _ended(self, trial: Trial, theirs: _TrialOfTune) -> None:
        """What Tune does at a trial's end (search/tune_adapter.py: StudySearcher, TuneCallback)."""
        state = self.search_state
        with self.clock("end"):
            found = state.state_of(trial.number)
            state.returned(trial.number)
            if found not in (None, "paused") and not trial.reported:
                assert found is not None
                state.report_end(trial.number, found)
            self.callback.on_trial_complete(0, [], theirs)


def summaries(trial: Trial, metric: str) -> Iterator[dict[str, Any]]:
    """A worker's summaries (cluster/worker.py), from the last rung on."""
    rows: list[StageResult] = []
    images = 0
    for index, stage in enumerate(trial.plan.stages):
        length = stage.steps * stage.batch_size
        for part in range(1, _REPORTS + 1):
            end, done = part == _REPORTS, images + length * part // _REPORTS
            score = made_up(trial, index + 1)
            common = {"index": index, "step": stage.steps, "images": done, "alpha": 1.0}
            common |= {"score": score, "metrics": {metric: score}, "peak_bytes": 1}
            if not end and index >= trial.rungs_done:
                yield common
            elif end:
                rows.append(_result(trial, index, stage.resolution, {metric: score}))
                if index >= trial.rungs_done:
                    yield common | {"stages": [row.to_json() for row in rows], "rungs": []}
        images += length


def _result(trial: Trial, index: int, resolution: int, metrics: dict[str, float]) -> StageResult:
    """As large as a real one: hashes of its state, and of the code."""
    digest = hashlib.sha256(f"{trial.number} {index}".encode()).hexdigest()
    hashes = {f"{name}_sha256": digest for name in ("generator", "critic", "averaged", "state")}
    code = {f"module_{k}": digest for k in range(40)}
    return StageResult(
        index, resolution, 4096, 256, 1, 0.001, 1, digest, digest, hashes, metrics,
        settings={f"key_{k}": 0.5 for k in range(60)}, code=code,
    )  # fmt: skip


@dataclass
class Played:
    """What was measured of one study."""

    clock: Clock
    result: SearchResult
    seconds: float
    #: of this process with all its threads
    busy: float
    #: bytes of memory by trials begun
    memory: list[tuple[int, int]] = field(default_factory=list)


def request_of(folder: Path, trials: int, strategy: str, uri: str) -> SearchRequest:
    """The search of a folder, recorded in the store `uri`."""
    return SearchRequest(
        prepare(SYSTEM, tiny(3, reports_per_stage=_REPORTS)),
        SPACE,
        METRIC,
        str(folder / "storage"),
        uri,
        "scale",
        limits=Limits(trials),
        strategy=strategy,
        keep_bytes=10**9,
    )


def play(request: SearchRequest, at_a_time: int) -> Played:
    """Begin or resume a study, play it to its end, and time what a search does."""
    clock, memory = Clock(), list[tuple[int, int]]()
    process = psutil.Process()
    progress = Progress(request.limits, request.metric.name, console=quiet())

    def listen(trial: Trial, event: str) -> None:
        with clock("show: line and time left"):
            progress(trial, event)
        if event == "ended" and trial.number % 50 == 0:
            with clock("show: table of all trials"):
                progress.table()
            memory.append((clock.begun, process.memory_info().rss))

    began, busy = time.perf_counter(), time.process_time()
    journal = Journal(request.storage, "study")
    request = replace(request, resume=bool(journal.events))
    with clock("replay"):
        search = _Played(request, _JOB, _NoCoordinator(), None, journal, at_a_time, listen)  # pyright: ignore[reportArgumentType]
    search.clock, search.at_a_time = clock, at_a_time
    _time_parts(clock, search)
    result = search.run(None)
    journal.close()
    took = time.perf_counter() - began, time.process_time() - busy
    return Played(clock, result, *took, memory)


def _time_parts(clock: Clock, search: Any) -> None:
    """Time parts of the steps of their own, too."""
    state = search.search_state
    clock.wrapped(state.journal, "append", "part: journal append")
    clock.wrapped(state, "open_run", "part: open a run")
    clock.wrapped(state.sampler, "ask", "part: sampler ask")
    clock.wrapped(state.sampler, "report", "part: sampler report")
    clock.wrapped(state.sampler, "report_end", "part: sampler end")
    clock.wrapped(state, "seen", "part: what the strategy sees")
    clock.wrapped(search.tracking, "end_trial", "part: end a run")
    clock.wrapped(search.mirror, "follow", "part: file for Optuna")
    clock.wrapped(search.ledger_size, "collect", "part: size of the ledger")
    clock.wrapped(search.tracking, "facts", "close: facts of the report")
    clock.wrapped(search.tracking, "log_report", "close: report drawn")
    clock.wrapped(search, "_close", "close: all")


def replayed(request: SearchRequest, folder: Path, trials: int) -> float:
    """Seconds in which the first events of a study, up to so many trials, are taken in again, as a
    resumed search does before anything runs."""
    lines = local_file(request.storage, "study").read_text().splitlines(keepends=True)
    begun = [n for n, line in enumerate(lines) if line.startswith('{"event": "suggested"')]
    kept = lines if trials >= len(begun) else lines[: begun[trials]]
    storage = folder / f"replayed-{trials}"
    path = local_file(str(storage), "study")
    path.parent.mkdir(parents=True)
    path.write_text("".join(kept))
    journal = Journal(str(storage), "study")
    part = replace(request, storage=str(storage), resume=True)
    began = time.perf_counter()
    _Played(part, _JOB, _NoCoordinator(), None, journal, 1, _nobody)  # pyright: ignore[reportArgumentType]
    took = time.perf_counter() - began
    journal.close()
    return took


def _nobody(trial: Trial, event: str) -> None:
    """Listens to nothing."""


def quiet() -> Console:
    """A console of which nobody reads."""
    return Console(file=io.StringIO(), width=200)
