"""What earlier studies tried and how it went, from the tracking store to a search's journal."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganforge.search.points import recorded_point
from ganforge.search.space import Space
from ganforge.settings import SettingsError, shown
from ganforge.systems.base import Metric
from ganforge.systems.settings import SystemSettings

if TYPE_CHECKING:
    # which loads MLflow
    from ganforge.tracking.queries import RecordedTrial

#: from fewer trials nothing is concluded
MIN_TRIALS = 4
#: trials of a study that a search takes with it
_MOST = 300


@dataclass(frozen=True)
class EarlierTrial:
    """A trial of an earlier study: how many stages it trained, parts counted, and its score there;
    None where it failed. `point` has what the present space searches of its settings."""

    point: Mapping[str, Any]
    stages: float
    score: float | None

    def order(self, mode: str) -> tuple[bool, float, float]:
        """Larger is better: who failed comes last, who came further first."""
        sign = 1 if mode == "max" else -1
        return self.score is not None, self.stages, 0.0 if self.score is None else sign * self.score


@dataclass(frozen=True)
class EarlierStudy:
    """Trials whose scores compare: of one metric, on the same data."""

    name: str
    trials: tuple[EarlierTrial, ...]

    @property
    def line(self) -> str:
        """What is printed of it before a search starts."""
        failed = sum(trial.score is None for trial in self.trials)
        return f"warm start    {self.name}: {len(self.trials)} trials" + (
            f", {failed} of them failed" if failed else ""
        )

    def within(self, fits: Callable[[Mapping[str, Any]], bool]) -> "EarlierStudy":
        """The trials whose points fit, and at least one of which has a score; else none."""
        trials = tuple(trial for trial in self.trials if fits(trial.point))
        scored = any(trial.score is not None for trial in trials)
        return EarlierStudy(self.name, trials if scored else ())

    def plain(self) -> dict[str, Any]:
        """As a journal has it."""
        trials = [[dict(t.point), t.stages, t.score] for t in self.trials]
        return {"name": self.name, "trials": trials}


def from_plain(recorded: Any) -> list[EarlierStudy]:
    """The studies that a journal has; SettingsError where it was not written so."""
    found: list[EarlierStudy] = []
    try:
        for study in recorded:
            trials = tuple(EarlierTrial(*trial) for trial in study["trials"])
            if not isinstance(study["name"], str) or not all(map(_is_whole, trials)):
                raise TypeError
            found.append(EarlierStudy(study["name"], trials))
    except (KeyError, TypeError):
        raise SettingsError(
            "cannot resume: the journal of the search is damaged (earlier studies); repair it from "
            "a copy, or start a new search"
        ) from None
    return found


def _is_whole(trial: EarlierTrial) -> bool:
    score = trial.score
    number = score is None or (isinstance(score, int | float) and math.isfinite(score))
    return isinstance(trial.point, dict) and isinstance(trial.stages, int | float) and number


def earlier_studies(
    name: str,
    recorded: Sequence["RecordedTrial"],
    space: Space,
    settings: SystemSettings,
    metric: Metric,
) -> list[EarlierStudy]:
    """The trials and trainings that ended in experiment `name`, as studies whose scores compare.

    SettingsError where they are of another system, without the metric, or fewer than `MIN_TRIALS`
    are points of this space.
    """
    prefix = f"warm-start = {shown(name)}"
    systems = {trial.system for trial in recorded}
    own = [trial for trial in recorded if trial.system == settings.system]
    if not own:
        others = f"they are of {', '.join(sorted(systems))}" if systems else "none has ended"
        raise SettingsError(
            f"{prefix}: has no trials of {settings.system} ({others}); name an experiment of this "
            "system"
        )
    scored = [trial for trial in own if trial.score is not None]
    if not scored:
        raise SettingsError(
            f"{prefix}: none of its {len(own)} trials has the metric {metric.name}; name another "
            "experiment, or another --metric"
        )
    points = [recorded_point(trial.params, space, settings, partial=True) for trial in own]
    usable = [
        (trial, point)
        for trial, point in zip(own, points, strict=True)
        if point and (trial.failed or trial.score is not None)
    ]
    studies = [
        EarlierStudy(name, _selected(group, metric.mode))
        for group in _groups(usable)
        if sum(trial.score is not None for trial in group) >= MIN_TRIALS
    ]
    if not studies:
        raise SettingsError(
            f"{prefix}: {len(usable)} of its {len(own)} trials are points of this search space, "
            f"and {MIN_TRIALS} with a score on the same data are needed; name another experiment, "
            f"or search what that did ({', '.join(space)} are searched now)"
        )
    return studies


def _groups(
    usable: Sequence[tuple["RecordedTrial", Mapping[str, Any]]],
) -> list[list[EarlierTrial]]:
    """Trials by what makes their scores compare: the data, and what their search searched."""
    keys: dict[tuple[str, str], set[str]] = {}
    for trial, point in usable:
        keys.setdefault((trial.data, trial.search), set()).update(point)
    groups: dict[tuple[str, frozenset[str]], list[EarlierTrial]] = {}
    for trial, point in usable:
        key = trial.data, frozenset(keys[trial.data, trial.search])
        groups.setdefault(key, []).append(EarlierTrial(point, trial.stages, trial.score))
    return list(groups.values())


def _selected(trials: Sequence[EarlierTrial], mode: str) -> tuple[EarlierTrial, ...]:
    """All, or of many the best half of `_MOST`, and as many evenly spread over the others."""
    if len(trials) <= _MOST:
        return tuple(trials)
    ranked = sorted(trials, key=lambda t: t.order(mode), reverse=True)
    best, rest = ranked[: _MOST // 2], ranked[_MOST // 2 :]
    places = (k * len(rest) // (_MOST - len(best)) for k in range(_MOST - len(best)))
    return (*best, *(rest[k] for k in places))
