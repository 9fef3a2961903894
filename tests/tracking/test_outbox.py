"""Nothing that was put into an outbox is lost, doubled or out of order, whichever process dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ganforge.commands.cli import main
from ganforge.local_files import Busy
from ganforge.schedule import Position
from ganforge.systems.settings import SystemSettings
from ganforge.tracking.client import open_client
from ganforge.tracking.driver import DriverClient
from ganforge.tracking.outbox.log import FILE, OutboxLog
from ganforge.tracking.outbox.outbox import Outbox
from ganforge.tracking.outbox.remote import RemoteOutbox
from ganforge.tracking.outbox.resend import Target, resend
from ganforge.tracking.process import identity, is_dead
from ganforge.tracking.queries import fetch_file, fetch_stages, fetch_tags
from ganforge.tracking.recorder import Recorder
from ganforge.tracking.run_ref import RunRef
from ganforge.tracking.runs import Opening, close_orphans, open_run
from ganforge.tracking.server import VARIABLE, answers, own_server
from ganforge.training.report import Report, StageResult

PSNR = "validation/psnr"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def nobody() -> str:
    """The address of a server that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def bucket(object_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty folder in an object store."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    return f"s3://bucket/{tmp_path.name}/one"


def opening(name: str = "a run", **more: Any) -> Opening:
    return Opening("train", name, SystemSettings(system="progressive_gan_sr"), **more)


def report(stage: int, step: int, images: int, *, speed: float = 1.0, end: bool = False) -> Report:
    psnr = 20.0 + stage - 0.1 * step
    return Report(
        Position(stage, step),
        "stage" if end else "progress",
        images,
        {PSNR: psnr, "stage/index": float(stage)}
        | ({"speed/images_per_second": speed} if step else {}),
        torch.full((8, 24, 3), step, dtype=torch.uint8) if end else None,
        StageResult(stage, steps=step) if end else None,
        b"weights of stage %d" % stage if end else None,
    )


#: two stages; the second starts at the number of images at which the first ended
RUN = [(0, 5, 80, False), (0, 10, 160, True), (1, 0, 160, False), (1, 10, 320, True)]


def log_rows(
    recorder: Recorder, rows: list[tuple[int, int, int, bool]], speed: float = 1.0
) -> None:
    for stage, step, images, end in rows:
        recorder.log(report(stage, step, images, speed=speed, end=end))


def points(uri: str, run_id: str) -> Counter[tuple[str, int, float]]:
    """Every point of a run, as the store gives it back."""
    client = open_client(uri)
    return Counter(
        (point.key, point.step, point.value)
        for key in client.get_run(run_id).data.metrics
        for point in client.get_metric_history(run_id, key)
    )


def in_outbox(*folders: Path) -> Counter[tuple[str, int, float]]:
    """Every point that outboxes hold."""
    return Counter(
        (key, entry["step"], value)
        for folder in folders
        for entry in map(json.loads, (folder / FILE).open())
        for key, value in entry.get("metrics", {}).items()
    )


def test_a_burst_is_absorbed_in_order_with_bounded_memory(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, capacity=1000)
    with outbox._writing:  # the thread is kept from writing
        for number in range(9000):
            outbox.put({"step": number, "metrics": {"x": number}})
        assert len(outbox._queue) == 9000 and outbox.log.size == 0
        for _ in range(1100):
            outbox.put({"step": -1, "metrics": {}})
        assert len(outbox._queue) == 10_000 and outbox.lost == 100
    assert outbox.flush(10)
    for number in range(9000, 100_000):
        outbox.put({"step": number, "metrics": {"x": number}})
        assert len(outbox._queue) <= 10_000
    assert outbox.flush(10) and outbox.lost == 100
    steps = [entry["step"] for entry in outbox.log.entries()]
    assert [step for step in steps if step >= 0] == list(range(100_000))
    outbox.close()


def test_what_cannot_be_written_raises_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, encode=lambda item: {}["missing"])
    outbox.put({"metrics": {"x": object()}})
    assert "not JSON" in outbox.trouble
    outbox.put_later(1)
    outbox.put({"step": 1})
    assert outbox.flush(10)
    assert [entry["step"] for entry in outbox.log.entries()] == [1]
    outbox.close()


