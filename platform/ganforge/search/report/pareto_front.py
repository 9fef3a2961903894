"""Several objectives against each other, and how the front grew."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ganforge.search.pareto import hypervolume
from ganforge.search.report.figure import Omitted, Plot, prepare
from ganforge.search.report.table import TrialRow
from ganforge.systems.base import Metric
from ganforge.tracking.palette import colour

_FAINT = "#9a9a9a"
#: from this ratio of the largest to the smallest value on an axis is logarithmic
_WIDE = 50.0


def pareto_front(rows: Sequence[TrialRow], objectives: Sequence[Metric]) -> Plot:
    """The first objective over each other one, a point for each trial with the front marked. With
    three objectives each panel has the front of all three, which is none in two of them alone. With
    two objectives also which part of the box between the worst and the best values the finished
    trials dominate, trial after trial."""
    first, others = objectives[0], objectives[1:]
    finished = [row for row in rows if row.state == "finished" and row.values]
    if len(finished) < 2:
        raise Omitted("Pareto front: fewer than two trials finished")
    panels = len(others) + (len(objectives) == 2)
    made = Plot(5.6 * panels, 4.6)
    axes = [made.add_subplot(1, panels, number + 1) for number in range(panels)]
    for panel, other in zip(axes, others, strict=False):
        _scatter(panel, rows, other, first, steps=len(objectives) == 2)
    if len(objectives) == 2:
        _growth(axes[-1], finished, objectives)
    handles, labels = axes[0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return made


def _scatter(axes: Axes, rows: Sequence[TrialRow], across: Metric, up: Metric, steps: bool) -> None:
    prepare(axes)

    def point(row: TrialRow) -> tuple[float, float]:
        return row.values[across.name], row.values[up.name]

    finished = [row for row in rows if row.state == "finished" and row.values]
    behind = [row for row in finished if not row.front]
    stopped = [row for row in rows if row.state in ("stopped", "paused") and row.values]
    front = sorted((row for row in finished if row.front), key=point)
    for found, mark, label in (
        (stopped, "v", "stopped or paused, its last values"),
        (behind, "o", "finished, another one is better"),
    ):
        if found:
            axes.plot(*_columns(map(point, found)), mark, color=_FAINT, ms=7, label=label)
    if steps:
        # up to the next trial of the front nothing better is known
        where = "pre" if across.mode == "max" else "post"
        axes.step(*_columns(map(point, front)), where=where, color=_FAINT, lw=1, zorder=0)
    for row in front:
        x, y = point(row)
        axes.plot(x, y, "o", color=colour(row.number), ms=15)
        number = str(row.number)
        axes.annotate(number, (x, y), ha="center", va="center", color="white", fontsize=8)
    axes.plot([], [], "o", color="black", ms=10, label="Pareto front, number of the trial")
    values = [point(row)[0] for row in (*finished, *stopped)]
    if min(values) > 0 and max(values) / min(values) >= _WIDE:
        axes.set_xscale("log")
    axes.margins(0.12)
    axes.set(xlabel=_axis(across), ylabel=_axis(up), title="Pareto front")


def _growth(axes: Axes, finished: Sequence[TrialRow], objectives: Sequence[Metric]) -> None:
    """The share of the box from the worst to the best values that is dominated."""
    prepare(axes)
    axes.set(xlabel="trial", ylabel="share of the box", title="What the front dominates")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    signs = [1 if metric.mode == "max" else -1 for metric in objectives]
    names = [metric.name for metric in objectives]
    ordered = sorted(finished, key=lambda row: row.number)
    table = np.array(
        [[s * row.values[n] for s, n in zip(signs, names, strict=True)] for row in ordered]
    )
    extent = table.max(0) - table.min(0)
    if not extent.all():
        axes.text(0.5, 0.5, "one value is the same in all trials", ha="center", va="center")
        return
    places = [(float(x), float(y)) for x, y in (table - table.min(0)) / extent]
    shares = [hypervolume(places[: count + 1], (0.0, 0.0)) for count in range(len(places))]
    axes.step([row.number for row in ordered], shares, "-o", where="post", color="black", ms=4)
    axes.set_ylim(-0.03, 1.03)


def _columns(
    points: "Sequence[tuple[float, float]] | map[tuple[float, float]]",
) -> list[list[float]]:
    found = list(points)
    return [[x for x, _ in found], [y for _, y in found]]


def _axis(metric: Metric) -> str:
    return f"{metric.name}, {'lower' if metric.mode == 'min' else 'higher'} is better"
