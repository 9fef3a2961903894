"""Bytes that were fetched from afar, kept on this machine's disk up to a size."""

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ganforge.local_files import locked, replacing

#: a folder of the cache has files of 256 folders, so that none has too many
_FOLDERS = 256
#: parts of the limit: so full it is made emptier, so full it is left, and so much is added before
#: what other processes have added is counted
_FULL, _LEFT, _UNCOUNTED = 0.9, 0.75, 0.05


class KeptFiles:
    """Files by number below `folder`, of at most about `limit` bytes; the oldest go first.

    Several processes may share a folder: each looks what lies there after it has added a twentieth
    of the limit, so that together they stay below it as long as they are not many. Nothing rests on
    the files: what is read is checked, and fetched again where it is not what it should be.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        self._lock = threading.Lock()
        #: bytes that lay there when they were counted, and what this process has added since
        self._held, self._added = math.inf, 0

    def get(self, number: int, check: Callable[[bytes], bool], fetch: Callable[[], bytes]) -> bytes:
        """The bytes of `number`: kept ones that `check` accepts, else what `fetch` gives."""
        path = self.folder / f"{number % _FOLDERS:02x}" / str(number)
        with suppress(OSError):
            content = path.read_bytes()
            if check(content):
                return content
        content = fetch()
        if check(content):
            self._keep(path, content)
        return content

    def _keep(self, path: Path, content: bytes) -> None:
        if len(content) > self.limit * _UNCOUNTED:
            return
        # a disk that is full, or cannot be written, only costs fetching again
        with suppress(OSError):
            with self._lock:
                self._make_room(len(content))
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, durable=False) as file:
                file.write(content)

    def _make_room(self, size: int) -> None:
        """Remove the oldest files where `size` more bytes would be too many."""
        self._added += size
        few = self._added <= self.limit * _UNCOUNTED
        if few and self._held + self._added <= self.limit * _FULL:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "room"):
            files = self._files()
            held = sum(length for _, length, _ in files)
            if held + size > self.limit * _FULL:
                for _, length, path in sorted(files):
                    if held + size <= self.limit * _LEFT:
                        break
                    path.unlink(missing_ok=True)
                    held -= length
        self._held, self._added = held, size

    def _files(self) -> list[tuple[int, int, Path]]:
        """When each file was written, its bytes, its path."""
        found = []
        for path in self.folder.glob("??/*"):
            with suppress(OSError):
                file = path.stat()
                found.append((file.st_mtime_ns, file.st_size, path))
        return found
