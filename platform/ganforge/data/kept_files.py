"""Bytes that were fetched from afar, kept on this machine's disk up to a size."""

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
        self._held: float | None = None
        self._added = 0

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
        self._added += size
        counted = self._held is not None and self._added <= self.limit * _UNCOUNTED
        if counted and self._held + self._added <= self.limit * _FULL:  # pyright: ignore
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "room"):
            files = []
            for path in self.folder.glob("??/*"):
                with suppress(OSError):
                    found = path.stat()
                    files.append((found.st_mtime_ns, found.st_size, path))
            held = sum(one[1] for one in files)
            if held + size > self.limit * _FULL:
                for _, length, path in sorted(files):
                    if held + size <= self.limit * _LEFT:
                        break
                    path.unlink(missing_ok=True)
                    held -= length
        self._held, self._added = held, size
