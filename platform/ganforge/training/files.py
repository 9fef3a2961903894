"""Folders of files, on a disk or in an object store: complete or absent."""

import errno
import json
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ganforge.addresses import STORAGE_FIX
from ganforge.local_files import (
    MOST_LOG,
    MOST_RECORD,
    MOST_TENSORS,
    Unfit,
    check_fit,
    check_no_link,
    check_own_folder,
    explained,
    open_file,
    open_folder,
)
from ganforge.object_store import open_object_store

MANIFEST = "manifest.json"
_MOST = {".json": MOST_RECORD, ".jsonl": MOST_LOG}


class Folders(Protocol):
    """Named folders of named files. A folder is complete when its last file is there."""

    def write(self, folder: str, files: dict[str, bytes]) -> None:
        """Write all files in the order given, the last one last."""
        ...

    def read(self, folder: str, file: str) -> bytes:
        """One file's content; OSError where it is unavailable. Records name folders and files: a
        name that leads elsewhere, a link, or a file too large for its kind is unavailable."""
        ...

    def names(self) -> list[str]:
        """The folders there are, complete or not."""
        ...

    def copy(self, source: "Folders", folder: str, to: str) -> None:
        """Take a complete folder of `source` over as `to`; where there is one already, it stays."""
        ...

    def delete(self, folder: str) -> None:
        """Remove a folder; what an interruption leaves of it is incomplete."""
        ...

    def sweep(self) -> None:
        """Remove what interrupted writes and deletions left aside. Only while nobody writes, and
        before a run continues: a link among its folders is refused here."""
        ...


def open_folders(uri: str) -> Folders:
    """A local path, file:// or an object store's URI (s3://bucket/prefix, gs://…)."""
    if "://" not in uri:
        return LocalFolders(Path(uri).expanduser().absolute())
    if uri.startswith("file://"):
        return LocalFolders(Path(uri.removeprefix("file://")))
    return ObjectFolders(uri)


def checked_name(name: str) -> str:
    """A name of a folder or file, or OSError: one that holds a path would leave its folder."""
    if not name or name in (".", "..") or any(c in name for c in "/\\\0"):
        raise OSError(errno.EINVAL, "no name of a file", name[:100])
    return name


def most_bytes(file: str) -> int:
    """How much is read of a file at most, by the kind that its name says."""
    return _MOST.get(Path(file).suffix, MOST_TENSORS)


def join(uri: str, *parts: str) -> str:
    """The URI of a place below another one; a query (?endpoint_override=…) stays at the end."""
    base, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return "/".join([base.rstrip("/"), *parts]) + mark + query


class LocalFolders:
    """On a disk: files are written aside and synced, then the folder is renamed into place.

    Links below the root are not followed, and nothing is written if the root is one: anyone who may
    write to a storage must not choose which other files of this machine are read or replaced.
    """

    def __init__(self, root: Path):
        self.root = root

    def write(self, folder: str, files: dict[str, bytes]) -> None:
        check_no_link(self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / checked_name(folder)
        aside = self.root / f".writing-{folder}"
        try:
            aside.mkdir()
            for name, content in files.items():
                write_synced(aside / checked_name(name), content)
            sync_directory(aside)
            os.rename(aside, path)
        except BaseException as error:
            shutil.rmtree(aside, ignore_errors=True)  # a full disk is not kept full
            if isinstance(error, OSError):
                raise explained(error, path, sum(map(len, files.values()))) from None
            raise
        sync_directory(self.root)

    def read(self, folder: str, file: str) -> bytes:
        path, name = self.root / checked_name(folder), checked_name(file)
        with open_folder(path) as inside:
            found = open_file(name, os.O_RDONLY, dir_fd=inside)
        with open(found, "rb") as content:
            check_fit(os.fstat(found), path / name, most_bytes(name))
            return content.read()

    def names(self) -> list[str]:
        if not self.root.is_dir():
            return []
        with os.scandir(self.root) as entries:
            return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))

    def copy(self, source: Folders, folder: str, to: str) -> None:
        names = _listed(source, folder)
        if not isinstance(source, LocalFolders):
            self.write(to, {name: source.read(folder, name) for name in names})
            return
        check_no_link(self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / checked_name(to)
        aside = self.root / f".writing-{to}-{secrets.token_hex(3)}"
        try:
            aside.mkdir()
            for name in names:
                # files are never written to again: a second name costs no space
                _second_name(source.root / checked_name(folder) / name, aside / name)
            sync_directory(aside)
            os.rename(aside, path)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            if path.is_dir():
                return
            raise explained(error, path, 0) from None
        sync_directory(self.root)

    def delete(self, folder: str) -> None:
        check_no_link(self.root)
        checked_name(folder)
        # renamed first, so that a folder half deleted is never taken for a checkpoint
        aside = self.root / f".deleting-{folder}-{secrets.token_hex(3)}"
        os.rename(self.root / folder, aside)
        shutil.rmtree(aside, ignore_errors=True)

    def sweep(self) -> None:
        check_own_folder(self.root)
        for name in self.names():
            if name.startswith((".writing-", ".deleting-")):
                shutil.rmtree(self.root / name, ignore_errors=True)


def _listed(source: Folders, folder: str) -> list[str]:
    """The files of a complete folder, the manifest last."""
    files = json.loads(source.read(folder, MANIFEST))["files"]
    return [*map(checked_name, files), MANIFEST]


def _second_name(path: Path, new: Path) -> None:
    try:
        os.link(path, new, follow_symlinks=False)
    except OSError:  # another disk, or a file system without hard links
        write_synced(new, path.read_bytes())


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and have the disk confirm it."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Have the disk confirm the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ObjectFolders:
    """In an object store through pyarrow: files in order, the manifest last."""

    def __init__(self, uri: str):
        self.files, self.root = open_object_store(uri, "storage", STORAGE_FIX)

    def write(self, folder: str, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            path = f"{self.root}/{checked_name(folder)}/{checked_name(name)}"
            with self.files.open_output_stream(path) as stream:
                stream.write(content)

    def read(self, folder: str, file: str) -> bytes:
        path = f"{self.root}/{checked_name(folder)}/{checked_name(file)}"
        size, most = self.files.get_file_info(path).size or 0, most_bytes(file)
        if size > most:
            rule = f"has {size:,} bytes, and a file of this kind at most {most:,}"
            raise Unfit(errno.EFBIG, rule, path)
        with self.files.open_input_stream(path) as stream:
            return stream.read()

    def names(self) -> list[str]:
        # one level only: the store answers with the folders and not with all that is in them
        from pyarrow import fs

        found = self.files.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        return sorted(i.base_name for i in found if i.type == fs.FileType.Directory)

    def copy(self, source: Folders, folder: str, to: str) -> None:
        if to not in self.names():
            names = _listed(source, folder)
            self.write(to, {name: source.read(folder, name) for name in names})

    def delete(self, folder: str) -> None:
        checked_name(folder)
        # the manifest first: without it the folder is no checkpoint
        with suppress(FileNotFoundError):
            self.files.delete_file(f"{self.root}/{folder}/{MANIFEST}")
        with suppress(FileNotFoundError):
            self.files.delete_dir(f"{self.root}/{folder}")

    def sweep(self) -> None:
        """Nothing is written aside: a folder without a manifest is no checkpoint."""
