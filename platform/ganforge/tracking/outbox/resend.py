"""What spools still hold, sent: by the driver that closes a run, or by `ganforge sync`."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ganforge.settings import SettingsError
from ganforge.tracking.outbox.log import LINES, Busy, acknowledged
from ganforge.tracking.outbox.outbox import Outbox
from ganforge.tracking.outbox.remote import FOLDER, RemoteOutbox
from ganforge.tracking.outbox.sender import drain
from ganforge.training.files import join, open_folders


@dataclass
class Sent:
    """What came of one spool: entries and metrics sent by run, and why something is left."""

    place: str
    metrics: int = 0
    entries: dict[str, int] = field(default_factory=dict)
    experiments: set[tuple[str, str]] = field(default_factory=set)
    why: str = ""


def replay(
    place: str, uri: str | None = None, *, patience_seconds: float = 0.0, timeout: float = 3600.0
) -> list[Sent]:
    """Send what the spools at and below `place` hold: a spool, a run, a search, a whole storage.

    They say themselves to which store, unless `uri` does. Nothing is told of those that hold
    nothing.
    """
    if "://" in place and not place.startswith("file://"):
        return [sent for p in _object_places(place) if (sent := _send_object(p, uri, timeout))]
    root = Path(place.removeprefix("file://")).expanduser()
    if not root.exists():
        raise SettingsError(f"place = {place}: there is nothing; name a storage, a run or a spool")
    found = []
    for folder in sorted(_folders(root), key=_driver_first):
        if sent := _send_folder(folder, uri, patience_seconds, timeout):
            found.append(sent)
    return found


def _folders(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        # Ray's own: many files and never a spool
        folders[:] = [name for name in folders if name != "ray"]
        if LINES in files:
            yield Path(folder)


def _driver_first(folder: Path) -> tuple[bool, str]:
    # a driver's spool opens the runs that the others write to
    return (not folder.name.startswith("driver"), str(folder))


def _send_folder(folder: Path, uri: str | None, patience: float, timeout: float) -> Sent | None:
    if settled(folder):
        return None
    sent = Sent(str(folder))
    try:
        spool = Outbox(folder, patience_seconds=patience)
    except Busy as busy:
        sent.why = str(busy)
        return sent
    except OSError as error:
        sent.why = f"{folder} cannot be opened ({error.strerror})"
        return sent
    with contextlib.closing(spool):
        return _send(spool, sent, uri, timeout)


def settled(folder: Path) -> bool:
    """Whether the store has everything of a spool, seen without holding it."""
    try:
        return acknowledged(folder) == (folder / LINES).stat().st_size
    except OSError:
        return False


def _send_object(place: str, uri: str | None, timeout: float) -> Sent | None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Outbox(Path(folder))
        with contextlib.closing(spool):
            carrier = RemoteOutbox(place, spool)
            carrier.adopt()
            sent = _send(spool, Sent(place), uri, timeout)
            if sent is not None:
                carrier.put(carrier.facts)
            return sent


def _send(spool: Outbox, sent: Sent, uri: str | None, timeout: float) -> Sent | None:
    """Send one spool; None where it held nothing."""
    store = uri or ""
    for entry in spool.lines.entries(spool.lines.acknowledged):
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
    sent.metrics, sent.why = drain(spool, store, timeout)
    return sent


def _object_places(place: str) -> Iterator[str]:
    """The runs below a place in an object store that have a rest."""
    if FOLDER in open_folders(place).names():
        yield place
        return
    for name in open_folders(place).names():
        if name == "ray" or name.startswith("."):
            continue
        below = join(place, name)
        names = open_folders(below).names()
        if FOLDER in names:
            yield below
        for trial in (n for n in names if n.startswith("trial-")):
            if FOLDER in open_folders(join(below, trial)).names():
                yield join(below, trial)
