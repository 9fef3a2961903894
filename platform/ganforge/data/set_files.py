"""The files of a packed set (image_set.py), read whole or in parts: on a disk, or in a store."""

import hashlib
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from ganforge.addresses import STORAGE_FIX
from ganforge.local_files import locked, read_file, replacing
from ganforge.object_store import open_object_store
from ganforge.settings import SettingsError, shown

_READ_BYTES = 2**22
#: between the times that a store is asked for one part of a file
_WAIT_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


def shard_path(number: int) -> str:
    """The path of a shard in its set."""
    return f"shards/{number:05d}.bin"


def column_path(name: str) -> str:
    """The path of a column in its set."""
    return f"columns/{name}.npy"


class Files(Protocol):
    """The files of a set, by their paths in it."""

    def below(self, folder: str) -> "Files":
        """The files of one of its folders."""
        ...

    def whole(self, path: str, most: int) -> bytes:
        """All of a file; OSError where it cannot be read, or has more than `most` bytes."""
        ...

    def part(self, path: str, offset: int, length: int) -> bytes:
        """A part of a file, fewer bytes where it ends; OSError where it cannot be read, and
        SettingsError where a store does not answer for a while."""
        ...

    def column(self, name: str, sha256: str, folder: Path) -> Path:
        """A column on this machine, in `folder` if it has to be fetched; ValueError where it has
        another hash."""
        ...


class LocalFiles:
    """Of a folder of this machine."""

    def __init__(self, root: Path):
        self._root = root

    def below(self, folder: str) -> "LocalFiles":
        return LocalFiles(self._root / folder)

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
        self._uri, self._key = uri, key
        self._files, self._root = open_object_store(uri, key, STORAGE_FIX)
        self._opened: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _open(self, path: str) -> Any:
        with self._lock:
            if path not in self._opened:
                self._opened[path] = self._files.open_input_file(f"{self._root}/{path}")
            return self._opened[path]

    def below(self, folder: str) -> "StoreFiles":
        return StoreFiles(f"{self._uri.rstrip('/')}/{folder}", self._key)

    def whole(self, path: str, most: int) -> bytes:
        with self._files.open_input_file(f"{self._root}/{path}") as file:
            if file.size() > most:
                raise OSError(f"has {file.size():,} bytes, and may have {most:,}")
            return bytes(file.read())

    def part(self, path: str, offset: int, length: int) -> bytes:
        problem: object = ""
        # a store that is busy, or away for a moment, must not end a run
        for wait in (*_WAIT_SECONDS, None):
            try:
                content = bytes(self._open(path).read_at(length, offset))
                if len(content) == length:
                    return content
                problem = f"{len(content)} of {length} bytes came"
            except FileNotFoundError:
                raise
            except OSError as error:
                problem = error
            if wait is not None:
                time.sleep(wait)
        raise SettingsError(
            f"{self._key} = {self._uri}/{path}: cannot be read ({shown(str(problem))}), and was "
            "asked again for a minute; continue once the store answers"
        )

    def column(self, name: str, sha256: str, folder: Path) -> Path:
        path = folder / column_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _is(path, sha256):
            with locked(path):
                if not _is(path, sha256):  # another process may have fetched it meanwhile
                    self._fetch(column_path(name), path)
            if _hash(path) != sha256:
                raise ValueError(f"{column_path(name)} has other bytes than were written")
        return path

    def _fetch(self, far_path: str, path: Path) -> None:
        with (
            replacing(path) as file,
            self._files.open_input_stream(f"{self._root}/{far_path}") as far,
        ):
            while content := far.read(_READ_BYTES):
                file.write(content)


def _is(path: Path, sha256: str) -> bool:
    return path.exists() and _hash(path) == sha256


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
