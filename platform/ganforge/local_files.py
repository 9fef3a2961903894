"""Files of this machine: where its cache lies, and how a file appears whole or not at all."""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def cache_directory() -> Path:
    """GANFORGE_CACHE, or the user's cache directory."""
    given = os.environ.get("GANFORGE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "ganforge"


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` at the end; on an error nothing remains.

    `durable` waits for the disk first, so that the file is whole after a power failure too.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class Busy(OSError):
    """Another process holds this file."""


def lock(file: int, path: Path, patience_seconds: float | None = None) -> None:
    """Hold an open file alone until it is closed. The lock dies with its holder: it is never stale.

    Another holder is waited for without end, or for `patience_seconds`, and then Busy is raised.
    """
    if patience_seconds is None:
        fcntl.flock(file, fcntl.LOCK_EX)
        return
    until = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise Busy(f"{path} is in use by a running process") from None
            time.sleep(0.05)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time makes `path`; parts that a killed one left are removed."""
    with path.with_name(path.name + ".lock").open("a") as file:
        # A file system without locks lets two processes make the same file, never a half one.
        with suppress(OSError):
            lock(file.fileno(), path)
            for part in path.parent.glob(path.name + ".*.part"):
                part.unlink(missing_ok=True)
        yield
