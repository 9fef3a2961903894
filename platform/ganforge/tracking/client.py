"""The tracking store: which one, and a client that gives up soon."""

import logging
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

# Short, so that a store that is down costs seconds: the defaults block for 247 s (measured).
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # it would name the search's own server, which ends with the search
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

from ganforge.addresses import TRACKING_FIX, refuse_credentials  # noqa: E402
from ganforge.settings import SettingsError  # noqa: E402
from ganforge.tracking.database import SQLITE, open_database  # noqa: E402
from ganforge.tracking.server import served  # noqa: E402

_LONGEST_NAME = 255
DEFAULT_EXPERIMENT = "ganforge"
#: what MLflow's client reaches; the other kinds of URI end in an error of its own
_STORES = ("sqlite:///", "http://", "https://", "postgresql", "mysql", "mssql", "databricks")


def resolve_uri(given: str | None = None) -> str:
    """The store's URI: `given`, else MLFLOW_TRACKING_URI, else mlflow.db in this directory.

    SQLite paths become absolute: Ray workers have another working directory. An address that holds
    credentials is refused, and not split: what was typed is in the shell's history and in the list
    of processes already, and one way by which credentials reach a server is enough, the
    environment.
    """
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    refuse_credentials(uri, "--tracking-uri" if given else "MLFLOW_TRACKING_URI", TRACKING_FIX)
    uri = uri.strip()
    if not uri.startswith(_STORES):
        raise SettingsError(
            f"tracking URI = {uri}: must be sqlite:///FILE.db, or http(s)://HOST:PORT of a server"
        )
    if uri.startswith(SQLITE):
        return SQLITE + str(Path(uri.removeprefix(SQLITE)).absolute())
    return uri


def existing_uri(given: str | None = None) -> str:
    """The same for a command that only reads: a missing SQLite file is refused, and not made."""
    uri = resolve_uri(given)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise SettingsError(
            f"tracking URI = {uri}: the file does not exist; name the store that has the run with "
            "--tracking-uri or MLFLOW_TRACKING_URI"
        )
    return uri


def check_reachable(uri: str) -> None:
    """OSError at once where nothing listens at a server's address: its client would wait longer."""
    address = urlsplit(uri)
    if address.scheme in ("http", "https") and address.hostname:
        if address.scheme in getproxies() and not proxy_bypass(address.hostname):
            return
        port = address.port or (443 if address.scheme == "https" else 80)
        try:
            socket.create_connection((address.hostname, port), timeout=3.0).close()
        except OSError as error:
            raise OSError(f"no server answers at {uri} ({error.strerror or error})") from None


def open_client(uri: str) -> MlflowClient:
    """A client for exactly this store; never the one of the working directory."""
    # creating tables in a new SQLite file would print 30 lines
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent"):
        logging.getLogger(name).setLevel(logging.ERROR)
    via = served(uri)
    if via.startswith(SQLITE):
        open_database(via)
    return MlflowClient(tracking_uri=via, registry_uri=via)


def experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """The experiment called `name`, made when it is new.

    With SQLite its artifacts lie next to the database, not in the working directory.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=_artifacts(uri, name))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise SettingsError(
            f"experiment = {name}: it was deleted from {uri}; restore it with `mlflow experiments "
            f"restore --experiment-id {found.experiment_id}`, or choose another name"
        )
    return found.experiment_id


def _artifacts(uri: str, name: str) -> str | None:
    if not uri.startswith(SQLITE):
        return None
    folder = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    if not folder.strip("."):  # "..": the folder above
        folder = folder.replace(".", "_")
    if len(folder.encode()) > _LONGEST_NAME:
        raise SettingsError(
            f"experiment = {name[:60]}…: the folder of its artifacts would have a name of "
            f"{len(folder.encode())} bytes, and a file system takes {_LONGEST_NAME}. Fix: a "
            "shorter name"
        )
    database = Path(uri.removeprefix(SQLITE))
    return (database.parent / "mlartifacts" / folder).as_uri()
