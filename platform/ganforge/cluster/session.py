"""The connection to Ray: joins the cluster that this machine belongs to, or starts a local one."""

import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
# Read by ray when it is imported, or by the processes that it starts.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    # a worker's report waits for the controller to look: 2 s by default (measured)
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    _START_TIMEOUT: "120",
    # an actor more per trial, and error lines about restarts when it goes: cluster/notices.py
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # under `uv run` Ray would pack the working directory, whatever lies there, and send it
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
import ray._private.utils as ray_utils  # noqa: E402
from ray._common.utils import get_default_ray_temp_dir  # noqa: E402
from ray._private.authentication.authentication_token_setup import (  # noqa: E402
    maybe_enable_token_auth_if_token_available,
)

from ganforge.cluster.machines import patience  # noqa: E402
from ganforge.cluster.private_files import make_token, protect_secrets  # noqa: E402
from ganforge.cluster.probe import check_cluster_answers  # noqa: E402
from ganforge.cluster.variables import from_machine_file  # noqa: E402
from ganforge.settings import SettingsError  # noqa: E402

# What workers on other machines get of the driver's environment. Ray writes every value into a log
# that all users of a machine can read: nothing that may be secret is among them. Credentials are
# each machine's own (docs/cluster.md).
_PASSED = ("NO_PROXY", "no_proxy")
#: exit code after SIGTERM
TERMINATED = 143
#: how long workers may take to store a state after it: what ends processes waits 30 s and more
GRACE_SECONDS = 15.0
_ADDRESS = re.compile(r"[^\s:/]+:[0-9]{1,5}|\[[0-9a-fA-F:.]+\]:[0-9]{1,5}")
_OBJECT_STORE_BYTES = 400 * 2**20
#: the longest path of a socket; and what Ray adds to its temporary folder, such as
#: /session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store
_MOST_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
_SOCKET_BYTES = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
_LISTEN_SECONDS = 3.0


@contextmanager
def session(*, threads: int = 1, num_cpus: int | None = None) -> Iterator[bool]:
    """Connected inside the block, disconnected after it: `with session() as joined`.

    `joined`: an existing cluster was joined, some of whose machines may still be missing. A session
    that is open already is used.
    """
    if ray.is_initialized():
        yield False
        return
    with ended_by_sigterm():
        try:
            with _without_ray_handlers():
                joined = connect(threads=threads, num_cpus=num_cpus)
            yield joined
        finally:
            ray.shutdown()


