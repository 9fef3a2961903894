"""Stages that trials have in common: where a new one can begin, and what it then costs."""

from collections.abc import Hashable, Sequence

import numpy as np

from ganforge.search.strategies.base import Begin, Branch, Candidates, Curve, Point, Seen
from ganforge.search.strategies.curve_model import Indices


def common(curve: Curve) -> int:
    """How many rungs a trial has from the one that it branched from."""
    return curve.branch.rung if curve.branch is not None else 0


def stages_done(seen: Seen, curve: Curve) -> int:
    """The stages of a trial at whose ends others may begin: all that it has trained but the last of
    a run."""
    size = seen.stage_rungs
    return min(curve.rung, seen.rungs - size) // size


def origins(seen: Seen, candidates: Candidates, points: Sequence[Point]) -> tuple[Indices, Indices]:
    """The curve whose first stages each point has, the oldest of those with most in common, and
    the rung where they end: (points,) each; -1 and 0 where there is none."""
    ends: dict[tuple[int, Hashable], int] = {}
    for k, curve in enumerate(seen.curves):
        for stages in range(1, stages_done(seen, curve) + 1):
            ends.setdefault((stages, candidates.early(curve.point, stages)), k)
    origin = np.full(len(points), -1)
    rung = np.zeros(len(points), dtype=np.int64)
    deepest = max((stages for stages, _ in ends), default=0)
    for k, point in enumerate(points):
        for stages in range(deepest, 0, -1):
            found = ends.get((stages, candidates.early(point, stages)))
            if found is not None:
                origin[k], rung[k] = found, stages * seen.stage_rungs
                break
    return origin, rung


def joined(seen: Seen, candidates: Candidates, point: Point) -> Branch | None:
    """What a trial at this point branches from; None where it has no stage in common with one."""
    origin, rung = origins(seen, candidates, [point])
    return begin(seen, point, origin[0], rung[0]).branch


def begin(seen: Seen, point: Point, origin: int, rung: int) -> Begin:
    """A new trial; a branch of a curve where it has so many rungs in common with it."""
    return Begin(point, Branch(seen.curves[origin].number, int(rung)) if rung else None)
