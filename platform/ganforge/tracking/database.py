"""The SQLite file of a store: its tables are made, and brought up to this MLflow, by one process at
a time. Two that do so at once leave a file that nobody can write to.

The lock is held while a process opens the store for the first time; others wait for it.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mlflow import MlflowClient

from ganforge.local_files import Busy, lock
from ganforge.settings import SettingsError

SQLITE = "sqlite:///"
LOCK = ".lock"
_PATIENCE_SECONDS = 300.0
_WRITE_SECONDS = 5.0
#: files whose tables this process has seen
_opened: set[tuple[str, int, int]] = set()


def open_database(uri: str) -> None:
    """Make the tables of the SQLite file of `uri`, or migrate them, unless they are there.

    Waits for a process that is doing so; after five minutes Busy is raised.
    """
    path = database_file(uri)
    if _file_id(path) in _opened:
        return
    with _alone(path):
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models(max_results=1)
    _opened.add(_file_id(path))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of a database, where there can be one: a folder that cannot be written to has
    a file that is only read, and on a file system without locks the first two processes meet."""
    try:
        file = open(path.with_name(path.name + LOCK), "a")  # noqa: SIM115 (closed below)
    except OSError:
        yield
        return
    with file:
        try:
            lock(file.fileno(), path, _PATIENCE_SECONDS)
        except OSError as error:
            if isinstance(error, Busy):
                raise
        yield


def check_writable(uri: str) -> None:
    """SettingsError where the SQLite file of `uri` cannot be written; one that is locked can be,
    later."""
    path = database_file(uri)
    problem = ""
    if not path.parent.is_dir():
        problem = f"the folder {path.parent} does not exist"
    elif path.exists() and not path.is_file():
        problem = "it is not a file"
    else:
        try:
            with closing(sqlite3.connect(path, timeout=_WRITE_SECONDS)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
        except sqlite3.DatabaseError as error:
            if "locked" not in str(error):
                problem = str(error)
        if not problem and not os.access(path.parent, os.W_OK):
            problem = f"the folder {path.parent} cannot be written to, which SQLite needs"
    if problem:
        raise SettingsError(
            f"tracking URI = {uri}: cannot be written ({problem}), so a run would not be recorded. "
            "Fix: name another file, sqlite:///FILE.db, or a server"
        )


def database_file(uri: str) -> Path:
    """The file of a SQLite URI."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


def _file_id(path: Path) -> tuple[str, int, int]:
    try:
        facts = path.stat()
    except OSError:
        return (str(path), 0, 0)
    return (str(path), facts.st_dev, facts.st_ino)