class _Ending:
    """What SIGTERM has done so far, and whether it may be answered at leisure."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.graceful = False


_ending = _Ending()


def terminated() -> bool:
    """Whether this process was asked to end by SIGTERM."""
    return _ending.asked.is_set()


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM leaves the block as an exception does, so that everything is ended, with exit code
    143. Once it has, further ones are ignored: SIGKILL ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: Any) -> None:
        first = not _ending.asked.is_set()
        _ending.asked.set()
        if _ending.graceful and first:
            return
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(TERMINATED)

    _ending.asked.clear()
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except SystemExit:
        if terminated():
            # raised while ray waits in its own code, it comes out of there with exit code 1
            raise SystemExit(TERMINATED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _without_ray_handlers() -> Iterator[None]:
    """ray.init() answers SIGTERM its own way from its first line on, with exit code 15, later 1.

    Its library then puts a handler below Python's, which calls that and has the process aborted
    three seconds later: too soon for one that ends at leisure."""
    before = ray_utils.set_sigterm_handler
    ray_utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler = before
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


@contextmanager
def graceful(depart: Callable[[], None]) -> Iterator[None]:
    """Inside the block SIGTERM calls `depart`, which has the work stored and the block end by
    itself; after GRACE_SECONDS, or by a second SIGTERM, it is left as it is. Then SystemExit."""
    over, lock = threading.Event(), threading.Lock()

    def wait() -> None:
        while not _ending.asked.wait(0.2):
            if over.is_set():
                return
        # a cluster that does not answer stores nothing: the block is left when the time is over
        with suppress(Exception):
            depart()
        over.wait(GRACE_SECONDS)
        with lock:
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    waiting = threading.Thread(target=wait, name="grace", daemon=True)
    _ending.graceful = True
    waiting.start()
    try:
        yield
    finally:
        with lock:
            over.set()
            _ending.graceful = False
    if terminated():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(TERMINATED)


def connect(
    *, threads: int = 1, num_cpus: int | None = None, temporary: Path | None = None
) -> bool:
    """Join the cluster of RAY_ADDRESS, or the one this machine is part of; or start a local one.

    Whether a cluster was joined. The workers of a local one inherit this process's environment;
    those of a cluster have that of their machine, and the file of variables there. SettingsError,
    within seconds, where neither is possible.
    """
    address = cluster_address()
    protect_secrets()
    logging.getLogger("ray").setLevel(logging.ERROR)
    # a failed trial is reported in one line, not in forty
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    shared: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        if not _listens(address):
            raise SettingsError(
                f"no Ray cluster answers at {address} (nothing listens there). "
                "Fix: start it, unset RAY_ADDRESS, or set RAY_ADDRESS=local"
            )
        check_cluster_answers(address)
        # an address alone does not make ray.init() show the token that `ray start` asks for
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        variables = {**worker_environment(threads), **from_machine_file()}
        # a trial that lost a machine waits for another one as long as the search did at its start
        variables[_START_TIMEOUT] = str(max(120.0, patience()))
        # the driver's code, whatever is installed there: `ray up --no-restart` leaves the old one
        code = {"py_modules": packages(), "excludes": ["__pycache__", "*.pyc"]}
        with _one_line(f"the Ray cluster at {address} cannot be joined"):
            ray.init(address=address, runtime_env={"env_vars": variables, **code}, **shared)
        return True
    _check_temporary(temporary)
    make_token()
    more: dict[str, Any] = {} if temporary is None else {"_temp_dir": str(temporary)}
    # not in a runtime_env: its values stay in a log
    with _one_line("Ray cannot start here"), _set(worker_environment(threads)):
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            **shared,
            **more,
        )
    return False


def check_local_start() -> None:
    """What `connect` refuses for a local cluster, before anything else is started for one."""
    if cluster_address() is None:
        _check_temporary(None)


@contextmanager
def _one_line(problem: str) -> Iterator[None]:
    """What Ray raises, in one line."""
    try:
        yield
    except SettingsError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else type(error).__name__
        raise SettingsError(
            f"{problem} ({reason}). Fix: `ganforge doctor` looks for the cause"
        ) from error


@contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for what is started inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check_temporary(given: Path | None) -> None:
    """SettingsError for a temporary folder in which Ray cannot make its sockets."""
    folder = given or Path(get_default_ray_temp_dir())
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    fix = "Fix: RAY_TMPDIR=/tmp, or another short path that can be written"
    longest = len(os.fsencode(folder)) + _SOCKET_BYTES
    if longest > _MOST_SOCKET_BYTES:
        raise SettingsError(
            f"{name} = {folder.parent}: too long by {longest - _MOST_SOCKET_BYTES} bytes for the "
            f"paths of Ray's sockets, which have at most {_MOST_SOCKET_BYTES}. {fix}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        usable = False
    if not usable:
        raise SettingsError(f"{name} = {folder.parent}: {folder} cannot be written. {fix}")


def packages() -> list[str]:
    """The folders of the project's own packages on this machine, which are sent with a job."""
    found = []
    for name in ("ganforge", "search_spaces"):
        spec = find_spec(name)
        found += list(spec.submodule_search_locations or ()) if spec else []
    return found


def cluster_address() -> str | None:
    """RAY_ADDRESS, or the address of the cluster that `ray start` made this machine part of.

    A local session of another user on this machine is not a cluster, and is never joined.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    if given.startswith("ray://"):
        raise SettingsError(
            f"RAY_ADDRESS = {given}: searches run on the cluster; use `ray submit`, or unset it"
        )
    if given and given not in ("auto", "local"):
        if not _ADDRESS.fullmatch(given):
            raise SettingsError(
                f"RAY_ADDRESS = {given}: must be HOST:PORT, auto or local. Fix: RAY_ADDRESS=local "
                "for a cluster of this machine alone"
            )
        return given
    if given == "local":
        return None
    # `ray start` writes this file, ray.init() does not; a dead cluster leaves it behind
    for folder in dict.fromkeys((get_default_ray_temp_dir(), "/tmp/ray")):
        address = _started_here(Path(folder) / "ray_current_cluster")
        if address and _listens(address):
            return address
    return None


def _started_here(file: Path) -> str:
    """The address in a file of `ray start`. Only this user's own and root's count: in a folder that
    all share, anybody could name a cluster of theirs, to which code and data would go."""
    try:
        if file.stat().st_uid not in (os.getuid(), 0):
            return ""
        return file.read_text().strip()
    except OSError:
        return ""


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_LISTEN_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def worker_environment(threads: int) -> dict[str, str]:
    """The environment variables of every process of the session."""
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    quiet = {name: os.environ[name] for name in _QUIET}
    return {
        **quiet,
        **passed,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONUNBUFFERED": "1",
    }


def worker_resources(threads: int, gpu: bool) -> dict[str, float]:
    """What one worker asks of Ray. Threads are a setting; they never follow from resources."""
    return {"CPU": 1.0, "GPU": 1.0} if gpu else {"CPU": float(threads)}
