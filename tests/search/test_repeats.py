"""Configurations trained with several seeds, the best confirmed, and trials over their limit."""

import io
import statistics
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from driven import SETTINGS, configure, drive, opened, score, story
from optuna.trial import TrialState
from ray import tune

from ganforge.commands.resumed_search import LimitOptions
from ganforge.search.budget import parse_budget, parse_trial_limit
from ganforge.search.journal import local_file
from ganforge.search.limits import Limits
from ganforge.search.repeats import Standing, configuration, standings
from ganforge.search.report.agreement import agreements
from ganforge.search.report.build import build_report
from ganforge.search.report.collect import row
from ganforge.search.report.facts import StudyFacts
from ganforge.search.report.table import table
from ganforge.search.result import best_trial
from ganforge.search.strategies.base import Strategy
from ganforge.search.strategies.freeze_thaw import FreezeThaw
from ganforge.search.strategies.halving import Halving, Whole
from ganforge.search.study import SearchState
from ganforge.search.trial import Trial
from ganforge.settings import SettingsError
from ganforge.training.report import StageResult

SPACE = {
    "generator.learning_rate": tune.loguniform(1e-4, 1e-2),
    "critic_steps": tune.choice([1, 2, 3]),
}
SEED = SETTINGS.seed
#: what a seed adds to a score, by configuration: luck, of which the first seed has most
LUCK = (3.0, -4.0, -5.0, 0.5, 0.25)


def lucky(trial: Trial, stages_done: int) -> float:
    has_luck = configuration(trial) % 4 == 2
    luck = LUCK[trial.settings.seed - SEED] * has_luck
    return score(trial, stages_done) - trial.settings.seed % 7 / 10 + luck


def groups(state: SearchState) -> dict[int, list[Trial]]:
    found: dict[int, list[Trial]] = {}
    for trial in state.trials.values():
        found.setdefault(configuration(trial), []).append(trial)
    return found


@pytest.mark.parametrize("strategy", [Halving(), FreezeThaw()], ids=lambda s: type(s).__name__)
def test_what_finished_is_trained_with_all_seeds_and_the_sampler_learns_the_mean(
    tmp_path: Path, strategy: Strategy
) -> None:
    state = opened(tmp_path, SPACE, strategy, Limits(6), seeds=3)
    drive(state, lucky)
    found = groups(state)
    assert len(found) == 6 and state.over
    told = {str(t.params): t for t in state.sampler.study.trials}
    assert len(told) == 6
    for first, *others in found.values():
        if first.state != "finished":
            assert first.state == "stopped" and not others
            continue
        assert [t.settings.seed for t in others] == [SEED + 1, SEED + 2]
        assert all(t.params == first.params and t.state == "finished" for t in others)
        mean = statistics.fmean(lucky(t, 3) for t in (first, *others))
        assert told[str(first.params)].value == pytest.approx(mean)
    finished = [g for g in found.values() if len(g) == 3]
    best = max(finished, key=lambda g: statistics.fmean(t.last_score for t in g))
    chosen = best_trial(state.trials.values(), "max")
    assert chosen in best and chosen.last_score == max(t.last_score for t in best)
    # the strategy has seen the first trials alone
    assert [curve.number for curve in state.seen().curves] == sorted(found)


def test_the_best_are_confirmed_and_luck_is_found_out(tmp_path: Path) -> None:
    limits = Limits(8, confirm=3, confirm_seeds=2)
    state = opened(tmp_path, SPACE, Whole(), limits)
    drive(state, lucky)
    assert state.over and len(state.trials) == 8 + 3 * 2
    firsts = sorted(range(8), key=lambda n: -lucky(state.trials[n], 3))
    found = groups(state)
    assert {n for n, mine in found.items() if len(mine) == 3} == set(firsts[:3])
    assert all(len(found[n]) == 1 for n in firsts[3:])
    ranked = standings(state.trials.values(), "max")
    means = {n: statistics.fmean(lucky(t, 3) for t in found[n]) for n in firsts[:3]}
    assert [s.number for s in ranked] == sorted(means, key=lambda n: -means[n])
    assert ranked[0].number != firsts[0], "the luckiest is not the best"
    assert ranked[0].mean == pytest.approx(means[ranked[0].number])
    assert configuration(best_trial(state.trials.values(), "max")) == ranked[0].number
    # the sampler was told of each configuration once
    assert Counter(t.state for t in state.sampler.study.trials) == {TrialState.COMPLETE: 8}
    # resumed with more trials it searches, and confirms what is new among the best
    state.journal.close()
    more = opened(tmp_path, SPACE, Whole(), replace(limits, num_trials=16))
    drive(more, lucky)
    groups_now = groups(more)
    assert len(groups_now) == 16
    assert max(map(len, groups_now.values())) == 3, "none is confirmed twice"


