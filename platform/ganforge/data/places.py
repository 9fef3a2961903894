"""Where prepared data are kept, and how files appear there whole or not at all."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import PIL
from PIL import features

from ganforge.data.settings import DataSettings
from ganforge.settings import SettingsError

# What can change a decoded or resized pixel, besides the file: enters every name in the cache.
FORMAT = (
    f"1-{PIL.__version__}-{features.version('jpg')}-{features.version_feature('libjpeg_turbo')}"
)


def cache_directory(data: DataSettings) -> Path:
    """`data.cache_directory`, else $GANFORGE_CACHE, else ~/.cache/ganforge."""
    given = data.cache_directory or os.environ.get("GANFORGE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "ganforge"


def unwritable(directory: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"data.cache_directory = {directory}: cannot be written ({error.strerror}); set it to a "
        "folder with room, or data.cache_bytes = 0 to decode pictures on demand"
    )


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


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time makes `path`. The lock dies with its holder, so it is never stale;
    parts that a killed holder left are removed."""
    with path.with_name(path.name + ".lock").open("a") as file:
        # A file system without locks lets two processes make the same file, never a half one.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
            for part in path.parent.glob(path.name + ".*.part"):
                part.unlink(missing_ok=True)
        yield
