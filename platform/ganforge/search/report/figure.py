"""What the images of a study have in common."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_DPI = 110


class Omitted(Exception):
    """An image that these trials do not give; the message says why."""


def figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty image of so many inches; no window system is asked."""
    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.add_subplot()
    prepare(axes)
    return made, axes


def prepare(axes: Axes) -> None:
    """The common look of all axes."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def legend(axes: Axes) -> None:
    """The legend outside, where it hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)


def png(made: Figure) -> bytes:
    """The image as a PNG file."""
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", dpi=_DPI, facecolor="white")
    return buffer.getvalue()