def test_a_line_cut_off_by_a_crash_is_gone_and_the_rest_is_there(tmp_path: Path) -> None:
    whole = b"".join(
        b'{"step": %d, "text": "%s"}\n' % (n, b"x" * n) for n in range(0, 400_000, 90_000)
    )
    (tmp_path / FILE).write_bytes(whole + b'{"step": 7, "te')
    log = OutboxLog(tmp_path)
    assert [entry["step"] for entry in log.entries()] == list(range(0, 400_000, 90_000))
    assert (tmp_path / FILE).read_bytes() == whole
    with pytest.raises(Busy, match="in use by a running process"):
        OutboxLog(tmp_path, patience_seconds=0.1)
    log.close()
    # the disk lost lines that the store had confirmed: what comes next is not taken for them
    (tmp_path / "acknowledged").write_text(f"{10**9:020d}\n")
    log = OutboxLog(tmp_path)
    assert log.acknowledged == log.size == len(whole)
    log.close()


def test_sent_twice_is_stored_once(uri: str, tmp_path: Path) -> None:
    run = open_run(uri, "twice", opening())
    recorder = Recorder(run, PSNR, "max", folder=tmp_path / "s")
    log_rows(recorder, RUN)
    recorder.outbox.put({"step": 5, "metrics": {f"many/{n}": n / 3 for n in range(2500)}})
    assert recorder.close(60), recorder.trouble
    once = points(uri, run.run_id)
    assert once == in_outbox(tmp_path / "s") and set(once.values()) == {1}
    assert len(once) == 15 + 2500
    (tmp_path / "s" / "acknowledged").unlink()  # as if it had died before it could remember
    (sent,) = resend(str(tmp_path), Target(uri))
    assert sent.error == "" and sent.entries == {run.run_id: 5}
    assert points(uri, run.run_id) == once
    assert resend(str(tmp_path), Target(uri)) == []


def test_the_best_is_the_best_so_far_in_any_attempt(uri: str, tmp_path: Path) -> None:
    run = open_run(uri, "best so far", opening())
    for rows in (RUN[:2], RUN[:1] + RUN[1:]):  # the second attempt begins with what is known
        recorder = Recorder(run, PSNR, "max", folder=tmp_path / "s")
        log_rows(recorder, rows)
        assert recorder.close(60)
    history = open_client(uri).get_metric_history(run.run_id, f"{PSNR}_best")
    assert [(p.step, p.value) for p in history] == [
        (80, 19.5),
        (160, 19.5),
        (160, 21.0),
        (320, 21.0),
    ]


def test_steps_redone_on_the_same_machine_are_recorded_once(uri: str, tmp_path: Path) -> None:
    run = open_run(uri, "redone", opening())
    first = Recorder(run, PSNR, "max", folder=tmp_path / "s")
    log_rows(first, RUN[:3])
    assert first.close(60)
    # the new process makes the last two again, at another speed and another time
    second = Recorder(run, PSNR, "max", folder=tmp_path / "s", stages=[StageResult(0, steps=10)])
    log_rows(second, RUN[1:], speed=2.0)
    assert second.close(60)
    stored = points(uri, run.run_id)
    assert stored == in_outbox(tmp_path / "s") and set(stored.values()) == {1}
    assert [row.index for row in fetch_stages(uri, run.run_id)] == [0, 1]


