"""An outbox on the disk: entries, how far the store has confirmed them, and large contents."""

import json
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ganforge.append_log import AppendLog, Entry
from ganforge.local_files import (
    cache_directory,
    check_no_link,
    open_file,
    open_folder,
    replacing,
)

FILE = "outbox.jsonl"
OUTBOXES = "outboxes"
_ACKNOWLEDGED = "acknowledged"
_REFUSED = "refused.jsonl"
_BLOBS = "blobs"
#: What a kept content is called. An entry names it, and anyone who can write to a storage can write
#: an entry: any other name is refused wherever one is used.
BLOB_NAME = re.compile(r"[0-9a-f]{16}")
_OFFSET = re.compile(r"[0-9]{1,20}")
_OLD_FILE, _OLD_OUTBOXES = "spool.jsonl", "spools"


class OutboxLog(AppendLog):
    """The files of an outbox; one process at a time may hold them, Busy for another.

    All of them lie in `folder`: Linked where a link stands in their place.
    """

    def __init__(self, folder: Path, patience_seconds: float = 2.0):
        check_no_link(folder)
        rename_old(folder)
        super().__init__(folder / FILE, patience_seconds)
        self.folder = folder
        try:
            self._position = open_file(folder / _ACKNOWLEDGED, os.O_RDWR | os.O_CREAT)
        except OSError:
            super().close()
            raise
        self.acknowledged = min(acknowledged(folder), self.size)

    def keep(self, content: bytes, name: str = "") -> str:
        """Write a large content into a file next to the log, confirmed by the disk; its name for an
        entry."""
        name = checked_blob(name or secrets.token_hex(8))
        folder = self.folder / _BLOBS
        check_no_link(folder)
        folder.mkdir(exist_ok=True)
        with replacing(folder / name, num_bytes=len(content)) as file:
            file.write(content)
        return name

    def open_blob(self, name: str) -> BinaryIO | None:
        """A kept content, open for reading; None where it is gone, Linked where it is a link."""
        checked_blob(name)
        try:
            with open_folder(self.folder / _BLOBS) as inside:
                return open(open_file(name, os.O_RDONLY, dir_fd=inside), "rb")
        except FileNotFoundError:
            return None

    def acknowledge(self, offset: int, blobs: Sequence[str] = ()) -> None:
        """The store has everything up to `offset`; these kept contents are removed."""
        self.acknowledged = offset
        os.pwrite(self._position, b"%020d\n" % offset, 0)
        if not blobs:
            return
        with suppress(FileNotFoundError), open_folder(self.folder / _BLOBS) as inside:
            for name in blobs:
                with suppress(FileNotFoundError):
                    os.unlink(checked_blob(name), dir_fd=inside)

    def refuse(self, entry: Entry) -> None:
        """Set an entry aside that the store will never take, so that the rest is not held up; its
        kept contents stay."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with open(open_file(self.folder / _REFUSED, flags), "a") as file:
            file.write(_line(entry))

    def close(self) -> None:
        """Close the files."""
        super().close()
        os.close(self._position)


def _line(entry: Entry) -> str:
    try:
        return json.dumps(entry) + "\n"
    except RecursionError:  # what can be read may be too deep to be written
        return '{"refused": "lists and tables lie too deep in each other"}\n'


def checked_blob(name: str) -> str:
    """The name of a kept content, or ValueError: anything else could be a path to another file."""
    if not BLOB_NAME.fullmatch(name):
        raise ValueError(f"{name[:100]!r} is not the name of a kept content: 16 hexadecimal digits")
    return name


def acknowledged(folder: Path) -> int:
    """Up to which offset the store has confirmed an outbox that may be in use."""
    with open(open_file(folder / _ACKNOWLEDGED, os.O_RDONLY), "rb") as file:
        text = file.read(32).decode("ascii", "replace").strip()
    return int(text) if _OFFSET.fullmatch(text) else 0


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
