"""How far a pixel of a network's output sees, along one axis: exact intervals of positions.

A layer is asked backwards: which positions of its input do these positions of its output depend on?
Composed from the last layer to the first this is the receptive field, without a bound or a guess.
"""

from collections.abc import Callable
from typing import NamedTuple


class Span(NamedTuple):
    """The positions `first` … `last` of one axis, both included."""

    first: int
    last: int


class Reach(NamedTuple):
    """Source pixels before and after a source pixel that its target pixels depend on."""

    before: int
    after: int


def convolution(span: Span, kernel_size: int, padding: int) -> Span:
    """What a convolution of stride 1 sees; `padding` is the number of pixels before the first."""
    return Span(span.first - padding, span.last - padding + kernel_size - 1)


def nearest(span: Span, factor: int) -> Span:
    """What nearest-neighbour enlargement sees."""
    return Span(span.first // factor, span.last // factor)


def bicubic(span: Span, factor: int) -> Span:
    """What bicubic enlargement sees: the centres of pixels less than two source pixels away.

    Output pixel o has its centre at (o + 1/2) / factor, source pixel p at p + 1/2.
    """
    period = 2 * factor
    first = (2 * span.first + 1 - 5 * factor) // period + 1
    last = -(-(2 * span.last + 1 + 3 * factor) // period) - 1
    return Span(first, last)


def hull(*spans: Span) -> Span:
    """The smallest span that holds all of `spans`: paths side by side."""
    return Span(min(span.first for span in spans), max(span.last for span in spans))


def reach(receptive_field: Callable[[Span], Span], scale: int) -> Reach:
    """The reach of a network that enlarges by `scale` and treats every source pixel alike."""
    spans = [receptive_field(Span(residue, residue)) for residue in range(scale)]
    return Reach(max(0, -min(s.first for s in spans)), max(0, max(s.last for s in spans)))
