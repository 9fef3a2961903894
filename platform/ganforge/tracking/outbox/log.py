"""An outbox on the disk: entries, how far the store has confirmed them, and large contents."""

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from ganforge.append_log import AppendLog, Entry
from ganforge.local_files import cache_directory
from ganforge.training.files import write_synced

FILE = "outbox.jsonl"
OUTBOXES = "outboxes"
_ACKNOWLEDGED = "acknowledged"
_REFUSED = "refused.jsonl"
_BLOBS = "blobs"
_OLD_FILE, _OLD_OUTBOXES = "spool.jsonl", "spools"


class OutboxLog(AppendLog):
    """The files of an outbox; one process at a time may hold them, Busy for another."""

    def __init__(self, folder: Path, patience_seconds: float = 2.0):
        rename_old(folder)
        super().__init__(folder / FILE, patience_seconds)
        self.folder = folder
        self._position = os.open(folder / _ACKNOWLEDGED, os.O_RDWR | os.O_CREAT, 0o644)
        self.acknowledged = min(acknowledged(folder), self.size)

    def keep(self, content: bytes, name: str = "") -> str:
        """Write a large content into a file next to the log, confirmed by the disk; its name for an
        entry."""
        name = name or secrets.token_hex(8)
        (self.folder / _BLOBS).mkdir(exist_ok=True)
        write_synced(self.folder / _BLOBS / name, content)
        return name

    def blob(self, name: str) -> Path:
        """The file of a kept content."""
        return self.folder / _BLOBS / name

    def acknowledge(self, offset: int, blobs: Sequence[str] = ()) -> None:
        """The store has everything up to `offset`; these kept contents are removed."""
        self.acknowledged = offset
        os.pwrite(self._position, b"%020d\n" % offset, 0)
        for name in blobs:
            self.blob(name).unlink(missing_ok=True)

    def refuse(self, entry: Entry) -> None:
        """Set an entry aside that the store will never take, so that the rest is not held up."""
        with open(self.folder / _REFUSED, "a") as file:
            file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        """Close the files."""
        super().close()
        os.close(self._position)


def acknowledged(folder: Path) -> int:
    """Up to which offset the store has confirmed an outbox that may be in use."""
    text = (folder / _ACKNOWLEDGED).read_text().strip()
    return int(text) if text.isdigit() else 0


def is_sent(folder: Path) -> bool:
    """Whether the store has everything of an outbox, seen without holding it."""
    try:
        return acknowledged(folder) == (folder / FILE).stat().st_size
    except OSError:
        return False


def default_outbox_folder(name: str) -> Path:
    """The outbox, on this machine, of a run whose states lie in an object store."""
    return cache_directory() / OUTBOXES / name.replace("/", "-")


def old_outboxes() -> Path:
    """Until 0.3: where version 0.1 put the outboxes of such runs."""
    return cache_directory() / _OLD_OUTBOXES


def rename_old(folder: Path) -> bool:
    """Until 0.3: give the log of version 0.1 its new name; whether there was one."""
    old, new = folder / _OLD_FILE, folder / FILE
    if new.exists() or not old.exists():
        return False
    # a process of version 0.1 that still writes keeps its file, and its lock on it
    os.rename(old, new)
    return True
