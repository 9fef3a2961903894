"""Parallel coordinates: searched settings and the score, one line for each trial.

Drawn here and not by optuna.visualization, which leaves out trials that were stopped early and
cuts the names of settings.
"""

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

from matplotlib import colormaps

from ganforge.search.report.figure import Omitted, Plot, figure, legend
from ganforge.search.report.table import TrialRow
from ganforge.tracking.palette import colour

_TICKS = 5
#: trials that have a name and a colour each
_NAMED = 16
_APART = 0.06


def parallel(
    rows: Sequence[TrialRow], logarithmic: Collection[str], metric: str, mode: str
) -> Plot:
    """Searched settings and the last score, one line for each trial, the best one drawn last. Those
    that finished come after the others."""
    scored = [row for row in rows if row.score is not None]
    keys = list(dict.fromkeys(key for row in scored for key in row.params))
    if len(scored) < 2 or not keys:
        raise Omitted("parallel coordinates: fewer than two trials with a score")
    axes_values = {key: [row.params.get(key) for row in scored] for key in keys}
    scales = {key: Scale(values, key in logarithmic) for key, values in axes_values.items()}
    scales[metric] = Scale([row.score for row in scored], False)
    made, axes = figure(max(7.0, 1.45 * len(scales) + 1), 5.2)
    order = sorted(
        scored,
        key=lambda row: (
            row.state == "finished",
            _sign(mode) * _number(row.score),
            -row.number,
        ),
    )
    many = len(order) > _NAMED
    for rank, row in enumerate(order):
        values = [row.params.get(key) for key in keys] + [row.score]
        heights = [s.position(v) for s, v in zip(scales.values(), values, strict=True)]
        best = row is order[-1]
        finished = row.state == "finished"
        label = f"trial {row.number}" + ("" if finished else f" ({row.state})")
        shade = colour(row.number)
        if many:
            # too many to be named: the better, the brighter
            shade = colormaps["viridis"](rank / (len(order) - 1))
            label = f"{label}, the best" if best else "_"
        axes.plot(
            range(len(heights)),
            heights,
            color=shade,
            lw=3.5 if best else 0.9 if many else 1.8,
            ls="-" if finished else "--",
            alpha=1.0 if best else 0.75,
            label=label,
        )
    if many:
        for part, label in ((0.8, "better"), (0.2, "worse")):
            axes.plot([], [], color=colormaps["viridis"](part), label=label)
        axes.plot([], [], "--", color=colormaps["viridis"](0.5), label="not finished")
    for column, (key, scale) in enumerate(scales.items()):
        axes.axvline(column, color="black", lw=1, zorder=0)
        for height, text in scale.ticks():
            box = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8}
            axes.text(column + 0.04, height, text, fontsize=8, va="center", bbox=box, zorder=5)
        name = f"{key}\n(log)" if scale.log else key
        axes.text(column, -0.06, name, rotation=25, ha="right", va="top", fontsize=9)
    axes.set_axis_off()
    axes.set_xlim(-0.2, len(scales) - 0.6)
    axes.set_ylim(-0.03, 1.03)
    axes.set_title("Searched settings and score")
    legend(axes)
    return made


def _sign(mode: str) -> int:
    return 1 if mode == "max" else -1


def _number(value: float | None) -> float:
    return math.nan if value is None else value


class Scale:
    """Positions of values between 0 and 1 on one axis: numbers by size, others in order."""

    def __init__(self, values: Sequence[Any], log: bool):
        known = [value for value in values if value is not None]
        self.numeric = all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in known
        )
        self.log = log and self.numeric and min(known) > 0
        if self.numeric:
            self.values = sorted(set(known))
        else:
            self.values = list(dict.fromkeys(sorted(map(str, known))))

    def _at(self, value: Any) -> float:
        if not self.numeric:
            return float(self.values.index(str(value)))
        return math.log10(value) if self.log else float(value)

    def position(self, value: Any) -> float:
        """Where a value is; nowhere when there is none, the middle when all are equal."""
        if value is None:
            return math.nan
        low, high = self._at(self.values[0]), self._at(self.values[-1])
        return 0.5 if low == high else (self._at(value) - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Heights with their labels: all values while they are few and apart, else five."""
        shown = self.values
        heights = [self.position(value) for value in shown]
        near = any(b - a < _APART for a, b in pairwise(heights))
        if near or len(shown) > _TICKS:
            low, high = self._at(shown[0]), self._at(shown[-1])
            middle = [low + (high - low) * part / (_TICKS - 1) for part in range(_TICKS)]
            if not self.numeric:
                shown = [self.values[round(value)] for value in middle]
            elif all(isinstance(value, int) for value in shown):
                shown = sorted({round(10**value if self.log else value) for value in middle})
            else:
                shown = [10**value if self.log else value for value in middle]
        return [
            (self.position(value), label)
            for value, label in zip(shown, _labels(shown), strict=True)
        ]


def _labels(values: Sequence[Any]) -> list[str]:
    """Numbers with three digits, or as many as tell them apart; others as they are."""
    found: list[str] = []
    for digits in range(3, 10):
        found = [f"{v:.{digits}g}" if isinstance(v, float) else str(v) for v in values]
        if len(set(found)) == len(set(values)):
            break
    return found
