"""CPU tensors that pretend to be on `cuda:0`, to find what only a GPU would complain of.

Storages are tagged. One mode stands between Python and torch: a tagged tensor says that it is on
cuda:0, `.to`, `.cuda`, `.cpu` and `device=` tag or copy, and reading a tagged tensor back is noted.
A second one sees each operation below autograd, backward passes included: one that is given tagged
and untagged tensors is a mix-up, as it is on a GPU, except copies, indices of the CPU, and numbers
of the CPU in pointwise operations.

It computes on the CPU: what a GPU has no kernel for, its own list of autocast operations, NCCL and
memory cannot be seen here (tests/training/test_gpu.py sees them where there is a GPU), and `.cpu()`
ends a gradient's way, which it does not on a GPU.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")
_COPIES = ("copy_", "_to_copy", "_copy_from")
_INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
#: operations that hand on memory and start no kernel, besides views
_FREE = (
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "detach",
    "_local_scalar_dense",
    "lift_fresh",
)


class MixUp(AssertionError):
    """One operation on tensors of two devices."""


class Tags:
    """Which storages are on the pretended GPU. A weak reference holds the address, so that a new
    storage is not taken for one that is gone."""

    def __init__(self) -> None:
        self._found: dict[int, StorageWeakRef] = {}

    def add(self, tensor: Tensor) -> None:
        ref = StorageWeakRef(tensor.untyped_storage())
        self._found.setdefault(ref.cdata, ref)
        if len(self._found) > 20_000:
            self._found = {key: ref for key, ref in self._found.items() if not ref.expired()}

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._found


class Pretended:
    """What was seen: which functions of the package read the GPU back, how many times, and how many
    kernels each operation took."""

    def __init__(self) -> None:
        self.tags = Tags()
        self.reads: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()

    def read(self) -> None:
        frame = sys._getframe()
        while frame is not None and "/ganforge/" not in frame.f_code.co_filename:
            frame = frame.f_back
        self.reads["a test" if frame is None else frame.f_code.co_qualname] += 1


def _given_device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device | None:
    """The device that a call names, as an argument or by keyword."""
    named = kwargs.get("device")
    if named is None:
        named = next((a for a in args if isinstance(a, torch.device)), None)
    if named is None and args and isinstance(args[0], str) and args[0].startswith(("cuda", "cpu")):
        named = args[0]
    return None if named is None else torch.device(named)


class Below(TorchDispatchMode):
    """Each operation that is computed."""

    def __init__(self, seen: Pretended):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tags, name = self.seen.tags, func._schema.name.removeprefix("aten::")
        tensors = [a for a in tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
        on = [tensor in tags for tensor in tensors]
        if any(on) and not all(on) and name not in _COPIES:
            off = [t for t, tagged in zip(tensors, on, strict=True) if not tagged]
            indices = name in _INDEXED and tensors[0] in tags
            if not indices and not all(t.dim() == 0 for t in off):
                shapes = [tuple(t.shape) for t in off]
                raise MixUp(f"{name} of tensors on {CUDA} and of {shapes} on the CPU")
        if name == "_local_scalar_dense" and on[0]:
            self.seen.read()
        out = func(*args, **(kwargs or {}))
        # autograd makes zeros where it made their gradients: on the GPU, if there are any there
        made_by_autograd = not tensors and torch._C._current_graph_task_id() != -1
        target = on[0] if on and name in _COPIES else any(on) or made_by_autograd
        if target:
            for made in tree_leaves(out):
                if isinstance(made, Tensor):
                    tags.add(made)
            if not func.is_view and name not in _FREE:
                self.seen.launches[name] += 1
        return out


class Above(TorchFunctionMode):
    """Each call of torch from Python."""

    def __init__(self, seen: Pretended):
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, tags = dict(kwargs or {}), self.seen.tags
        name = getattr(func, "__name__", "")
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None and name == "__get__":
            owner = getattr(func, "__self__", None)
            if owner is Tensor.device:
                return CUDA if first in tags else func(*args, **kwargs)
            if owner is Tensor.is_cuda:
                return first in tags
        if first is not None and name == "pin_memory":
            return first
        if first is not None and name in ("to", "cuda", "cpu"):
            return self._moved(func, name, first, args, kwargs)
        if first is not None and first in tags and name in ("numpy", "tolist", "__array__"):
            self.seen.read()
        wanted = kwargs.get("device")
        # (a module parses what its parameters are moved to)
        if wanted is not None and name != "_parse_to" and torch.device(wanted).type == "cuda":
            out = func(*args, **kwargs | {"device": CPU})
            tree_map(lambda made: tags.add(made) if isinstance(made, Tensor) else None, out)
            return out
        return func(*args, **kwargs)

    def _moved(self, func: Any, name: str, first: Tensor, args: Any, kwargs: Any) -> Tensor:
        wanted = {"cuda": CUDA, "cpu": CPU}.get(name) or _given_device(args[1:], kwargs)
        other = args[1] if len(args) > 1 and isinstance(args[1], Tensor) else None
        if other is not None:
            wanted = CUDA if other in self.seen.tags else CPU
        rest = {k: v for k, v in kwargs.items() if k not in ("device", "non_blocking")}
        plain = [
            a for a in args[1:] if not isinstance(a, torch.device | str | bool) and a is not None
        ]
        made = first.to(*plain, **rest) if name == "to" and (plain or rest) else first
        if wanted is None or (wanted.type == "cuda") == (first in self.seen.tags):
            return made
        if wanted.type == "cpu":
            self.seen.read()
        moved = made.clone(memory_format=torch.preserve_format)  # keeps autograd's history
        if wanted.type == "cuda":
            self.seen.tags.add(moved)
            return moved
        # what a copy of a tagged tensor made is tagged: memory of its own, as on the CPU
        return _untagged(made, self.seen)


def _untagged(tensor: Tensor, seen: Pretended) -> Tensor:
    with torch._C.DisableTorchFunction(), _without_modes():
        return tensor.detach().clone(memory_format=torch.preserve_format)


@contextmanager
def _without_modes() -> Iterator[None]:
    from torch.utils._python_dispatch import _disable_current_modes

    with _disable_current_modes():
        yield


@contextmanager
def pretend_cuda() -> Iterator[Pretended]:
    """torch sees one GPU, cuda:0, which computes on the CPU."""
    seen = Pretended()
    with (
        patch("torch.cuda.is_available", lambda: True),
        patch("torch.cuda.current_device", lambda: 0),
        patch("torch.cuda.manual_seed", lambda seed: None),
        patch("torch.cuda.is_initialized", lambda: False),
        # an optimizer asks the driver whether a graph is being recorded
        patch("torch.accelerator.current_stream", lambda device=None: None),
        patch("torch.optim.Optimizer._accelerator_graph_capture_health_check", lambda self: None),
        Below(seen),
        Above(seen),
    ):
        yield seen
