"""PostgreSQL as MLflow's database, for searches of many machines: what it holds is what SQLite
holds."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from small import METRIC

from ganforge.search.limits import Limits
from ganforge.search.request import SearchRequest
from ganforge.search.search import search
from ganforge.training.prepare import Prepared

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
SPACE = {"generator.learning_rate": tune.loguniform(1e-4, 1e-1)}
TRIALS = 4


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def programs() -> Path:
    """The newest installed PostgreSQL's; Debian does not put them into PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    given = shutil.which("initdb")
    if not found and given is None:
        pytest.skip("PostgreSQL is not installed")
    return found[-1].parent if found else Path(str(given)).parent


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty PostgreSQL of this test's own, which listens to this machine."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    bin_folder, port = programs(), free_port()
    folder = tmp_path_factory.mktemp("postgres")
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        account = {"user": "nobody"}
        for path in (folder, *list(folder.parents)[:2]):
            path.chmod(0o755)
        shutil.chown(folder, "nobody")
    data = folder / "data"
    words = [bin_folder / "initdb", "-D", data, "-U", "mlflow", "-A", "trust", "-E", "UTF8", "-N"]
    subprocess.run(words, check=True, capture_output=True, cwd=folder, **account)
    words = [bin_folder / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, **account)
    try:
        wait_for(port, process)
        yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, "it ended"
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("nothing listens")


@pytest.fixture
def server(database: str, tmp_path: Path) -> Iterator[str]:
    """MLflow's server in front of it, as on a cluster."""
    port = free_port()
    words = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database]
    words += ["--artifacts-destination", str(tmp_path / "artifacts"), "--port", str(port)]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        [*words, "--workers", "1"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def held(uri: str, name: str) -> list[dict[str, Any]]:
    """What a store has of the trials, without names and times of its own."""
    script = Path(__file__).parent / "read_runs.py"
    done = subprocess.run(
        [sys.executable, str(script), uri, name], capture_output=True, text=True, check=True
    )
    rows = json.loads(done.stdout)
    for row in rows:
        del row["run"]
        row["points"] = {k: v for k, v in row["points"].items() if not k.startswith("cost/")}
        row["tags"] = {
            key: value
            for key, value in row["tags"].items()
            if key in ("kind", "trial", "outcome", "stages_done", "metric", "mode")
        }
    return rows


def test_a_search_leaves_the_same_in_postgresql_and_in_sqlite(
    cluster: None, prepared: Prepared, server: str, tmp_path: Path
) -> None:
    stores = {"postgres": server, "sqlite": f"sqlite:///{tmp_path}/mlflow.db"}
    results = {}
    for name, uri in stores.items():
        request = SearchRequest(
            prepared,
            SPACE,
            METRIC,
            str(tmp_path / name),
            uri,
            "store",
            limits=Limits(TRIALS),
            strategy="random",
            seed=5,
        )
        results[name] = search(request)
        assert not results[name].tracking_trouble
    found = {name: held(uri, "store") for name, uri in stores.items()}
    assert found["postgres"] == found["sqlite"]
    assert [row["status"] for row in found["postgres"]] == ["FINISHED"] * TRIALS
    assert all(len(row["states"]) == 3 and row["points"] for row in found["postgres"])
    # and it is continued from there
    request = SearchRequest(
        prepared,
        SPACE,
        METRIC,
        str(tmp_path / "postgres"),
        server,
        "store",
        limits=Limits(TRIALS + 1),
        strategy="random",
        seed=5,
        resume=True,
    )
    more = search(request)
    assert [trial.state for trial in more.trials] == ["finished"] * (TRIALS + 1)
    assert held(server, "store")[:TRIALS] == found["postgres"]