def test_a_search_with_repetitions_that_is_cut_anywhere_is_the_same(tmp_path: Path) -> None:
    limits = Limits(4, confirm=2, confirm_seeds=1)
    whole = opened(tmp_path / "whole", SPACE, Halving(), limits, seeds=2)
    drive(whole, lucky)
    whole.journal.close()
    kinds = Counter(event["event"] for event in whole.journal.events)
    assert kinds["confirming"] == 1
    lines = local_file(str(tmp_path / "whole"), "search").read_text().splitlines(keepends=True)
    for cut in range(1, len(lines), 4):
        place = local_file(str(tmp_path / f"cut-{cut}"), "search")
        place.parent.mkdir(parents=True)
        place.write_text("".join(lines[:cut]))
        resumed = opened(tmp_path / f"cut-{cut}", SPACE, Halving(), limits, seeds=2)
        drive(resumed, lucky)
        resumed.journal.close()
        assert story(resumed) == story(whole), f"cut after event {cut}"


def test_a_budget_ends_repetitions_and_does_not_end_confirming(tmp_path: Path) -> None:
    limits = Limits(3)
    state = opened(tmp_path, SPACE, Whole(), limits, seeds=2)
    drive(state, lucky, most=2)  # a configuration and its second seed
    assert [t.repetition for t in state.trials.values()] == [0, 1]
    spent = replace(parse_budget("1s"), amount=0.0)
    state.limits = Limits(3, spent)
    drive(state, lucky)
    assert len(state.trials) == 2 and state.over
    state.limits = Limits(3, spent, confirm=1, confirm_seeds=2)
    assert not state.over
    drive(state, lucky)
    assert [t.repetition for t in state.trials.values()] == [0, 1, 2, 3]
    assert {t.state for t in state.trials.values()} == {"finished"}


def test_a_repetition_that_a_budget_paused_is_continued_when_there_is_more(tmp_path: Path) -> None:
    state = opened(tmp_path, SPACE, Whole(), Limits(1), seeds=2)
    drive(state, lucky, most=1)
    again = state.suggest()
    assert again is not None and again.repeats == 0
    state.limits = Limits(1, replace(parse_budget("1s"), amount=0.0))
    assert not state.reached(again.number, 1, 20.0)
    state.returned(again.number)
    state.pause(again.number)
    assert state.suggest() is None and state.over
    state.journal.close()
    more = opened(tmp_path, SPACE, Whole(), Limits(1), seeds=2)
    assert more.trials[1].state == "paused" and not more.over
    drive(more, lucky)
    assert more.trials[1].state == "finished" and len(more.trials) == 2


def test_a_configuration_that_fails_with_one_seed_is_a_failed_one(tmp_path: Path) -> None:
    state = opened(tmp_path, SPACE, Whole(), Limits(2), seeds=2)
    drive(state, lucky, most=1)
    again = state.suggest()
    assert again is not None
    state.returned(again.number)
    again.failed = True
    state.report_end(again.number, "failed")
    state.end(again.number, "failed", "it diverged")
    (told,) = state.sampler.study.trials
    assert told.user_attrs == {"failed": True} and told.state == TrialState.PRUNED
    drive(state, lucky)
    other = next(t for t in state.trials.values() if configuration(t) != 0)
    assert best_trial(state.trials.values(), "max").params == other.params


def test_spread_by_hand() -> None:
    standing = Standing(7, (1.0, 3.0, 2.0))
    assert (standing.mean, standing.deviation) == (2.0, 1.0)
    assert standing.line == "trial 7: 2.000 ± 1.000 over 3 seeds (1.000, 3.000, 2.000)"
    assert standing.metrics() == {"seeds/mean": 2.0, "seeds/std": 1.0, "seeds/count": 3.0}
    assert Standing(1, (4.0,)).deviation == 0.0


