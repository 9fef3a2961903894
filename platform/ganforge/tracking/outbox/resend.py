"""Sends what outboxes still hold: for the driver that closes a run, and for `ganforge sync`."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ganforge.local_files import Busy
from ganforge.settings import SettingsError
from ganforge.tracking.outbox.log import FILE, is_sent, rename_old
from ganforge.tracking.outbox.outbox import Outbox
from ganforge.tracking.outbox.remote import FOLDER, RemoteOutbox
from ganforge.tracking.outbox.sender import drain
from ganforge.training.files import join, open_folders


@dataclass
class Sent:
    """What was sent of the outbox at `path`: entries and metrics by run; `error` says why some of
    it is left."""

    path: str
    metrics: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    experiments: set[tuple[str, str]] = field(default_factory=set)
    error: str = ""


def resend(
    path: str, uri: str | None = None, *, patience_seconds: float = 0.0, timeout: float = 3600.0
) -> list[Sent]:
    """Send what the outboxes at and below `path` hold: an outbox, a run, a search, a whole storage.

    They know to which store, unless `uri` names one. Those that hold nothing are left out.
    """
    if "://" in path and not path.startswith("file://"):
        return [sent for run in _remote_runs(path) if (sent := _send_remote(run, uri, timeout))]
    root = Path(path.removeprefix("file://")).expanduser()
    if not root.exists():
        raise SettingsError(f"path = {path}: does not exist; give a storage, a run or an outbox")
    found = []
    for folder in sorted(_folders(root), key=_driver_first):
        if sent := _send_folder(folder, uri, patience_seconds, timeout):
            found.append(sent)
    return found


def _folders(root: Path) -> Iterator[Path]:
    for name, folders, files in os.walk(root):
        # Ray's own: many files and never an outbox
        folders[:] = [below for below in folders if below != "ray"]
        if rename_old(Path(name)) or FILE in files:
            yield Path(name)


def _driver_first(folder: Path) -> tuple[bool, str]:
    # a driver's outbox opens the runs that the others write to
    return (not folder.name.startswith("driver"), str(folder))


def _send_folder(folder: Path, uri: str | None, patience: float, timeout: float) -> Sent | None:
    if is_sent(folder):
        return None
    sent = Sent(str(folder))
    try:
        outbox = Outbox(folder, patience_seconds=patience)
    except Busy as busy:
        sent.error = str(busy)
        return sent
    except OSError as error:
        sent.error = f"{folder} cannot be opened ({error.strerror})"
        return sent
    with contextlib.closing(outbox):
        return _send(outbox, sent, uri, timeout)


def _send_remote(path: str, uri: str | None, timeout: float) -> Sent | None:
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder))
        with contextlib.closing(outbox):
            remote_outbox = RemoteOutbox(path, outbox)
            remote_outbox.restore()
            sent = _send(outbox, Sent(path), uri, timeout)
            if sent is not None:
                remote_outbox.save(remote_outbox.facts)
            return sent


def _send(outbox: Outbox, sent: Sent, uri: str | None, timeout: float) -> Sent | None:
    """Send one outbox; None where it held nothing."""
    store = uri or ""
    for entry in outbox.log.entries(outbox.log.acknowledged):
        if not entry:
            continue
        run = entry["run"]
        name = run["key"] or run["run_id"]
        sent.entries[name] = sent.entries.get(name, 0) + 1
        store = uri or run["uri"]
        if run["experiment"]:
            sent.experiments.add((store, run["experiment"]))
    if not sent.entries:
        return None
    sent.metrics, sent.error = drain(outbox, store, timeout)
    return sent


def _remote_runs(path: str) -> Iterator[str]:
    """The runs at and below a path in an object store that have something unsent."""
    if FOLDER in open_folders(path).names():
        yield path
        return
    for name in open_folders(path).names():
        if name == "ray" or name.startswith("."):
            continue
        below = join(path, name)
        names = open_folders(below).names()
        if FOLDER in names:
            yield below
        for trial in (n for n in names if n.startswith("trial-")):
            if FOLDER in open_folders(join(below, trial)).names():
                yield join(below, trial)
