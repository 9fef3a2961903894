"""A folder of images made a packed set (image_set.py), on this disk or in an object store."""

import hashlib
import io
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from ganforge.addresses import STORAGE_FIX
from ganforge.data import decoder
from ganforge.data.cache import FORMAT as DECODER
from ganforge.data.cache import THREADS
from ganforge.data.image_progress import counted
from ganforge.data.image_set import (
    COLUMNS,
    FORMAT,
    MARK,
    MOST_IMAGE,
    Head,
    SetFile,
    shared_header,
)
from ganforge.data.images import FORMATS, SourceImage, decode, digest, refuse_all
from ganforge.data.ordered import ordered
from ganforge.data.raster import Header, unreadable
from ganforge.data.set_files import column_path, shard_path
from ganforge.data.texts import text_columns
from ganforge.local_files import DiskFull, replacing
from ganforge.object_store import open_object_store
from ganforge.settings import SettingsError, shown

Images = Mapping[str, Path | SetFile]  # by name
SHARD_BYTES = 256 * 2**20


@dataclass(frozen=True)
class PackedSummary:
    """How many images a set has, in how many shards, of how many bytes."""

    images: int
    shards: int
    num_bytes: int


class _Out(Protocol):
    def writing(self, path: str) -> Any:
        """A file of the set, open to be written: a context manager."""
        ...

    def taken(self, but: str = "") -> bool:
        """Whether there is a set, or anything else than the folder `but`, already."""
        ...

    def discard(self, folder: str) -> None:
        """Remove a folder of the set."""
        ...


class _LocalOut:
    def __init__(self, root: Path):
        self.root = root

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        whole = self.root / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        with replacing(whole) as file:
            yield file

    def taken(self, but: str = "") -> bool:
        if not self.root.is_dir():
            return self.root.exists()
        return any(path.name != but for path in self.root.iterdir())

    def discard(self, folder: str) -> None:
        shutil.rmtree(self.root / folder, ignore_errors=True)


class _StoreOut:
    def __init__(self, uri: str):
        self.files, self.root = open_object_store(uri, "OUT", STORAGE_FIX)

    def writing(self, path: str) -> Any:
        return self.files.open_output_stream(f"{self.root}/{path}")

    def taken(self, but: str = "") -> bool:
        from pyarrow import fs

        found = self.files.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        return any(one.base_name != but for one in found)

    def discard(self, folder: str) -> None:
        with suppress(OSError):
            self.files.delete_dir(f"{self.root}/{folder}")


@dataclass
class _Rows:
    """The columns of the images so far."""

    names: list[str] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(
        default_factory=lambda: {name: [] for name in COLUMNS if name != "names.ends"}
    )
    headers: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, row: Mapping[str, Any], header: Header) -> None:
        shared = shared_header(header)
        if shared not in self.headers:
            self.headers.append(shared)
        self.names.append(name)
        for column, value in {**row, "header": self.headers.index(shared)}.items():
            self.columns[column].append(value)

    def arrays(self) -> dict[str, NDArray[Any]]:
        found = text_columns("names", self.names)
        for name, values in self.columns.items():
            kind, row = COLUMNS[name]
            if row:
                found[name] = np.frombuffer(b"".join(values), kind).reshape(-1, *row)
            else:
                found[name] = np.array(values, kind)
        return found


def write_set(images: Images, out: str, shard_bytes: int = SHARD_BYTES) -> PackedSummary:
    """Pack images, by their names, into `out`, an empty or new folder or a prefix of a store.

    Every image is decoded: one that cannot be read is named in one SettingsError with all others,
    and nothing is left. What marks a set as one is written last, so that one that was
    interrupted is none.
    """
    far = "://" in out
    target: _Out = _StoreOut(out) if far else _LocalOut(Path(out).expanduser())
    folder = secrets.token_hex(8)
    used = f"OUT = {out}: is not empty; give a new folder, or remove that one"
    try:
        if target.taken():
            raise SettingsError(used)
        head = _written(images, target, folder, shard_bytes)
        if target.taken(but=folder):
            raise SettingsError(used)
        with target.writing(MARK) as file:
            file.write(head.to_bytes())
    except BaseException as error:
        target.discard(folder)
        if isinstance(error, OSError) and not isinstance(error, DiskFull):
            said = shown(str(error.strerror or error))
            raise SettingsError(
                f"OUT = {out}: cannot be written ({said}); give a folder or an address where files "
                "can be made"
            ) from None
        raise
    return PackedSummary(head.count, len(head.shards), sum(head.shards))


def _written(images: Images, target: _Out, folder: str, shard_bytes: int) -> Head:
    """All but the mark, below `folder`; its content."""
    rows, shards, errors = _Rows(), list[int](), list[str]()
    examined = ordered(_examined, images.items(), THREADS, ahead=2 * THREADS)
    found = counted("packing images", examined, len(images))
    pending = next(found, None)
    while pending is not None:
        with target.writing(f"{folder}/{shard_path(len(shards))}") as file:
            size = 0
            while pending is not None and (not size or size + len(pending.content) <= shard_bytes):
                if pending.error:
                    errors.append(pending.error)
                else:
                    file.write(pending.content)
                    row = {**pending.row, "shard": len(shards), "offset": size}
                    rows.add(pending.name, row, pending.header)
                    size += len(pending.content)
                pending = next(found, None)
        shards.append(size)
    refuse_all(errors)
    hashes = {}
    for name, column in rows.arrays().items():
        content = io.BytesIO()
        np.save(content, column, allow_pickle=False)
        hashes[name] = hashlib.sha256(content.getbuffer()).hexdigest()
        with target.writing(f"{folder}/{column_path(name)}") as file:
            file.write(content.getbuffer())
    return Head(
        format=FORMAT,
        files=folder,
        count=len(rows.names),
        decoder=DECODER,
        shards=shards,
        headers=rows.headers,
        columns=hashes,
    )


@dataclass(frozen=True)
class _Examined:
    name: str
    content: bytes
    row: Mapping[str, Any]
    header: Header
    error: str = ""


def _examined(item: tuple[str, Path | SetFile]) -> _Examined:
    """An image, read, its header and the hash of its pixels; or why it cannot be read."""
    name, path = item
    nothing = Header("", 0, 0, "")
    try:
        content = path.read_bytes()
        header = decoder.read_header(io.BytesIO(content), str(path), FORMATS)
        pixels = decode(content, SourceImage(name, path))
    except OSError as error:
        return _Examined(name, b"", {}, nothing, str(unreadable(str(path), error.strerror)))
    except SettingsError as error:
        return _Examined(name, b"", {}, nothing, str(error))
    if len(content) >= MOST_IMAGE:
        said = f"{path}: has {len(content):,} bytes, and may have {MOST_IMAGE - 1:,}; remove it"
        return _Examined(name, b"", {}, nothing, said)
    row = {
        "length": len(content),
        "sha256": hashlib.sha256(content).digest(),
        "digest": bytes.fromhex(digest(pixels)),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
    }
    return _Examined(name, content, row, header)
