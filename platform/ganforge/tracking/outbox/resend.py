"""Sends what outboxes still hold: for the driver that closes a run, and for `ganforge sync`."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ganforge.local_files import Busy, Linked
from ganforge.settings import SettingsError
from ganforge.tracking.named_store import name_it, same_store, shown_uri
from ganforge.tracking.outbox.entry import entry_error
from ganforge.tracking.outbox.log import FILE, is_sent, rename_old
from ganforge.tracking.outbox.outbox import Outbox
from ganforge.tracking.outbox.remote import FOLDER, RemoteOutbox
from ganforge.tracking.outbox.sender import drain
from ganforge.training.files import join, open_folders

_NOBODY = "entries of no run"


@dataclass
class Sent:
    """What was sent of the outbox at `path`: entries and metrics by run; `error` says why some of
    it is left, `refused` why some entries were set aside for ever."""

    path: str
    metrics: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    experiments: set[tuple[str, str]] = field(default_factory=set)
    error: str = ""
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """The store to send to. With `only_its_own`, outboxes that name another one are left alone."""

    uri: str
    only_its_own: bool = False


def resend(
    path: str, to: Target, *, patience_seconds: float = 0.0, timeout: float = 3600.0
) -> list[Sent]:
    """Send what the outboxes at and below `path` hold: an outbox, a run, a search, a whole storage.

    Those that hold nothing are left out. An outbox never decides where it is sent: anyone who can
    write to a storage could name a server of his own there.
    """
    if "://" in path and not path.startswith("file://"):
        return [sent for run in _remote_runs(path) if (sent := _send_remote(run, to, timeout))]
    root = Path(path.removeprefix("file://")).expanduser()
    if not root.exists():
        raise SettingsError(f"path = {path}: does not exist; give a storage, a run or an outbox")
    found = []
    for folder in sorted(_folders(root), key=_driver_first):
        if sent := _send_folder(folder, to, patience_seconds, timeout):
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


def _send_folder(folder: Path, to: Target, patience: float, timeout: float) -> Sent | None:
    if is_sent(folder):
        return None
    sent = Sent(str(folder))
    try:
        outbox = Outbox(folder, patience_seconds=patience)
    except Busy as busy:
        sent.error = str(busy)
        return sent
    except OSError as error:
        linked = isinstance(error, Linked)
        sent.error = str(error) if linked else f"{folder} cannot be opened ({error.strerror})"
        return sent
    with contextlib.closing(outbox):
        return _send(outbox, sent, to, timeout)


def _send_remote(path: str, to: Target, timeout: float) -> Sent | None:
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder))
        with contextlib.closing(outbox):
            remote_outbox = RemoteOutbox(path, outbox)
            remote_outbox.restore()
            sent = _send(outbox, Sent(path), to, timeout)
            if sent is not None:
                remote_outbox.save(remote_outbox.facts)
            return sent


def _send(outbox: Outbox, sent: Sent, to: Target, timeout: float) -> Sent | None:
    """Send one outbox; None where it held nothing."""
    for entry in outbox.log.entries(outbox.log.acknowledged):
        if not entry:
            continue
        if entry_error(entry):
            # counted under no name: it is refused when its turn comes
            sent.entries[_NOBODY] = sent.entries.get(_NOBODY, 0) + 1
            continue
        run = entry["run"]
        name = run.get("key") or run.get("run_id") or _NOBODY
        sent.entries[name] = sent.entries.get(name, 0) + 1
        store = run.get("uri", to.uri)
        if to.only_its_own and not same_store(store, to.uri):
            sent.error = (
                f"it names the store {shown_uri(store)}, and this command {shown_uri(to.uri)}. "
                f"Fix: {name_it(store)}"
            )
            return sent
        if run.get("experiment"):
            sent.experiments.add((to.uri, run["experiment"]))
    if not sent.entries:
        return None
    sent.metrics, sent.refused, sent.error = drain(outbox, to.uri, timeout)
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
