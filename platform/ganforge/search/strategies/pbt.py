"""Population based training (arXiv:1711.09846): members that do badly go on from a better one's
weights, with other settings.

The paper's *exploit* copies weights and settings between members; here it is a branch. A member
that ends a stage among the weakest is stopped, and a new trial takes its place: it agrees with one
of the strongest in all stages that are done, so these are the same stages, taken from the ledger
bit for bit, and differs in the later ones (*explore*, search/by_stage.py). Any member is then an
ordinary trial, whose settings alone say how to train it again.

Members are ranked by their scores at one stage end, among those that came there so far: nobody
waits for the others, and scores of different stages are not compared. A stage that a branch took
over is its parent's and counts once.
"""

import math
from dataclasses import dataclass

from ganforge.search.strategies.base import (
    Begin,
    Branch,
    Candidates,
    Continue,
    Curve,
    Decision,
    Nothing,
    Seen,
)
from ganforge.settings import SettingsError, shown

#: members, where the number of trials allows as many
_MEMBERS = 8
_LEAST = 2


@dataclass(frozen=True)
class PopulationBased:
    """`population` members train at a time, or as many as there are workers, the others in turns.

    Truncation selection (section 4.1.1): of those that ended a stage the last `quantile` is
    replaced by branches of the first `quantile` (the paper takes 0.2), at least one of two and at
    most every second one. A member that failed is replaced too. Without trials left to begin,
    all members train to their end.
    """

    population: int = _MEMBERS
    quantile: float = 0.25
    pauses = True
    by_stage = True

    def next(self, seen: Seen, candidates: Candidates) -> Decision:
        if self._has_room(seen):
            return self._instead_of_failed(seen, candidates) or Begin()
        if not seen.paused:
            return Nothing()
        # all of them reach a stage end before any goes beyond it
        curve = min(seen.paused, key=lambda c: (c.rung, c.number))
        replaced = self._is_weak(seen, curve) and self._branch(seen, curve, candidates)
        return replaced or Continue(curve.number)

    def continues(self, seen: Seen, number: int, candidates: Candidates) -> bool:
        curve = seen.curve(number)
        if _inherited(curve):
            return True
        if self._has_room(seen) or any(c.rung < curve.rung for c in seen.paused):
            return False
        return not self._is_weak(seen, curve)

    def _has_room(self, seen: Seen) -> bool:
        members = [c for c in seen.curves if c.state not in ("stopped", "failed")]
        return seen.fresh and len(members) < self.population

    def _instead_of_failed(self, seen: Seen, candidates: Candidates) -> Begin | None:
        replaced = {c.branch.replaces for c in seen.curves if c.branch is not None}
        for curve in seen.curves:
            over = curve.state in ("stopped", "failed") and curve.number not in replaced
            if over and (found := self._branch(seen, curve, candidates)):
                return found
        return None

    def _is_weak(self, seen: Seen, curve: Curve) -> bool:
        """Whether it is to be replaced at the stage end that it has reached."""
        if not seen.fresh or not 0 < curve.rung < seen.rungs or _inherited(curve):
            return False
        ranked = _ranked(seen, curve.rung)
        return curve.number in [c.number for c in ranked[: self._quarter(len(ranked))]]

    def _branch(self, seen: Seen, curve: Curve, candidates: Candidates) -> Begin | None:
        """A branch of a stronger one in place of `curve`; None where there is none."""
        rung = curve.rung
        if not 0 < rung < seen.rungs:
            return None
        ranked = _ranked(seen, rung)
        strong = ranked[len(ranked) - max(1, self._quarter(len(ranked))) :]
        failed = curve.state == "failed"
        better = [
            c
            for c in strong
            if c.state != "failed" and (failed or c.scores[rung - 1] > curve.scores[rung - 1])
        ]
        if not better:
            return None
        generator = seen.generator()
        parent = better[int(generator.integers(len(better)))]
        point = candidates.branch(parent.point, rung, generator)
        return None if point is None else Begin(point, Branch(parent.number, rung, curve.number))

    def _quarter(self, count: int) -> int:
        return min(-int(-count * self.quantile // 1), count // 2)


def _inherited(curve: Curve) -> bool:
    """Whether its newest score is that of the trial it branched from."""
    return curve.branch is not None and curve.rung <= curve.branch.rung


def _ranked(seen: Seen, rung: int) -> list[Curve]:
    """All that trained up to a stage end themselves, the worst first; of equals the later first."""
    there = [
        c for c in seen.curves if c.rung >= rung and (c.branch is None or c.branch.rung < rung)
    ]
    return sorted(there, key=lambda c: (c.scores[rung - 1], -c.number))


def members(population: int | None, num_trials: int, num_stages: int) -> int:
    """How many members a search has: those asked for, or 8; fewer where of `num_trials` too few
    would be left to replace a quarter of them after each stage but the last.

    SettingsError where there cannot be two, or more were asked for than there are trials.
    """
    share = 1 + (num_stages - 1) / 4
    if population is None:
        population = min(_MEMBERS, int(num_trials / share))
        if population < _LEAST:
            raise SettingsError(
                f"trials = {num_trials}: strategy pbt needs at least 2 members and as many trials "
                f"more as it replaces; give --trials {math.ceil(_LEAST * share)} or more"
            )
    if population < _LEAST:
        raise SettingsError(f"population = {population}: must be at least {_LEAST}")
    if population > num_trials:
        raise SettingsError(
            f"population = {population}: must be at most the number of trials ({num_trials}), "
            "each replacement is one more; raise --trials, or lower --population"
        )
    return population


def check_population(strategy: str, population: int | None) -> None:
    """SettingsError where a population is given to a strategy that has none."""
    if population is not None and strategy != "pbt":
        raise SettingsError(
            f"population = {population}: strategy {shown(strategy)} has no population; leave "
            "--population out, or take --strategy pbt"
        )
