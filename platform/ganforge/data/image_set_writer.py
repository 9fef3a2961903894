"""A folder of images made a packed set (image_set.py), on this disk or in an object store."""

import hashlib
import io
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
    MARK,
    SetFile,
    shared_header,
    to_head,
)
from ganforge.data.images import FORMATS, SourceImage, decode, digest, refuse_all
from ganforge.data.ordered import ordered
from ganforge.data.raster import Header, unreadable
from ganforge.data.set_files import column_path, shard_path
from ganforge.data.texts import text_columns
from ganforge.local_files import replacing
from ganforge.object_store import open_object_store
from ganforge.settings import SettingsError

Images = Mapping[str, Path | SetFile]  # by name
SHARD_BYTES = 256 * 2**20
_PARTS = ("shards", "columns")


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

    def taken(self) -> bool:
        """Whether there is a set, or anything else, already."""
        ...

    def discard(self) -> None:
        """Remove all that was written."""
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

    def taken(self) -> bool:
        return self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir()))

    def discard(self) -> None:
        for part in _PARTS:
            shutil.rmtree(self.root / part, ignore_errors=True)


class _StoreOut:
    def __init__(self, uri: str):
        self.files, self.root = open_object_store(uri, "OUT", STORAGE_FIX)

    def writing(self, path: str) -> Any:
        return self.files.open_output_stream(f"{self.root}/{path}")

    def taken(self) -> bool:
        from pyarrow import fs

        found = self.files.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        return bool(found)

    def discard(self) -> None:
        for part in _PARTS:
            with suppress(OSError):
                self.files.delete_dir(f"{self.root}/{part}")


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
    if target.taken():
        raise SettingsError(f"OUT = {out}: is not empty; give a new folder, or remove that one")
    try:
        return _written(images, target, shard_bytes)
    except BaseException:
        target.discard()
        raise


def _written(images: Images, target: _Out, shard_bytes: int) -> PackedSummary:
    rows, shards, errors = _Rows(), list[int](), list[str]()
    found = counted("packing images", ordered(_examined, images.items(), THREADS), len(images))
    pending = next(found, None)
    while pending is not None:
        with target.writing(shard_path(len(shards))) as file:
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
        with target.writing(column_path(name)) as file:
            file.write(content.getbuffer())
    with target.writing(MARK) as file:
        file.write(to_head(len(rows.names), shards, rows.headers, hashes, DECODER))
    return PackedSummary(len(rows.names), len(shards), sum(shards))


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
    row = {
        "length": len(content),
        "sha256": hashlib.sha256(content).digest(),
        "digest": bytes.fromhex(digest(pixels)),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
    }
    return _Examined(name, content, row, header)
