"""How far the preparation of many images is, for what shows it. Nothing depends on it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
#: called with what is done ("reading images"), how many are done, and of how many
OnImages = Callable[[str, int, int], None]
_listener: ContextVar[OnImages | None] = ContextVar("image_progress", default=None)


@contextmanager
def image_progress(listener: OnImages) -> Iterator[None]:
    """Inside the block `listener` hears of each image, in the thread that began the block."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def counted(what: str, results: Iterable[T], total: int) -> Iterator[T]:
    """The same results, each announced when it is there."""
    listener = _listener.get()
    for done, result in enumerate(results, 1):
        if listener is not None:
            listener(what, done, total)
        yield result
