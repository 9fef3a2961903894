"""What a search suggested, saw and decided: one line per event, on the disk before it counts."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from ganforge.local_files import cache_directory
from ganforge.settings import SettingsError
from ganforge.training.files import open_folders

FILE = "journal.jsonl"
Event = dict[str, Any]


class Journal:
    """An append-only file of events, each fsynced; one process at a time may hold it.

    With an object store as storage the file lies on the driver's disk, and every event also goes to
    the store, from where a search can be resumed elsewhere.
    """

    def __init__(self, storage: str, search_id: str):
        self.storage, self.search_id = storage, search_id
        path = local_file(storage, search_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._remote = open_folders(storage) if "://" in storage else None
        if self._remote is not None and not path.exists() and search_id in self._remote.names():
            path.write_bytes(self._remote.read(search_id, FILE))
        self._file = open(path, "a+b")  # noqa: SIM115 (held as long as the search)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"search {search_id} is running in another process") from None
        self._file.seek(0)
        content = self._file.read()
        # a line cut off by a crash was never acted upon
        whole = content[: content.rfind(b"\n") + 1]
        self._file.truncate(len(whole))
        self.events: list[Event] = [json.loads(line) for line in whole.splitlines()]

    def append(self, event: str, **facts: Any) -> None:
        """Write an event and have the disk confirm it."""
        entry = {"event": event, **facts}
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.events.append(entry)
        if self._remote is not None:
            self._remote.write(self.search_id, {FILE: self._content()})

    def _content(self) -> bytes:
        self._file.seek(0)
        return self._file.read()

    def close(self) -> None:
        self._file.close()


def local_file(storage: str, search_id: str) -> Path:
    """Where the journal of a search lies on this machine."""
    root = cache_directory() / "searches" if "://" in storage else Path(storage)
    return root / search_id / FILE


def latest(storage: str, experiment: str) -> str:
    """Id of the newest search of an experiment in a storage."""
    folders = open_folders(storage)
    for search_id in sorted(folders.names(), reverse=True):
        try:
            first = folders.read(search_id, FILE).partition(b"\n")[0]
            opened = json.loads(first)
        except (OSError, ValueError):
            continue
        if opened.get("experiment") == experiment:
            return search_id
    raise SettingsError(
        f"nothing to resume: no search of experiment {experiment} in {storage}; "
        "leave --resume out, or name the storage of the first call"
    )
