"""The files of a packed set (image_set.py), read whole or in parts: on a disk, or in a store."""

import hashlib
import threading
from pathlib import Path
from typing import Any, Protocol

from ganforge.addresses import STORAGE_FIX
from ganforge.local_files import locked, read_file, replacing
from ganforge.object_store import open_object_store

_READ_BYTES = 2**22


def shard_path(number: int) -> str:
    """The path of a shard in its set."""
    return f"shards/{number:05d}.bin"


def column_path(name: str) -> str:
    """The path of a column in its set."""
    return f"columns/{name}.npy"


class Files(Protocol):
    """The files of a set, by their paths in it."""

    def whole(self, path: str, most: int) -> bytes:
        """All of a file; OSError where it cannot be read, or has more than `most` bytes."""
        ...

    def part(self, path: str, offset: int, length: int) -> bytes:
        """A part of a file, fewer bytes where it ends; OSError where it cannot be read."""
        ...

    def column(self, name: str, sha256: str, folder: Path) -> Path:
        """A column on this machine, in `folder` if it has to be fetched; ValueError where it has
        another hash."""
        ...


class LocalFiles:
    """Of a folder of this machine."""

    def __init__(self, root: Path):
        self._root = root

    def whole(self, path: str, most: int) -> bytes:
        return read_file(self._root / path, most)

    def part(self, path: str, offset: int, length: int) -> bytes:
        with (self._root / path).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def column(self, name: str, sha256: str, folder: Path) -> Path:
        path = self._root / column_path(name)
        if _hash(path) != sha256:
            raise ValueError(f"{column_path(name)} has other bytes than were written")
        return path


class StoreFiles:
    """Of an object store, by its address; `key` is the setting that names it."""

    def __init__(self, uri: str, key: str):
        self._files, self._root = open_object_store(uri, key, STORAGE_FIX)
        self._opened: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _open(self, path: str) -> Any:
        with self._lock:
            if path not in self._opened:
                self._opened[path] = self._files.open_input_file(f"{self._root}/{path}")
            return self._opened[path]

    def whole(self, path: str, most: int) -> bytes:
        with self._files.open_input_file(f"{self._root}/{path}") as file:
            if file.size() > most:
                raise OSError(f"has {file.size():,} bytes, and may have {most:,}")
            return bytes(file.read())

    def part(self, path: str, offset: int, length: int) -> bytes:
        return bytes(self._open(path).read_at(length, offset))

    def column(self, name: str, sha256: str, folder: Path) -> Path:
        path = folder / column_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or _hash(path) != sha256:
            with (
                locked(path),
                replacing(path) as file,
                self._files.open_input_stream(f"{self._root}/{column_path(name)}") as far,
            ):
                while content := far.read(_READ_BYTES):
                    file.write(content)
            if _hash(path) != sha256:
                raise ValueError(f"{column_path(name)} has other bytes than were written")
        return path


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
