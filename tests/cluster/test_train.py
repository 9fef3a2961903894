"""Ray Train workers around run()."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.exceptions import ActorDiedError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import (
    PlacementGroupCleanerCallback,
)
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import WorkerGroupError
from small import METRIC, SYSTEM, tiny

from ganforge.cluster.coordinator import TrialCoordinator
from ganforge.cluster.job import load_prepared
from ganforge.cluster.machines import slots, wait_for_slots
from ganforge.cluster.placement import held
from ganforge.cluster.ray_trainer import (
    FAILURES,
    ReplaceTheDead,
    Trainer,
    cause,
    cut_off,
    reason,
)
from ganforge.cluster.train import fit, make_job
from ganforge.search.search import configurer
from ganforge.settings import SettingsError
from ganforge.tracking.client import open_client
from ganforge.tracking.queries import fetch_stages
from ganforge.tracking.runs import Opening, end_run, open_run
from ganforge.training.files import join
from ganforge.training.memory import OutOfMemory
from ganforge.training.prepare import Prepared, prepare
from ganforge.training.run import run


@pytest.mark.ray
def test_two_workers_train_and_report_the_bits_of_one(cluster: None, tmp_path: Path) -> None:
    prepared = prepare(SYSTEM, tiny(stages=2, workers=2))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    opening = Opening("train", "two", prepared.settings, fingerprint=prepared.facts.fingerprint)
    tracking = open_run(uri, "train", opening)
    summaries: list[dict[str, Any]] = []
    trained = fit(
        prepared,
        metric=METRIC,
        store=str(tmp_path / "run"),
        tracking=tracking,
        listener=summaries.append,
    )
    end_run(tracking, "FINISHED", "finished")
    alone = [report.stage for report in run(prepared) if report.stage is not None]
    hashes = ("generator_sha256", "critic_sha256", "average_sha256")
    for mine, theirs in zip(trained.stages, alone, strict=True):
        assert {name: mine.hashes[name] for name in hashes} == {
            name: theirs.hashes[name] for name in hashes
        }
    assert METRIC.name in trained.metrics
    assert [s["images"] for s in summaries if "images" in s] == [0, 8, 8, 16]
    assert [row.index for row in fetch_stages(uri, tracking.run_id)] == [0, 1]
    history = open_client(uri).get_metric_history(tracking.run_id, METRIC.name)
    assert {point.step for point in history} == {8, 16}
    assert held() == {}


@pytest.mark.ray
def test_a_worker_gets_what_the_driver_resolved_and_derives_nothing(
    cluster: None, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"sha256:shared": {"weight": torch.ones(2)}}
    whole = replace(prepared, assets=shared)
    trial, plan = configurer(whole)({"critic_steps": 2})
    assert trial.assets == {}  # tensors that all trials share are not sent again
    coordinator = TrialCoordinator()
    job = make_job(whole, METRIC, "", coordinator)
    coordinator.close()
    monkeypatch.setattr("ganforge.training.prepare.prepare_data", None)
    assert load_prepared(job).assets.keys() == shared.keys()
    own = replace(trial, assets={"sha256:own": {"weight": torch.zeros(2)}})
    found = load_prepared(replace(job, prepared=ray.put(own), searched=True))
    assert (found.settings, found.facts) == (trial.settings, trial.facts)
    assert found.settings.critic_steps == 2 and found.plan() == plan
    assert found.assets.keys() == {"sha256:shared", "sha256:own"}
    assert torch.equal(found.assets["sha256:shared"]["weight"], torch.ones(2))


@pytest.mark.ray
def test_an_impossible_request_says_what_there_is(cluster: None) -> None:
    assert slots(2, {"CPU": 1.0}).trial_slots == 1
    with pytest.raises(SettingsError, match=r"workers = 3: .* there are 2 CPUs on one machine"):
        wait_for_slots(3, {"CPU": 1.0}, joined=False)
    with pytest.raises(SettingsError, match="0 GPUs"):
        wait_for_slots(1, {"CPU": 1.0, "GPU": 1.0}, joined=False)


@pytest.mark.ray
def test_the_private_hooks_of_ray_are_still_there(cluster: None, prepared: Prepared) -> None:
    dropped = (PlacementGroupCleanerCallback, DatasetsCallback)

    def unwanted(trainer: TorchTrainer) -> int:
        found = trainer._create_default_callbacks()
        return sum(isinstance(callback, dropped) for callback in found)

    assert unwanted(TorchTrainer(lambda: None)) == 2
    coordinator = TrialCoordinator()
    job = make_job(prepared, METRIC, "", coordinator)
    coordinator.close()
    assert unwanted(Trainer(lambda: None, job=job)) == 0
    assert hasattr(TorchTrainer, "_initialize_and_run_controller")


def test_a_dead_worker_is_replaced_and_an_exception_is_not_repeated() -> None:
    policy = ReplaceTheDead(FAILURES, lambda failures: None)
    survivor = RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:4242")
    is_dead = WorkerGroupError("a death", {0: survivor, 1: ActorDiedError()})
    assert policy.make_decision(is_dead) == FailureDecision.RETRY
    wrong = WorkerGroupError("an error", {0: ValueError("batch = 3: must be 4"), 1: survivor})
    assert policy.make_decision(wrong) == FailureDecision.RAISE


def test_a_death_for_want_of_memory_is_not_repeated() -> None:
    policy = ReplaceTheDead(FAILURES, lambda failures: OutOfMemory("out of memory in stage 0"))
    is_dead = WorkerGroupError(
        "a death", {0: RuntimeError("Connection reset"), 1: ActorDiedError()}
    )
    assert policy.make_decision(is_dead) == FailureDecision.RAISE
    assert reason(is_dead) == "out of memory in stage 0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NCCL error: ncclRemoteError: A call failed possibly due to a network error", True),
        ("NCCL communicator was aborted on rank 1", True),
        ("NCCL error: ncclInvalidUsage: Duplicate GPU detected : rank 0 and rank 1", False),
        ("NCCL error: ncclUnhandledCudaError: Call to CUDA function failed", False),
    ],
)
def test_a_permanent_error_of_nccl_is_not_the_death_of_a_peer(text: str, expected: bool) -> None:
    assert cut_off(RuntimeError(text)) is expected


def test_an_error_is_one_line() -> None:
    survivor = RuntimeError("Connection closed by peer")
    user = WorkerGroupError("…", {0: survivor, 1: SettingsError("data.root = x: no such folder")})
    assert reason(user) == "data.root = x: no such folder"
    assert isinstance(cause(user), SettingsError)
    other = WorkerGroupError("…", {0: ValueError("first line\nsecond line")})
    assert reason(other) == "ValueError: first line"


def test_the_places_of_a_run() -> None:
    assert join("/a/b/", "c", "d") == "/a/b/c/d"
    assert join("s3://bucket/x?scheme=http", "c") == "s3://bucket/x/c?scheme=http"
