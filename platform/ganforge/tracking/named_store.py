"""Only the tracking store that the user of a command named is used.

Records in a storage say which store their runs are in, and runs say where their artifacts lie. Both
were written by anyone who can write there. A record's store is therefore only compared with the
named one; the user's credentials go to the named one and to nothing else.
"""

import os
from collections.abc import Mapping
from dataclasses import fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ganforge.addresses import without_credentials
from ganforge.settings import SettingsError
from ganforge.tracking.run_ref import RunRef

#: Folders in which a server of another machine may have artifacts, as in PATH.
FOLDERS = "GANFORGE_ARTIFACTS"
_PORTS = {"http": 80, "https": 443}
#: object stores: their credentials are their own, and are sent to the store's own address
_OBJECT_STORES = ("s3", "gs", "r2", "wasb", "wasbs", "abfs", "abfss")


def same_store(one: str, other: str) -> bool:
    """Whether two URIs name one store; credentials in them make no difference."""
    return _plain(one) == _plain(other)


def recorded_run(recorded: Any, named: str) -> RunRef | None:
    """The run that a record in a storage names, in the store `named` by the user; None for none.

    SettingsError where the record names another store, or is no record.
    """
    if recorded is None:
        return None
    names = [part.name for part in fields(RunRef)]
    if not (
        isinstance(recorded, Mapping)
        and {"uri", "run_id"} <= set(recorded) <= set(names)
        and all(isinstance(value, str) for value in recorded.values())
        and all(c.isalnum() or c in "-_" for c in recorded["run_id"])
    ):
        raise SettingsError(f"the record of a run is damaged: {shown(recorded)}")
    run = RunRef(**recorded)
    if not same_store(run.uri, named):
        raise SettingsError(
            f"tracking URI = {shown_uri(named)}: the stored run is recorded in "
            f"{shown_uri(run.uri)}, and "
            f"nothing is sent to a store because a record names it. Fix: {name_it(run.uri)}"
        )
    return RunRef(named, run.run_id, run.experiment, run.key)


def name_it(uri: str) -> str:
    """How to name a store, said to somebody who may know it."""
    return (
        f"if that store is yours, name it with --tracking-uri {shown_uri(uri)} or "
        "MLFLOW_TRACKING_URI"
    )


def shown(foreign: object) -> str:
    """Text of a record in a message: short, and without signs that act on a terminal."""
    text = str(foreign)
    return (text if text.isascii() and text.isprintable() else ascii(text))[:200]


def shown_uri(uri: str) -> str:
    """A URI in a message, without the credentials that may be in it."""
    return shown(without_credentials(uri))


def check_artifact_uri(uri: str, artifact_uri: str) -> None:
    """SettingsError unless a run of the store `uri` may have its artifacts at `artifact_uri`.

    They may lie in an object store, with the server itself, or on this machine, if the store is on
    this machine too or GANFORGE_ARTIFACTS names the folder: a server elsewhere must not choose the
    files of this machine that are read and written, nor the server that gets the credentials.
    """
    found = urlsplit(artifact_uri)
    scheme = found.scheme.lower()
    if scheme in _OBJECT_STORES:
        return
    if scheme in ("mlflow-artifacts", "http", "https"):
        if not found.netloc and scheme == "mlflow-artifacts":
            return
        # mlflow-artifacts://HOST is reached by the scheme of the store
        origin = found._replace(scheme=urlsplit(uri).scheme) if "mlflow" in scheme else found
        if _origin(origin.geturl()) == _origin(uri):
            return
    here = scheme in ("", "file") and found.netloc in ("", "localhost")
    if here and (uri.startswith("sqlite:") or _on_this_machine(uri) or _in_named(found.path)):
        return
    raise SettingsError(
        f"tracking URI = {shown_uri(uri)}: a run there has its artifacts at {shown(artifact_uri)}, "
        "which is neither an object store nor with that server, so it is not used. Fix: if that is "
        f"yours, let the server pass artifacts on (--serve-artifacts), or name the folder in "
        f"{FOLDERS}"
    )


def _in_named(path: str) -> bool:
    folders = [f for f in os.environ.get(FOLDERS, "").split(os.pathsep) if f]
    folder = Path(path).resolve()
    return any(folder.is_relative_to(Path(named).expanduser().resolve()) for named in folders)


def _on_this_machine(uri: str) -> bool:
    host = urlsplit(uri).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _origin(uri: str) -> tuple[str, str, int | None]:
    found = urlsplit(uri)
    scheme = found.scheme.lower()
    try:
        port = found.port
    except ValueError:
        return (scheme, uri, None)
    return (scheme, (found.hostname or "").lower(), port or _PORTS.get(scheme))


def _plain(uri: str) -> tuple[object, ...]:
    try:
        if uri.startswith("sqlite:///"):
            return ("sqlite", os.path.realpath(uri.removeprefix("sqlite:///")))
        found = urlsplit(uri := without_credentials(uri))
        return (*_origin(uri), found.path.rstrip("/"), found.query)
    except (OSError, ValueError):  # a record may hold anything, also what is not an address
        return ("none", uri)
