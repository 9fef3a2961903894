"""A spool on the disk: lines, how far the store has confirmed them, and large contents beside."""

import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ganforge.training.files import write_synced

logger = logging.getLogger("ganforge")
Entry = dict[str, Any]
LINES = "spool.jsonl"
_ACKNOWLEDGED = "acknowledged"
_REFUSED = "refused.jsonl"
_BLOBS = "blobs"
CHUNK_BYTES = 1 << 18


class Busy(OSError):
    """Another process holds this spool."""


class AppendLog:
    """The files of a spool; one process at a time may hold them, Busy for another.

    A line is whole or it is not there: what a crash leaves of a last one is cut off on opening.
    """

    def __init__(self, folder: Path, patience_seconds: float = 2.0):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / LINES, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        _hold(self._file, folder, patience_seconds)
        self._mark = os.open(folder / _ACKNOWLEDGED, os.O_RDWR | os.O_CREAT, 0o644)
        self.size = _whole(self._file)
        self.acknowledged = min(acknowledged(folder), self.size)

    def append(self, content: bytes) -> int:
        """Write as much as the disk takes; how much. A reader stops at the last whole line."""
        done = os.write(self._file, content)
        self.size += done
        return done

    def sync(self) -> None:
        """Have the disk confirm what was appended."""
        os.fdatasync(self._file)

    def keep(self, content: bytes, name: str = "") -> str:
        """Put a large content beside the lines, confirmed by the disk; its name for an entry."""
        name = name or secrets.token_hex(8)
        (self.folder / _BLOBS).mkdir(exist_ok=True)
        write_synced(self.folder / _BLOBS / name, content)
        return name

    def blob(self, name: str) -> Path:
        """Where a kept content lies."""
        return self.folder / _BLOBS / name

    def entries(self, offset: int = 0) -> Iterator[Entry]:
        """All entries from `offset` on."""
        while lines := self.read(offset):
            yield from (entry for entry, _ in lines)
            offset = lines[-1][1]

    def read(self, offset: int) -> list[tuple[Entry, int]]:
        """Some entries from `offset` on, each with the offset after it; none at the end."""
        length = CHUNK_BYTES
        while True:
            chunk = os.pread(self._file, min(length, self.size - offset), offset)
            end = chunk.rfind(b"\n") + 1
            if end or offset + len(chunk) >= self.size:
                break
            length *= 4
        found: list[tuple[Entry, int]] = []
        for line in chunk[:end].splitlines(keepends=True):
            offset += len(line)
            found.append((_entry(line), offset))
        return found

    def acknowledge(self, offset: int, blobs: Sequence[str] = ()) -> None:
        """The store has everything up to `offset`; kept contents are needed no more."""
        self.acknowledged = offset
        os.pwrite(self._mark, b"%020d\n" % offset, 0)
        for name in blobs:
            self.blob(name).unlink(missing_ok=True)

    def refuse(self, entry: Entry) -> None:
        """Keep aside what the store will never take, so that the rest is not held up."""
        with open(self.folder / _REFUSED, "a") as file:
            file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        """Let go of the files."""
        os.close(self._file)
        os.close(self._mark)


def acknowledged(folder: Path) -> int:
    """Up to where the store has confirmed the lines of a spool that may be in use."""
    text = (folder / _ACKNOWLEDGED).read_text().strip()
    return int(text) if text.isdigit() else 0


def _hold(file: int, folder: Path, patience_seconds: float) -> None:
    until = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(file)
                raise Busy(f"{folder} is in use by a running process") from None
            time.sleep(0.05)


def _whole(file: int) -> int:
    """Cut off a last line that a crash left unfinished; the size then."""
    size = os.fstat(file).st_size
    end = size
    while end:
        begin = max(0, end - CHUNK_BYTES)
        cut = os.pread(file, end - begin, begin).rfind(b"\n")
        if cut >= 0:
            end = begin + cut + 1
            break
        end = begin
    if end < size:
        os.ftruncate(file, end)
    return end


def _entry(line: bytes) -> Entry:
    try:
        return json.loads(line)
    except ValueError:
        logger.warning("tracking: a damaged line of a spool is passed over")
        return {}
