"""The hashes of decoded images by the hash of their files, remembered by this machine.

A few files of many lines, not a file for each image: a million of those are slow to make and to
look up. A line is added whole, by one write; one that was cut off or damaged does not pass its own
check, and its image is decoded again.
"""

import hashlib
import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger("ganforge")
#: lines that wait for being written together
_WAITING = 4096


class DecodedLog:
    """What `folder` remembers. Threads may share it; processes may share the folder."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, tuple[str, int, int]]] = {}
        self._waiting: dict[str, list[str]] = {}
        self._count = 0

    def get(self, file_hash: str) -> tuple[str, int, int] | None:
        """The sha256 of the pixels of a file with this sha256, their height and width."""
        part = file_hash[:2]
        with self._lock:
            if part not in self._known:
                self._known[part] = self._read(part)
            return self._known[part].get(file_hash)

    def add(self, file_hash: str, digest: str, height: int, width: int) -> None:
        """Remember an image; on the disk after some more, or `flush`."""
        text = f"{file_hash} {digest} {height} {width}"
        with self._lock:
            self._waiting.setdefault(file_hash[:2], []).append(f"{text} {_check(text)}\n")
            self._count += 1
            if self._count >= _WAITING:
                self._write()

    def flush(self) -> None:
        """Write what waits. A folder that cannot be written only costs time."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            for part, lines in self._waiting.items():
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                file = os.open(self._folder / f"{part}.txt", flags, 0o644)
                try:
                    # a line that was cut off ends here
                    os.write(file, "".join(["\n", *lines]).encode())
                finally:
                    os.close(file)
        self._waiting, self._count = {}, 0

    def _read(self, part: str) -> dict[str, tuple[str, int, int]]:
        path, found, damaged = self._folder / f"{part}.txt", {}, 0
        try:
            lines = path.read_text(errors="replace").split("\n")
        except OSError:
            return {}
        for line in lines:
            text, _, check = line.rpartition(" ")
            if line and check != _check(text):
                damaged += 1
            elif line:
                file_hash, digest, height, width = text.split(" ")
                found[file_hash] = digest, int(height), int(width)
        if damaged:
            logger.warning(
                "%s: %d lines are damaged, their images are decoded again", path, damaged
            )
        return found


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
