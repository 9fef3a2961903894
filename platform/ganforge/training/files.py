"""Folders of files, on a disk or in an object store: complete or absent."""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ganforge.addresses import STORAGE_FIX, refuse_credentials
from ganforge.settings import SettingsError

MANIFEST = "manifest.json"


class Folders(Protocol):
    """Named folders of named files. A folder is complete when its last file is there."""

    def write(self, folder: str, files: dict[str, bytes]) -> None:
        """Write all files in the order given, the last one last."""
        ...

    def read(self, folder: str, file: str) -> bytes:
        """One file's content; OSError where it cannot be had."""
        ...

    def names(self) -> list[str]:
        """The folders there are, complete or not."""
        ...

    def delete(self, folder: str) -> None:
        """Remove a folder; what an interruption leaves of it is incomplete."""
        ...

    def sweep(self) -> None:
        """Remove what interrupted writes and deletions left aside. Only while nobody writes."""
        ...


def open_folders(uri: str) -> Folders:
    """A local path, file:// or an object store's URI (s3://bucket/prefix, gs://…)."""
    if "://" not in uri:
        return LocalFolders(Path(uri).expanduser().absolute())
    if uri.startswith("file://"):
        return LocalFolders(Path(uri.removeprefix("file://")))
    return ObjectFolders(uri)


def join(uri: str, *parts: str) -> str:
    """The URI of a place below another one; a query (?endpoint_override=…) stays at the end."""
    base, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return "/".join([base.rstrip("/"), *parts]) + mark + query


class LocalFolders:
    """On a disk: files are written aside and synced, then the folder is renamed into place."""

    def __init__(self, root: Path):
        self.root = root

    def write(self, folder: str, files: dict[str, bytes]) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        aside = self.root / f".writing-{folder}"
        aside.mkdir()
        try:
            for name, content in files.items():
                write_synced(aside / name, content)
            sync_directory(aside)
            os.rename(aside, self.root / folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)  # a full disk is not kept full
            raise
        sync_directory(self.root)

    def read(self, folder: str, file: str) -> bytes:
        return (self.root / folder / file).read_bytes()

    def names(self) -> list[str]:
        if not self.root.is_dir():
            return []
        with os.scandir(self.root) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def delete(self, folder: str) -> None:
        # renamed first, so that a folder half deleted is never taken for a checkpoint
        aside = self.root / f".deleting-{folder}-{secrets.token_hex(3)}"
        os.rename(self.root / folder, aside)
        shutil.rmtree(aside, ignore_errors=True)

    def sweep(self) -> None:
        for name in self.names():
            if name.startswith((".writing-", ".deleting-")):
                shutil.rmtree(self.root / name, ignore_errors=True)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and have the disk confirm it."""
    with open(path, "wb") as file:
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
    """In an object store through pyarrow: files in order, the manifest last.

    AWS_ENDPOINT_URL, or endpoint_override in the URI's query, names a store that is not AWS.
    """

    def __init__(self, uri: str):
        # an object store is an option: training on a local disk needs no pyarrow
        from pyarrow import fs

        refuse_credentials(uri, "storage", STORAGE_FIX)
        self._fs = fs
        self.files: Any
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        try:
            if uri.startswith("s3://") and endpoint and "?" not in uri:
                scheme, _, host = endpoint.rpartition("://")
                self.files = fs.S3FileSystem(endpoint_override=host, scheme=scheme or "https")
                self.root = uri.removeprefix("s3://")
            else:
                self.files, self.root = fs.FileSystem.from_uri(uri)
            if not self.root.strip("/"):
                raise ValueError("it names no bucket")
        except Exception as error:
            raise SettingsError(
                f"storage = {uri}: not a store that pyarrow can open ({error}); "
                "give a local path or s3://bucket/prefix"
            ) from None
        self.root = self.root.rstrip("/")

    def write(self, folder: str, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            with self.files.open_output_stream(f"{self.root}/{folder}/{name}") as stream:
                stream.write(content)

    def read(self, folder: str, file: str) -> bytes:
        with self.files.open_input_stream(f"{self.root}/{folder}/{file}") as stream:
            return stream.read()

    def names(self) -> list[str]:
        # one level only: the store answers with the folders and not with all that is in them
        selector = self._fs.FileSelector(self.root, allow_not_found=True)
        found = self.files.get_file_info(selector)
        return sorted(i.base_name for i in found if i.type == self._fs.FileType.Directory)

    def delete(self, folder: str) -> None:
        # the manifest first: without it the folder is no checkpoint
        with suppress(FileNotFoundError):
            self.files.delete_file(f"{self.root}/{folder}/{MANIFEST}")
        with suppress(FileNotFoundError):
            self.files.delete_dir(f"{self.root}/{folder}")

    def sweep(self) -> None:
        """Nothing is written aside: a folder without a manifest is no checkpoint."""