def test_steps_redone_on_another_machine_are_recorded_once(uri: str, tmp_path: Path) -> None:
    run = open_run(uri, "moved", opening())
    first = Recorder(run, PSNR, "max", folder=tmp_path / "a")
    log_rows(first, RUN[:3])
    assert first.close(60)
    before = points(uri, run.run_id)
    second = Recorder(run, PSNR, "max", folder=tmp_path / "b", stages=[StageResult(0, steps=10)])
    log_rows(second, RUN[1:], speed=2.0)
    assert second.close(60)
    stored = points(uri, run.run_id)
    assert set(stored.values()) == {1} and before.items() <= stored.items()
    at_320 = {name: value for name, step, value in stored if step == 320}
    assert at_320["speed/images_per_second"] == 2.0
    assert {step for _, step, _ in stored} == {80, 160, 320}
    assert Counter(s for name, s, _ in stored if name == "stage/index") == {80: 1, 160: 2, 320: 1}
    images = open_client(uri).list_artifacts(run.run_id, "images")
    assert len(images) == 2 * 2  # an image and its thumbnail for each end of a stage


def test_the_rest_travels_with_the_states(
    uri: str, nobody: str, bucket: str, tmp_path: Path
) -> None:
    """A machine dies while the store is down; the run ends elsewhere; the store comes back."""
    run = open_run(uri, "carried", opening())
    down = RunRef(nobody, run.run_id)
    first = Recorder(down, PSNR, "max", folder=tmp_path / "a", remote=bucket)
    log_rows(first, RUN[:3])
    first.flush_to_store(5.0)
    # machine a is gone; the last stored state is the end of stage 0
    second = Recorder(down, PSNR, "max", folder=tmp_path / "b", remote=bucket)
    log_rows(second, RUN[1:], speed=2.0)
    second.close(5.0)
    (sent,) = resend(bucket, Target(uri))
    assert sent.error == "" and sent.entries == {run.run_id: 4}
    stored = points(uri, run.run_id)
    assert stored == in_outbox(tmp_path / "b") and set(stored.values()) == {1}
    assert {s for name, s, _ in stored if name == "stage/index"} == {80, 160, 320}
    for stage in (0, 1):
        path = fetch_file(uri, run.run_id, f"stages/{stage}/generator.safetensors", tmp_path)
        assert path.read_bytes() == b"weights of stage %d" % stage
    assert resend(bucket, Target(uri)) == []
    assert RemoteOutbox(bucket, Outbox(tmp_path / "c")).folders.names() == ["tracking"]
    first.close(0.1)


def test_a_run_that_could_not_be_opened_is_made_later(
    uri: str, nobody: str, tmp_path: Path
) -> None:
    driver = DriverClient(nobody, "late", tmp_path / "search" / "driver")
    began = time.monotonic()
    parent = driver.open("search-1", opening("search-1"))
    assert parent.run_id == "" and parent.key == "search-1"
    child = driver.open("search-1/trial-0000", opening("trial 0", parent_key="search-1"))
    driver.files(parent, {"images.json": b"{}"})
    driver.tag(child, {"machines": "one, two"})
    recorder = Recorder(child, PSNR, "max", folder=tmp_path / "search" / "trial-0000" / "tracking")
    log_rows(recorder, RUN)
    assert not recorder.close(2.0)
    driver.end(child, "FINISHED", "finished", metrics={"final_score": 1.0})
    driver.end(parent, "FAILED", "failed: no reason")
    assert not driver.close(5.0)
    assert time.monotonic() - began < 30
    for _ in range(2):  # the second time everything is there already
        for mark in tmp_path.rglob("acknowledged"):
            mark.unlink()
        assert [sent.error for sent in resend(str(tmp_path), Target(uri))] == ["", ""]
        client = open_client(uri)
        experiment = client.get_experiment_by_name("late")
        assert experiment is not None
        runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
        assert set(runs) == {"search-1", "trial 0"}
        one, other = runs["trial 0"], runs["search-1"]
        assert (one.info.status, other.info.status) == ("FINISHED", "FAILED")
        assert one.data.tags["mlflow.parentRunId"] == other.info.run_id
        assert one.data.tags["machines"] == "one, two"
        assert one.data.tags["outcome"] == "finished" and one.data.params["batch_size"]
        stored = points(uri, one.info.run_id)
        assert set(stored.values()) == {1} and len(stored) == 15 + 1
        assert one.info.start_time < one.info.end_time < time.time() * 1000


