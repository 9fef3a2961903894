"""Deaths while a run is recorded: of the process that records, of the server, of the driver."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from ganforge.systems.settings import SystemSettings
from ganforge.tracking.client import open_client
from ganforge.tracking.outbox.log import FILE
from ganforge.tracking.runs import Opening, close_orphans, open_run
from ganforge.tracking.server import VARIABLE, answers, own_server

pytestmark = pytest.mark.slow
REPORTS = 120
#: records one report each 50 ms from `first` on, as a worker does
WORKER = """
import sys, time
from pathlib import Path
from ganforge.schedule import Position
from ganforge.tracking.recorder import Recorder
from ganforge.tracking.run_ref import RunRef
from ganforge.training.report import Report
uri, run_id, folder, first, last = *sys.argv[1:4], *map(int, sys.argv[4:])
recorder = Recorder(RunRef(uri, run_id), "validation/psnr", "max", folder=Path(folder))
for step in range(first, last):
    speed = time.time()
    metrics = {"validation/psnr": step / 7, "stage/index": 0.0, "speed/images_per_second": speed}
    recorder.log(Report(Position(0, step), "progress", 16 * step, metrics))
    recorder.flush_to_store(0.05)
    print(step, flush=True)
    time.sleep(0.05)
complete = recorder.close(20)
print("complete" if complete or recorder._sender.drained else "left", flush=True)
"""


def begin(uri: str, run_id: str, folder: Path, first: int, last: int) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", WORKER, uri, run_id, str(folder), str(first), str(last)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def wait_for(worker: "subprocess.Popen[str]", step: int) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        if int(line) >= step:
            return
    raise AssertionError("the worker ended")


def stored(uri: str, run_id: str) -> Counter[tuple[str, int, int, float]]:
    client = open_client(uri)
    return Counter(
        (point.key, point.step, point.timestamp, point.value)
        for key in client.get_run(run_id).data.metrics
        for point in client.get_metric_history(run_id, key)
    )


def in_outbox(folder: Path) -> Counter[tuple[str, int, int, float]]:
    return Counter(
        (key, entry["step"], entry["at"], value)
        for entry in map(json.loads, (folder / FILE).open())
        for key, value in entry["metrics"].items()
    )


def opened(uri: str) -> str:
    return open_run(uri, "deaths", Opening("train", "a", SystemSettings(system="x"))).run_id


def check(uri: str, run_id: str, *folders: Path) -> None:
    """Every point once, none twice, as the outboxes say."""
    found = stored(uri, run_id)
    assert set(found.values()) == {1}
    steps = Counter((key, step) for key, step, _, _ in found)
    assert set(steps.values()) == {1} and len(steps) == 4 * REPORTS
    if len(folders) == 1:
        assert found == in_outbox(folders[0])


@pytest.mark.parametrize("moved", [False, True], ids=["same machine", "another machine"])
def test_a_killed_worker_continues_in_the_same_run_without_a_step_twice(
    tmp_path: Path, moved: bool
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run_id = opened(uri)
    first = begin(uri, run_id, tmp_path / "a", 0, REPORTS)
    wait_for(first, REPORTS // 2)
    # on another machine the outbox is gone: what was not sent by then is redone from a state before
    until = time.monotonic() + 30
    while moved and time.monotonic() < until and len(stored(uri, run_id)) < 4 * (REPORTS // 2 - 5):
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    folder = tmp_path / ("b" if moved else "a")
    second = begin(uri, run_id, folder, REPORTS // 2 - 10, REPORTS)
    output, _ = second.communicate(timeout=120)
    assert output.splitlines()[-1].startswith("complete")
    check(uri, run_id, *((tmp_path / "a",) if not moved else ()))


def test_a_killed_server_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)  # a server keeps artifacts where it is started
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with own_server(uri, tmp_path) as server:
        assert server is not None
        address = os.environ[VARIABLE].split(" ")[1]
        while not answers(address):
            time.sleep(0.1)
        port = address.rpartition(":")[2]
        run_id = opened(address)
        worker = begin(address, run_id, tmp_path / "a", 0, REPORTS)
        wait_for(worker, REPORTS // 4)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        wait_for(worker, REPORTS // 2)
        arguments = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
        arguments += ["--host", "127.0.0.1", "--port", port, "--workers", "1"]
        quiet = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with open(tmp_path / "again.log", "wb") as log:
            again = subprocess.Popen(
                arguments, stdout=log, stderr=log, env=quiet, start_new_session=True
            )
        try:
            output, _ = worker.communicate(timeout=200)
            while not answers(address):
                time.sleep(0.1)
            if output.splitlines()[-1].startswith("left"):
                arguments = [sys.executable, "-m", "ganforge", "sync", str(tmp_path / "a")]
                arguments += ["--tracking-uri", address]
                subprocess.run(arguments, check=True)
            check(address, run_id, tmp_path / "a")
        finally:
            os.killpg(again.pid, signal.SIGTERM)
            again.wait()


#: opens a run, waits, and ends it whatever happens, as the drivers do
DRIVER = """
import sys, time
from pathlib import Path
from ganforge.cluster.session import ended_by_sigterm
from ganforge.systems.settings import SystemSettings
from ganforge.tracking.driver import DriverClient
from ganforge.tracking.runs import Opening
client = DriverClient(sys.argv[1], "deaths", Path(sys.argv[2]))
with ended_by_sigterm():
    run = client.open(sys.argv[3], Opening("train", "d", SystemSettings(system="x")))
    try:
        while not run.run_id:  # a busy machine takes its time to fill a new file with tables
            time.sleep(0.1)
            run = client.known(run)
        print(run.run_id, flush=True)
        time.sleep(600)
    finally:
        client.end(run, "KILLED", "interrupted")
        assert client.close(30)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_status_right_after(number: signal.Signals, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    opened(uri)
    arguments = [sys.executable, "-c", DRIVER, uri, str(tmp_path / "driver"), "one"]
    driver = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    run_id = driver.stdout.readline().strip()
    driver.send_signal(number)
    code = driver.wait(60)
    client = open_client(uri)
    if number == signal.SIGTERM:
        assert code == 143
    else:
        assert client.get_run(run_id).info.status == "RUNNING"
        assert close_orphans(uri, "deaths") == [run_id]
    run = client.get_run(run_id)
    assert run.info.status == "KILLED" and run.info.end_time
    killed = number == signal.SIGKILL
    assert run.data.tags["outcome"] == ("failed: its driver died" if killed else "interrupted")