def test_the_report_tells_repetitions_apart(tmp_path: Path) -> None:
    state = opened(tmp_path, SPACE, Whole(), Limits(5, confirm=1, confirm_seeds=2))
    drive(state, lucky)
    rows = [row(trial, "score") for trial in state.trials.values()]
    frame = table(rows, 3)
    (best,) = {n for n in frame["repeats"].dropna()}
    assert list(frame["repeats"].isna()) == [True] * 5 + [False] * 2
    assert list(frame["seed"]) == [SEED] * 5 + [SEED + 1, SEED + 2]
    assert state.trials[6].about == f"trial {best} with seed {SEED + 2}"
    assert [a.trials for a in agreements(rows, 3)] == [5, 5], "each configuration counts once"
    assert "repeats" not in table(rows[:5], 3)
    lines = [standing.line for standing in standings(state.trials.values(), "max")]
    searched = StudyFacts("A search", rows, [8, 16, 32], "score", "max", state.sampler.study)
    files, _ = build_report(replace(searched, repeated=lines))
    page = files["report/report.html"].decode()
    assert f"With several seeds: {lines[0]}." in page and "<th>repeats</th>" in page
    written = pd.read_csv(io.BytesIO(files["report/trials.csv"]))
    assert list(written["repeats"].dropna()) == [best, best]
    assert pd.read_parquet(io.BytesIO(files["report/trials.parquet"]))["seed"][6] == SEED + 2


def timed(seconds: float, **more: Any) -> StageResult:
    return StageResult(0, 8, seconds=seconds, workers=2, metrics={"score": 1.0}, **more)


def test_a_trial_over_its_limit_is_stopped_and_a_resumed_search_follows(tmp_path: Path) -> None:
    limits = Limits(3, trial_limit=parse_trial_limit("0.01gpu-hours"))  # 36 device-seconds
    state = opened(tmp_path, SPACE, Whole(), limits)
    slow, quick, reused = (state.suggest() for _ in range(3))
    assert slow is not None and quick is not None and reused is not None
    assert not state.reached(slow.number, 1, 20.0, timed(18.5))
    assert state.reached(quick.number, 1, 20.0, timed(18.0))
    assert state.reached(reused.number, 1, 20.0, timed(99.0, reused=True))
    assert state.state_of(slow.number) == "stopped"
    state.returned(slow.number)
    state.report_end(slow.number, "stopped")
    state.end(slow.number, "stopped")
    assert slow.outcome == "stopped: over its limit"
    decided = [e for e in state.journal.events if e["event"] == "decided"]
    assert [e.get("over_limit", False) for e in decided] == [True, False, False]
    state.journal.close()
    # the limit is higher now, and what was decided stays
    again = opened(tmp_path, SPACE, Whole(), Limits(3))
    assert again.trials[slow.number].outcome == "stopped: over its limit"
    assert again.trials[slow.number].ended
    assert again.suggest().number == quick.number


@pytest.mark.parametrize("text", ["", "30", "3trials", "20$", "-1h", "soon"])
def test_what_is_no_limit_of_a_trial_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^trial-limit = .*must be a number above 0"):
        parse_trial_limit(text)


def test_limits_of_a_trial_by_hand() -> None:
    trial = Trial(0, {}, *configure({}))
    trial.stages[0] = timed(100.0)
    assert Limits(1, trial_limit=parse_trial_limit("99s")).over(trial)
    assert not Limits(1, trial_limit=parse_trial_limit("100s")).over(trial)
    assert Limits(1, trial_limit=parse_trial_limit("0.05cpu-hours")).over(trial)
    assert not Limits(1).over(trial)


def test_options_of_confirming() -> None:
    with pytest.raises(SettingsError, match="confirm-seeds = 4: give --confirm too"):
        LimitOptions(confirm_seeds=4).limits()
    found = LimitOptions(confirm=3, trial_limit="2h").limits()
    assert (found.confirm, found.confirm_seeds) == (3, 2)
    kept = LimitOptions(confirm_seeds=5).limits(found.to_record())
    assert (kept.confirm, kept.confirm_seeds, kept.trial_limit) == (3, 5, found.trial_limit)
    assert LimitOptions(confirm=0, trial_limit="none").limits(found.to_record()) == Limits(4)