def test_what_the_store_refuses_holds_nothing_up(uri: str, tmp_path: Path) -> None:
    run = open_run(uri, "refused", opening())
    recorder = Recorder(run, PSNR, "max", folder=tmp_path / "s")
    recorder.outbox.put({"step": 1, "metrics": {"good/before": 1.0}})
    recorder.outbox.put({"step": 2, "metrics": {"bad[name]": 1.0}})
    recorder.outbox.put({"step": 3, "metrics": {"good/after": 1.0}})
    assert not recorder.close(60)
    assert "an entry is refused" in recorder.trouble
    assert {name for name, *_ in points(uri, run.run_id)} == {"good/before", "good/after"}
    (line,) = (tmp_path / "s" / "refused.jsonl").read_text().splitlines()
    assert json.loads(line)["metrics"] == {"bad[name]": 1.0}


def test_params_fixed_on_resume(uri: str, tmp_path: Path) -> None:
    """A resumed run keeps its parameters, and its outbox is not held up by others."""
    driver = DriverClient(uri, "params", tmp_path / "driver")
    run = driver.open("one", opening(searched={"width": 4}))
    driver._outbox.put({"run": run.entry(), "params": {"width": 8, "depth": 2}})
    driver.resume(run)
    assert driver.close(60), driver.trouble
    found = open_client(uri).get_run(run.run_id)
    assert (found.data.params["width"], found.data.params["depth"]) == ("4", "2")
    assert found.info.status == "RUNNING"


def test_a_driver_is_dead_only_where_that_is_known() -> None:
    mine = identity()
    assert not is_dead(mine)
    nobody = str(2**22 + 1)  # above the largest process id of Linux
    assert is_dead(mine | {"driver.pid": nobody})
    assert is_dead(mine | {"driver.started": "1"})  # the same number, another process
    assert not is_dead(mine | {"driver.pid": nobody, "driver.host": "elsewhere"})
    assert not is_dead(mine | {"driver.pid": nobody, "driver.machine": "another of the same name"})
    assert not is_dead(mine | {"driver.pid": nobody, "driver.space": "pid:[1]"})  # a container
    assert is_dead({"driver.host": mine["driver.host"], "driver.pid": nobody})
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    known = mine | {"driver.pid": str(child.pid)}
    del known["driver.started"]
    assert not is_dead(known)
    child.kill()
    until = time.monotonic() + 10
    while not is_dead(known) and time.monotonic() < until:
        time.sleep(0.02)  # killed and not yet waited for: it writes nothing any more
    assert is_dead(known)
    child.wait()


def test_orphans_are_ended_and_the_living_are_not(uri: str) -> None:
    runs = {name: open_run(uri, "orphans 2", opening(name)) for name in ("alive", "far", "gone")}
    client = open_client(uri)
    client.set_tag(runs["far"].run_id, "driver.host", "elsewhere")
    client.set_tag(runs["far"].run_id, "driver.pid", "1")
    client.set_tag(runs["gone"].run_id, "driver.started", "1")
    assert close_orphans(uri, "orphans 2") == [runs["gone"].run_id]
    assert fetch_tags(uri, runs["gone"].run_id)["outcome"] == "failed: its driver died"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[subprocess.Popen[bytes]]":
    monkeypatch.delenv(VARIABLE, raising=False)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with own_server(uri, tmp_path) as process:
        assert process is not None
        address = os.environ[VARIABLE].split(" ")[1]
        until = time.monotonic() + 60
        while not answers(address) and time.monotonic() < until:
            time.sleep(0.1)
        yield process


