"""Files of this machine: where its cache lies, how a file appears whole or not at all, and how one
is opened in a folder that others can write to."""

import errno
import fcntl
import os
import secrets
import shutil
import stat
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
def replacing(
    path: Path, *, durable: bool = True, num_bytes: int | None = None
) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` at the end; on an error nothing remains.

    `durable` waits for the disk first, so that the file is whole after a power failure too.
    `num_bytes`, where it is known, is what DiskFull says was needed.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    written = 0
    try:
        with part.open("xb") as file:
            try:
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            finally:
                written = os.fstat(file.fileno()).st_size
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise explained(error, path, num_bytes or written) from None
    finally:
        part.unlink(missing_ok=True)


class DiskFull(OSError):
    """No space for a file; the message names it, the bytes it needs and those that are free."""

    def __str__(self) -> str:
        return str(self.strerror)


def explained(error: OSError, path: Path, num_bytes: int) -> OSError:
    """The error itself, or DiskFull where the disk, or this user's share of it, is full.

    To be called when nothing partial is left: what is free is looked up here."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT) or isinstance(error, DiskFull):
        return error
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    whose = "this user's quota on the disk" if error.errno == errno.EDQUOT else "the disk"
    return DiskFull(
        error.errno,
        f"{path} cannot be written: {whose} is full. It needs {num_bytes:,} bytes, and {free:,} "
        "are free. Fix: make space there, or name a folder on another disk",
        str(path),
    )


class Linked(OSError):
    """A link, or no regular file, stands where a file or folder of ganforge's own belongs."""

    def __str__(self) -> str:
        return f"{self.filename} {self.strerror}"


def open_file(path: Path | str, flags: int, *, dir_fd: int | None = None) -> int:
    """Open a file that ganforge itself made: Linked for anything else under its name.

    A link would lead out of the folder, and a pipe would never answer. `dir_fd` is an open folder
    that a relative `path` lies in."""
    try:
        found = os.open(
            path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644, dir_fd=dir_fd
        )
    except OSError as error:
        # a pipe that nobody reads, or a socket, answers ENXIO
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise _linked(path) from None
        raise
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise _linked(path)
    return found


@contextmanager
def open_folder(path: Path | str, *, dir_fd: int | None = None) -> Iterator[int]:
    """A folder that ganforge itself made, open for `dir_fd`: Linked for a link under its name."""
    try:
        found = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EMLINK):
            raise _linked(path) from None
        raise
    try:
        yield found
    finally:
        os.close(found)


#: the most bytes that are read of a file of each kind, far above what any of them has: a sparse
#: file of no content can claim to have terabytes
MOST_RECORD, MOST_LOG, MOST_SOURCE, MOST_TENSORS = 1 << 26, 1 << 30, 1 << 24, 1 << 34


class Unfit(OSError):
    """No regular file, or one too large for what it is said to be; it is not read."""

    def __str__(self) -> str:
        return f"{self.filename} {self.strerror}"


def check_fit(found: os.stat_result, path: Path | str, most: int) -> None:
    """Unfit for all but a regular file of at most `most` bytes; IsADirectoryError for a folder."""
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise Unfit(errno.EINVAL, "is not a regular file, and is not read", str(path))
    if found.st_size > most:
        rule = f"has {found.st_size:,} bytes, and a file of this kind at most {most:,}"
        raise Unfit(errno.EFBIG, rule, str(path))


def read_file(path: Path, most: int) -> bytes:
    """The content of a file that anybody may have put there; Unfit, before anything is read, for a
    pipe, a device or more than `most` bytes. Links are followed."""
    check_fit(path.stat(), path, most)  # to open a device may already do something
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        check_fit(os.fstat(file.fileno()), path, most)
        return file.read(most)


def check_no_link(path: Path) -> None:
    """Linked where a link stands under a name; nothing is said where nothing is."""
    if path.is_symlink():
        raise _linked(path)


def check_own_folder(path: Path) -> None:
    """Linked where a folder, or what lies directly in it, is a link; one that is not there is new.

    For folders that ganforge makes itself, before it writes into them again."""
    check_no_link(path)
    with suppress(FileNotFoundError), os.scandir(path) as entries:
        for entry in entries:
            if entry.is_symlink():
                raise _linked(entry.path)


def _linked(path: Path | str) -> Linked:
    rule = "is a link or no regular file: what is stored is never read or written through one. Fix:"
    return Linked(errno.ELOOP, f"{rule} remove it, or name the folder that it leads to", str(path))


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
