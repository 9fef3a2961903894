"""What the images of a study have in common."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ganforge.errors import GanforgeError

_DPI = 110


class Omitted(GanforgeError):
    """An image that these trials do not give; the message says why."""


class Plot(Figure):
    """A figure that a notebook shows by itself; no window system is asked."""

    def __init__(self, width: float, height: float):
        """An empty one of so many inches."""
        super().__init__(figsize=(width, height), layout="constrained")

    def _repr_png_(self) -> bytes:
        return png(self)


def figure(width: float, height: float) -> tuple[Plot, Axes]:
    """An empty image of so many inches with one pair of axes."""
    made = Plot(width, height)
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
