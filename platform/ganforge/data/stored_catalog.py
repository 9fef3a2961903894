"""Catalogs that this machine has verified: opened again without reading an image.

A catalog is stored under the fingerprint of its images and the folders they lie in. A process that
is to train on that fingerprint maps it into its memory, in a fraction of a second for a million
images. That is sound because nothing rests on the files being as they were: an image is compared
with its sha256 in the catalog when it is decoded, and packed planes with theirs when they are read.
"""

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ganforge.data.base import ImageSettings
from ganforge.data.cache import FORMAT, kept_of
from ganforge.data.catalog import Catalog
from ganforge.data.image_set import ImageSet, Kept, SetFile, open_set
from ganforge.data.image_table import DIGEST_BYTES, ImageTable, Numbers
from ganforge.data.images import SourceImage
from ganforge.data.texts import Texts, text_columns

logger = logging.getLogger("ganforge")
_HEAD = "catalog.json"
#: begins what stands for an image of a packed set; paths are absolute
_IN_SET = "image set "


class _StoredSources(Sequence[SourceImage]):
    """The files of a stored table; `low` are the sources of the low-resolution images. What is
    fetched of packed sets is `kept`."""

    def __init__(
        self,
        kept: Kept,
        names: Texts,
        paths: Texts,
        scenes: Texts,
        labels: NDArray[np.int32],
        low: "_StoredSources | None" = None,
    ):
        self._kept, self._sets = kept, dict[str, ImageSet]()
        self._names, self._paths, self._scenes = names, paths, scenes
        self._labels, self._low = labels, low

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, number: int) -> SourceImage: ...
    @overload
    def __getitem__(self, number: slice) -> list[SourceImage]: ...
    def __getitem__(self, number: int | slice) -> SourceImage | list[SourceImage]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        label = int(self._labels[number])
        return SourceImage(
            self._names[number],
            self._file(self._paths[number]),
            self._scenes[number],
            None if label < 0 else label,
            low=None if self._low is None else self._low[number],
        )

    def _file(self, text: str) -> Path | SetFile:
        if not text.startswith(_IN_SET):
            return Path(text)
        number, _, uri = text.removeprefix(_IN_SET).partition(" ")
        if uri not in self._sets:
            self._sets[uri] = open_set(uri, "data.root", self._kept)
        return SetFile(self._sets[uri], int(number))


def _where(path: Path | SetFile) -> str:
    """As a text of which `_StoredSources` makes the same."""
    return f"{_IN_SET}{path.number} {path.images.uri}" if isinstance(path, SetFile) else str(path)


def _table_columns(prefix: str, table: ImageTable) -> dict[str, NDArray[Any]]:
    sources = list(table.sources)
    return {
        **text_columns(f"{prefix}names", (one.name for one in sources)),
        **text_columns(f"{prefix}paths", (_where(one.path) for one in sources)),
        **text_columns(f"{prefix}scenes", (one.scene for one in sources)),
        f"{prefix}labels": table.labels,
        f"{prefix}digests": table.digests,
        f"{prefix}heights": table.heights,
        f"{prefix}widths": table.widths,
    }


def _table(
    kept: Kept,
    prefix: str,
    columns: dict[str, NDArray[Any]],
    content: str,
    low: ImageTable | None = None,
) -> ImageTable:
    def texts(name: str) -> Texts:
        return Texts(columns[f"{prefix}{name}"], columns[f"{prefix}{name}.ends"])

    labels = columns[f"{prefix}labels"]
    lows = low.sources if low is not None and len(low) else None
    assert lows is None or isinstance(lows, _StoredSources)
    sources = _StoredSources(kept, texts("names"), texts("paths"), texts("scenes"), labels, lows)
    return ImageTable(
        sources,
        columns[f"{prefix}digests"].reshape(-1, DIGEST_BYTES),
        columns[f"{prefix}heights"],
        columns[f"{prefix}widths"],
        labels,
        content,
    )


