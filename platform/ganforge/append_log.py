"""A file that only grows: one JSON entry a line, whole or absent, one process at a time."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganforge.local_files import explained, lock, open_file

logger = logging.getLogger("ganforge")
Entry = dict[str, Any]
CHUNK_BYTES = 1 << 18


class AppendLog:
    """The log in the file `path`, held until `close`; Busy where another process holds it.

    What a crash left of a last line is cut off on opening.
    """

    def __init__(self, path: Path, patience_seconds: float = 0.0):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # a link would be written, and cut off, where it leads
        descriptor = open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self._file = open(descriptor, "a+b", buffering=0)  # noqa: SIM115 (held until close)
        try:
            lock(self._file.fileno(), path, patience_seconds)
            self.size = _cut_torn_tail(self._file.fileno())
        except OSError:
            self._file.close()
            raise

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one entry and have the disk confirm it; on an error nothing of it remains."""
        before, content = self.size, json.dumps(entry).encode() + b"\n"
        needed = len(content)
        try:
            while content:
                content = content[self.write(content) :]
            self.sync()
        except OSError as error:
            self._file.truncate(before)
            self.size = before
            raise explained(error, self.path, needed) from None

    def write(self, content: bytes) -> int:
        """Write as much of some lines as the disk takes; how much. A reader stops at the last whole
        line."""
        done = self._file.write(content)
        self.size += done
        return done

    def sync(self) -> None:
        """Have the disk confirm what was written."""
        os.fsync(self._file.fileno())

    def content(self, offset: int = 0) -> bytes:
        """The file from `offset` on."""
        return os.pread(self._file.fileno(), self.size - offset, offset)

    def entries(self, offset: int = 0) -> Iterator[Entry]:
        """All entries from `offset` on."""
        while found := self.read(offset):
            yield from (entry for entry, _ in found)
            offset = found[-1][1]

    def read(self, offset: int) -> list[tuple[Entry, int]]:
        """Some entries from `offset` on, each with the offset after it; none at the end.

        A line that is no JSON object, because the disk lost some of it, is an empty entry.
        """
        length = CHUNK_BYTES
        while True:
            chunk = os.pread(self._file.fileno(), min(length, self.size - offset), offset)
            end = chunk.rfind(b"\n") + 1
            if end or offset + len(chunk) >= self.size:
                break
            length *= 4
        found: list[tuple[Entry, int]] = []
        for line in chunk[:end].splitlines(keepends=True):
            offset += len(line)
            found.append((self._entry(line), offset))
        return found

    def _entry(self, line: bytes) -> Entry:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        logger.warning("%s: a damaged line is skipped", self.path)
        return {}

    def close(self) -> None:
        """Close the file, which ends the lock."""
        self._file.close()


def _cut_torn_tail(file: int) -> int:
    """Cut off a last line that a crash left unfinished; the size then."""
    size = os.fstat(file).st_size
    end = size
    while end:
        begin = max(0, end - CHUNK_BYTES)
        newline = os.pread(file, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            end = begin + newline + 1
            break
        end = begin
    if end < size:
        os.ftruncate(file, end)
    return end
