"""Many texts in one array of their bytes: a million of them are two arrays."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


class Texts(Sequence[str]):
    """Texts that lie one after another in `content`, and end at `ends`."""

    def __init__(self, content: NDArray[np.uint8], ends: NDArray[np.int64]):
        self._content, self._ends = content, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        begin = int(self._ends[number - 1]) if number else 0
        # names of files may have bytes that are no text
        return os.fsdecode(self._content[begin : int(self._ends[number])].tobytes())


def text_columns(name: str, texts: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The two arrays of some texts, by the names under which they are kept."""
    encoded = [os.fsencode(text) for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return {name: np.frombuffer(b"".join(encoded), np.uint8), f"{name}.ends": ends}
