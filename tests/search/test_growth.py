"""What a search does at an event does not grow with the number of its trials: what is kept up to
date equals what a look at all trials finds, and what is counted here is done once for each."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from driven import SPACE, drive, opened
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from test_ledger_size import trial as in_ledger

from ganforge.console import Console
from ganforge.search.curves import Curves
from ganforge.search.dashboard import Progress
from ganforge.search.ledger_size import LedgerSize
from ganforge.search.limits import Ended, Limits
from ganforge.search.mirror import Mirror
from ganforge.search.objectives import Objectives, RungRanks
from ganforge.search.remembering_tpe import RememberingTPE
from ganforge.search.report.importance import importance
from ganforge.search.space import distributions
from ganforge.search.strategies.base import Candidates, Curve, Decision, Seen, Strategy
from ganforge.search.strategies.freeze_thaw import FreezeThaw
from ganforge.search.strategies.halving import Halving, percentile_without
from ganforge.search.study import SearchState
from ganforge.search.trial import State, Trial, rung_works
from ganforge.systems.base import Metric
from ganforge.training.checkpoint import Store
from ganforge.training.ledger import Entry, Ledger
from ganforge.training.report import StageResult

QUICK = FreezeThaw(startup=3, drawn=10, near=2, parents=2, looked_at=4, fit_scores=10)
METRIC = Metric("score", "max")
SECONDS = 0.1


def curves_anew(trials: Mapping[int, Trial]) -> tuple[Curve, ...]:
    """The curves, by a look at all trials."""
    states: dict[State, Any] = {"waiting": "running", "killed": "running"}
    found = []
    for number in sorted(trials):
        trial, done = trials[number], trials[number].rungs_done
        scores = tuple(trial.scores[rung] for rung in range(1, done + 1))
        works, state = rung_works(trial.plan)[:done], states.get(trial.state, trial.state)
        found.append(Curve(number, trial.params, scores, works, state, trial.branch))
    return tuple(found)


class Checked:
    """A strategy that compares what it is shown with what there is."""

    def __init__(self, inner: Strategy):
        self.inner, self.state, self.decisions = inner, None, 0
        self.pauses = inner.pauses

    def _check(self, seen: Seen) -> None:
        state: SearchState | None = self.state
        if state is not None:
            assert seen.curves == curves_anew(state.trials)
            for rung in range(1, seen.rungs + 1):
                there = sorted(c.scores[rung - 1] for c in seen.curves if c.rung >= rung)
                assert list(seen.scores_at(rung)) == there
            parts = [part for trial in state.trials.values() for part in trial.trained]
            used = sum(part.seconds * part.workers for part in parts)
            assert state.spent.device_seconds == pytest.approx(used, abs=1e-9)
            self.decisions += 1

    def next(self, seen: Seen, candidates: Candidates) -> Decision:
        self._check(seen)
        return self.inner.next(seen, candidates)

    def continues(self, seen: Seen, number: int, candidates: Candidates) -> bool:
        self._check(seen)
        return self.inner.continues(seen, number, candidates)


def result(trial: Trial, rung: int) -> StageResult:
    return StageResult(rung - 1, 16, seconds=SECONDS, workers=2, metrics={"score": 1.0})


@pytest.mark.parametrize("strategy", [Halving(), QUICK], ids=["halving", "freeze-thaw"])
def test_what_a_strategy_sees_is_what_there_is(tmp_path: Path, strategy: Any) -> None:
    checked: Any = Checked(strategy)
    state = opened(tmp_path, SPACE, checked, Limits(12))
    checked.state = state
    drive(state, result=result)
    assert checked.decisions > 24 and len(state.trials) == 12
    used = state.spent.device_seconds
    state.journal.close()
    again = opened(tmp_path, SPACE, Checked(strategy), Limits(12))
    assert again.spent.device_seconds == used > 0, "in other bits after it was resumed"
    again.journal.close()


def test_a_curve_is_made_anew_only_where_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    make = Curves._curve

    def counted(self: Curves, trial: Trial) -> Curve:
        made.append(trial.number)
        return make(self, trial)

    monkeypatch.setattr(Curves, "_curve", counted)
    counts = []
    for trials in (10, 20, 40):
        made.clear()
        state = opened(tmp_path / str(trials), SPACE, Halving(), Limits(trials), kind="random")
        drive(state)
        state.journal.close()
        counts.append(len(made))
        # begun, started, three rungs and ended at most
        assert max(made.count(number) for number in state.trials) <= 6
    assert counts[2] <= 4.5 * counts[0]


def test_the_cutoff_has_the_bits_of_numpy() -> None:
    generator = np.random.default_rng(2)
    for count in [*range(2, 40), 1000]:
        for factor in (2.0, 1.5, 3.0, 4.0, 1.1):
            scores = (generator.normal(25, 3, count) // 0.25 / 4).tolist()
            one, percent = scores[int(generator.integers(count))], (1 - 1 / factor) * 100
            rest = list(scores)
            rest.remove(one)
            found = percentile_without(sorted(scores), one, percent)
            assert found == float(np.percentile(rest, percent)), (count, factor)


def in_vain_anew(trials: Mapping[int, Trial], sign: int) -> int:
    best, vain = float("-inf"), 0
    for _, trial in sorted(trials.items()):
        if trial.ended:
            score = trial.last_score if trial.state == "finished" else None
            better = score is not None and sign * score > best
            best, vain = (sign * (score or 0.0), 0) if better else (best, vain + 1)
    return vain


@pytest.mark.parametrize("mode", ["max", "min"])
def test_patience_counts_as_a_look_at_all_trials_would(mode: str) -> None:
    generator = np.random.default_rng(3)
    for _ in range(50):
        ended, trials = Ended(mode), dict[int, Trial]()
        for number in generator.permutation(12).tolist():
            plan: Any = None
            trial = Trial(number, {}, plan, plan)
            trial.state = ("finished", "stopped", "failed")[int(generator.integers(3))]
            if generator.random() < 0.8:  # of few values, so that some are equal
                trial.scores = {1: float(generator.integers(4)) - 2}
            trials[number] = trial
            ended.add(trial)
            assert ended.in_vain == in_vain_anew(trials, 1 if mode == "max" else -1)


def test_at_a_rung_that_no_trial_has_reached_since_ranks_are_kept() -> None:
    """And those that are kept are the ranks of all trials anew."""
    objectives = Objectives((METRIC, Metric("loss", "min")), lambda trial, stages: 0)
    generator = np.random.default_rng(1)
    nothing: Any = None
    trials = [Trial(number, {}, nothing, nothing) for number in range(30)]
    known: dict[int, RungRanks] = {}
    for trial in [*trials, *trials[::2], *trials[::4]]:
        rung = trial.rungs_done + 1
        trial.scores[rung] = 1.0
        trial.values[rung] = float(generator.integers(9)), float(generator.integers(9))
        before = dict(known)
        assert objectives.rung_scores(trials, known) == objectives.rung_scores(trials)
        assert all(known[k] is before[k] for k in before if k != rung)


def test_remembering_makes_no_other_suggestion() -> None:
    """Trials run, are pruned, fail and finish, and one setting is searched only with another."""
    points = []
    for sampler in (TPESampler(seed=3, n_startup_trials=4), RememberingTPE(3, 4)):
        study = optuna.create_study(direction="maximize", sampler=sampler)
        running, found = [], []
        for number in range(60):
            trial = study.ask()
            rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
            kind = trial.suggest_categorical("kind", ["a", "b"])
            count = trial.suggest_int("count", 1, 9) if kind == "b" else 0
            found.append((rate, kind, count))
            running.append((trial, -abs(np.log10(rate) + 2) + 0.1 * count))
            if number >= 5:
                ended, value = running.pop(0)
                ended.report(value, 1)
                ended.set_constraint("trainable", 1.0 if number % 7 == 0 else -1.0)
                if number % 3:
                    study.tell(ended, state=TrialState.PRUNED)
                else:
                    study.tell(ended, value)
        points.append(found)
    assert points[0] == points[1]


def test_an_entry_of_the_ledger_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    manifest = Store.manifest

    def counted(self: Store, name: str) -> dict[str, Any]:
        read.append(name)
        return manifest(self, name)

    monkeypatch.setattr(Store, "manifest", counted)
    size, trials = LedgerSize(str(tmp_path), 10**6, "max"), list[Trial]()
    for number in range(8):
        trials.append(in_ledger(number, "finished", 1.0, 2, tmp_path))
        size.collect(trials)
    assert len(read) == len(set(read)) == 16


def test_a_large_ledger_is_not_listed_at_each_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = LedgerSize(str(tmp_path), 10**6, "max")
    size._known = {str(number): Entry(str(number), 1, 1.0) for number in range(1600)}
    listed: list[Ledger] = []
    names = Ledger.names

    def counted(self: Ledger) -> list[str]:
        listed.append(self)
        return names(self)

    monkeypatch.setattr(Ledger, "names", counted)
    for _ in range(16):
        size.collect([])
    assert not listed
    size.collect([])
    assert len(listed) == 1
    # near its limit it is
    size._known, size._bytes, size._calls = {"1": Entry("1", 950_000, 1.0)}, 950_000, 0
    size.collect([])
    assert len(listed) == 2


def test_the_file_for_optuna_keeps_nothing_in_memory(tmp_path: Path) -> None:
    space = distributions(SPACE)
    mirror = Mirror(tmp_path / "optuna.log", "search", METRIC, space)
    state = opened(tmp_path / "a", SPACE, Halving(), Limits(20), kind="random")
    drive(state)
    kept = []
    for trial in state.trials.values():
        mirror.follow([trial])
        kept.append(len(mirror._storage._backend._logs))  # pyright: ignore
    assert not mirror.trouble and max(kept) <= 2
    state.journal.close()


def test_the_table_shows_those_of_many_trials_that_changed_last(tmp_path: Path) -> None:
    state = opened(tmp_path, SPACE, Halving(), Limits(60), kind="random")
    drive(state)
    progress = Progress(Limits(60), "score", console=Console(file=io.StringIO()))
    for trial in state.trials.values():
        progress(trial, "ended")
    progress(state.trials[3], "ended")
    table = progress.table()
    assert table.row_count == 40 and "20 trials" in str(table.caption)
    assert "60 of 60 trials ended" in str(table.title)
    shown = [str(cell) for cell in table.columns[0].cells]
    assert shown == ["3", *map(str, range(21, 60))]
    state.journal.close()


def test_importance_looks_at_some_of_many_trials() -> None:
    study, generator = optuna.create_study(direction="maximize"), np.random.default_rng(0)
    domains = {name: optuna.distributions.FloatDistribution(0, 1) for name in ("a", "b")}
    for _ in range(400):
        point = {name: float(generator.random()) for name in domains}
        study.add_trial(
            optuna.trial.create_trial(
                params=point,
                distributions=domains,
                value=point["a"],
                intermediate_values={1: point["a"]},
            )
        )
    axes = importance(study, 1, "max").axes[0]
    assert axes.get_legend_handles_labels()[1] == ["after the last stage (300 of 400 trials)"]
