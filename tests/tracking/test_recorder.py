"""A store receives everything, and training never waits for it."""

import json
import math
import socket
import time
from pathlib import Path

import pytest
import torch

from ganforge.schedule import Position
from ganforge.settings import SettingsError
from ganforge.systems.settings import SystemSettings
from ganforge.tracking.client import open_client, resolve_uri
from ganforge.tracking.outbox.log import LINES
from ganforge.tracking.queries import (
    best_run,
    fetch_file,
    fetch_params,
    fetch_settings,
    fetch_stages,
    fetch_tags,
)
from ganforge.tracking.recorder import Recorder
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.runs import Opening, close_orphans, continue_run, end_run, open_run
from ganforge.tracking.versions import source
from ganforge.training.report import Report, StageResult

PSNR = "validation/psnr"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


def report(stage: int, step: int, images: int, psnr: float, *, end: bool = False) -> Report:
    result = StageResult(stage, 16 * 2**stage, hashes={"generator_sha256": "ab" * 32})
    return Report(
        position=Position(stage, step),
        kind="stage" if end else "progress",
        images=images,
        metrics={PSNR: psnr, "critic/wasserstein": 0.5, "stage/alpha": 1.0},
        samples=torch.full((8, 24, 3), 10 * stage, dtype=torch.uint8) if end else None,
        stage=result if end else None,
        averaged=b"weights of stage %d" % stage if end else None,
    )


def opened(uri: str, experiment: str, kind: str = "train", **more: object) -> RunRef:
    settings = SystemSettings(system="progressive_gan_sr")
    return open_run(uri, experiment, Opening(kind, "a run", settings, **more))  # type: ignore[arg-type]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_relative_sqlite_uri_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert resolve_uri() == "http://127.0.0.1:5000"
    assert resolve_uri("sqlite:////x/y.db") == "sqlite:////x/y.db"
    with pytest.raises(SettingsError, match="must be sqlite"):
        resolve_uri("mlruns")


def test_a_run_says_what_it_is(uri: str) -> None:
    parent = opened(uri, "tags", "search")
    searched = {"critic.learning_rate": 0.002}
    child = opened(
        uri,
        "tags",
        "trial",
        parent=parent.run_id,
        searched=searched,
        fingerprint="f" * 64,
        description="**A trial**",
        tags={"trial": "3"},
    )
    tags = fetch_tags(uri, child.run_id)
    assert tags["mlflow.parentRunId"] == parent.run_id
    assert (tags["kind"], tags["trial"]) == ("trial", "3")
    assert tags["data.fingerprint"] == "f" * 64
    assert tags["mlflow.note.content"] == "**A trial**"
    assert {"version.torch", "version.mlflow", "version.ganforge"} <= tags.keys()
    assert source().items() <= tags.items()
    assert fetch_params(uri, child.run_id)["critic.learning_rate"] == "0.002"
    assert fetch_settings(uri, child.run_id)["system"] == "progressive_gan_sr"
    inputs = open_client(uri).get_run(child.run_id).inputs
    assert inputs is not None
    data = inputs.dataset_inputs[0].dataset
    assert data.digest == "f" * 36
    for run in (child, parent):
        end_run(run, "FINISHED", "finished")
    assert open_client(uri).get_run(parent.run_id).info.status == "FINISHED"
    assert fetch_tags(uri, parent.run_id)["outcome"] == "finished"


def test_the_store_receives_every_report(uri: str, tmp_path: Path) -> None:
    run = opened(uri, "reports")
    recorder = Recorder(run, PSNR, "max", spool=tmp_path / "spool")
    recorder.log(report(0, 5, 80, 20.0))
    recorder.log(report(0, 10, 160, 25.0, end=True))
    recorder.log(report(1, 10, 320, 24.0, end=True))
    assert recorder.close(60) and recorder.trouble == ""
    client = open_client(uri)
    history = client.get_metric_history(run.run_id, PSNR)
    assert [(point.step, point.value) for point in history] == [
        (80, 20.0),
        (160, 25.0),
        (320, 24.0),
    ]
    assert client.get_run(run.run_id).data.metrics[f"{PSNR}_best"] == 25.0
    assert [row.index for row in fetch_stages(uri, run.run_id)] == [0, 1]
    weights = fetch_file(uri, run.run_id, "stages/1/generator.safetensors", tmp_path)
    assert weights.read_bytes() == b"weights of stage 1"
    grids = [file.path for file in client.list_artifacts(run.run_id, "grids")]
    assert grids == ["grids/stage-0-000010.png", "grids/stage-1-000010.png"]
    assert any("samples" in file.path for file in client.list_artifacts(run.run_id, "images"))
    spooled = [json.loads(line) for line in (tmp_path / "spool" / LINES).open()]
    assert [entry["step"] for entry in spooled] == [80, 160, 320]
    assert list((tmp_path / "spool" / "blobs").iterdir()) == []