def store_catalog(catalog: Catalog, kind: str, settings: ImageSettings, directory: Path) -> None:
    """Keep a catalog of files in the cache `directory`, in place of one that has other columns: the
    fingerprint says nothing of names, and files may be called otherwise now. A cache that cannot be
    written costs time, and images that are items of one file have no catalog."""
    tables = (catalog.images, catalog.low)
    if any(one.pixels is not None for table in tables for one in table.sources[:1]):
        return
    folder = _folder(catalog.fingerprint, kind, settings, directory)
    part = folder.with_name(f"{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    columns = {
        **_table_columns("", catalog.images),
        **_table_columns("low.", catalog.low),
        "train": catalog.train.array,
        "validation": catalog.validation.array,
        "roots": catalog.roots.array,
    }
    if (folder / _HEAD).exists() and _has(folder, columns):
        return
    try:
        part.mkdir(parents=True)
        hashes = {}
        for name, column in columns.items():
            np.save(part / f"{name}.npy", np.ascontiguousarray(column), allow_pickle=False)
            hashes[name] = _sha256(part / f"{name}.npy")
        head = {
            "classes": catalog.classes,
            "mirror": catalog.mirror,
            "content": [catalog.images.content, catalog.low.content],
            "sha256": hashes,
        }
        (part / _HEAD).write_text(json.dumps(head))
        if folder.exists():
            # who has mapped its files keeps them
            old = part.with_name(f"{part.name}.old")
            os.rename(folder, old)
            shutil.rmtree(old, ignore_errors=True)
        os.rename(part, folder)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)


def _has(folder: Path, columns: dict[str, NDArray[Any]]) -> bool:
    """Whether a stored catalog has these columns."""
    try:
        return all(
            np.array_equal(
                np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False), column
            )
            for name, column in columns.items()
        )
    except (OSError, ValueError):
        return False


def stored_catalog(
    fingerprint: str, kind: str, settings: ImageSettings, directory: Path
) -> Catalog | None:
    """The catalog of these images in these folders, if this machine has verified it, mapped into
    memory; a damaged one is removed."""
    folder = _folder(fingerprint, kind, settings, directory)
    if not (folder / _HEAD).exists():
        return None
    try:
        head = json.loads((folder / _HEAD).read_bytes())
        columns = {}
        for name, known in head["sha256"].items():
            file = folder / f"{name}.npy"
            if _sha256(file) != known:
                raise ValueError(f"{file} has other bytes")
            columns[name] = np.load(file, mmap_mode="r", allow_pickle=False)
        kept = kept_of(settings.data)
        of_images, of_low = map(str, head["content"])
        low = _table(kept, "low.", columns, of_low)
        return Catalog(
            _table(kept, "", columns, of_images, low),
            Numbers(columns["train"]),
            Numbers(columns["validation"]),
            fingerprint,
            tuple(head["classes"]),
            bool(head["mirror"]),
            Numbers(columns["roots"]),
            low,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("%s is damaged (%s): all images are read again", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def stored_digests(fingerprint: object, directory: Path) -> dict[str, str]:
    """The sha256 of each image's pixels by name, of images that this machine has verified under a
    recorded fingerprint; nothing if there are none."""
    # it is read from a record, and names a folder
    if not isinstance(fingerprint, str) or not re.fullmatch(r"[0-9a-f]{64}", fingerprint):
        return {}
    for folder in sorted((directory / "catalogs").glob(f"{fingerprint}-*[0-9a-f]")):
        found: dict[str, str] = {}
        with suppress(OSError, ValueError, KeyError):
            for prefix in ("", "low."):
                columns = {
                    name: np.load(folder / f"{prefix}{name}.npy", allow_pickle=False)
                    for name in ("names", "names.ends", "digests")
                }
                texts = Texts(columns["names"], columns["names.ends"])
                for name, digest in zip(texts, columns["digests"], strict=True):
                    found[name] = digest.tobytes().hex()
            return found
    return {}


def _folder(fingerprint: str, kind: str, settings: ImageSettings, directory: Path) -> Path:
    """Of the fingerprint, the folders that settings name, how they are read, and what decodes."""
    data, held_out = settings.data, settings.validation
    named = [data.root, *data.roots, held_out.root, data.low_resolution, held_out.low_resolution]
    roots = [one if one is None else _absolute(one) for one in named]
    listing = json.dumps([FORMAT, kind, roots, data.low_resolution_name])
    key = hashlib.sha256(listing.encode()).hexdigest()[:16]
    return directory / "catalogs" / f"{fingerprint}-{key}"


def _absolute(root: str) -> str:
    return root if "://" in root else os.path.abspath(os.path.expanduser(root))


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
