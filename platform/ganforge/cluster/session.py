"""The connection to Ray: joins the cluster that this machine belongs to, or starts a local one."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
    # an actor more per trial, and error lines about restarts when it goes
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray._private.authentication.authentication_token_setup import (  # noqa: E402
    maybe_enable_token_auth_if_token_available,
)

from ganforge.cluster.machines import patience  # noqa: E402
from ganforge.settings import SettingsError  # noqa: E402

# Prefixes of the driver's environment variables that workers on other machines need.
_PASSED = ("MLFLOW_", "AWS_", "GANFORGE_", "NO_PROXY", "no_proxy")
#: exit code after SIGTERM
TERMINATED = 143
_OBJECT_STORE_BYTES = 400 * 2**20


@contextmanager
def session(*, threads: int = 1, num_cpus: int | None = None) -> Iterator[bool]:
    """Connected inside the block, disconnected after it: `with session() as joined`.

    `joined`: an existing cluster was joined, some of whose machines may still be missing. A session
    that is open already is used.
    """
    if ray.is_initialized():
        yield False
        return
    joined = connect(threads=threads, num_cpus=num_cpus)
    try:
        with ended_by_sigterm():
            yield joined
    finally:
        ray.shutdown()


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM leaves the block as an exception does, so that everything is ended, with exit code
    143. Further ones are ignored: SIGKILL ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    signalled = threading.Event()

    def leave(number: int, frame: Any) -> None:
        signalled.set()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except SystemExit:
        if signalled.is_set():
            # raised while ray waits in its own code, it comes out of there with exit code 1
            raise SystemExit(TERMINATED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def connect(
    *, threads: int = 1, num_cpus: int | None = None, temporary: Path | None = None
) -> bool:
    """Join the cluster of RAY_ADDRESS, or the one this machine is part of; or start a local one.

    Whether a cluster was joined. The variables MLFLOW_*, AWS_* and GANFORGE_* of this process reach
    the workers; anyone who may read a cluster's logs may read them there.
    """
    address = cluster_address()
    logging.getLogger("ray").setLevel(logging.ERROR)
    # a failed trial is reported in one line, not in forty
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    shared: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": worker_environment(threads)},
    }
    if address is not None:
        # an address alone does not make ray.init() show the token that `ray start` asks for
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        # the driver's code, whatever is installed there: `ray up --no-restart` leaves the old one
        shared["runtime_env"] |= {"py_modules": packages(), "excludes": ["__pycache__", "*.pyc"]}
        # a trial that lost a machine waits for another one as long as the search did at its start
        shared["runtime_env"]["env_vars"][_START_TIMEOUT] = str(max(120.0, patience()))
        try:
            ray.init(address=address, **shared)
        except (ConnectionError, ValueError) as error:
            raise SettingsError(
                f"no Ray cluster answers at {address} ({str(error).splitlines()[0]}); "
                "start it, unset RAY_ADDRESS, or set RAY_ADDRESS=local"
            ) from None
        return True
    more: dict[str, Any] = {} if temporary is None else {"_temp_dir": str(temporary)}
    ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        **shared,
        **more,
    )
    return False


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
        return given
    if given == "local":
        return None
    # `ray start` writes this file, ray.init() does not; a dead cluster leaves it behind
    file = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    address = file.read_text().strip() if file.is_file() else ""
    return address if address and _answers(address) else None


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except (OSError, ValueError):
        return False


def worker_environment(threads: int) -> dict[str, str]:
    """The environment variables of every process of the session."""
    passed = {k: v for k, v in os.environ.items() if k.startswith(_PASSED)}
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
