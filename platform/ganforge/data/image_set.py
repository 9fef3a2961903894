"""A packed set: very many image files as a few large ones, on a disk or in an object store.

    imageset.json             the name of FILES, how many images, the sha256 of each column
    FILES/columns/NAME.npy    a number, a text or a hash for each image
    FILES/shards/00000.bin    the images' files, one after another, as they were

FILES is another name each time a set is packed, so that two who pack at once spoil nothing. The
files are unchanged, and the hash of each one's pixels is a column, so a set has the fingerprint
and the bits of the folder that it was made of. Opening it reads the columns alone; an image is read
by its range, from a store through a cache on this machine, and verified.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from ganforge.data.kept_files import KeptFiles
from ganforge.data.raster import Header
from ganforge.data.set_files import Files, LocalFiles, StoreFiles, shard_path
from ganforge.data.texts import Texts
from ganforge.local_files import MOST_RECORD, DiskFull
from ganforge.settings import SettingsError, shown
from ganforge.settings.parsing import parse_json

MARK = "imageset.json"
FORMAT = "ganforge image set 2"
#: the columns, and the kind and the length of a row of each; texts have their bytes and their ends
COLUMNS: dict[str, tuple[type[Any], tuple[int, ...]]] = {
    "names.ends": (np.int64, ()),
    "shard": (np.int32, ()),
    "offset": (np.int64, ()),
    "length": (np.int64, ()),
    "sha256": (np.uint8, (32,)),
    "digest": (np.uint8, (32,)),
    "height": (np.int32, ()),
    "width": (np.int32, ()),
    "header": (np.int32, ()),
}
_NAMES = "names"
#: an image's file has fewer bytes
MOST_IMAGE = 2**31
_HEADER = {"width", "height"}  # columns of their own; the rest of a header few images differ in


@dataclass(frozen=True)
class Kept:
    """Where what is fetched of sets is kept on this machine, and how many bytes of images."""

    folder: Path
    limit: int


def is_set(root: str) -> bool:
    """Whether a folder's path, or an address, is that of a packed set."""
    return "://" in root or (Path(root).expanduser() / MARK).is_file()


class Head(BaseModel, frozen=True, extra="forbid", strict=True):
    """The content of imageset.json: `files` is the folder of all others, `shards` are their sizes,
    `headers` what images have in common of theirs, `columns` the sha256 of each."""

    format: str
    files: str = Field(pattern=r"^[0-9a-f]{16}$")
    count: int = Field(ge=0, lt=2**31)
    decoder: str
    shards: list[Annotated[int, Field(ge=0, lt=2**62)]]
    headers: list[dict[str, Any]]
    columns: dict[str, str]

    @classmethod
    def read(cls, content: bytes) -> "Head":
        """ValueError where it is damaged."""
        found = parse_json(content.decode())
        if (given := found.get("format") if isinstance(found, dict) else None) != FORMAT:
            raise ValueError(f"format = {shown(given)}: must be {FORMAT}")
        head = cls.model_validate(found)
        for one in head.headers:
            Header(width=0, height=0, **one)
        return head

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=1).encode()


def shared_header(header: Header) -> dict[str, Any]:
    """What many images have in common of their headers."""
    return {name: value for name, value in asdict(header).items() if name not in _HEADER}


class ImageSet:
    """A set that was opened: columns are mapped into memory, images are read one by one."""

    def __init__(self, uri: str, head: Head, files: Files, kept: KeptFiles | None,
                 columns: Mapping[str, NDArray[Any]]):  # fmt: skip
        self.uri, self._head, self._files, self._kept = uri, head, files, kept
        self._columns = columns
        self.names = Texts(columns[_NAMES], columns["names.ends"])
        self.decoder = head.decoder
        #: whether each image is fetched from a store
        self.far = kept is not None

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a packed set is opened again by its address, not sent")

    @cached_property
    def _headers(self) -> list[Header]:
        return [Header(width=0, height=0, **one) for one in self._head.headers]

    def header(self, number: int) -> Header:
        """What the header of an image's file says."""
        found = self._headers[int(self._columns["header"][number])]
        sides = {name: int(self._columns[name][number]) for name in _HEADER}
        return Header(**{**asdict(found), **sides})

    def pixels(self, number: int) -> tuple[str, int, int]:
        """The sha256 of an image's pixels as the set's decoder made them, its height and width."""
        digest = self._columns["digest"][number].tobytes().hex()
        return digest, int(self._columns["height"][number]), int(self._columns["width"][number])

    def num_bytes(self, number: int) -> int:
        """The size of an image's file."""
        return int(self._columns["length"][number])

    def read(self, number: int) -> bytes:
        """An image's file; OSError where it is unavailable, or another than was packed."""
        known = self._columns["sha256"][number].tobytes()

        def check(content: bytes) -> bool:
            return hashlib.sha256(content).digest() == known

        def fetch() -> bytes:
            shard, offset, length = (
                int(self._columns[name][number]) for name in ("shard", "offset", "length")
            )
            return self._files.part(shard_path(shard), offset, length)

        content = fetch() if self._kept is None else self._kept.get(number, check, fetch)
        if not check(content):
            raise OSError("", "it is not what was packed; pack the set again")
        return content


