"""Every file that a command writes for the user: inside its folder, never through a link, never
over a file unless that is asked for, and whole or not at all.

Names of results come from the names of images, and a folder of results may lie where others write
too. So files are opened relative to an open folder, part by part, and nothing is looked up twice.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePath
from typing import BinaryIO

from ganforge.settings import SettingsError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
#: What a file system answers that has no hard links.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


def make_output_folder(folder: Path, option: str = "--output") -> None:
    """The folder that the user named for results: there is one afterwards, or a SettingsError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"{option} {folder}: is not usable as a folder ({error.strerror}); give another one"
        ) from None


@contextmanager
def output_file(folder: Path, name: PurePath | str, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write that becomes `name`, a relative path, in `folder`; on an error none is left.

    `folder` must exist; folders below it are made. SettingsError for a name that leaves the folder,
    for a link on the way, and for a file that is there already unless `overwrite`; OSError where
    the disk does not take it.
    """
    shown = folder / name
    parts = _checked(folder, name)
    with _opened(folder, parts[:-1]) as here:
        _refuse_existing(here, parts[-1], shown, overwrite)
        part = f".{secrets.token_hex(8)}.part"  # short: the name itself may be as long as allowed
        try:
            with os.fdopen(os.open(part, _NEW, 0o666, dir_fd=here), "wb") as file:
                yield file
            if overwrite:
                _refuse_existing(here, parts[-1], shown, overwrite)
                os.rename(part, parts[-1], src_dir_fd=here, dst_dir_fd=here)
            else:
                _appear(here, part, parts[-1], shown)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part, dir_fd=here)


def check_output(folder: Path, name: PurePath | str, *, overwrite: bool) -> None:
    """What `output_file` would refuse now, before any work is done for it; writes nothing."""
    shown = folder / name
    parts = _checked(folder, name)
    try:
        with _opened(folder, parts[:-1], make=False) as here:
            _refuse_existing(here, parts[-1], shown, overwrite)
    except FileNotFoundError:
        return


@contextmanager
def existing_output(folder: Path, name: PurePath | str) -> Iterator[BinaryIO | None]:
    """A result that is there already, open to be read; None where there is none. SettingsError as
    for `output_file`."""
    shown = folder / name
    parts = _checked(folder, name)
    with ExitStack() as opened:
        try:
            here = opened.enter_context(_opened(folder, parts[:-1], make=False))
            _refuse_existing(here, parts[-1], shown, True)
            found = os.open(parts[-1], _READ, dir_fd=here)
        except FileNotFoundError:
            yield None
            return
        yield opened.enter_context(os.fdopen(found, "rb"))


def _checked(folder: Path, name: PurePath | str) -> tuple[str, ...]:
    parts = PurePath(name).parts
    inside = parts and not PurePath(name).is_absolute() and ".." not in parts
    if not inside or any("\0" in part for part in parts):
        raise SettingsError(f"{folder / name}: is not in the folder {folder}; nothing is written")
    return parts


@contextmanager
def _opened(folder: Path, below: tuple[str, ...], *, make: bool = True) -> Iterator[int]:
    """A folder below `folder`, open; each part of the way must be a real folder."""
    here = os.open(folder, _FOLDER)
    try:
        for number, part in enumerate(below, 1):
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=here)
            try:
                inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                shown = folder.joinpath(*below[:number])
                raise SettingsError(
                    f"{shown}: is a link or a file, and results are written into real folders "
                    "only; remove it, or give another --output"
                ) from None
            os.close(here)
            here = inner
        yield here
    finally:
        os.close(here)


def _refuse_existing(here: int, name: str, shown: Path, overwrite: bool) -> None:
    try:
        found = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise SettingsError(
            f"{shown}: the last name has {len(os.fsencode(name))} bytes, more than this disk takes "
            "(255 on most); give its source a shorter name"
        ) from None
    if not stat.S_ISREG(found):
        kind = "a link" if stat.S_ISLNK(found) else "not a file"
        raise SettingsError(f"{shown}: is {kind}, and is not replaced; remove it")
    if not overwrite:
        raise _exists(shown)


def _appear(here: int, part: str, name: str, shown: Path) -> None:
    """Give the finished part its name, if nothing has that name."""
    try:
        os.link(part, name, src_dir_fd=here, dst_dir_fd=here)
        return
    except FileExistsError:
        raise _exists(shown) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    # without links the name is taken first, by an empty file
    try:
        os.close(os.open(name, _NEW, 0o666, dir_fd=here))
    except FileExistsError:
        raise _exists(shown) from None
    os.rename(part, name, src_dir_fd=here, dst_dir_fd=here)


def _exists(shown: Path) -> SettingsError:
    return SettingsError(f"{shown}: exists already; --overwrite replaces it")
