"""Workers go from trial to trial; what a trial computes does not depend on whose they were."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray import tune
from ray.util.placement_group import placement_group, remove_placement_group
from small import METRIC, SYSTEM, tiny

from ganforge.cluster.kept_workers import Kept, KeptWorkers, keeps_workers
from ganforge.cluster.placement import held
from ganforge.search.limits import Limits
from ganforge.search.request import SearchRequest
from ganforge.search.result import SearchResult
from ganforge.search.search import search
from ganforge.search.trial import Trial
from ganforge.training.prepare import Prepared, prepare
from ganforge.training.run import run

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SPACE = {"generator.learning_rate": tune.loguniform(1e-4, 1e-2)}


def _workers() -> set[int]:
    """The processes of this session that train, or wait to."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if " ".join(process.cmdline()).startswith("ray::RayTrainWorker"):
                found.add(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def _search(
    prepared: Prepared,
    folder: Path,
    space: dict[str, Any],
    listener: Callable[[Trial, str], None] | None = None,
    trials: int = 4,
    **request: Any,
) -> SearchResult:
    asked = SearchRequest(
        prepared,
        space,
        METRIC,
        str(folder / "storage"),
        f"sqlite:///{folder}/mlflow.db",
        "kept",
        limits=Limits(trials),
        strategy="random",
        ledger=False,
        **request,
    )
    return search(asked, listener)


def test_trials_share_a_process_and_have_the_bits_of_runs_of_their_own(
    cluster: None, tmp_path: Path
) -> None:
    """What a process keeps is set by each run: its threads, precision, random generators."""
    space = {
        **SPACE,
        "precision": tune.choice(["float32", "bfloat16"]),
        "batch_size": tune.choice([4, 8]),
    }
    prepared = prepare(SYSTEM, tiny(2))
    seen: dict[int, set[int]] = {}

    def listen(trial: Trial, event: str) -> None:
        if event == "stage":
            seen.setdefault(trial.number, set()).update(_workers())

    result = _search(prepared, tmp_path, space, listen, trials=5, concurrent=1)
    assert [trial.state for trial in result.trials] == ["finished"] * 5
    assert len(set.union(*seen.values())) == 1, "all were trained by one process"
    assert len({trial.params["precision"] for trial in result.trials}) == 2
    for trial in result.trials:
        alone = prepare(SYSTEM, trial.settings)
        states = [report.stage.state_sha256 for report in run(alone) if report.stage is not None]
        assert [trial.stages[index].state_sha256 for index in sorted(trial.stages)] == states


def test_a_worker_that_dies_between_two_trials_is_replaced(
    cluster: None, prepared: Prepared, tmp_path: Path
) -> None:
    killed: list[int] = []

    def listen(trial: Trial, event: str) -> None:
        if event == "ended" and not killed:
            for pid in _workers():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    result = _search(prepared, tmp_path, SPACE, listen, trials=3, concurrent=1)
    assert [trial.state for trial in result.trials] == ["finished"] * 3 and killed


def test_who_waits_for_room_gets_it_between_two_trials(
    cluster: None, prepared: Prepared, tmp_path: Path
) -> None:
    """Trials that take their workers over would else hold them until the search is over."""
    waited: list[bool] = []

    def wait() -> None:
        whole = [{"CPU": ray.cluster_resources()["CPU"]}]
        group = placement_group(whole, name="somebody else's")
        waited.append(group.wait(60))
        remove_placement_group(group)

    asks: list[threading.Thread] = []

    def listen(trial: Trial, event: str) -> None:
        if event == "placed" and not asks:
            asks.append(threading.Thread(target=wait))
            asks[0].start()
        if event == "ended" and trial.number == 2:
            assert waited == [True]

    result = _search(prepared, tmp_path, SPACE, listen, trials=3, concurrent=1)
    asks[0].join()
    assert [trial.state for trial in result.trials] == ["finished"] * 3 and waited == [True]


def test_no_worker_with_a_users_own_code_is_kept(
    cluster: None, tmp_path: Path, prepared: Prepared
) -> None:
    own = replace(prepared, sources={"mine.py": "count = 0\n"})
    from ganforge.cluster.coordinator import TrialCoordinator
    from ganforge.cluster.train import make_job

    coordinator = TrialCoordinator()
    try:
        assert make_job(prepared, METRIC, str(tmp_path), coordinator).keeps_workers
        assert not make_job(own, METRIC, str(tmp_path), coordinator).keeps_workers
        installed = replace(prepared, system="of_another_package")
        assert not keeps_workers(installed)
    finally:
        coordinator.close()


def test_nothing_is_left_of_a_search(cluster: None, prepared: Prepared, tmp_path: Path) -> None:
    _search(prepared, tmp_path, SPACE, trials=2)
    until = time.monotonic() + 30
    while (held("ganforge-") or _workers()) and time.monotonic() < until:
        time.sleep(0.2)
    assert not held("ganforge-") and not _workers()


class _Ended:
    """Counts who was ended."""

    def __init__(self) -> None:
        self.count, self.event = 0, threading.Event()

    def kept(self, shape: str) -> Kept:
        return Kept(shape, None, [], None, self)

    def __call__(self) -> None:
        self.count += 1
        self.event.set()


def test_workers_are_taken_by_their_shape_and_once(cluster: None) -> None:
    ended, pool = _Ended(), KeptWorkers("none of this name")
    first, second = ended.kept("two"), ended.kept("two")
    pool.give(first)
    pool.give(second)
    assert pool.take("one") is None
    assert pool.take("two") is second and pool.take("two") is first and pool.take("two") is None
    pool.close()
    assert not ended.count


def test_workers_without_a_trial_are_ended_after_a_while(cluster: None) -> None:
    ended, pool = _Ended(), KeptWorkers("none of this name", idle_seconds=0.05)
    pool.give(ended.kept("one"))
    assert ended.event.wait(10) and pool.take("one") is None
    pool.close()
    assert ended.count == 1


def test_workers_are_ended_when_the_search_is_over(cluster: None) -> None:
    ended, pool = _Ended(), KeptWorkers("none of this name")
    pool.give(ended.kept("one"))
    pool.close()
    # one that comes late is not kept either
    pool.give(ended.kept("one"))
    assert ended.count == 2 and pool.take("one") is None