@dataclass(frozen=True)
class SetFile:
    """An image of a packed set, where another image has the path of its file."""

    images: ImageSet
    number: int

    @property
    def name(self) -> str:
        """Its name in the set."""
        return self.images.names[self.number]

    def read_bytes(self) -> bytes:
        """The content of the file."""
        return self.images.read(self.number)

    def open(self, mode: str) -> io.BytesIO:
        """The file, to be read."""
        assert mode == "rb"
        return io.BytesIO(self.read_bytes())

    def __str__(self) -> str:
        return f"{self.images.uri}/{self.name}"


def open_set(uri: str, key: str, kept: Kept) -> ImageSet:
    """The set of a folder or an address; SettingsError, by the setting `key`, for one that is
    damaged, or none."""
    far = "://" in uri
    files: Files = StoreFiles(uri, key) if far else LocalFiles(Path(uri).expanduser())
    try:
        content = files.whole(MARK, MOST_RECORD)
    except OSError as error:
        what = "there is no packed set there" if far else "cannot be read"
        raise SettingsError(
            f"{key} = {uri}: {what} ({error.strerror or error}); make one by `ganforge pack`"
        ) from None
    return _opened(uri, key, kept, content, files)


_sets: dict[tuple[str, Kept, bytes], ImageSet] = {}


def _opened(uri: str, key: str, kept: Kept, content: bytes, files: Files) -> ImageSet:
    """One object for a set: its columns are verified once in a process."""
    same = (uri, kept, hashlib.sha256(content).digest())
    if same not in _sets:
        try:
            _sets[same] = _open(uri, kept, content, files)
        except DiskFull as error:
            raise SettingsError(f"data.cache_directory = {kept.folder}: {error}") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            said = shown(str(error.strerror or error if isinstance(error, OSError) else error))
            if "://" in uri and isinstance(error, OSError):
                raise SettingsError(
                    f"{key} = {uri}: its columns cannot be fetched into {kept.folder} ({said}); "
                    "see to the store and the folder, then try again"
                ) from None
            raise SettingsError(
                f"{key} = {uri}: the packed set is damaged ({type(error).__name__}: {said}); "
                "pack it again"
            ) from None
    return _sets[same]


def _open(uri: str, kept: Kept, content: bytes, files: Files) -> ImageSet:
    head = Head.read(content)
    files, shards = files.below(head.files), np.array(head.shards, np.int64)
    folder = kept.folder / "sets" / hashlib.sha256(content).hexdigest()
    columns: dict[str, NDArray[Any]] = {}
    for name in (_NAMES, *COLUMNS):
        path = files.column(name, head.columns[name], folder)
        columns[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    for name, (kind, row) in COLUMNS.items():
        if columns[name].dtype != kind or columns[name].shape != (head.count, *row):
            raise ValueError(f"column {name} is not one of {head.count} rows")
    _check(columns, shards, len(head.headers))
    far = KeptFiles(folder / "images", kept.limit) if "://" in uri else None
    return ImageSet(uri, head, files, far, columns)


def _check(columns: Mapping[str, NDArray[Any]], shards: NDArray[np.int64], headers: int) -> None:
    """ValueError where an image would lie outside of what there is."""
    ends, names = columns["names.ends"], columns[_NAMES]
    last = int(ends[-1]) if len(ends) else 0
    if (
        names.dtype != np.uint8
        or names.ndim != 1
        or len(names) != last
        or (np.diff(ends) < 0).any()
    ):
        raise ValueError("the names are not texts")
    if not len(ends):
        return
    for name, most in (("shard", len(shards)), ("header", headers), ("length", MOST_IMAGE)):
        if columns[name].min() < 0 or columns[name].max() >= most:
            raise ValueError(f"column {name} has a number outside of 0 … {most - 1}")
    if columns["offset"].min() < 0:
        raise ValueError("an image begins before its shard")
    if (columns["offset"] + columns["length"] > shards[columns["shard"]]).any():
        raise ValueError("an image ends after its shard")
