"""Where the next trial's point comes from: Optuna's samplers, kept from being fooled.

A sampler by itself proposes points that were trained before, ignores trials that failed, and
proposes what the settings refuse again and again. `Sampler` owns the Optuna study and

- gives no point twice: a repeated draw is drawn again, then a neighbour of it that is new is
  taken, then any new point; a finite space ends when it is exhausted;
- records a failed trial, and a point that the settings refuse, as one whose constraint is violated:
  TPE ranks it behind all others, and the Gaussian process learns where such points lie. A sampler
  that learns from complete trials alone gets it as complete, with a value worse than any seen so
  far by a tenth of what lies between the best and the worst; before any value is known it waits;
- follows what people believe (`likely`, search/knowledge.py): the first point that it draws has all
  likely values, and then each such setting is drawn close to its likely value with probability

      sure / (1 + n / 10)    for the trial that n trials were begun before,

  which is the prior's fading weight of πBO (arXiv:2204.11051) with a mixture of draws in place of
  a product with the acquisition function.

It is a pure function of its arguments and of the calls in their order: the same calls give the same
points, which is how a search is resumed.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ganforge.search.by_stage import ties
from ganforge.search.candidates import SpaceCandidates, identity
from ganforge.search.domains import Axis
from ganforge.search.earlier import MIN_TRIALS, EarlierStudy
from ganforge.search.grid import grid_points
from ganforge.search.history import lying_in, moved, seed_after
from ganforge.search.named_samplers import make_sampler
from ganforge.search.reported_storage import ReportedStorage
from ganforge.search.space import Point, Space, axes, canonical, is_active
from ganforge.search.strategies.base import Candidates
from ganforge.search.warm_start import WarmStart
from ganforge.settings import SettingsError

#: points that the settings may refuse one after another, before the search ends with the reason
MAX_REFUSED = 100
#: trials after which a belief weighs half as much
_FADE = 10
#: of the range of values seen: how much worse a failed trial is than the worst
_PENALTY = 0.1

End = Literal["finished", "stopped", "failed"]


class Sampler:
    """Suggests the points of a search's trials, each once, and learns from how they ended.

    `space` must have passed `check_space`. Scores are better when larger with `mode` "max"; with
    several objectives `mode` has one for each, and a score is a value for each. The
    first `startup_trials` points are drawn at random by samplers that learn; `kind` is one of
    `named_samplers.KINDS` or a class of one's own. `first_points` are given out first; what they
    leave open is drawn. With `by_stage` what is drawn of a stage's setting is drawn for all stages
    that have it with the same domain. With `partial` TPE learns from what trials that are not over
    have scored so far. Where `earlier` studies are believed they propose points
    (search/warm_start.py), out of `candidates` if these are not to be those of the space.
    """

    def __init__(
        self,
        space: Space,
        mode: str | Sequence[str],
        seed: int,
        startup_trials: int = 10,
        kind: str = "tpe",
        first_points: Iterable[Mapping[str, Any]] = (),
        by_stage: bool = False,
        earlier: Sequence[EarlierStudy] = (),
        candidates: Candidates | None = None,
        partial: bool = False,
    ):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.modes = [mode] if isinstance(mode, str) else [*mode]
        self.seed = seed
        self._made_with = kind, startup_trials, by_stage, partial and kind == "tpe"
        #: how often the space was edited
        self.edits = 0
        self._use(space)
        self._waiting_points: list[Point] = []
        self.append(first_points)
        self._earlier, self._given_candidates = earlier, candidates
        #: scores by rung of the trials so far, None where one failed
        self._reports: list[tuple[Point, int, float | None]] = []
        self._warm = self._warmed()
        self._forced: Point = {}
        self._open: dict[tuple[tuple[str, Any], ...], Trial] = {}
        #: of the studies before an edit: what does not lie in the present space
        self._away: list[tuple[Study, int]] = []
        self._open_away: dict[tuple[tuple[str, Any], ...], Trial] = {}
        self._values: list[tuple[float, ...]] = []
        self._valueless: list[Trial] = []
        self._refused: list[str] = []
        self._asked: tuple[tuple[str, Any], ...] | None = None
        self._accepted = 0

    def _use(self, space: Space) -> None:
        """Draw from this space, with a sampler and a study that know of no trial."""
        kind, startup_trials, by_stage, partial = self._made_with
        self.axes: dict[str, Axis] = axes(space)
        self._tied = ties(self.axes) if by_stage else {}
        self._kind = make_sampler(kind, seed_after(self.seed, self.edits), startup_trials)
        #: the Optuna study, with a trial for each point that was asked for
        self.study: Study = optuna.create_study(
            storage=ReportedStorage() if partial else None,
            directions=["maximize" if mode == "max" else "minimize" for mode in self.modes],
            sampler=_OnePoint(self._kind.sampler, self._distributions, self._choose),
            pruner=NopPruner(),
        )
        self._seen: set[tuple[tuple[str, Any], ...]] = set()
        self.candidates = SpaceCandidates(self.axes, self._seen)
        self._grid = grid_points(space) if kind == "grid" else None
        self._believed = not any(axis.sure for axis in self.axes.values())

    @property
    def refused(self) -> int:
        """How many points the settings refused since the last one that they did not."""
        return len(self._refused)

    @property
    def exhausted(self) -> bool:
        """Whether every point of the space has been given out."""
        return self.candidates.exhausted

    @property
    def leads(self) -> bool:
        """Whether the next point is the sampler's even where a strategy would choose one: some wait
        to be tried first, or an earlier study proposes one."""
        return bool(self._waiting_points) or self._proposes

    @property
    def _proposes(self) -> bool:
        return self._warm is not None and self._warm.proposes(len(self._seen))

    def append(self, points: Iterable[Mapping[str, Any]]) -> None:
        """Points to be tried before what the sampler suggests, after those waiting already."""
        self._waiting_points += [dict(point) for point in points]

    def edit(self, space: Space) -> None:
        """Draw from another space of the same settings from now on.

        The trials so far that lie in it are what the sampler learns from, as if they had been drawn
        from it. The others wait until an edit takes them in again. Points that are to be tried
        first, and do not lie in it any more, are dropped; likely values are tried once more.
        """
        self._accept()
        self._refused.clear()
        earlier = [*self._away, *((self.study, n) for n in range(len(self.study.trials)))]
        opened = [*self._open.values(), *self._open_away.values()]
        unfinished = {(id(t.study), t.number): t for t in [*opened, *self._valueless]}
        valueless = {id(trial) for trial in self._valueless}
        self.edits += 1
        self._use(space)
        self._open, self._open_away, self._away, self._valueless = {}, {}, [], []
        for study, number in earlier:
            frozen = study.get_trials(deepcopy=False)[number]
            trial = unfinished.get((id(study), number))
            point = lying_in(self.axes, frozen.params)
            if point is not None and trial is None:
                self._seen.add(identity(point))
                self.study.add_trial(moved(frozen, self.axes, point))
            elif point is not None and identity(point) not in self._seen:
                assert trial is not None
                again, _ = self._opened(point)
                for name, value in frozen.user_attrs.items():
                    again.set_user_attr(name, value)
                for rung, value in frozen.intermediate_values.items():
                    again.report(value, rung)
                if id(trial) in valueless:
                    self._record_bad(again)
                    self._open.pop(identity(point))
            else:
                self._away.append((study, number))
                if trial is not None and id(trial) in valueless:
                    self._valueless.append(trial)
                elif trial is not None:
                    self._open_away[_by_name(frozen.params)] = trial
        self._waiting_points = [p for p in self._waiting_points if self._fits(p)]
        self._warm = self._warmed()

    def outside(self, point: Mapping[str, Any]) -> bool:
        """Whether a point that was given out does not lie in the space any more."""
        return self.edits > 0 and lying_in(self.axes, point) is None

    def _fits(self, point: Mapping[str, Any]) -> bool:
        """Whether a point, or a part of one, lies in the space."""
        return all(k in self.axes and self.axes[k].contains(v) for k, v in point.items())

    def ask(self) -> Point | None:
        """A point that was never given out; None where the space is exhausted.

        SettingsError after `MAX_REFUSED` refused points in a row, with the reason met most often.
        """
        self._check_refused()
        if self.exhausted:
            return None
        return self._begin(self._next_forced())

    def begin(self, point: Mapping[str, Any]) -> Point | None:
        """Give out this point, of a strategy's choice; None if it was given out before.

        SettingsError as `ask` has it."""
        self._check_refused()
        point = canonical(self.axes, point)
        return None if identity(point) in self._seen else self._begin(point)

    def _check_refused(self) -> None:
        if len(self._refused) >= MAX_REFUSED:
            reason, times = Counter(self._refused).most_common(1)[0]
            raise SettingsError(
                f"search space: the settings refused {len(self._refused)} points in a row, {times} "
                f"of them with: {reason}; narrow the domains, or search fewer settings together"
            )

    def refuse(self, point: Mapping[str, Any], reason: str) -> None:
        """The settings refuse this open point: it does not count, and the sampler keeps away."""
        trial = self._close(point)
        self._refused.append(reason.split("\n")[0])
        self._accepted -= 1
        trial.set_user_attr("refused", self._refused[-1])
        self._record_bad(trial)

    def report(self, point: Mapping[str, Any], rung: int, value: float) -> None:
        """The trial of an open point reached a rung with this score; the first score stands.
        With several objectives Optuna has no scores before the end."""
        if len(self.modes) > 1:
            return
        trial = self._trial(point)
        if math.isfinite(value) and rung not in self._frozen(trial).intermediate_values:
            trial.report(value, rung)
            self._report_earlier(point, rung, value)

    def report_end(
        self, point: Mapping[str, Any], state: End, value: float | Sequence[float] | None = None
    ) -> None:
        """How the trial of an open point ended: finished with a score, stopped at its last rung,
        or failed. One that finished without a finite score failed."""
        self._accept()
        trial = self._close(point)
        given = value if isinstance(value, Sequence) else [] if value is None else [value]
        values = tuple(given)
        if state == "finished" and values and all(map(math.isfinite, values)):
            self._mark(trial, violated=False)
            trial.study.tell(trial, values)
            self._learn(values)
        elif state == "stopped":
            self._mark(trial, violated=False)
            # its value is the last one reported
            trial.study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr("failed", True)
            self._record_bad(trial)
            self._report_earlier(point, 0, None)

    # ---- asking ----

    def _begin(self, forced: Point) -> Point:
        self._accept()
        _, point = self._opened(forced)
        self._accepted += 1
        self._asked = identity(point)
        return point

    def _opened(self, forced: Point) -> tuple[Trial, Point]:
        """A new Optuna trial, which is open from now on, and its point, which is new."""
        self._forced = forced
        trial = self.study.ask()
        chosen = trial.relative_params
        point = {key: _suggest(trial, key, self.axes[key]) for key in chosen}
        self._seen.add(identity(point))
        self._open[identity(point)] = trial
        return trial, point

    def _next_forced(self) -> Point:
        """What the next point is bound to have: all of it, a part, or nothing."""
        while self._waiting_points:
            point = canonical(self.axes, self._waiting_points.pop(0))
            if identity(point) not in self._seen:
                return point
        if self._grid is not None:
            return next(point for point in self._grid if identity(point) not in self._seen)
        if not self._believed:
            self._believed = True
            return {key: axis.likely for key, axis in self.axes.items() if axis.sure}
        if self._warm is not None and self._proposes:
            point = canonical(self.axes, self._warm.propose(len(self._seen)) or {})
            return point if identity(point) not in self._seen else {}
        return {}

    def _choose(self, study: Study, trial: FrozenTrial) -> Point:
        """The point of a new Optuna trial."""
        generator = np.random.default_rng((abs(self.seed), trial.number))
        point: Point = {}
        for _ in range(1 + self._kind.redraws):
            point = self._compose(study, trial, generator)
            if identity(point) not in self._seen:
                return point
        near = self.candidates.near(point, generator, 1)
        return near[0] if near else self.candidates.draw(generator, 1)[0]

    def _compose(self, study: Study, trial: FrozenTrial, generator: np.random.Generator) -> Point:
        """One draw: what is forced, what is believed, and the rest from Optuna's sampler."""
        sampler = self._kind.sampler
        space = (
            {k: d for k, d in self._distributions.items() if not d.single()}
            if self._kind.whole_space
            else sampler.infer_relative_search_space(study, trial)
        )
        drawn = sampler.sample_relative(study, trial, space)
        point: Point = {}
        for key, axis in self.axes.items():
            if not is_active(axis, point):
                continue
            if key in self._forced:
                value = self._forced[key]
            elif self._tied.get(key) in point:
                value = point[self._tied[key]]
            elif axis.sure and generator.random() < axis.sure / (1 + self._accepted / _FADE):
                value = axis.draw_likely(generator)
            elif key in drawn:
                value = drawn[key]
            elif axis.count == 1:
                value = axis.at(0)
            else:
                value = sampler.sample_independent(study, trial, key, axis.distribution)
            point[key] = axis.snap(value)
        return point

    @property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return {key: axis.distribution for key, axis in self.axes.items()}

    # ---- learning ----

    def _report_earlier(self, point: Mapping[str, Any], rung: int, value: float | None) -> None:
        """Let the earlier studies be judged by a score, or by a failure."""
        self._reports.append((dict(point), rung, value))
        if self._warm is not None:
            self._pass_on(self._warm, *self._reports[-1])

    def _pass_on(self, warm: WarmStart, point: Point, rung: int, value: float | None) -> None:
        lying = lying_in(self.axes, point)
        if lying is not None and value is None:
            warm.report_failed(lying)
        elif lying is not None and value is not None:
            warm.report(lying, rung, value)

    def _warmed(self) -> WarmStart | None:
        """What the earlier studies say of the present space, with all that was reported."""
        within = [study.within(self._fits) for study in self._earlier]
        known = [study for study in within if len(study.trials) >= MIN_TRIALS]
        if not known:
            return None
        candidates = self._given_candidates or self.candidates
        warm = WarmStart(known, candidates, self.modes[0], self.seed)
        for report in self._reports:
            self._pass_on(warm, *report)
        return warm

    def _accept(self) -> None:
        """The point asked for last was not refused, or its refusal was recorded."""
        if self._asked is not None and self._asked in self._open:
            self._refused.clear()
        self._asked = None

    def _record_bad(self, trial: Trial) -> None:
        self._mark(trial, violated=True)
        if self._kind.ranks_pruned:
            trial.study.tell(trial, state=TrialState.PRUNED)
        elif self._values:
            trial.study.tell(trial, self._worse())
        else:
            self._valueless.append(trial)

    def _mark(self, trial: Trial, violated: bool) -> None:
        if self._kind.constraints:
            trial.set_constraint("trainable", 1.0 if violated else -1.0)

    def _learn(self, values: tuple[float, ...]) -> None:
        self._values.append(values)
        for trial in self._valueless:
            trial.study.tell(trial, self._worse())
        self._valueless.clear()

    def _worse(self) -> list[float]:
        """Worse in every objective than anything seen."""
        found = []
        for mode, values in zip(self.modes, zip(*self._values, strict=True), strict=True):
            low, high = min(values), max(values)
            margin = _PENALTY * (high - low) or _PENALTY * abs(high) or _PENALTY
            found.append(low - margin if mode == "max" else high + margin)
        return found

    def _identity(self, point: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        return identity(canonical(self.axes, point))

    def _trial(self, point: Mapping[str, Any]) -> Trial:
        away = self._open_away.get(_by_name(point))
        return self._open[self._identity(point)] if away is None else away

    def _close(self, point: Mapping[str, Any]) -> Trial:
        away = self._open_away.pop(_by_name(point), None)
        return self._open.pop(self._identity(point)) if away is None else away

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return trial.study.get_trials(deepcopy=False)[trial.number]


def _by_name(point: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What tells two points apart, whatever space they were drawn from."""
    return tuple(sorted(point.items(), key=lambda item: item[0]))


def _suggest(trial: Trial, key: str, axis: Axis) -> Any:
    """Record a chosen value as the trial's parameter; Optuna takes it from `relative_params`."""
    found = axis.distribution
    if isinstance(found, CategoricalDistribution):
        return trial.suggest_categorical(key, found.choices)
    if isinstance(found, FloatDistribution):
        return trial.suggest_float(key, found.low, found.high, step=found.step, log=found.log)
    return trial.suggest_int(key, found.low, found.high, step=found.step, log=found.log)


class _OnePoint(BaseSampler):
    """What Optuna asks for a trial's parameters: they come as one point from `choose`, which draws
    from the sampler within as often as it must. So a study has no trials for points not used."""

    def __init__(
        self,
        inner: BaseSampler,
        distributions: Mapping[str, BaseDistribution],
        choose: Callable[[Study, FrozenTrial], Point],
    ):
        self.inner, self.distributions, self.choose = inner, dict(distributions), choose

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.choose(study, trial)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self.inner.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.inner.after_trial(study, trial, state, values)