@pytest.mark.slow
def test_several_write_through_a_server_of_their_own(
    server: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    address = os.environ[VARIABLE].split(" ")[1]
    client = open_client(uri)
    assert client.tracking_uri == address
    assert open_client("sqlite:////elsewhere.db").tracking_uri == "sqlite:////elsewhere.db"
    runs = [open_run(uri, "several", opening(str(n))) for n in range(3)]
    artifacts = client.get_run(runs[0].run_id).info.artifact_uri
    assert artifacts is not None and artifacts.startswith((tmp_path / "mlartifacts").as_uri())
    recorders = [Recorder(r, PSNR, "max", folder=tmp_path / r.run_id) for r in runs]
    threads = [threading.Thread(target=log_rows, args=(r, RUN)) for r in recorders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(recorder.close(60) for recorder in recorders)
    before = [points(uri, run.run_id) for run in runs]
    for run, found in zip(runs, before, strict=True):
        assert found == in_outbox(tmp_path / run.run_id) and len(found) == 15
    # the server is killed: the file itself is written to
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    recorder = Recorder(runs[0], PSNR, "max", folder=tmp_path / runs[0].run_id)
    recorder.log(report(2, 10, 480))
    assert recorder.close(60), recorder.trouble
    assert open_client(uri).tracking_uri == uri
    assert len(points(uri, runs[0].run_id)) == 15 + 4


@pytest.mark.slow
def test_a_server_ends_with_a_killed_driver(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from ganforge.tracking.server import VARIABLE, own_server\n"
        "with own_server(sys.argv[1], Path(sys.argv[2])):\n"
        "    print(os.environ[VARIABLE].split(' ')[1], flush=True)\n    time.sleep(600)\n"
    )
    arguments = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path)]
    environment = {k: v for k, v in os.environ.items() if k != VARIABLE}
    driver = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)
    assert driver.stdout is not None
    address = driver.stdout.readline().strip()
    until = time.monotonic() + 60
    while not answers(address) and time.monotonic() < until:
        time.sleep(0.1)
    assert answers(address)
    driver.kill()
    driver.wait()
    until = time.monotonic() + 20
    while answers(address) and time.monotonic() < until:
        time.sleep(0.1)
    assert not answers(address)


def test_sync_sends_what_is_left_and_says_so(
    uri: str, nobody: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "storage"
    run = open_run(uri, "sync", opening(), key="train-1")
    recorder = Recorder(
        RunRef(nobody, run.run_id, "sync", "train-1"),
        PSNR,
        "max",
        folder=storage / "train-1" / "tracking",
    )
    log_rows(recorder, RUN)
    assert not recorder.close(2.0)
    with pytest.raises(SystemExit) as left:
        main(["sync", "--storage", str(storage), "--tracking-uri", nobody])
    assert left.value.code == 1
    assert f"train-1  4 entries  not sent: OSError: no server answers at {nobody}" in (
        capsys.readouterr().out
    )
    with pytest.raises(SystemExit) as left:
        main(["sync", str(storage / "train-1"), "--tracking-uri", uri])
    assert not left.value.code
    assert "train-1  4 entries  sent\n15 metrics sent" in capsys.readouterr().out
    assert points(uri, run.run_id) == in_outbox(storage / "train-1" / "tracking")
    with pytest.raises(SystemExit) as left:
        main(["sync", str(tmp_path / "nothing")])
    assert left.value.code == 2


def test_sync_sends_the_outboxes_of_version_0_1(
    uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache, storage = tmp_path / "cache", tmp_path / "storage"
    monkeypatch.setenv("GANFORGE_CACHE", str(cache))
    runs = [open_run(uri, "old names", opening(name)) for name in ("here", "in a store")]
    old = (storage / "train-1" / "tracking", cache / "spools" / runs[1].run_id)
    for run, folder in zip(runs, old, strict=True):
        folder.mkdir(parents=True)
        entry = {"at": 1000, "run": run.entry(), "step": 1, "metrics": {"x": 0.5}}
        (folder / "spool.jsonl").write_text(json.dumps(entry) + "\n")
    with pytest.raises(SystemExit) as left:
        main(["sync", "--storage", str(storage), "--tracking-uri", uri])
    assert not left.value.code
    assert "2 metrics sent; nothing is left" in capsys.readouterr().out
    for run in runs:
        assert points(uri, run.run_id) == Counter([("x", 1, 0.5)])