def test_artifacts_lie_beside_the_database(uri: str) -> None:
    run = opened(uri, "place of artifacts")
    place = open_client(uri).get_run(run.run_id).info.artifact_uri
    folder = Path(uri.removeprefix("sqlite:///")).parent
    assert place is not None and place.startswith(
        (folder / "mlartifacts" / "place_of_artifacts").as_uri()
    )


def test_a_resumed_run_continues_its_stages_and_its_best(uri: str, tmp_path: Path) -> None:
    run = opened(uri, "resumed")
    first = Recorder(run, PSNR, "max", spool=tmp_path / "spool")
    first.log(report(0, 10, 160, 30.0, end=True))
    assert first.close(60)
    end_run(run, "KILLED", "failed: killed")
    continue_run(run)
    assert open_client(uri).get_run(run.run_id).info.status == "RUNNING"
    second = Recorder(run, PSNR, "max", spool=tmp_path / "spool")
    second.log(report(0, 10, 160, 30.0, end=True))
    second.log(report(1, 10, 320, 29.0, end=True))
    assert second.close(60)
    assert [row.index for row in fetch_stages(uri, run.run_id)] == [0, 1]
    assert open_client(uri).get_run(run.run_id).data.metrics[f"{PSNR}_best"] == 30.0


def test_what_is_not_finite_is_dropped_and_counted(uri: str, tmp_path: Path) -> None:
    run = opened(uri, "not finite")
    recorder = Recorder(run, PSNR, "max", spool=tmp_path / "spool")
    recorder.log(report(0, 1, 16, math.nan))
    recorder.log(report(0, 2, 32, -math.inf))
    assert recorder.close(60)
    metrics = open_client(uri).get_run(run.run_id).data.metrics
    assert PSNR not in metrics and f"{PSNR}_best" not in metrics
    assert metrics["tracking/non_finite"] == 2


def test_a_dead_server_neither_stops_nor_slows(tmp_path: Path) -> None:
    run = RunRef(f"http://127.0.0.1:{free_port()}", "0" * 32)
    recorder = Recorder(run, PSNR, "max", spool=tmp_path / "spool")
    began = time.monotonic()
    for step in range(50):
        recorder.log(report(0, step, 16 * step, 20.0, end=step == 49))
    assert time.monotonic() - began < 0.5
    recorder.close(0.5)
    assert time.monotonic() - began < 5
    lines = [json.loads(line) for line in (tmp_path / "spool" / LINES).open()]
    assert [line["position"][1] for line in lines] == list(range(50))
    assert lines[-1]["stages"][0]["index"] == 0
    weights = lines[-1]["files"]["stages/0/generator.safetensors"]
    assert (tmp_path / "spool" / "blobs" / weights).read_bytes() == b"weights of stage 0"


def test_the_best_run_of_an_experiment(uri: str) -> None:
    runs = [opened(uri, "best", "trial") for _ in range(3)]
    parent = opened(uri, "best", "search")
    outcomes = ["finished", "finished", "stopped early at stage 0"]
    for run, outcome, psnr in zip(runs, outcomes, (20.0, 22.0, 30.0), strict=True):
        end_run(run, "FINISHED", outcome, metrics={PSNR: psnr})
    end_run(parent, "FINISHED", "finished", metrics={PSNR: 99.0})
    assert best_run(uri, "best", PSNR, "max") == runs[1].run_id
    assert best_run(uri, "best", PSNR, "min") == runs[0].run_id
    with pytest.raises(SettingsError, match="no run has the metric"):
        best_run(uri, "best", "validation/lpips", "max")
    with pytest.raises(SettingsError, match="there are: "):
        best_run(uri, "bset", PSNR, "max")


def test_runs_of_a_dead_driver_are_ended(uri: str) -> None:
    alive, is_dead = opened(uri, "orphans"), opened(uri, "orphans")
    # above the largest process id that Linux gives
    open_client(uri).set_tag(is_dead.run_id, "driver.pid", str(2**22 + 1))
    assert close_orphans(uri, "orphans") == [is_dead.run_id]
    client = open_client(uri)
    assert client.get_run(is_dead.run_id).info.status == "KILLED"
    assert client.get_run(alive.run_id).info.status == "RUNNING"
