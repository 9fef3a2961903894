"""T12: a command that is asked to end, and a machine that is taken away, while it trains.

A state is stored between two batches, and what continues from it ends in the bits of a run that
nothing has disturbed (pytest -m slow tests/cluster/test_grace.py).
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small import SYSTEM, tiny

from ganforge.settings import to_json
from ganforge.tracking.client import open_client
from ganforge.training.checkpoint import Store
from ganforge.training.prepare import prepare
from ganforge.training.run import run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
HELPERS = Path(__file__).parents[1] / "helpers"


def settings(**changes):
    """One stage, one report at its end: without a grace everything would be lost."""
    return tiny(stages=1, images_per_epoch=3000, **changes)


def begin(folder: Path, *command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "ganforge", *command],
        cwd=folder,
        env=os.environ | {"RAY_ADDRESS": "local", "MLFLOW_TRACKING_URI": ""},
        stdout=(folder / "shown").open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def wait_until(there, process: "subprocess.Popen[bytes]", seconds: float = 200) -> None:
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until and process.poll() is None, process.poll()
        time.sleep(0.1)


def recorded(folder: Path) -> list[int]:
    """Images at which the workers have reported: the first report is at the start."""
    lines = [line for f in folder.rglob("tracking/outbox.jsonl") for line in f.open()]
    return [json.loads(line).get("step", -1) for line in lines]


def statuses(folder: Path) -> dict[str, tuple[str, str]]:
    client = open_client(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return {str(r.info.run_name): (r.info.status, r.data.tags["outcome"]) for r in runs}


@pytest.fixture(scope="module")
def undisturbed() -> list[str]:
    return [r.stage.state_sha256 for r in run(prepare(SYSTEM, settings())) if r.stage is not None]


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_to_train_keeps_what_is_done(
    tmp_path: Path, undisturbed: list[str], workers: int
) -> None:
    (tmp_path / "mine.json").write_text(to_json(settings(workers=workers)))
    command = ("train", "--settings", "mine.json", "--storage", "runs", "--experiment", "x")
    process = begin(tmp_path, *command)
    wait_until(lambda: recorded(tmp_path), process)
    time.sleep(2)  # some batches
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143, (tmp_path / "shown").read_text()
    assert "interrupted: --resume continues" in (tmp_path / "shown").read_text()
    ((status, outcome),) = statuses(tmp_path).values()
    assert (status, outcome) == ("KILLED", "interrupted")
    (folder,) = (tmp_path / "runs").glob("train-*")
    stored = Store(str(folder)).newest()
    assert stored is not None, "no state was stored in the grace"
    assert stored.manifest["kind"] == "departure" and stored.position.step > 0

    assert begin(tmp_path, *command, "--resume").wait(400) == 0
    ((status, outcome),) = statuses(tmp_path).values()
    assert (status, outcome) == ("FINISHED", "finished")
    ended = Store(str(folder)).newest()
    assert [ended.manifest["state"]["state_sha256"]] == undisturbed
    points = [step for step in recorded(tmp_path) if step >= 0]
    assert len(points) == len(set(points)), "a report was recorded twice"


def test_sigterm_to_tune_keeps_what_is_done_of_every_trial(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(to_json(settings()))
    (tmp_path / "space.py").write_text(
        "from ray import tune\nSPACE = {'critic.learning_rate': tune.loguniform(1e-4, 1e-3)}\n"
    )
    command = ("tune", "--settings", "mine.json", "--space", "space.py", "--trials", "2")
    command += ("--concurrent", "1", "--storage", "runs", "--experiment", "x")
    process = begin(tmp_path, *command)
    wait_until(lambda: recorded(tmp_path), process)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 143, (tmp_path / "shown").read_text()
    assert {status for status, _ in statuses(tmp_path).values()} == {"KILLED"}
    (trial,) = (tmp_path / "runs").glob("*/trial-0000")  # no other one was begun
    stored = Store(str(trial)).newest()
    assert stored is not None and stored.manifest["kind"] == "departure"
    assert begin(tmp_path, *command, "--resume").wait(500) == 0
    assert {status for status, _ in statuses(tmp_path).values()} == {"FINISHED"}
    ended = Store(str(trial)).newest()
    prepared = prepare(SYSTEM, settings())
    (journal,) = (tmp_path / "runs").glob("*/journal.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    params = next(e["params"] for e in events if e["event"] == "suggested" and e["trial"] == 0)
    from ganforge.settings import override

    alone = run(prepared.with_settings(override(prepared.settings, params)))
    states = [r.stage.state_sha256 for r in alone if r.stage is not None]
    assert states == [ended.manifest["state"]["state_sha256"]]


def test_a_machine_that_is_taken_away_has_its_newest_state_stored(
    tmp_path: Path, undisturbed: list[str]
) -> None:
    script = str(HELPERS / "drained.py")
    done = subprocess.run(
        [sys.executable, script, str(tmp_path / "run")],
        env=os.environ | {"RAY_ADDRESS": "local"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"drained": [True], "states": undisturbed}
    store = Store(str(tmp_path / "run"))
    kinds = {store.manifest(name)["step"]: store.manifest(name)["kind"] for name in store.names()}
    notices = [step for step, kind in kinds.items() if kind == "notice"]
    assert notices, "no state was stored at the notice"
    # and what continues from there ends in the same bits
    for name in store.names():
        if store.manifest(name)["kind"] == "stage":
            store.folders.delete(name)
    again = run(prepare(SYSTEM, settings()), store=str(tmp_path / "run"), resume=True)
    assert [r.stage.state_sha256 for r in again if r.stage is not None] == undisturbed


@pytest.mark.parametrize("seconds", [0.05, 0.5, 1.5, 3.0])
def test_sigterm_while_ray_starts_leaves_nothing(seconds: float) -> None:
    """ray.init() answers SIGTERM with exit codes of its own from its first line on."""
    code = (
        "import time\nfrom ganforge.cluster.session import session\nprint('in', flush=True)\n"
        "with session(num_cpus=1):\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"RAY_ADDRESS": "local"},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    until = time.monotonic() + 20
    while left := subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True).stdout:
        assert time.monotonic() < until, left
        time.sleep(0.2)


def test_an_end_at_leisure_takes_longer_than_three_seconds() -> None:
    """Ray's library has a process aborted (exit code -6) three seconds after SIGTERM."""
    code = (
        "import os, signal, time\nfrom ganforge.cluster.session import graceful, session\n"
        "with session(num_cpus=1), graceful(lambda: None):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(5)\n    print('stored')\n"
    )
    environment = os.environ | {"RAY_ADDRESS": "local"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (143, "stored")
