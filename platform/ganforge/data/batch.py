"""The tensors of one step."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from ganforge.data.images import Pixels


@dataclass(frozen=True)
class Batch:
    """Images are float32 (N, C, H, W) in [-1, 1]; the sides of source and target may differ.

    `target` is what the generator should resemble, `source` what it is given (low resolution, edge
    map, domain A), `label` (N,) int64 class numbers, `index` (N,) int64 sample numbers.
    """

    target: Tensor
    source: Tensor | None = None
    label: Tensor | None = None
    index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.target)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Batch":
        """On `device`, images in `dtype` where one is given. What goes to a GPU is pinned first:
        else the copy would wait for the kernels before it."""
        moved = {}
        given = self.pinned() if torch.device(device).type == "cuda" else self
        for name, tensor in given._tensors().items():
            image = dtype if name in ("target", "source") else None
            moved[name] = tensor.to(device=device, dtype=image, non_blocking=True)
        return replace(self, **moved)

    def pinned(self) -> "Batch":
        """In memory that a GPU reads by itself, where there is one."""
        if not torch.cuda.is_available():
            return self
        tensors = self._tensors().items()
        return replace(
            self, **{n: t.pin_memory() if t.device.type == "cpu" else t for n, t in tensors}
        )

    def clone(self) -> "Batch":
        """The same values in memory of their own."""
        return replace(self, **{name: tensor.clone() for name, tensor in self._tensors().items()})

    def copy_(self, other: "Batch") -> None:
        """Take another batch's values; it has the same tensors, of the same shapes."""
        theirs = other._tensors()
        for name, tensor in self._tensors().items():
            tensor.copy_(theirs[name], non_blocking=True)

    def shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Its tensors by name, and their shapes."""
        return tuple((name, tuple(tensor.shape)) for name, tensor in self._tensors().items())

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @staticmethod
    def cat(batches: "list[Batch]") -> "Batch":
        """One batch of several with the same image sides, in order."""
        names = batches[0]._tensors()
        return Batch(**{n: torch.cat([getattr(b, n) for b in batches]) for n in names})


def to_tensor(planes: Sequence[Pixels]) -> Tensor:
    """Pixels (H, W, C) of equal sides as (N, C, H, W) in [-1, 1]: exactly -1 of 0 and 1 of 255.

    NumPy, since torch's operations on the prefetching thread would start a second pool of threads.
    """
    height, width, channels = planes[0].shape
    out = np.empty((len(planes), channels, height, width), np.float32)
    for number, plane in enumerate(planes):
        out[number] = plane.transpose(2, 0, 1)
    out /= np.float32(127.5)
    out -= np.float32(1)
    return torch.from_numpy(out)


def numbered(numbers: range) -> Tensor:
    """Sample numbers as the `index` of a batch."""
    return torch.arange(numbers.start, numbers.stop, dtype=torch.int64)


def paired_batch(pairs: Sequence[tuple[Pixels, Pixels]], numbers: range) -> Batch:
    """One batch of (target, source) with equal sides; `numbers` become its `index`."""
    targets, sources = zip(*pairs, strict=True)
    return Batch(to_tensor(targets), to_tensor(sources), index=numbered(numbers))
