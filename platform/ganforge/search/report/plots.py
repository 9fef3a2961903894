"""Scores in the order of suggestion, and ranks from stage to stage.

Drawn here and not by optuna.visualization, which leaves out trials that were stopped early.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ganforge.search.report.figure import Omitted, Plot, figure, legend
from ganforge.search.report.table import TrialRow, ranks
from ganforge.tracking.palette import colour

_FAINT = "#9a9a9a"
_MARKS = {"finished": "o", "stopped": "v"}
#: trials that are named: at one point, and of many trials at about so many ranks
_TOGETHER, _MOST_LABELS = 4, 30


def history(rows: Sequence[TrialRow], metric: str, mode: str) -> Plot:
    """The last score of each trial in the order of suggestion, and the best finished so far."""
    scored = [row for row in rows if row.score is not None]
    if not scored:
        raise Omitted("optimization history: no trial ended a stage")
    made, axes = figure(8.0, 4.2)
    best: list[float] = []
    pick = max if mode == "max" else min
    numbers = []
    for row in scored:
        assert row.score is not None
        axes.plot(row.number, row.score, _MARKS.get(row.state, "s"), color=colour(row.number), ms=9)
        if row.state == "finished":
            best.append(pick([*best[-1:], row.score]))
            numbers.append(row.number)
    if best:
        # what was best stays so until the last trial
        numbers.append(scored[-1].number)
        best.append(best[-1])
        axes.step(numbers, best, where="post", color=_FAINT, zorder=0)
    for mark, label in (("o", "finished"), ("v", "stopped early, its last score"), ("s", "other")):
        if any(_MARKS.get(row.state, "s") == mark for row in scored):
            axes.plot([], [], mark, color="black", label=label)
    if best:
        axes.plot([], [], color=_FAINT, label="best finished so far")
    references = {
        b for row in scored if row.stages and (b := row.stages[-1].bicubic(metric)) is not None
    }
    if len(references) == 1:
        axes.axhline(references.pop(), ls=":", color="black", lw=1, label="bicubic")
    axes.set(xlabel="trial", ylabel=metric, title="Optimization history")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes)
    return made


def _name_trials(axes: Axes, point: tuple[int, int], rows: Sequence[TrialRow]) -> None:
    """The trials that ended at a point, one below the other; of many the first ones."""
    for line, row in enumerate(rows[:_TOGETHER]):
        text = f"trial {row.number}" + (" (stopped)" if row.state == "stopped" else "")
        if line == _TOGETHER - 1 and len(rows) > _TOGETHER:
            text += f" and {len(rows) - _TOGETHER} more"
        axes.annotate(
            text,
            point,
            xytext=(10, -11 * line),
            textcoords="offset points",
            va="center",
            color=colour(row.number),
        )


def stage_ranks(rows: Sequence[TrialRow], resolutions: Sequence[int], mode: str) -> Plot:
    """The rank of each trial among those that ended a stage, from stage to stage."""
    scored = [row for row in rows if row.score is not None]
    if len(scored) < 2:
        raise Omitted("ranks by stage: fewer than two trials ended a stage")
    found = ranks(scored, len(resolutions), mode)
    made, axes = figure(8.0, min(16.0, max(3.0, 1.6 + 0.42 * len(scored))))
    ended: dict[tuple[int, int], list[TrialRow]] = {}
    for row in scored:
        points = [(k, rank) for k, rank in enumerate(found[row.number]) if rank is not None]
        if not points:
            continue
        axes.plot(*zip(*points, strict=True), "-o", color=colour(row.number), lw=2.5, ms=9)
        ended.setdefault(points[-1], []).append(row)
    apart = max(1, len(scored) // _MOST_LABELS)
    for point, rows_here in ended.items():
        if point[1] % apart == 0 or point[1] == 1:
            _name_trials(axes, point, rows_here)
    names = [f"stage {k}\n{side} px" for k, side in enumerate(resolutions)]
    axes.set_xticks(range(len(resolutions)), names)
    axes.set_xlim(-0.3, len(resolutions) - 1 + 0.6)
    axes.set_ylim(len(scored) + 0.5, 0.5)
    axes.set_yticks(range(1, len(scored) + 1, max(1, len(scored) // 12)))
    axes.set(ylabel="rank (1 is best)", title="Rank of each trial at the end of each stage")
    return made
