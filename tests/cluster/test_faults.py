"""Deaths in the middle: of a worker, of a search's driver, of the tracking store."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small import METRIC, SYSTEM, tiny

from ganforge.cluster.train import fit
from ganforge.tracking.client import open_client
from ganforge.tracking.outbox.log import FILE
from ganforge.tracking.run_ref import RunRef
from ganforge.training.prepare import prepare
from ganforge.training.run import run

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TRIALS = 6


def descendants(name: str) -> list[int]:
    """Process ids below this process whose command line begins with `name`."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True)
    rows = [line.split(maxsplit=2) for line in table.stdout.splitlines()]
    mine = {str(os.getpid())}
    for _ in range(4):
        mine |= {row[0] for row in rows if row[1] in mine}
    return [int(row[0]) for row in rows if row[0] in mine and row[2].startswith(name)]


def test_a_killed_worker_is_replaced_and_the_bits_are_the_same(
    cluster: None, tmp_path: Path
) -> None:
    prepared = prepare(SYSTEM, tiny(images_per_epoch=64, workers=2))
    killed = []

    def kill_once(told: dict[str, Any]) -> None:
        if told.get("stages") and not killed:
            killed.append(descendants("ray::RayTrainWorker")[0])
            os.kill(killed[0], signal.SIGKILL)

    trained = fit(prepared, metric=METRIC, store=str(tmp_path / "run"), listener=kill_once)
    assert killed
    alone = [report.stage for report in run(prepared) if report.stage is not None]
    mine = [row.state_sha256 for row in trained.stages]
    assert mine == [row.state_sha256 for row in alone]


def test_a_dead_tracking_store_does_not_end_training(cluster: None, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    trained = fit(
        prepare(SYSTEM, tiny()),
        metric=METRIC,
        store=str(tmp_path / "run"),
        tracking=RunRef(nobody, "0" * 32),
    )
    assert len(trained.stages) == 3
    assert trained.tracking_trouble
    kept = [json.loads(line) for line in (tmp_path / "run" / "tracking" / FILE).open()]
    assert [line["stages"][-1]["index"] for line in kept if "stages" in line] == [0, 1, 2]


def start(place: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    script = Path(__file__).parents[1] / "helpers" / "driver.py"
    command = [sys.executable, str(script), str(place), str(TRIALS), *arguments]
    environment = os.environ | {"RAY_ADDRESS": "local"}
    return subprocess.Popen(command, start_new_session=True, env=environment)


def story(place: Path) -> list[dict[str, Any]]:
    """The events of the only search in a place, without what differs from run to run."""
    (journal,) = place.glob("storage/*/journal.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    dropped = ("seconds", "elapsed", "run", "parent")
    return [{k: v for k, v in event.items() if k not in dropped} for event in events]


@pytest.mark.timeout(1500)
def test_a_killed_search_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for place in (whole, cut):
        place.mkdir()
    assert start(whole).wait(700) == 0
    process = start(cut)
    until = time.monotonic() + 300
    while time.monotonic() < until:
        time.sleep(0.05)
        # some of its trials are over, one is under way
        if list(cut.glob("storage/*/journal.jsonl")) and (
            sum(event["event"] == "reported" for event in story(cut)) >= 6
        ):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = story(cut)
    assert len(before) < len(story(whole))
    assert start(cut, "--resume").wait(700) == 0
    assert story(cut) == story(whole)
    client = open_client(f"sqlite:///{cut}/mlflow.db")
    experiment = client.get_experiment_by_name("killed")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == TRIALS + 1
    assert {run.info.status for run in runs} == {"FINISHED"}
