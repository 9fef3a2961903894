"""Many decoded images as columns: what a million of them are in memory is a few arrays."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ganforge.data.images import Decoded, SourceImage

DIGEST_BYTES = 32


class Numbers(Sequence[int]):
    """Whole numbers in an array; equal to any sequence of the same ones."""

    def __init__(self, numbers: Iterable[int] | NDArray[np.int64]):
        array = numbers if isinstance(numbers, np.ndarray) else np.fromiter(numbers, np.int64)
        self.array: NDArray[np.int64] = array

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, number: int) -> int: ...
    @overload
    def __getitem__(self, number: slice) -> "Numbers": ...
    def __getitem__(self, number: int | slice) -> "int | Numbers":
        if isinstance(number, slice):
            return Numbers(self.array[number])
        return int(self.array[number])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self.array.tobytes())

    def __repr__(self) -> str:
        return f"Numbers({list(self[:5])}{', …' if len(self) > 5 else ''})"


@dataclass(frozen=True, eq=False)
class ImageTable(Sequence[Decoded]):
    """Decoded images in order: where they come from, the sha256 of their pixels, (n, 32) uint8, and
    their sides, (n,) int32."""

    sources: Sequence[SourceImage]
    digests: NDArray[np.uint8]
    heights: NDArray[np.int32]
    widths: NDArray[np.int32]
    #: the number of each image's class, (n,) int32, where the sources do not have to be asked
    classes: NDArray[np.int32] | None = field(default=None, repr=False)
    #: sha256 over `digests`, where it is known already
    known_content: str = ""

    @classmethod
    def of(cls, images: Sequence[Decoded]) -> "ImageTable":
        """The same images as a table."""
        if isinstance(images, ImageTable):
            return images
        digests = np.frombuffer(bytes.fromhex("".join(one.digest for one in images)), np.uint8)
        return cls(
            tuple(one.image for one in images),
            digests.reshape(len(images), DIGEST_BYTES),
            np.array([one.height for one in images], np.int32),
            np.array([one.width for one in images], np.int32),
        )

    def __len__(self) -> int:
        return len(self.heights)

    @overload
    def __getitem__(self, number: int) -> Decoded: ...
    @overload
    def __getitem__(self, number: slice) -> "ImageTable": ...
    def __getitem__(self, number: int | slice) -> "Decoded | ImageTable":
        if isinstance(number, slice):
            return self.take(range(*number.indices(len(self))))
        return Decoded(
            self.sources[number],
            self.digests[number].tobytes().hex(),
            int(self.heights[number]),
            int(self.widths[number]),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self.digests.tobytes())

    def __add__(self, other: "ImageTable") -> "ImageTable":
        return ImageTable(
            (*self.sources, *other.sources),
            np.concatenate([self.digests, other.digests]),
            np.concatenate([self.heights, other.heights]),
            np.concatenate([self.widths, other.widths]),
        )

    def take(self, numbers: Sequence[int]) -> "ImageTable":
        """The images of these numbers, in their order."""
        chosen = np.asarray(numbers, np.int64)
        return ImageTable(
            tuple(self.sources[number] for number in chosen.tolist()),
            self.digests[chosen],
            self.heights[chosen],
            self.widths[chosen],
        )

    def names(self) -> list[str]:
        """The name of each image."""
        return [source.name for source in self.sources]

    def hexadecimal(self) -> list[str]:
        """The sha256 of each image's pixels."""
        text = self.digests.tobytes().hex()
        step = 2 * DIGEST_BYTES
        return [text[start : start + step] for start in range(0, len(text), step)]

    @cached_property
    def content(self) -> str:
        """sha256 over the hashes of all images."""
        return self.known_content or hashlib.sha256(self.digests.tobytes()).hexdigest()

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """The number of each image's class, -1 without one."""
        if self.classes is not None:
            return self.classes
        found = (-1 if one.label is None else one.label for one in self.sources)
        return np.fromiter(found, np.int32, len(self))

    @cached_property
    def sizes(self) -> tuple[list[tuple[int, int]], NDArray[np.intp]]:
        """The different (height, width) that images have, and for each image the number of its own:
        what follows from sides is computed once for each."""
        if len(self):
            first = int(self.heights[0]), int(self.widths[0])
            if (self.heights == first[0]).all() and (self.widths == first[1]).all():
                return [first], np.broadcast_to(np.intp(0), len(self))
        joined = self.heights.astype(np.int64) << 32 | self.widths
        found, which = np.unique(joined, return_inverse=True)
        return [(int(one >> 32), int(one & 0xFFFFFFFF)) for one in found], which

    def by_size(self, values: Sequence[Any], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each of `numbers` the value of its size; `values` has one for each different size."""
        return np.asarray(values, np.int64)[self.sizes[1][numbers]]
