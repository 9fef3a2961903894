"""A CUDA graph of the CPU: the kernels that a pass starts, recorded once and started again.

As on a GPU, nothing of Python runs in a replay: what a pass decided, read from a tensor or computed
on the host is what it was when it was recorded, each kernel reads the tensors that it read then,
and its results go into those that it wrote. Memory is not used again, so that no order is hidden.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganforge.training.workers import ShardPass

#: hand on memory that a later kernel writes, as views do
_MEMORY = ("empty", "empty_like", "empty_strided", "new_empty", "lift_fresh", "_unsafe_view")


@dataclass
class Tape:
    """What replays: kernels with their arguments and results."""

    kernels: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = field(
        default_factory=list
    )
    replays: int = 0

    def replay(self) -> None:
        self.replays += 1
        with torch.no_grad():
            for kernel, args, kwargs, wrote in self.kernels:
                again = tree_leaves(kernel(*args, **kwargs))
                for old, new in zip(tree_leaves(wrote), again, strict=True):
                    if isinstance(old, Tensor) and old is not new:
                        old.copy_(new)


class Recording(TorchDispatchMode):
    """Puts every kernel below autograd on a tape, those of backward passes included."""

    def __init__(self, tape: Tape):
        super().__init__()
        self.tape = tape

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view and func._schema.name.removeprefix("aten::") not in _MEMORY:
            self.tape.kernels.append((func, args, kwargs, out))
        return out


@dataclass
class TapeRecorder:
    """Records passes as `ganforge.training.capture.cuda_graph` does."""

    tapes: list[Tape] = field(default_factory=list)

    def __call__(
        self, compute: Callable[[], ShardPass | None], other: Any
    ) -> tuple[Tape, ShardPass | None]:
        tape = Tape()
        drawn = torch.default_generator.get_state()
        with Recording(tape):
            found = compute()
        torch.default_generator.set_state(drawn)
        self.tapes.append(tape)
        return tape, found
