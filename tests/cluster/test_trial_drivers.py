"""A trial's processes on the head: what they weigh, and what happens when one of them dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from ray import tune
from small import METRIC, SYSTEM, tiny

from ganforge.cluster.placement import held
from ganforge.search.limits import Limits
from ganforge.search.request import SearchRequest
from ganforge.search.result import SearchResult
from ganforge.search.search import search
from ganforge.search.trial import Trial
from ganforge.training.prepare import prepare

SPACE = {"generator.learning_rate": tune.loguniform(1e-4, 1e-1)}
#: MB of the head's memory for each trial at a time: Tune's actor and Ray Train's barrier
MOST = 350


def test_the_actor_of_a_trial_imports_neither_torch_nor_train() -> None:
    """Ray imports the file of an actor's class wherever its handle goes."""
    code = (
        "import sys; import ganforge.search.trial_actor, ganforge.cluster.trial_drivers, "
        "ganforge.cluster.coordinator, ganforge.tracking.run_ref; "
        "print([name for name in ('torch', 'mlflow', 'ray.train.torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def named(start: str) -> list[psutil.Process]:
    """This session's Ray processes whose titles begin so."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if " ".join(process.cmdline()).startswith(f"ray::{start}"):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


class KilledOnce:
    """Kills the process of that name when the first trial has ended its first stage."""

    def __init__(self, name: str):
        self.name, self.done = name, False

    def __call__(self, trial: Trial, event: str) -> None:
        if event == "stage" and trial.rungs_done == 1 and not self.done:
            (process,) = named(self.name)
            os.kill(process.pid, signal.SIGKILL)
            self.done = True


def searched(folder: Path, name: str, hook: Callable[[Trial, str], None]) -> SearchResult:
    """Two trials of three stages, one after the other."""
    request = SearchRequest(
        prepare(SYSTEM, tiny(3)),
        SPACE,
        METRIC,
        str(folder / name),
        f"sqlite:///{folder}/{name}.db",
        name,
        limits=Limits(2),
        strategy="random",
        concurrent=1,
    )
    return search(request, hook)


@pytest.fixture(scope="module")
def undisturbed(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """The search in peace, and MB of each process of a trial while it trained."""
    weights: dict[str, int] = {}

    def weigh(trial: Trial, event: str) -> None:
        for name in ("ImplicitFunc", "SynchronizationActor", "TrainController"):
            for process in named(name):
                mb = process.memory_full_info().pss // 10**6
                weights[name] = max(mb, weights.get(name, 0))

    return searched(tmp_path_factory.mktemp("peace"), "peace", weigh), weights


@pytest.mark.ray
@pytest.mark.slow
def test_a_trial_takes_little_of_the_heads_memory(undisturbed: tuple) -> None:
    weights = undisturbed[1]
    assert set(weights) == {"ImplicitFunc", "SynchronizationActor"}
    assert sum(weights.values()) <= MOST, weights


@pytest.mark.ray
@pytest.mark.slow
def test_trials_continue_when_the_process_that_drives_them_dies(
    undisturbed: tuple, tmp_path: Path
) -> None:
    kill = KilledOnce("_TrialDrivers")
    result = searched(tmp_path, "killed", kill)
    assert kill.done and [trial.state for trial in result.trials] == ["finished", "finished"]
    for mine, theirs in zip(result.trials, undisturbed[0].trials, strict=True):
        assert mine.params == theirs.params
        assert [r.hashes for r in mine.results(METRIC.name)] == [
            r.hashes for r in theirs.results(METRIC.name)
        ]
    assert not held()


@pytest.mark.ray
@pytest.mark.slow
def test_nothing_is_trained_on_for_a_trial_whose_actor_died(cluster: None, tmp_path: Path) -> None:
    result = searched(tmp_path, "actor", KilledOnce("ImplicitFunc"))
    assert [trial.state for trial in result.trials] == ["failed", "finished"]
    assert "process died" in result.trials[0].reason
    assert not held()
