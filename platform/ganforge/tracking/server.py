"""A search's own tracking server on loopback: several processes write one SQLite file through it.
It is faster for them (a quarter of the time with four, measured) and never needed: while it starts,
and if it dies, every process writes to the file itself.

Run as a module, this file is the server's first process, which asks to be ended with its parent.
"""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger("ganforge")
#: "<sqlite URI> <server URI>"; the workers of a local cluster inherit it
VARIABLE = "GANFORGE_TRACKING_SERVER"
LOG = "mlflow-server.log"
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_QUIET = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
# a loopback address must not be reached through a proxy
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def served(uri: str) -> str:
    """The URI by which to reach a store: its server's, while one answers for it."""
    own, _, via = os.environ.get(VARIABLE, "").partition(" ")
    return via if via and own == uri and answers(via) else uri


def answers(server: str, timeout: float = 0.5) -> bool:
    """Whether a server is ready for requests."""
    try:
        with _DIRECT.open(f"{server}/health", timeout=timeout) as response:
            return response.status == 200
    except OSError:
        return False


@contextmanager
def own_server(
    uri: str, folder: Path | None, *, wanted: bool = True
) -> "Iterator[subprocess.Popen[bytes] | None]":
    """Inside the block a server for a SQLite `uri` starts, runs and is stopped; `folder` keeps its
    log. Other stores, and one that has a server already, get none. It takes seconds to start:
    no process waits for it."""
    if not wanted or not uri.startswith("sqlite:") or os.environ.get(VARIABLE):
        yield None
        return
    try:
        process, address = _start(uri, folder)
    except OSError as error:
        logger.warning("tracking: no server of its own (%s); writing to the file", error)
        yield None
        return
    os.environ[VARIABLE] = f"{uri} {address}"
    try:
        yield process
    finally:
        del os.environ[VARIABLE]
        _stop(process)


def _start(uri: str, folder: Path | None) -> "tuple[subprocess.Popen[bytes], str]":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["server", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    command = [sys.executable, "-m", __name__, str(os.getpid()), *arguments]
    with open(os.devnull if folder is None else folder / LOG, "ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | _QUIET,
            # Ctrl-C is for the driver, which still has something to write
            start_new_session=True,
        )
    return process, f"http://127.0.0.1:{port}"


def _stop(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5.0)


def _serve(parent: int, arguments: list[str]) -> None:
    """Become the server, which gets SIGTERM when the parent has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    # here, since it may race with the driver that started it: the server would not wait for it.
    # Not above: the module that imports this one sets variables which MLflow reads on its import.
    from ganforge.tracking.database import open_database

    open_database(arguments[arguments.index("--backend-store-uri") + 1])
    if os.getppid() == parent:
        os.execv(sys.executable, [sys.executable, "-m", "mlflow", *arguments])


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2:])
