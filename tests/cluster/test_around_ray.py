"""What lies around Ray and is not as it should be: each is one line within seconds, before anything
is opened, and signals are obeyed meanwhile."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganforge.cluster.session import cluster_address, connect
from ganforge.commands.start import checked_storage
from ganforge.settings import SettingsError

CONNECT = "from ganforge.cluster.session import connect; connect()"


def refused(**variables: str) -> tuple[str, float]:
    """What connecting raises, and how long that takes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        began = time.monotonic()
        with pytest.raises(SettingsError) as error:
            connect()
    assert "\n" not in str(error.value) and "Fix: " in str(error.value)
    return str(error.value), time.monotonic() - began


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_an_address_where_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
    message, seconds = refused(RAY_ADDRESS=nobody)
    assert f"no Ray cluster answers at {nobody}" in message and seconds < 5


@pytest.mark.parametrize("address", ["somewhere", "http://head:6379", "head:port"])
def test_an_address_that_is_none(address: str) -> None:
    assert "must be HOST:PORT" in refused(RAY_ADDRESS=address)[0]


@pytest.mark.slow
def test_an_address_that_never_answers(silent: str) -> None:
    message, seconds = refused(RAY_ADDRESS=silent)
    assert "silent for 8 s" in message and seconds < 12


@pytest.mark.slow
def test_a_signal_is_obeyed_while_an_address_is_waited_for(silent: str) -> None:
    command = [sys.executable, "-c", f"{CONNECT}"]
    waiting = subprocess.Popen(command, env=os.environ | {"RAY_ADDRESS": silent})
    time.sleep(6)  # it is asking by now
    began = time.monotonic()
    waiting.send_signal(signal.SIGTERM)
    assert waiting.wait(20) == -signal.SIGTERM
    assert time.monotonic() - began < 3


def test_a_temporary_folder_that_is_too_long_or_cannot_be_written() -> None:
    message, _ = refused(RAY_ADDRESS="local", RAY_TMPDIR="/tmp/" + "x" * 60)
    assert "too long by 26 bytes" in message and "RAY_TMPDIR=/tmp" in message
    message, _ = refused(RAY_ADDRESS="local", RAY_TMPDIR="/proc/nothing")
    assert "cannot be written" in message


def test_the_working_directory_is_not_sent_under_uv_run(tmp_path: Path) -> None:
    """The grandchild of `uv run`, in whose folder lies something large."""
    (tmp_path / "run").write_text(
        "import subprocess, sys\nsubprocess.run(sys.argv[1:], check=True)\n"
    )
    ask = (
        "import ganforge.cluster.session\n"
        "from ray._private.worker import _maybe_modify_runtime_env as modify\n"
        "from ray._private.runtime_env.uv_runtime_env_hook import _get_uv_run_cmdline as uv\n"
        "print(bool(uv()), modify({}, False) or {})"
    )
    # a process that is called `uv run`, by its arguments
    done = subprocess.run(
        ["uv", "run", sys.executable, "-c", ask],
        executable=sys.executable,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1:] == ["True {}"], done.stdout + done.stderr


def test_a_folder_that_is_no_storage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "runs", Path("/proc/nothing")):
        with pytest.raises(SettingsError, match=r"cannot be a folder to write in .* Fix: "):
            checked_storage(str(folder))
    assert checked_storage(str(tmp_path / "new")) == str(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_a_bucket_that_is_missing(object_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    assert checked_storage("s3://bucket/x") == "s3://bucket/x"
    with pytest.raises(SettingsError, match=r"s3://nowhere/x: cannot be used .* Fix: ") as error:
        checked_storage("s3://nowhere/x")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_store_that_never_answers(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{silent}")
    began = time.monotonic()
    with pytest.raises(SettingsError, match="silent for 8 s"):
        checked_storage("s3://bucket/x")
    assert time.monotonic() - began < 12


@pytest.fixture(scope="module")
def head() -> Iterator[Path]:
    """A head that `ray start` started under a TMPDIR of its own, with a token of its own."""
    folder = Path(tempfile.mkdtemp(prefix="gf-", dir="/tmp"))
    token = folder / "token"
    token.write_text("a" * 64)
    token.chmod(0o600)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"TMPDIR": str(folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "RAY_TMPDIR")}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}"]
    command += ["--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats", "--block"]
    running = subprocess.Popen(
        command,
        env=environment | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while not (folder / "ray" / "ray_current_cluster").is_file() and time.monotonic() < until:
        time.sleep(0.2)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.delenv("RAY_TMPDIR", raising=False)
        yield folder
    os.killpg(running.pid, signal.SIGTERM)
    running.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.ray
def test_a_head_that_was_started_under_tmpdir_is_found(head: Path) -> None:
    assert cluster_address() == (head / "ray" / "ray_current_cluster").read_text().strip()


def child(code: str, **variables: str) -> str:
    """What a process prints on the cluster of this environment: Ray keeps its token in memory."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True
    )
    return (done.stdout + done.stderr).strip()


@pytest.mark.slow
@pytest.mark.ray
def test_without_the_token_nobody_comes_in(head: Path) -> None:
    """T20; the partner has it."""
    inside = "import ray; from ganforge.cluster.session import session\n"
    inside += "with session() as joined: print('joined', joined, len(ray.nodes()))"
    assert child(inside).splitlines()[-1] == "joined True 1"
    wrong = head / "wrong"
    wrong.write_text("b" * 64)
    wrong.chmod(0o600)
    told = child(inside, RAY_AUTH_TOKEN_PATH=str(wrong))
    assert "joined True" not in told and "SettingsError" in told
    assert "auth" in told.lower()


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_of_another_version_is_named(head: Path) -> None:
    address = (head / "ray" / "ray_current_cluster").read_text().strip()
    change = f"""
import json
from ray._common.usage.usage_lib import GcsClient, get_cluster_metadata
client = GcsClient(address={address!r})
found = get_cluster_metadata(client)
print(json.dumps(found))
found["ray_version"] = "2.59.0"
client.internal_kv_put(b"CLUSTER_METADATA", json.dumps(found).encode(), True, b"cluster")
"""
    assert json.loads(child(change).splitlines()[-1])["ray_version"] != "2.59.0"
    told = child(CONNECT)
    assert "runs Ray 2.59.0 on Python" in told.splitlines()[-1], told
    assert "Fix: install the same on both" in told
