"""What a search strategy sees and decides.

A strategy is a pure function of what it is shown: it keeps nothing between two calls, and draws
what it draws from a generator seeded by the search's seed and the number of the decision. So a
search that was interrupted decides as an undisturbed one, and a decision can be computed again.
"""

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

#: of a trial, as a strategy sees it: a paused one can be continued, the last three are over
CurveState = Literal["running", "paused", "finished", "stopped", "failed"]
Point = Mapping[str, Any]


@dataclass(frozen=True)
class Branch:
    """Where a trial comes from: it agrees with trial `parent` up to `rung`, which is the end of a
    stage, and takes the place of trial `replaces`, which ends with it."""

    parent: int
    rung: int
    replaces: int | None = None


@dataclass(frozen=True)
class Curve:
    """A trial: its point, and what it scored and cost at each rung that it has reached.

    `scores` are such that larger is better, and finite; `costs` are what it took from the rung
    before, in the unit of `Seen.work`. A failed trial has the scores from before it failed.
    One that began as a `branch` reaches the rungs that it has in common with its parent again, with
    the same scores and for nothing.
    """

    number: int
    point: Point
    scores: tuple[float, ...] = ()
    costs: tuple[float, ...] = ()
    state: CurveState = "running"
    branch: Branch | None = None

    @property
    def rung(self) -> int:
        """How many rungs it has reached."""
        return len(self.scores)


@dataclass(frozen=True)
class Seen:
    """All trials of a search in the order in which they began, which is that of their numbers, and
    the frame they run in.

    A whole run has `rungs` rungs, a stage `stage_rungs` of them. `work` is what each costs next to
    the others. Costs are counted in images by their size, not in seconds: a decision that hung on a
    clock could not be made again. `decision` is the number of this decision: with `seed` it seeds
    what a strategy draws. `fresh` says whether a new trial may begin (the search may have all that
    it was asked for).
    """

    curves: tuple[Curve, ...]
    rungs: int
    work: tuple[float, ...]
    seed: int = 0
    decision: int = 0
    fresh: bool = True
    stage_rungs: int = 1
    #: by rung the scores of all that have reached it, ascending, where somebody keeps them
    kept_scores: Mapping[int, Sequence[float]] | None = field(
        default=None, repr=False, compare=False
    )

    def curve(self, number: int) -> Curve:
        """The trial of this number."""
        position = bisect_left(self.curves, number, key=lambda curve: curve.number)
        return self.curves[position]

    def scores_at(self, rung: int) -> Sequence[float]:
        """The scores at a rung of all trials that have reached it, ascending."""
        if self.kept_scores is not None:
            return self.kept_scores.get(rung, ())
        return sorted(curve.scores[rung - 1] for curve in self.curves if curve.rung >= rung)

    @cached_property
    def paused(self) -> tuple[Curve, ...]:
        """The trials that can be continued."""
        return tuple(curve for curve in self.curves if curve.state == "paused")

    def generator(self) -> np.random.Generator:
        """The random generator of this decision."""
        return np.random.default_rng((self.seed, self.decision))


class Candidates(Protocol):
    """Where new points come from."""

    def draw(self, generator: np.random.Generator, count: int) -> Sequence[Point]:
        """Up to `count` distinct points that no trial has had, at random; empty where the space is
        exhausted."""
        ...

    def near(self, point: Point, generator: np.random.Generator, count: int) -> Sequence[Point]:
        """Up to `count` distinct points that no trial has had, close to `point`."""
        ...

    def encode(self, points: Sequence[Point]) -> NDArray[np.float64]:
        """Points as rows of numbers between 0 and 1: (points, features)."""
        ...

    def branch(self, point: Point, stages: int, generator: np.random.Generator) -> Point | None:
        """A point that no trial has had, and that differs from `point` in stages after the first
        `stages` alone; None where there is none."""
        return None

    def early(self, point: Point, stages: int) -> Hashable:
        """What decides the first `stages` stages: trials that have it equal have them in common. An
        empty tuple where all trials do."""
        return tuple(point.items())


@dataclass(frozen=True)
class Begin:
    """Start a new trial: at `point`, or where the sampler suggests. A `branch` is recorded, and the
    paused trial that it replaces is stopped. Where the sampler's point turns out to have its first
    stages in common with a trial, it is a branch of that if it `joins`."""

    point: Point | None = None
    branch: Branch | None = None
    joins: bool = False


@dataclass(frozen=True)
class Continue:
    """Let a paused trial run on, to its next rung."""

    number: int


@dataclass(frozen=True)
class Nothing:
    """Leave the worker free: until something is reported, or for good if nothing runs."""


Decision = Begin | Continue | Nothing


class Strategy(Protocol):
    """Which trial gets a worker. All trials that are not over and do not run are paused."""

    def next(self, seen: Seen, candidates: Candidates) -> Decision:
        """What a free worker does."""
        ...

    def continues(self, seen: Seen, number: int, candidates: Candidates) -> bool:
        """Whether the trial that has just reached a rung (its newest score) continues at once.

        It is shown as running. Where not, it is paused, or stopped if the strategy never continues
        a paused trial (`pauses`)."""
        ...

    @property
    def pauses(self) -> bool:
        """Whether a trial that is not continued at once may be continued later."""
        ...
